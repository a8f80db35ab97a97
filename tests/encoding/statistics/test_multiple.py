"""Corrections for many voxels equal those of statsmodels, and NaN is no test."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from release_kit.encoding.errors import FitError
from release_kit.encoding.statistics.multiple import fdr, max_statistic_p


@pytest.mark.parametrize("method", ["bh", "by"])
@pytest.mark.parametrize("seed", range(4))
def test_adjusted_p_equal_statsmodels_and_scipy(method: str, seed: int):
    rng = np.random.default_rng(seed)
    p = np.round(rng.uniform(size=200) ** 3, 3)
    theirs = multipletests(p, method=f"fdr_{method}")[1]
    np.testing.assert_allclose(fdr(p, method), theirs, atol=1e-12)
    np.testing.assert_allclose(fdr(p, method), stats.false_discovery_control(p, method=method), atol=1e-12)


def test_nan_is_no_test():
    p = np.array([0.01, np.nan, 0.04, 0.2, np.nan])
    adjusted = fdr(p)
    np.testing.assert_allclose(adjusted[[0, 2, 3]], fdr([0.01, 0.04, 0.2]))
    assert np.isnan(adjusted[[1, 4]]).all()
    assert np.isnan(fdr([np.nan])).all()
    assert len(fdr([])) == 0


@pytest.mark.parametrize("p", [[-0.1], [1.2], [np.inf]])
def test_what_is_no_p_is_refused(p: list):
    with pytest.raises(FitError, match="outside 0 to 1"):
        fdr(p)


def test_the_largest_value_over_voxels_counts_ties_and_never_gives_0():
    null = [0.3, 0.1, 0.2, 0.2]
    found = max_statistic_p([0.2, 0.25, 0.9, np.nan, -1], null)
    np.testing.assert_allclose(found, [4 / 5, 2 / 5, 1 / 5, np.nan, 1])
