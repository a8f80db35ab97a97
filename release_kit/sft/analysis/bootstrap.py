"""Uncertainty of nested data: weights that resample whole bases (and runs in them), and intervals from them.

Epochs lie in runs and runs in bases, so rows are not independent and a plain bootstrap over rows overstates n. A draw
here is a vector of row weights; a statistic is a function from weights (n_draws, n_rows) to values (n_draws,), so that
2,000 draws over 1,000 rows are a few matrix products. Resampling the highest level alone carries the variance of all
levels below it (Davison & Hinkley 1997, section 3.8); resampling the levels below as well adds their variance twice
and is offered for comparison. Owns no statistic of its own but the weighted mean.
"""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]
"""Row weights (n_draws, n_rows) float64 → values (n_draws,) float64; NaN where the weights leave nothing to compute."""

N_DRAWS = 2000
CHUNK = 250
"""Draws per matrix product: 250 x 30,000 rows of float64 are 60 MB."""


def codes_of(labels: Sequence) -> tuple[np.ndarray, int]:
    """Return ``(codes (n_rows,) int64, n_units)`` of hashable labels, numbered in order of first appearance."""
    numbers: dict = {}
    codes = np.fromiter((numbers.setdefault(label, len(numbers)) for label in labels), np.int64, len(labels))
    return codes, len(numbers)


def hierarchical_weights(levels: Sequence[np.ndarray], n_draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return weights of rows for draws that resample the given levels, the highest first.

    Args:
        levels: codes (n_rows,) of each level that is resampled, nested: rows of one unit share all higher units. Rows
            inside the last level are kept together.
        n_draws: how many draws.
        rng: the source of randomness.

    Returns:
        (n_draws, n_rows) float64; a unit drawn k times has k times the weight, and k·m units are drawn among its m
        parts.
    """
    n_units = int(levels[0].max()) + 1
    counts = rng.multinomial(n_units, np.full(n_units, 1 / n_units), size=n_draws)
    for higher, lower in itertools.pairwise(levels):
        parts = np.zeros((n_draws, int(lower.max()) + 1), np.int64)
        for unit in range(counts.shape[1]):
            children = np.unique(lower[higher == unit])
            trials = counts[:, unit] * len(children)
            parts[:, children] = rng.multinomial(trials, np.full(len(children), 1 / len(children)))
        counts = parts
    return counts[:, levels[-1]].astype(np.float64)


def bootstrap_draws(
    statistic: Statistic, levels: Sequence[np.ndarray], *, n_draws: int = N_DRAWS, seed: int = 0
) -> np.ndarray:
    """Return the statistic of ``n_draws`` hierarchical resamples, NaN draws left in; same seed, same values."""
    rng = np.random.default_rng(seed)
    sizes = [min(CHUNK, n_draws - start) for start in range(0, n_draws, CHUNK)]
    return np.concatenate([statistic(hierarchical_weights(levels, size, rng)) for size in sizes])


def jackknife_values(statistic: Statistic, units: np.ndarray) -> np.ndarray:
    """Return the statistic with each unit left out in turn, (n_units,)."""
    n_units = int(units.max()) + 1
    weights = (units[None, :] != np.arange(n_units)[:, None]).astype(np.float64)
    return np.concatenate([statistic(weights[start : start + CHUNK]) for start in range(0, n_units, CHUNK)])


def jackknife_variance(values: np.ndarray) -> float:
    """Return (G - 1) / G · Σ(θ₍g₎ - mean)², the delete-one variance of a statistic of G units; NaN for fewer than 2."""
    values = values[np.isfinite(values)]
    n_units = len(values)
    if n_units < 2:
        return float("nan")
    return float((n_units - 1) / n_units * np.sum((values - values.mean()) ** 2))


def percentile_interval(draws: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return the central ``level`` of the finite draws."""
    draws = draws[np.isfinite(draws)]
    if not len(draws):
        return float("nan"), float("nan")
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bca_interval(
    value: float, draws: np.ndarray, leave_one_out: np.ndarray, level: float = 0.95
) -> tuple[float, float]:
    """Return the bias-corrected and accelerated interval (Efron 1987), acceleration from the delete-one values.

    Args:
        value: the statistic of the data.
        draws: its bootstrap draws.
        leave_one_out: the statistic without each unit.
    """
    from scipy.special import ndtr, ndtri

    draws = draws[np.isfinite(draws)]
    below = (np.sum(draws < value) + 0.5 * np.sum(draws == value)) / max(1, len(draws))
    if not 0 < below < 1:
        return percentile_interval(draws, level)
    shift = ndtri(below)
    centred = np.mean(leave_one_out) - leave_one_out
    spread = np.sum(centred**2) ** 1.5
    acceleration = float(np.sum(centred**3) / (6 * spread)) if spread > 0 else 0.0
    ends = shift + ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    low, high = np.quantile(draws, ndtr(shift + ends / (1 - acceleration * ends)))
    return float(low), float(high)


def t_interval(value: float, variance: float, degrees: float, level: float = 0.95) -> tuple[float, float]:
    """Return value ± t(degrees) · √variance; (NaN, NaN) without a variance or a degree of freedom."""
    from scipy.special import stdtrit

    if degrees < 1 or not np.isfinite(variance):
        return float("nan"), float("nan")
    half = float(stdtrit(degrees, (1 + level) / 2)) * float(np.sqrt(max(variance, 0.0)))
    return value - half, value + half


def weighted_mean(values: np.ndarray) -> Statistic:
    """Return the statistic Σwx / Σw of ``values`` (n_rows,)."""

    def statistic(weights: np.ndarray) -> np.ndarray:
        total = weights.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(total > 0, weights @ values / total, np.nan)

    return statistic
