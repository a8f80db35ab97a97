"""A difference over seeds: its mean, a t interval and p, and what it says for or against a claim.

Seeds are the unit: an autoencoder's features are no independent draws, so that more features make nothing surer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

LEVEL = 0.05
"""Of significance."""
FEWEST_SEEDS = 3
"""With fewer there is no verdict."""
Outcome = Literal["for", "against", "open"]
_SAME = 1e-12
"""Spread below this is rounding."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One difference that a claim says is above 0.

    Attributes:
        what: the difference, in words.
        size: of the model; both, as ``large - small``, where two are compared.
        beside: the null or control that is subtracted; empty: nothing is.
        needed: whether the verdict rests on it; the others are shown.
        values: of each seed; empty where only the pooled figures are known.
        value, low, high: mean over seeds and its 95 % interval; NaN where it cannot be told.
        p, p_adjusted: two-sided, of 0; the second corrected within its claim (Holm) where it is needed.
        n_seeds: what it rests on.
        source: table that the values stand in.
    """

    what: str
    size: str
    beside: str
    needed: bool
    values: tuple[float, ...]
    value: float
    low: float
    high: float
    p: float
    p_adjusted: float
    n_seeds: int
    source: str

    @property
    def outcome(self) -> Outcome:
        """Say whether it is above 0 (for the claim), below (against), or neither at the level of 5 %."""
        if not self.p_adjusted <= LEVEL:
            return "open"
        return "for" if self.value > 0 else "against"


def over_seeds(
    what: str,
    size: str,
    beside: str,
    values: npt.ArrayLike,
    *,
    needed: bool = True,
    source: str = "nulls",
    choices: int = 1,
) -> Comparison:
    """Return the comparison of a difference that every seed has; seeds without it (NaN) are left out.

    Args:
        what, size, beside, needed, source: see ``Comparison``.
        values: (n_seeds,) the difference of each seed.
        choices: differences that this one was chosen from for what it shows; its interval and p allow for that
            (Bonferroni).
    """
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    value, low, high, p = t_interval(known, 1 - LEVEL / choices)
    p = p if math.isnan(p) else min(1.0, choices * p)
    return Comparison(
        what=what, size=size, beside=beside, needed=needed, values=tuple(rounded(each) for each in known),
        value=value, low=low, high=high, p=p, p_adjusted=p, n_seeds=len(known), source=source,
    )  # fmt: skip


def t_interval(values: npt.NDArray[np.float64], level: float = 0.95) -> tuple[float, float, float, float]:
    """Return mean, lower and upper end of Student's interval, and the two-sided p of a mean of 0.

    Equal values have no spread to speak from: their interval is unknown, and so is p.

    Args:
        values: (n,).
        level: of the interval.
    """
    from scipy.special import stdtr, stdtrit

    if not len(values):
        return math.nan, math.nan, math.nan, math.nan
    mean = float(values.mean())
    if len(values) < 2:
        return rounded(mean), math.nan, math.nan, math.nan
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    if error <= _SAME * max(abs(mean), 1.0):
        return rounded(0.0 if abs(mean) <= _SAME else mean), math.nan, math.nan, math.nan
    reach = float(stdtrit(len(values) - 1, (1 + level) / 2)) * error
    p = max(float(2 * stdtr(len(values) - 1, -abs(mean) / error)), 1e-300)
    return rounded(mean), rounded(mean - reach), rounded(mean + reach), rounded(p)


def corrected(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Return the comparisons with Holm's correction over the needed ones, which are one family.

    One without a p counts as 1, so that it makes no other surer.
    """
    family = [k for k, one in enumerate(comparisons) if one.needed]
    adjusted = holm([1.0 if math.isnan(comparisons[k].p) else comparisons[k].p for k in family])
    found = list(comparisons)
    for k, p in zip(family, adjusted, strict=True):
        found[k] = replace(found[k], p_adjusted=math.nan if math.isnan(found[k].p) else rounded(p))
    return tuple(found)


def holm(p: Sequence[float]) -> list[float]:
    """Return p values adjusted by Holm's step-down procedure (Holm 1979), in the given order."""
    order = sorted(range(len(p)), key=lambda place: p[place])
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = largest
    return adjusted


def rounded(value: float) -> float:
    """Return nine significant digits: the order of a sum must not change bytes."""
    return float(f"{float(value):.9g}") + 0.0
