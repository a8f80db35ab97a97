"""From a statistic and the units of its rows to an ``Estimate``: which interval, over what, with how many units.

One rule for the whole analysis. Smooth statistics (means, shares, slopes; correlations on Fisher's z scale) get
t intervals with the delete-one-unit variance, which hold their level with as few as four units where percentiles of a
bootstrap do not (``docs/sft-analysis.md`` has the simulation). Crossed units (bases x datasets) add their variances
(Cameron, Gelbach & Miller 2011). Statistics with jumps (the place of a maximum) get percentiles of the hierarchical
bootstrap. Units that are all alike say nothing of their spread: there is an interval only at the end of a range.
"""

import math
from collections.abc import Sequence

import numpy as np

from release_kit.sft.analysis.bootstrap import (
    N_DRAWS,
    Statistic,
    bootstrap_draws,
    codes_of,
    jackknife_values,
    jackknife_variance,
    percentile_interval,
    t_interval,
)
from release_kit.sft.analysis.estimate import Estimate

LEVEL = 0.95
FEWEST_BASES = 4
"""With fewer bases an estimate speaks of these bases only, and its units are runs."""
FEWEST_UNITS = 3
"""With fewer independent units there is no interval."""
SAME = 1e-12
"""A standard error below this part of the value is rounding: the units are all alike."""


def choose_units(bases: Sequence[str], runs: Sequence[str]) -> tuple[str, np.ndarray]:
    """Return ``(what a unit is, codes of the rows)``: bases where there are enough of them, else runs."""
    by_base, n_bases = codes_of(bases)
    if n_bases >= FEWEST_BASES:
        return "base_model", by_base
    return "run", codes_of(runs)[0]


def smooth_estimate(
    statistic: Statistic,
    units: Sequence[np.ndarray],
    *,
    over: str,
    n: int,
    fisher: bool = False,
    clip: tuple | None = None,
    null: float = 0.0,
) -> Estimate:
    """Return a smooth statistic with its t interval.

    Args:
        statistic: of row weights.
        units: codes (n_rows,) of the independent units; two arrays for crossed units.
        over: what a unit is.
        n: rows behind the value.
        fisher: the statistic is a correlation; its interval is made on the scale atanh(r).
        clip: ends that the interval cannot leave.
        null: the value that p tests.
    """
    value = float(statistic(np.ones((1, len(units[0]))))[0])
    scaled = _fisher(statistic) if fisher else statistic
    centre = float(np.arctanh(np.clip(value, -0.9999999, 0.9999999))) if fisher else value
    n_units = min(int(codes.max()) + 1 for codes in units)
    variance, degrees = _variance(scaled, units) if n_units >= FEWEST_UNITS else (float("nan"), 0.0)
    return _t_estimate(
        value, centre, variance, degrees, n=n, n_units=n_units, over=over, clip=clip, null=null, fisher=fisher
    )


def mean_estimate(
    values: np.ndarray, units: np.ndarray, *, over: str, clip: tuple | None = None, null: float = 0.0
) -> Estimate:
    """Return the mean of ``values`` (n_rows,) with its interval over ``units``; equal to ``smooth_estimate`` of it.

    Leaving out unit g gives (S - s_g) / (N - n_g), so a mean needs no weights.
    """
    sums, counts = np.bincount(units, values), np.bincount(units)
    n_units, value = len(sums), float(values.mean())
    variance = float("nan")
    if n_units >= FEWEST_UNITS:
        variance = jackknife_variance((sums.sum() - sums) / (len(values) - counts))
    return _t_estimate(
        value, value, variance, n_units - 1, n=len(values), n_units=n_units, over=over, clip=clip, null=null
    )


def jumpy_estimate(
    statistic: Statistic, levels: Sequence[np.ndarray], *, over: str, n: int, seed: int, n_draws: int = N_DRAWS
) -> Estimate:
    """Return a statistic that is not smooth with the percentile interval of the hierarchical bootstrap."""
    value = float(statistic(np.ones((1, len(levels[0]))))[0])
    n_units = int(levels[0].max()) + 1
    low = high = float("nan")
    if n_units >= FEWEST_UNITS:
        low, high = percentile_interval(bootstrap_draws(statistic, levels, n_draws=n_draws, seed=seed), LEVEL)
    return make_estimate(value, low, high, n=n, n_units=n_units, over=over, method="percentile of bootstrap", p=None)


