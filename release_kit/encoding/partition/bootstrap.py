"""How sure a score, a unique part or a region's mean is: blocks of held-out samples are drawn with replacement.

Owns the drawing and the intervals. Every voxel and every model sees the same draws, so intervals of differences are
those of paired models. A resample needs only sums over blocks: a matrix product, not another pass over the data.

An interval is of what the fitted model reaches in endless new data of the same kind; that another training sample would
have given another model is not in it. Quantiles of resamples are too short where blocks are few (80 % coverage with 4,
89 % with 10; Student's t over blocks 95 %, see docs/encoding-truth.md), so the spread of resamples is what is used.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from release_kit.encoding.arrays import FloatArray
from release_kit.encoding.errors import FitError
from release_kit.encoding.partition.sets import FloatMap, Union
from release_kit.encoding.spec.model import LEAST_RESAMPLES

Metric = Literal["r2", "r"]
Parts = Callable[[Mapping[Union, FloatMap]], Mapping[str, FloatMap]]
TILE = 256
LEAST_BLOCKS, LEAST_DRAWS = 5, LEAST_RESAMPLES


@dataclass(frozen=True, kw_only=True, eq=False)
class Interval:
    """An estimate from the samples as they are, and its interval; arrays or numbers.

    Of ``B`` blocks: ``estimate ± t(level, B - 1) sqrt(B / (B - 1)) sd(resamples)``. A resample of ``B`` blocks spreads
    about their own mean, hence too little by ``sqrt((B - 1) / B)``.
    """

    estimate: FloatMap
    low: FloatMap
    high: FloatMap


@dataclass(frozen=True, kw_only=True, eq=False)
class Bootstrap:
    """What resampling found.

    Attributes:
        voxels: part (``unique:story``) → interval of each voxel, arrays (n_voxels,); NaN where a voxel has no score.
        means: (region, part) → interval of the mean over the region's voxels that have a score.
        counted: region → how many voxels that is.
        n_blocks: how many blocks were drawn from.
    """

    voxels: Mapping[str, Interval]
    means: Mapping[tuple[str, str], Interval]
    counted: Mapping[str, int]
    n_blocks: int


def block_bootstrap(
    y: FloatArray,
    predictions: Mapping[Union, FloatArray],
    borders: Sequence[slice],
    parts: Parts,
    *,
    regions: Mapping[str, npt.NDArray[np.bool_]] | None = None,
    metric: Metric = "r2",
    block: int = 40,
    n: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    tile: int = TILE,
) -> Bootstrap:
    """Return intervals of what ``parts`` makes of the models' scores, per voxel and for means over regions.

    Args:
        y: (n_samples, n_voxels) measured responses of held-out samples.
        predictions: union of bands → (n_samples, n_voxels) its predictions.
        borders: the rows of each run; no block crosses a border, the last one of a run may be shorter.
        parts: scores of the unions, arrays (…, n_voxels), to named parts of the same shape: ``sets.partition``,
            ``sets.unique``, or the scores themselves.
        regions: name → (n_voxels,) which voxels belong to it.
        metric: ``r2`` is 1 - squared error / variance of the resample; ``r`` Pearson's correlation.
        block: samples in a block; longer than the autocorrelation (see ``statistics.permutation``).
        n: resamples; 0: estimates alone, their ends NaN.
        level: of the interval.
        seed: of the draws.
        tile: voxels at once; memory grows with ``n * tile``, the result does not depend on it.

    Raises:
        FitError: shapes that differ; fewer than five blocks or than ten resamples, where there are any.
    """
    starts, weights = _draws(borders, block, n, seed)
    _check(y, predictions, borders, weights.shape[1], n)
    regions = dict(regions or {})
    n_voxels = y.shape[1]
    reach = _reach(weights.shape[1], level)
    found: dict[str, FloatMap] = {}
    sums: dict[tuple[str, str], FloatMap] = {}
    counted = dict.fromkeys(regions, 0)
    rows = np.concatenate([np.arange(part.start, part.stop) for part in borders])
    for start in range(0, n_voxels, tile):
        part = slice(start, min(start + tile, n_voxels))
        scores = _scores(y[rows, part], {u: p[rows, part] for u, p in predictions.items()}, starts, weights, metric)
        for name, values in parts(scores).items():
            known = np.isfinite(values).all(axis=0)
            limits = np.full((3, values.shape[1]), np.nan)
            limits[:, known] = _limits(values[:, known], reach)
            found.setdefault(name, np.full((3, n_voxels), np.nan))[:, part] = limits
            for region, inside in regions.items():
                total = values[:, known & inside[part]].sum(axis=1)
                sums[region, name] = sums.get((region, name), 0) + total
        for region, inside in regions.items():
            counted[region] += int((known & inside[part]).sum())
    return Bootstrap(
        voxels={name: Interval(estimate=v[0], low=v[1], high=v[2]) for name, v in found.items()},
        means={key: _mean(total, counted[key[0]], reach) for key, total in sums.items()},
        counted=counted,
        n_blocks=weights.shape[1],
    )


def _draws(borders: Sequence[slice], block: int, n: int, seed: int) -> tuple[npt.NDArray[np.int64], FloatMap]:
    """Return where blocks start among the rows of all runs, and how often each is drawn: ``(1 + n, n_blocks)``.

    The first row of the weights draws every block once: the samples as they are.
    """
    starts, place = [], 0
    for part in borders:
        starts.extend(range(place, place + part.stop - part.start, block))
        place += part.stop - part.start
    n_blocks = len(starts)
    drawn = np.random.default_rng([seed, 3]).integers(0, max(n_blocks, 1), size=(n, n_blocks))
    weights = np.ones((1 + n, n_blocks))
    for k, places in enumerate(drawn):
        weights[1 + k] = np.bincount(places, minlength=n_blocks)
    return np.array(starts, np.int64), weights


def _scores(
    y: FloatArray,
    predictions: Mapping[Union, FloatArray],
    starts: npt.NDArray[np.int64],
    weights: FloatMap,
    metric: Metric,
) -> dict[Union, FloatMap]:
    """Return each model's score ``(1 + n, n_voxels)`` in the samples and every resample."""

    def resampled(values: FloatMap) -> FloatMap:
        return weights @ np.add.reduceat(values, starts, axis=0)

    # Both are moved by the same amount, which no score sees: large means would cost digits.
    shift = y.mean(axis=0, dtype=np.float64)
    exact = y - shift
    n_samples = resampled(np.ones((len(y), 1)))
    mean_y = resampled(exact) / n_samples
    variance = resampled(exact**2) / n_samples - mean_y**2
    constant = ~(variance > (1e-6 * np.abs(y).max(axis=0, initial=0)) ** 2)
    variance = np.where(constant, np.nan, variance)
    scores = {}
    for union, predicted in predictions.items():
        if metric == "r2":
            scores[union] = 1 - resampled((exact - (predicted - shift)) ** 2) / n_samples / variance
            continue
        # r sees neither mean nor size: a prediction that hardly changes is one, as long as it changes at all.
        values = predicted - predicted.mean(axis=0, dtype=np.float64)
        mean_p = resampled(values) / n_samples
        variance_p = resampled(values**2) / n_samples - mean_p**2
        still = predicted.min(axis=0) == predicted.max(axis=0)
        variance_p = np.where(still | ~(variance_p > 1e-12 * variance_p[0]), np.nan, variance_p)
        scores[union] = (resampled(exact * values) / n_samples - mean_y * mean_p) / np.sqrt(variance * variance_p)
    return scores


