"""Do bases move alike? At each depth, the correlation between two bases of their changes over the same conditions.

A condition is a dataset x size x schedule x seed that both bases were trained on. A pair of bases is no independent
unit, its bases are: intervals leave out one base at a time, and the place of the maximum is of a bootstrap of bases.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from release_kit.sft.analysis.bootstrap import jackknife_variance, percentile_interval
from release_kit.sft.analysis.estimate import Estimate
from release_kit.sft.analysis.intervals import FEWEST_UNITS, make_estimate, t_interval

FEWEST_CONDITIONS = 3
N_DRAWS = 1000


def base_agreement(
    log_change: np.ndarray, bases: Sequence[str], conditions: Sequence[tuple], depths: np.ndarray, seed: int
) -> tuple[list[Estimate] | None, Estimate | None]:
    """Return the agreement at each depth, and where it is largest; (None, None) without two comparable bases.

    Args:
        log_change: (n_cells, n_bins).
        bases: base model of each cell.
        conditions: what each cell was trained on; several cells of one base and condition are averaged.
        depths: (n_bins,).
        seed: of the bootstrap.
    """
    names = list(dict.fromkeys(bases))
    tables = {name: _by_condition(log_change, bases, conditions, name) for name in names}
    pairs = np.full((len(names), len(names), len(depths)), np.nan)
    for i, j in itertools.combinations(range(len(names)), 2):
        pairs[i, j] = pairs[j, i] = _correlations(tables[names[i]], tables[names[j]])
    if not np.isfinite(pairs).any():
        return None, None
    n_pairs = int(np.isfinite(pairs[:, :, 0]).sum()) // 2
    everyone = np.ones(len(names))
    value = _mean(pairs, everyone)
    without = np.array([_mean(pairs, np.arange(len(names)) != left_out) for left_out in range(len(names))])
    estimates = []
    for i in range(len(depths)):
        variance = jackknife_variance(without[:, i]) if len(names) >= FEWEST_UNITS else float("nan")
        low, high = t_interval(float(value[i]), variance, len(names) - 1)
        estimates.append(
            _estimate(value[i], max(low, -1.0), min(high, 1.0), n_pairs, len(names), "t of delete-one-unit")
        )
    return estimates, _peak(pairs, value, depths, n_pairs, seed)


def _peak(pairs: np.ndarray, value: np.ndarray, depths: np.ndarray, n_pairs: int, seed: int) -> Estimate:
    n_bases = len(pairs)
    low = high = float("nan")
    if n_bases >= FEWEST_UNITS:
        rng = np.random.default_rng(seed)
        counts = rng.multinomial(n_bases, np.full(n_bases, 1 / n_bases), size=N_DRAWS)
        means = [_mean(pairs, weights) for weights in counts if (weights > 0).sum() > 1]
        places = np.array([depths[np.nanargmax(mean)] for mean in means if np.isfinite(mean).any()])
        low, high = percentile_interval(places)
    return _estimate(depths[np.nanargmax(value)], low, high, n_pairs, n_bases, "percentile of bootstrap")


def _estimate(value: float, low: float, high: float, n: int, n_units: int, method: str) -> Estimate:
    return make_estimate(float(value), low, high, n=n, n_units=n_units, over="base_model", method=method, p=None)


def _by_condition(log_change: np.ndarray, bases: Sequence[str], conditions: Sequence[tuple], name: str) -> dict:
    rows: dict[tuple, list[np.ndarray]] = {}
    for change, base, condition in zip(log_change, bases, conditions, strict=True):
        if base == name:
            rows.setdefault(condition, []).append(change)
    return {condition: np.mean(changes, axis=0) for condition, changes in rows.items()}


def _correlations(first: dict, second: dict) -> np.ndarray | float:
    """Return (n_bins,) Pearson correlations over the shared conditions, NaN where there are too few."""
    shared = [condition for condition in first if condition in second]
    if len(shared) < FEWEST_CONDITIONS:
        return np.nan
    x = np.array([first[condition] for condition in shared])
    y = np.array([second[condition] for condition in shared])
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    norm = np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
    return np.where(norm > 0, (x * y).sum(axis=0) / np.where(norm > 0, norm, 1.0), np.nan)


def _mean(pairs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return (n_bins,) mean over pairs of different bases, each with the product of its bases' weights."""
    product = np.outer(weights, weights).astype(np.float64)[:, :, None] * np.isfinite(pairs)
    total = product.sum(axis=(0, 1))
    mean = (product * np.nan_to_num(pairs)).sum(axis=(0, 1)) / np.where(total > 0, total, 1.0)
    return np.where(total > 0, mean, np.nan)
