"""Tests of paired differences over independent units: sign flips and Wilcoxon's signed ranks.

A unit (a base, or a run) enters with its mean difference, so nested cells do not inflate n. Under the null hypothesis a
difference is as likely as its negative. The flips are enumerated up to 2¹⁶, else drawn with a seed; p counts the data
themselves and so is never 0: at least 2^(1 - n_units), or 1/(n_draws + 1).
"""

from dataclasses import dataclass

import numpy as np

EXACT_UNITS = 16
N_FLIPS = 20_000


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """The outcome of a test."""

    statistic: float
    """Mean difference, or the smaller sum of signed ranks."""
    p: float
    """Two-sided."""
    n_units: int
    """Units that count (Wilcoxon leaves zeros out)."""
    exact: bool
    """All flips were enumerated."""


def unit_means(values: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return the mean of ``values`` (n_rows,) in each unit, (n_units,); ``units`` holds codes from 0."""
    n_units = int(units.max()) + 1
    return np.bincount(units, values, n_units) / np.bincount(units, minlength=n_units)


def sign_flip(differences: np.ndarray, *, seed: int = 0) -> PairedTest:
    """Test whether the mean of ``differences`` (n_units,) is 0 by flipping signs.

    Raises:
        ValueError: there is no difference.
    """
    if not len(differences):
        raise ValueError("a test needs at least one unit")
    observed = abs(float(differences.sum()))
    signs, exact = _signs(len(differences), seed)
    # The tolerance keeps equal sums equal, whatever the order of their parts.
    as_far = np.abs(signs @ differences) >= observed * (1 - 1e-9)
    p = as_far.mean() if exact else (as_far.sum() + 1) / (len(signs) + 1)
    return PairedTest(statistic=float(differences.mean()), p=float(p), n_units=len(differences), exact=exact)


def wilcoxon(differences: np.ndarray, *, seed: int = 0) -> PairedTest:
    """Test by signed ranks of the non-zero ``differences`` (n_units,), ties at their mean rank, flips as above."""
    from scipy.stats import rankdata

    moved = differences[differences != 0]
    if not len(moved):
        return PairedTest(statistic=0.0, p=1.0, n_units=0, exact=True)
    ranks = rankdata(np.abs(moved))
    test = sign_flip(np.sign(moved) * ranks, seed=seed)
    smaller = min(float(ranks[moved > 0].sum()), float(ranks[moved < 0].sum()))
    return PairedTest(statistic=smaller, p=test.p, n_units=len(moved), exact=test.exact)


def _signs(n_units: int, seed: int) -> tuple[np.ndarray, bool]:
    """Return (n_flips, n_units) of ±1, all of them when there are few units; and whether they are all."""
    if n_units <= EXACT_UNITS:
        # Flipping every sign changes no absolute sum, so the first stays as it is.
        numbers = np.arange(2 ** (n_units - 1))
        bits = (numbers[:, None] >> np.arange(n_units)[None, :]) & 1
        return 1.0 - 2.0 * bits, True
    return np.random.default_rng(seed).choice([-1.0, 1.0], size=(N_FLIPS, n_units)), False