def _reach(n_blocks: int, level: float) -> float:
    """Return by how many standard deviations of its resamples an estimate may be off."""
    from scipy import stats

    return float(stats.t.ppf((1 + level) / 2, n_blocks - 1)) * np.sqrt(n_blocks / (n_blocks - 1))


def _limits(values: FloatMap, reach: float) -> FloatMap:
    """Return estimate, low and high (3, …) of the estimate and its resamples (1 + n, …)."""
    half = reach * values[1:].std(axis=0, ddof=1) if len(values) > 1 else np.full_like(values[0], np.nan)
    return np.stack([values[0], values[0] - half, values[0] + half])


def _mean(total: FloatMap, count: int, reach: float) -> Interval:
    nothing = np.full(3, np.nan)
    estimate, low, high = (np.asarray(value) for value in (_limits(total / count, reach) if count else nothing))
    return Interval(estimate=estimate, low=low, high=high)


def _check(
    y: FloatArray, predictions: Mapping[Union, FloatArray], borders: Sequence[slice], n_blocks: int, n: int
) -> None:
    for union, predicted in predictions.items():
        if predicted.shape != y.shape:
            raise FitError(
                f"predicts {predicted.shape}, but {y.shape} was measured", where="+".join(sorted(union)) or "bootstrap"
            )
    if any(part.stop > len(y) for part in borders):
        raise FitError(f"runs reach beyond {len(y)} held-out samples", where="bootstrap")
    if not n:
        return
    if n < LEAST_DRAWS:
        raise FitError(f"{n} resamples, an interval needs at least {LEAST_DRAWS}", where="bootstrap")
    if n_blocks < LEAST_BLOCKS:
        raise FitError(
            f"{n_blocks} blocks in {len(y)} held-out samples, expected at least {LEAST_BLOCKS}",
            where="bootstrap",
            next_step="take shorter blocks, or hold out more",
        )
