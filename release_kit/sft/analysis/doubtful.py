"""Base rows that no gain should rest on: copied from another base, or far below what guessing gives.

How much an agreement of two bases proves is counted in bits: ½·log2(n) for a share of n answers, else log2(spread /
last digit); zero, the ends, scores at chance and metrics of one benchmark and shot count beyond the first prove
nothing. Two untrained models that guess by one rule agree, and that is no copy. Named here, never averaged over: the
analysis is given without these scores and, beside it, with them.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from release_kit.core.chance import is_below_chance
from release_kit.core.study import MetricRule, Study
from release_kit.sft.analysis.estimate import Metric
from release_kit.sft.analysis.gains import Bases, BaseScore
from release_kit.sft.analysis.records import Doubt

IDENTICAL_BITS, IDENTICAL_BENCHMARKS = 20.0, 3
"""Least evidence for "all scores are another's"."""
SHARED_BITS, SHARED_BENCHMARKS = 40.0, 4
"""Least evidence for "many scores are another's"."""


def find_doubtful(study: Study, bases: Bases) -> tuple[Doubt, ...]:
    """Return every doubt about the base rows, sorted by base and kind.

    Args:
        study: its ``benchmarks`` declare ranges and chance levels; without ``chance`` a metric is not judged.
        bases: scores of the untouched bases.
    """
    doubts = [*_copied(study, bases), *_below_chance(study, bases)]
    return tuple(sorted(doubts, key=lambda doubt: (doubt.base_model, doubt.kind, doubt.other or "")))


def _below_chance(study: Study, bases: Bases) -> Iterator[Doubt]:
    judged = [
        (base, metric, score, rule)
        for base, scores in bases.items()
        for metric, score in scores.items()
        if (rule := study.benchmarks.get(metric.benchmark, {}).get(metric.metric)) is not None and rule.chance
    ]
    for base, group in itertools.groupby(judged, key=lambda item: item[0]):
        low = [item for item in group if is_below_chance(item[2].value, item[2].n, item[3], n_judged=len(judged))]
        if low:
            low.sort(key=lambda item: (item[2].value / item[3].chance, item[1].key))
            said = ", ".join(f"{m.label} {score.value:.3g} (chance {rule.chance:g})" for _, m, score, rule in low)
            yield Doubt(
                base_model=base,
                cell_id=low[0][2].cell_id,
                kind="below-chance",
                metrics=tuple(sorted((item[1] for item in low), key=lambda metric: metric.key)),
                what=f"far below what guessing gives, so answers were almost surely not extracted: {said}",
            )


def _copied(study: Study, bases: Bases) -> Iterator[Doubt]:
    spread = _spreads(bases)
    for one, other in itertools.combinations(sorted(bases), 2):
        first, second = bases[one], bases[other]
        shared = [metric for metric in first if metric in second]
        equal = [metric for metric in shared if first[metric].value == second[metric].value]
        bits = _evidence(study, first, equal, spread)
        n_benchmarks = len({metric.benchmark for metric in bits})
        total = sum(bits.values())
        if len(equal) == len(shared) and total >= IDENTICAL_BITS and n_benchmarks >= IDENTICAL_BENCHMARKS:
            kind, said = "identical", f"all {len(shared)} scores are those of"
        elif total >= SHARED_BITS and n_benchmarks >= SHARED_BENCHMARKS:
            kind, said = "shared", f"{len(equal)} of {len(shared)} scores are to the last digit those of"
        else:
            continue
        strongest = sorted(bits, key=lambda metric: (-bits[metric], metric.key))[:4]
        figures = ", ".join(f"{metric.label} {first[metric].value:g}" for metric in strongest)
        metrics = tuple(sorted(equal, key=lambda metric: metric.key))
        for base, another in ((one, other), (other, one)):
            yield Doubt(
                base_model=base,
                cell_id=next(iter(bases[base].values())).cell_id,
                kind=kind,
                other=another,
                metrics=metrics,
                what=f"{said} {another} ({figures} …); one of the two rows is wrong, or both are",
            )


def _evidence(
    study: Study, scores: Mapping[Metric, BaseScore], equal: Sequence[Metric], spread: Mapping[Metric, float]
) -> dict[Metric, float]:
    """Return bits of the strongest equal metric of each benchmark and shot count; none where they are zero."""
    best: dict[tuple[str, int | None], tuple[float, Metric]] = {}
    for metric in equal:
        bits = _bits(study, metric, scores[metric], spread[metric])
        key = (metric.benchmark, metric.n_shot)
        if bits > 0 and bits > best.get(key, (0.0, metric))[0]:
            best[key] = (bits, metric)
    return {metric: bits for bits, metric in best.values()}


def _bits(study: Study, metric: Metric, score: BaseScore, spread: float) -> float:
    rule = study.benchmarks.get(metric.benchmark, {}).get(metric.metric)
    ends = {0.0, 1.0, 100.0} | ({rule.low, rule.high} if rule else set())
    if score.value in ends:
        return 0.0
    if score.n and rule is not None and rule.chance and _guesses(score.value, score.n, rule):
        return 0.0
    if score.n:
        # A share of n answers is one of about √n values.
        return 0.5 * math.log2(score.n)
    return max(0.0, math.log2(spread / _last_digit(score.value))) if spread > 0 else 0.0


def _guesses(value: float, n: int, rule: MetricRule) -> bool:
    """Return whether a score lies within three standard errors of chance: models that guess by one rule agree."""
    top = rule.high or (1.0 if rule.chance < 1 else 100.0)
    chance = rule.chance / top
    return abs(value / top - chance) < 3 * math.sqrt(chance * (1 - chance) / n)


def _last_digit(value: float) -> float:
    """Return the size of the last written digit: 0.01 for 62.02."""
    text = repr(float(value))
    if "e" in text:
        return max(1e-9, abs(value) * 1e-6)
    decimals = text.partition(".")[2]
    return 1.0 if decimals == "0" else 10.0 ** -min(len(decimals), 6)


def _spreads(bases: Bases) -> dict[Metric, float]:
    """Return the standard deviation of each metric over bases, at least a tenth of its largest value."""
    values: dict[Metric, list[float]] = {}
    for scores in bases.values():
        for metric, score in scores.items():
            values.setdefault(metric, []).append(score.value)
    spread = {}
    for metric, column in values.items():
        mean = sum(column) / len(column)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in column) / len(column))
        spread[metric] = max(deviation, 0.1 * max(abs(value) for value in column))
    return spread
