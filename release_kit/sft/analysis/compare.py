"""Pairs of cells that differ in one factor only: LoRA against full, 20,000 examples against 1,000.

Owns the pairing and the contrasts; shares and differences get intervals over bases (or over runs, with few bases), the
test is by sign flips of unit means, corrected over the metrics of one contrast by Holm. Both members of a pair stand
against the same base score, so a doubtful base row cancels: comparisons rest on all rows.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from release_kit.sft.analysis.gains import GainFrame, stratum_text
from release_kit.sft.analysis.intervals import choose_units, mean_estimate, rounded
from release_kit.sft.analysis.multiple import adjusted, holm
from release_kit.sft.analysis.paired import sign_flip, unit_means, wilcoxon
from release_kit.sft.analysis.records import Comparison, Gain

_FACTORS = ("base_model", "dataset", "method", "data_size", "schedule", "others", "seed", "epoch")
FEWEST_PAIRS = 3


def compare_methods(frame: GainFrame) -> tuple[Comparison, ...]:
    """Return LoRA against full for each data size x schedule that has both, and each metric."""
    found = []
    for (size, schedule, others), rows in frame.by("data_size", "schedule", "others").items():
        within = stratum_text(others, data_size=size, schedule=schedule)
        found += _contrast(rows, "method", "lora", "full", within)
    return tuple(found)


def compare_sizes(frame: GainFrame) -> tuple[Comparison, ...]:
    """Return more data against less for each pair of sizes that share cells, method and schedule."""
    found = []
    for (method, schedule, others), rows in frame.by("method", "schedule", "others").items():
        sizes = sorted({gain.data_size for gain in rows.gains if gain.data_size is not None}, reverse=True)
        within = stratum_text(others, method=method, schedule=schedule)
        for larger, smaller in itertools.combinations(sizes, 2):
            found += _contrast(rows, "data_size", larger, smaller, within)
    return tuple(found)


def pair_gains(frame: GainFrame, factor: str, first, second) -> list[tuple[Gain, Gain]]:
    """Return pairs equal in all factors and the metric but ``factor``, sorted as the frame is."""
    others = [name for name in _FACTORS if name != factor]
    partner = {_key(gain, others): gain for gain in frame.gains if getattr(gain, factor) == second}
    pairs = []
    for gain in frame.gains:
        if getattr(gain, factor) == first and (other := partner.get(_key(gain, others))) is not None:
            pairs.append((gain, other))
    return pairs


def _key(gain: Gain, names: Sequence[str]) -> tuple:
    return (gain.metric, *(getattr(gain, name) for name in names))


def _contrast(frame: GainFrame, factor: str, first, second, within: str) -> list[Comparison]:
    by_metric: dict = {}
    for pair in pair_gains(frame, factor, first, second):
        by_metric.setdefault(pair[0].metric, []).append(pair)
    found = [
        _comparison(pairs, factor, str(first), str(second), within)
        for pairs in by_metric.values()
        if len(pairs) >= FEWEST_PAIRS
    ]
    tests = adjusted([comparison.difference for comparison in found], holm)
    return [replace(comparison, difference=test) for comparison, test in zip(found, tests, strict=True)]


def _comparison(pairs: list[tuple[Gain, Gain]], factor: str, first: str, second: str, within: str) -> Comparison:
    one = np.array([pair[0].gain for pair in pairs])
    other = np.array([pair[1].gain for pair in pairs])
    difference = one - other
    over, units = choose_units([pair[0].base_model for pair in pairs], [pair[0].run for pair in pairs])
    mean = mean_estimate(difference, units, over=over)
    by_unit = unit_means(difference, units)
    scores = np.array([[pair[0].value, pair[1].value] for pair in pairs])
    varied = bool(np.all(scores.std(axis=0) > 0))
    return Comparison(
        contrast=factor,
        first=first,
        second=second,
        within=within,
        metric=pairs[0][0].metric,
        wins=mean_estimate((difference > 0).astype(float), units, over=over, clip=(0.0, 1.0), null=0.5),
        ties=rounded(float(np.mean(difference == 0))),
        difference=replace(mean, p=rounded(sign_flip(by_unit).p)),
        wilcoxon_p=rounded(wilcoxon(by_unit).p),
        correlation=rounded(float(np.corrcoef(scores.T)[0, 1])) if varied else None,
    )
