"""Is one model better than another in the subjects there are: paired differences, few subjects, honest p values."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from release_kit.encoding.errors import FitError

_ALL_FLIPS = 16
_DRAWS = 20_000
_DIGITS = 12
"""Differences count to this many digits of the largest score: 0.3 - 0.2 and 0.2 - 0.1 are equal."""


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """A comparison over subjects.

    Attributes:
        n: subjects with both scores.
        difference: mean of ``a - b``.
        low, high: 95 % interval of the difference (t); None for one subject.
        t, p_t: two-sided paired t test; None for one subject, or when all differences are equal.
        p_sign_flip: two-sided share of sign flips that reach the mean difference; all 2^n where n is at most 16. Its
            smallest value is 2 / 2^n: with few subjects it cannot be small, and that is the truth.
        p_wilcoxon: two-sided signed-rank test (exact where there are no ties); None when all differences are 0.
        n_greater: subjects in whom ``a`` is greater.
    """

    n: int
    difference: float
    low: float | None
    high: float | None
    t: float | None
    p_t: float | None
    p_sign_flip: float
    p_wilcoxon: float | None
    n_greater: int


def paired_test(a: Sequence[float], b: Sequence[float], *, seed: int = 0) -> PairedTest:
    """Return whether scores ``a`` and ``b`` of the same subjects differ; a subject without both is left out.

    Args:
        a, b: one score a subject, in the same order; NaN where there is none.
        seed: of the random flips when there are more than 16 subjects.

    Raises:
        FitError: lists of different length, or no subject with both scores.
    """
    if len(a) != len(b):
        raise FitError(f"{len(a)} and {len(b)} scores, expected one a subject in both", where="paired test")
    differences = _differences(np.asarray(a, np.float64), np.asarray(b, np.float64))
    n = len(differences)
    if not n:
        raise FitError("no subject has both scores", where="paired test")
    mean = float(differences.mean())
    t = p_t = low = high = None
    spread = float(differences.std(ddof=1)) if n > 1 and np.ptp(differences) > 0 else 0.0
    if n > 1:
        from scipy import stats

        error = spread / np.sqrt(n)
        half = float(stats.t.ppf(0.975, n - 1)) * error
        low, high = mean - half, mean + half
        if spread > 0:
            t = mean / error
            p_t = float(2 * stats.t.sf(abs(t), n - 1))
    return PairedTest(
        n=n,
        difference=mean,
        low=None if low is None else float(low),
        high=None if high is None else float(high),
        t=None if t is None else float(t),
        p_t=p_t,
        p_sign_flip=_sign_flip(differences, seed),
        p_wilcoxon=_wilcoxon(differences),
        n_greater=int((differences > 0).sum()),
    )


def _differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return ``a - b`` where both are known, without the rounding of the subtraction."""
    known = np.isfinite(a) & np.isfinite(b)
    largest = float(np.abs([a[known], b[known]]).max(initial=0))
    if not largest:
        return np.zeros(int(known.sum()))
    unit = 10.0 ** (np.ceil(np.log10(largest)) - _DIGITS)
    return np.round((a[known] - b[known]) / unit) * unit


def _sign_flip(differences: np.ndarray, seed: int) -> float:
    n = len(differences)
    if n <= _ALL_FLIPS:
        bits = (np.arange(1 << n)[:, None] >> np.arange(n)) & 1
        reached = _reaches(differences, 1 - 2 * bits)
        return float(reached.mean())
    signs = np.random.default_rng([seed, 2]).integers(0, 2, (_DRAWS, n)) * 2 - 1
    return float((1 + _reaches(differences, signs).sum()) / (1 + _DRAWS))


def _reaches(differences: np.ndarray, signs: np.ndarray) -> np.ndarray:
    # The flip that changes nothing must count, whatever the order of its sum: hence the tolerance.
    means = np.abs(signs @ differences)
    return means >= abs(differences.sum()) - 1e-12 * np.abs(differences).sum()


def _wilcoxon(differences: np.ndarray) -> float | None:
    if not differences.any():
        return None
    from scipy import stats

    return float(stats.wilcoxon(differences, zero_method="wilcox", method="auto").pvalue)
