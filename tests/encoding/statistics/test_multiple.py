"""Corrections for many voxels equal those of statsmodels, and NaN is no test."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from release_kit.encoding.errors import FitError
from release_kit.encoding.statistics.multiple import (
    called,
    fdr,
    max_statistic_p,
    permutations_needed,
    share_needed,
    stuck_tests,
)


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


@pytest.mark.parametrize("method", ["bh", "by"])
@pytest.mark.parametrize(("n_tests", "share"), [(400, 0.31), (1000, 0.1), (40, 0.5)])
def test_the_permutations_that_are_asked_for_are_just_enough(method: str, n_tests: int, share: float):
    n_floor = round(share * n_tests)

    def any_called(n: int) -> bool:
        p = np.full(n_tests, 0.9)
        p[:n_floor] = 1 / (n + 1)
        return bool(called(fdr(p, method), 0.05).any())

    least = permutations_needed(n_floor / n_tests, 0.05, n_tests, method)
    assert any_called(least) and not any_called(least - 1)
    assert share_needed(least, 0.05, n_tests, method) <= n_floor / n_tests + 1e-9
    assert share_needed(least - 1, 0.05, n_tests, method) > n_floor / n_tests


def test_a_test_at_the_level_is_called_after_a_table_of_float32_too():
    q = fdr(np.full(20, 0.05))
    assert called(q, 0.05).all() and called(q.astype(np.float32), 0.05).all()
    assert not called([0.0501, np.nan, 1.0], 0.05).any()


def test_fifty_permutations_call_nobody_of_a_third_and_that_is_seen():
    p = np.random.default_rng(0).integers(2, 51, 384) / 51
    p[:120] = 1 / 51
    assert stuck_tests(p.astype(np.float32), 50, 0.05) == 120
    p[:120] = 1 / 400  # of 399 permutations
    assert stuck_tests(p.astype(np.float32), 399, 0.05) == 0


def test_as_many_smallest_p_as_chance_gives_are_no_reason_for_more_permutations():
    rng = np.random.default_rng(1)
    stuck = [stuck_tests(rng.integers(1, 101, 2000) / 100, 99, 0.05) for _ in range(300)]
    assert sum(map(bool, stuck)) <= 3
    assert stuck_tests(np.full(5, np.nan), 99, 0.05) == 0
