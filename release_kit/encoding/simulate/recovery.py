"""What an analysis recovers of a planted truth: scores, unique variance, the right voxels, and how often it errs.

Owns the figures of one subject in one mode; the models are ``analyse.py``'s. What a finished analysis on disk recovered
is ``score.py``'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from release_kit.encoding.partition.bootstrap import Bootstrap, block_bootstrap
from release_kit.encoding.partition.sets import FloatMap, Union, unique
from release_kit.encoding.pipeline.choices import PAPER_BLOCK
from release_kit.encoding.pipeline.pooled import pooled_shuffle_p
from release_kit.encoding.simulate.analyse import Analysed, Mode, analyse
from release_kit.encoding.simulate.make import Simulated
from release_kit.encoding.solve.scores import pearson, r2
from release_kit.encoding.statistics.multiple import fdr
from release_kit.encoding.statistics.permutation import permutation_test

BLOCK = 40


@dataclass(frozen=True, kw_only=True, eq=False)
class Recovery:
    """What one analysis of one subject recovered; NaN for means over voxels with a signal where there are none.

    Attributes:
        r: mean r of voxels with a signal.
        attainable_r: the mean over them of the r that endless data would give.
        unique_error: band → mean over voxels with a signal of measured unique part minus planted one, the R² (mode
            paper: r) that the best models reach on endless new data.
        attained_error: the same against what the fitted models reach on endless new data.
        coverage: band → share of these voxels whose 95 % interval holds what the fitted models reach; empty in mode
            paper, which has no intervals.
        mean_coverage: (region, band) → whether the interval of the region's mean holds the mean of that.
        overlap: share of the k best voxels that have a signal, k being how many have.
        null_p: (n_null,) p of voxels without any signal.
        n_null: how many they are.
        false_p: how many of them have p below .05.
        false_q: how many of them are called at FDR .05.
        n_called: how many voxels are called at FDR .05.
        power: share of voxels with a signal that are called at FDR .05.
    """

    r: float
    attainable_r: float
    unique_error: Mapping[str, float]
    attained_error: Mapping[str, float]
    coverage: Mapping[str, float]
    mean_coverage: Mapping[tuple[str, str], bool]
    overlap: float
    null_p: FloatMap
    n_null: int
    false_p: int
    false_q: int
    n_called: int
    power: float


def recover(
    made: Simulated,
    subject: str,
    mode: Mode = "corrected",
    *,
    permutations: int = 199,
    bootstrap: int = 200,
    block: int = BLOCK,
    seed: int = 0,
) -> Recovery:
    """Analyse one subject of a simulated study and say what came out against what was planted.

    Args:
        made: the study; at least two titles.
        subject: who.
        mode: whose choices.
        permutations: repetitions of the null in mode corrected.
        bootstrap: resamples of its intervals; 0: none.
        block: samples of its blocks, of both.
        seed: of the null and of resamples.
    """
    found = analyse(made, subject, mode)
    everything = frozenset(made.spec.bands)
    full = found.predicted[everything]
    if mode == "paper":
        p = pooled_shuffle_p(found.measured, full, block=PAPER_BLOCK, seed=seed)
    else:
        p = permutation_test(found.measured, full, found.borders, block=block, n=permutations, seed=seed).p
    r, called = pearson(found.measured, full), fdr(p) <= 0.05
    signal, null = ~made.null & (made.region >= 0), made.null
    best = np.argsort(np.nan_to_num(r, nan=-1), kind="stable")[::-1][: int(signal.sum())]
    coverage, mean_coverage = _coverage(made, found, signal, bootstrap if mode == "corrected" else 0, block, seed)
    return Recovery(
        r=_mean(r[signal]),
        attainable_r=_mean(np.sqrt(made.truth(subject)[everything][signal])),
        unique_error=_errors(made, found, found.endless, signal),
        attained_error=_errors(made, found, found.attained, signal),
        coverage=coverage,
        mean_coverage=mean_coverage,
        overlap=_mean(signal[best]),
        null_p=p[null],
        n_null=int(null.sum()),
        false_p=int((p[null] < 0.05).sum()),
        false_q=int(called[null].sum()),
        n_called=int(called.sum()),
        power=_mean(called[signal]),
    )


def _mean(values: npt.NDArray) -> float:
    """Return the mean; NaN of nothing, as where no voxel has a signal."""
    return float(values.mean()) if len(values) else float("nan")


def _unique(made: Simulated, scores: Mapping[Union, npt.NDArray]) -> dict[str, FloatMap]:
    """Return band → its unique part."""
    return {name.removeprefix("unique:"): values for name, values in unique(scores, list(made.spec.bands)).items()}


def _errors(
    made: Simulated, found: Analysed, truth: Mapping[Union, FloatMap], signal: npt.NDArray[np.bool_]
) -> dict[str, float]:
    score = pearson if found.mode == "paper" else r2
    measured = _unique(made, {union: score(found.measured, each) for union, each in found.predicted.items()})
    true = _unique(made, truth)
    return {band: _mean((values - true[band])[signal]) for band, values in measured.items()}


def _coverage(
    made: Simulated, found: Analysed, signal: npt.NDArray[np.bool_], n: int, block: int, seed: int
) -> tuple[dict[str, float], dict[tuple[str, str], bool]]:
    """Return which share of intervals holds what the fitted models reach, per voxel, and which of the means' do."""
    if not n:
        return {}, {}
    regions = {
        region.name: made.region == k for k, region in enumerate(made.spec.regions) if any(region.shares.values())
    }
    resampled: Bootstrap = block_bootstrap(
        found.measured, found.predicted, found.borders, partial(_unique, made), regions=regions, block=block, n=n,
        seed=seed,
    )  # fmt: skip
    true = _unique(made, found.attained)
    voxels = {
        band: _mean(((each.low <= true[band]) & (true[band] <= each.high))[signal])
        for band, each in resampled.voxels.items()
    }
    means = {
        (region, band): bool(each.low <= true[band][regions[region]].mean() <= each.high)
        for (region, band), each in resampled.means.items()
    }
    return voxels, means
