"""Many voxels at once: false-discovery rate and the largest value over voxels. NaN is no test and stays NaN.

A p of ``n`` permutations is never below ``1 / (n + 1)``. Of ``m`` tests, BH calls the ``k`` smallest p where the
largest of them is at most ``level k / m``; so unless a share of ``1 / ((n + 1) level)`` of all voxels reach the
smallest p, none is called however well it is predicted. BY needs ``1 + 1/2 + … + 1/m`` times that.
"""

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from release_kit.encoding.errors import FitError

Method = Literal["bh", "by"]
_EXACT = 1e-9
_ROUNDING = 1e-6
"""Relative; tables hold p as float32."""
_CHANCE = 0.001


def fdr(p: npt.ArrayLike, method: Method = "bh") -> npt.NDArray[np.float64]:
    """Return the adjusted p of each test: called at q, the expected share of false ones among all called is at most q.

    Args:
        p: (n_tests,) p values; NaN is left out of the count of tests.
        method: ``bh`` (Benjamini and Hochberg 1995; independent or positively dependent tests) or ``by`` (Benjamini and
            Yekutieli 2001; any dependence).

    Returns:
        (n_tests,) float64, at most 1; NaN where ``p`` is.

    Raises:
        FitError: a value outside 0…1, an unknown method.
    """
    values = np.asarray(p, np.float64)
    known = np.isfinite(values)
    tests = values[known]
    if ((tests < 0) | (tests > 1)).any() or np.isinf(values).any():
        raise FitError("p values outside 0 to 1", where="fdr")
    if method not in ("bh", "by"):
        raise FitError(f"unknown method {method!r}, expected bh or by", where="fdr")
    adjusted = np.full(values.shape, np.nan)
    if len(tests):
        order = np.argsort(tests, kind="stable")
        ranks = np.arange(1, len(tests) + 1)
        factor = _factor(len(tests), method)
        scaled = tests[order] * (len(tests) * factor) / ranks
        # The smallest q at which a test is called: no larger than that of any test with a larger p.
        smallest = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
        found = np.empty_like(smallest)
        found[order] = smallest
        adjusted[known] = found
    return adjusted


def called(q: npt.ArrayLike, level: float) -> npt.NDArray[np.bool_]:
    """Return which tests are called: q at most ``level``, to the digits that a table of float32 keeps; NaN never is.

    Args:
        q: (n_tests,) of ``fdr``, as computed or read back from a table.
        level: of significance.
    """
    return np.nan_to_num(np.asarray(q, np.float64), nan=np.inf) <= level * (1 + _ROUNDING)


def share_needed(n_permutations: int, level: float, n_tests: int, method: Method = "bh") -> float:
    """Return which share of tests must reach the smallest p for any of them to be called: ``c / ((n + 1) level)``.

    ``c`` is 1 for ``bh`` and ``1 + 1/2 + … + 1/n_tests`` for ``by``. Above 1 nothing can be called.
    """
    return _factor(n_tests, method) / ((n_permutations + 1) * level)


def permutations_needed(share: float, level: float, n_tests: int, method: Method = "bh") -> int:
    """Return the smallest number of permutations with which tests are called when this share of them has the smallest
    p: the smallest ``n`` with ``1 / (n + 1) <= level share / c``, see ``share_needed``."""
    return max(1, math.ceil(_factor(n_tests, method) / (share * level) * (1 - _EXACT)) - 1)


def stuck_tests(p: npt.ArrayLike, n_permutations: int, level: float, method: Method = "bh") -> int:
    """Return how many tests have the smallest possible p, where they are more than chance gives and yet none is called.

    0: some are called, or no more of them have it than one in a thousand null maps would (independent tests).

    Args:
        p: (n_tests,) of permutations; NaN is no test.
        n_permutations: that p are of.
        level: of significance.
        method: see ``fdr``.
    """
    from scipy.stats import binom

    values = np.asarray(p, np.float64)
    values = values[np.isfinite(values)]
    smallest = 1 / (n_permutations + 1)
    n = int((values <= smallest * (1 + _ROUNDING)).sum())
    if n <= binom.isf(_CHANCE, len(values), smallest) or called(fdr(values, method), level).any():
        return 0
    return n


def _factor(n_tests: int, method: Method) -> float:
    return float((1 / np.arange(1, n_tests + 1)).sum()) if method == "by" else 1.0


def max_statistic_p(observed: npt.ArrayLike, max_null: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the p of each voxel with the chance of even one false voxel in the whole map held down.

    Args:
        observed: (n_voxels,) the statistic, NaN where it is not known.
        max_null: (n,) the largest value over voxels of each repetition.

    Returns:
        (n_voxels,) float64: (1 + number of ``max_null`` that reach it) / (1 + n); NaN where ``observed`` is.
    """
    values = np.asarray(observed, np.float64)
    null = np.sort(np.asarray(max_null, np.float64))
    reached = len(null) - np.searchsorted(null, values, side="left")
    return np.where(np.isfinite(values), (1 + reached) / (1 + len(null)), np.nan)
