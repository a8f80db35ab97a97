"""Do gains on one benchmark come with gains on another? Correlations over cells, pooled and within bases.

The pooled r is what a scatter plot over all models shows; it mixes differences between bases with what training does,
so r within bases at the last epoch stands beside it. Intervals are over bases, which cells are nested in.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from release_kit.sft.analysis.bootstrap import codes_of
from release_kit.sft.analysis.estimate import Estimate, Metric
from release_kit.sft.analysis.gains import GainFrame
from release_kit.sft.analysis.intervals import choose_units, smooth_estimate
from release_kit.sft.analysis.multiple import adjusted, benjamini_yekutieli
from release_kit.sft.analysis.partial import partial_correlation
from release_kit.sft.analysis.records import Gain, Transfer

FEWEST_CELLS = 8


def make_transfers(frame: GainFrame, metrics: Sequence[Metric]) -> tuple[Transfer, ...]:
    """Return r of the gains of every pair of ``metrics`` over the cells that have both; p by Benjamini-Yekutieli."""
    by_metric = frame.by("metric")
    columns = {
        metric: {gain.cell_id: gain for gain in by_metric[metric,].gains}
        for metric in metrics
        if (metric,) in by_metric
    }
    found = []
    for first, second in itertools.combinations(columns, 2):
        shared = [cell for cell in columns[first] if cell in columns[second]]
        pairs = [(columns[first][cell], columns[second][cell]) for cell in shared]
        last = [pair for pair in pairs if pair[0].last]
        if len(last) >= FEWEST_CELLS:
            found.append(Transfer(first=first, second=second, r=_r(pairs, False), r_last=_r(last, True)))
    pooled = adjusted([transfer.r for transfer in found], benjamini_yekutieli)
    within = adjusted([transfer.r_last for transfer in found], benjamini_yekutieli)
    return tuple(
        replace(transfer, r=r, r_last=r_last) for transfer, r, r_last in zip(found, pooled, within, strict=True)
    )


def _r(pairs: Sequence[tuple[Gain, Gain]], within: bool) -> Estimate:
    x = np.array([pair[0].gain for pair in pairs])
    y = np.array([pair[1].gain for pair in pairs])
    bases = [pair[0].base_model for pair in pairs]
    over, units = choose_units(bases, [pair[0].run for pair in pairs])
    groups = codes_of(bases)[0] if within else np.zeros(len(pairs), np.int64)
    return smooth_estimate(partial_correlation(x, y, groups), [units], over=over, n=len(pairs), fisher=True)