def make_estimate(
    value: float, low: float, high: float, *, n: int, n_units: int, over: str, method: str, p: float | None
) -> Estimate:
    """Return the record, numbers rounded to nine digits so that the order of a sum does not change the bytes."""
    known = math.isfinite(low) and math.isfinite(high)
    return Estimate(
        value=rounded(value),
        low=rounded(low) if known else None,
        high=rounded(high) if known else None,
        level=LEVEL,
        n=n,
        n_units=n_units,
        over=over,
        method=method if known else "",
        p=rounded(p) if p is not None and math.isfinite(p) else None,
    )


def rounded(value: float) -> float:
    """Return ``value`` to nine significant digits."""
    return float(f"{float(value):.9g}") + 0.0


def end_interval(value: float, n_units: int, clip: tuple | None) -> tuple[float, float]:
    """Return the interval of a mean whose units all lie at one end of its range; (NaN, NaN) anywhere else.

    Of a mean m of values in [a, b], n units all lie at b with a probability of at most ((m - a) / (b - a))ⁿ, so at
    level L the mean is at least a + (b - a) (1 - L)^(1/n): with four units that always win, a share of .47 and more.
    """
    if clip is None or not all(map(math.isfinite, clip)) or value not in clip:
        return float("nan"), float("nan")
    reach = (clip[1] - clip[0]) * (1 - (1 - LEVEL) ** (1 / n_units))
    return (value - reach, value) if value == clip[1] else (value, value + reach)


def t_p(value: float, variance: float, degrees: float) -> float | None:
    """Return the two-sided p of "zero" from a t with ``degrees``, never 0; None without a variance."""
    from scipy.special import stdtr

    if degrees < 1 or not math.isfinite(variance) or not math.isfinite(value) or variance <= 0:
        return None
    return max(float(2 * stdtr(degrees, -abs(value) / math.sqrt(variance))), 1e-300)


def _t_estimate(
    value: float,
    centre: float,
    variance: float,
    degrees: float,
    *,
    n: int,
    n_units: int,
    over: str,
    clip: tuple | None,
    null: float,
    fisher: bool = False,
) -> Estimate:
    if variance <= (SAME * abs(centre)) ** 2:
        low, high = end_interval(value, n_units, clip)
        method = "exact at the end of the range"
        return make_estimate(value, low, high, n=n, n_units=n_units, over=over, method=method, p=None)
    low, high = t_interval(centre, variance, degrees, LEVEL)
    if fisher:
        low, high = math.tanh(low), math.tanh(high)
    if clip and math.isfinite(low):
        low, high = max(low, clip[0]), min(high, clip[1])
    method = "t of delete-one-unit variance" + (", Fisher z" if fisher else "")
    p = t_p(centre - null, variance, degrees)
    return make_estimate(value, low, high, n=n, n_units=n_units, over=over, method=method, p=p)


def _variance(statistic: Statistic, units: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return (variance, degrees of freedom) over one or two crossed kinds of units.

    Crossed: V = V₁ + V₂ - V₁₂, never below that of either alone; degrees by Satterthwaite from V₁ and V₂.
    """
    single = [jackknife_variance(jackknife_values(statistic, codes)) for codes in units]
    free = [int(codes.max()) for codes in units]
    if len(units) == 1:
        return single[0], free[0]
    pairs = codes_of(list(zip(*(codes.tolist() for codes in units), strict=True)))[0]
    both = jackknife_variance(jackknife_values(statistic, pairs))
    spread = sum(variance**2 / degrees for variance, degrees in zip(single, free, strict=True))
    degrees = sum(single) ** 2 / spread if spread > 0 else min(free)
    return max(sum(single) - both, *single), degrees


def _fisher(statistic: Statistic) -> Statistic:
    return lambda weights: np.arctanh(np.clip(statistic(weights), -0.9999999, 0.9999999))
