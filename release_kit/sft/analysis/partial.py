"""Weighted correlations and slopes, with groups and covariates taken out: what ``relations`` and ``depth`` rest on.

Partial r of x and y given groups g and covariates c: demean x, y and c inside each group, regress x and y on c, and
correlate the residuals (Frisch & Waugh 1933). All of it under row weights, so that the bootstrap and the jackknife
repeat the whole computation and not only its last step. Owns no choice of what is controlled for.
"""

from collections.abc import Sequence

import numpy as np

from release_kit.sft.analysis.bootstrap import Statistic

TINY = 1e-12
"""A variance below this part of the unweighted one is none."""


def partial_correlation(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray, covariates: Sequence[np.ndarray] = ()
) -> Statistic:
    """Return the statistic "partial correlation of x and y given groups and covariates".

    Args:
        x, y: (n_rows,) float64.
        groups: (n_rows,) int64 codes; each group's mean is taken out of everything.
        covariates: further (n_rows,) columns that are regressed out inside the groups.
    """
    return _from_moments(x, y, groups, covariates, _correlation)


def partial_slope(x: np.ndarray, y: np.ndarray, groups: np.ndarray, covariates: Sequence[np.ndarray] = ()) -> Statistic:
    """Return the statistic "slope of y on x given groups and covariates"; arguments as ``partial_correlation``."""
    return _from_moments(x, y, groups, covariates, _slope)


def correlation(x: np.ndarray, y: np.ndarray) -> Statistic:
    """Return the statistic "Pearson correlation of x and y" (n_rows,)."""
    return partial_correlation(x, y, np.zeros(len(x), np.int64))


def _from_moments(x, y, groups, covariates, finish) -> Statistic:
    columns = np.column_stack([x, y, *covariates]).astype(np.float64)
    columns -= columns.mean(axis=0)
    scale = np.maximum((columns**2).mean(axis=0), 1e-300)
    # Sorted by group, sums inside groups are one reduceat each.
    order = np.argsort(groups, kind="stable")
    columns, starts = columns[order], np.flatnonzero(np.diff(groups[order], prepend=groups[order][0] - 1))
    products = [(i, j) for i in range(columns.shape[1]) for j in range(i, columns.shape[1])]
    n_columns = columns.shape[1]

    def statistic(weights: np.ndarray) -> np.ndarray:
        moments = _within_moments(weights[:, order], columns, starts, products, n_columns)
        for covariate in range(n_columns - 1, 1, -1):
            moments = _sweep(moments, covariate, scale[covariate])
        return finish(moments, scale, weights.sum(axis=1))

    return statistic


def _within_moments(weights, columns, starts, products, n_columns) -> np.ndarray:
    """Return (n_draws, n_columns, n_columns): Σ_g Σ_i w (a - ā_g)(b - b̄_g) = Σwab - Σ_g (Σwa)(Σwb) / Σw."""
    total = np.add.reduceat(weights, starts, axis=1)
    safe = np.where(total > 0, total, 1.0)
    sums = [np.add.reduceat(weights * columns[:, k], starts, axis=1) for k in range(n_columns)]
    moments = np.empty((len(weights), n_columns, n_columns))
    for i, j in products:
        between = np.sum(sums[i] * sums[j] / safe, axis=1)
        moments[:, i, j] = moments[:, j, i] = weights @ (columns[:, i] * columns[:, j]) - between
    return moments


def _sweep(moments: np.ndarray, k: int, scale: float) -> np.ndarray:
    """Return the moments of the other columns after column ``k`` is regressed out of them."""
    variance = moments[:, k, k]
    safe = np.where(variance > TINY * scale, variance, np.inf)
    return moments - moments[:, :, k, None] * moments[:, None, k, :] / safe[:, None, None]


def _correlation(moments: np.ndarray, scale: np.ndarray, total: np.ndarray) -> np.ndarray:
    xx, yy, xy = moments[:, 0, 0], moments[:, 1, 1], moments[:, 0, 1]
    known = (xx > TINY * scale[0] * total) & (yy > TINY * scale[1] * total)
    return np.where(known, np.clip(xy / np.sqrt(np.where(known, xx * yy, 1.0)), -1, 1), np.nan)


def _slope(moments: np.ndarray, scale: np.ndarray, total: np.ndarray) -> np.ndarray:
    known = moments[:, 0, 0] > TINY * scale[0] * total
    return np.where(known, moments[:, 0, 1] / np.where(known, moments[:, 0, 0], 1.0), np.nan)
