"""Many voxels at once: false-discovery rate and the largest value over voxels. NaN is no test and stays NaN."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from release_kit.encoding.errors import FitError

Method = Literal["bh", "by"]


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
        factor = float((1 / ranks).sum()) if method == "by" else 1.0
        scaled = tests[order] * (len(tests) * factor) / ranks
        # The smallest q at which a test is called: no larger than that of any test with a larger p.
        smallest = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
        found = np.empty_like(smallest)
        found[order] = smallest
        adjusted[known] = found
    return adjusted


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
