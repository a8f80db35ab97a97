"""Paired tests and corrections for many of them, against scipy and by hand."""

import numpy as np
import pytest
from scipy import stats

from release_kit.sft.analysis.estimate import Estimate
from release_kit.sft.analysis.multiple import adjusted, benjamini_hochberg, benjamini_yekutieli, holm
from release_kit.sft.analysis.paired import sign_flip, unit_means, wilcoxon

P = np.array([0.001, 0.2, 0.012, 0.8, 0.03, 0.012])


def test_sign_flips_are_scipys_exact_permutation_test():
    differences = np.random.default_rng(0).normal(0.5, 1, 9)
    theirs = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    ours = sign_flip(differences)
    assert ours.exact and ours.p == pytest.approx(theirs.pvalue)


def test_wilcoxon_is_scipys_exact_test_without_ties():
    differences = np.random.default_rng(1).normal(0.4, 1, 12)
    theirs = stats.wilcoxon(differences, method="exact")
    ours = wilcoxon(differences)
    assert (ours.statistic, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue))


def test_p_is_never_zero_and_never_below_what_the_units_allow():
    assert sign_flip(np.ones(4)).p == pytest.approx(2 / 2**4)
    drawn = sign_flip(np.full(40, 3.0))
    assert not drawn.exact and 0 < drawn.p <= 1e-4
    assert wilcoxon(np.zeros(5)).p == 1.0


@pytest.mark.parametrize("test", [sign_flip, wilcoxon])
def test_tests_reject_a_true_null_hypothesis_as_often_as_they_say(test):
    rng = np.random.default_rng(2)
    n_tests, n_units = 600, 10
    rejected = sum(test(rng.standard_t(3, n_units)).p <= 0.05 for _ in range(n_tests))
    low, high = stats.binom.interval(0.999, n_tests, 0.05)
    assert low - n_tests * 0.01 <= rejected <= high


def test_cells_of_a_unit_count_once():
    values, units = np.array([1.0, 3.0, 5.0]), np.array([0, 0, 1])
    assert unit_means(values, units).tolist() == [2.0, 5.0]


def test_false_discovery_corrections_are_scipys():
    assert benjamini_hochberg(P) == pytest.approx(stats.false_discovery_control(P, method="bh"))
    assert benjamini_yekutieli(P) == pytest.approx(stats.false_discovery_control(P, method="by"))


def test_holm_by_hand():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.5, 0.9])).tolist() == [1.0, 1.0]


def test_estimates_without_a_test_are_no_part_of_the_family():
    known = [Estimate(value=1.0, n=5, n_units=5, over="run", p=p) for p in (0.01, None, 0.02)]
    assert [estimate.p_adjusted for estimate in adjusted(known, holm)] == [0.02, None, 0.02]
    assert adjusted([known[1]], holm) == [known[1]]
