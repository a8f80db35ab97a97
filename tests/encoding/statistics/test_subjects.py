"""Comparisons over subjects equal scipy's and statsmodels', and say when there are too few of them."""

from itertools import product

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from release_kit.encoding.errors import FitError
from release_kit.encoding.statistics.paired import paired_test
from release_kit.encoding.statistics.profiles import factor_slope, layer_profile

A = [0.31, 0.28, 0.40, 0.22, 0.35, 0.30]
B = [0.25, 0.27, 0.31, 0.24, 0.29, 0.26]


def test_a_paired_comparison_equals_scipy():
    found = paired_test(A, B)
    theirs = stats.ttest_rel(A, B)
    assert (found.t, found.p_t) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval()))
    assert found.p_wilcoxon == pytest.approx(stats.wilcoxon(A, B).pvalue)
    flipped = stats.permutation_test(
        (np.subtract(A, B),), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert found.p_sign_flip == pytest.approx(flipped.pvalue)
    assert (found.n, found.n_greater) == (6, 5)


def test_two_subjects_cannot_be_significant_by_flips():
    found = paired_test([0.9, 0.8], [0.1, 0.1])
    assert found.p_sign_flip == 0.5


def test_many_subjects_are_flipped_at_random_with_the_same_answer_each_time():
    rng = np.random.default_rng(0)
    a = rng.standard_normal(40) + 0.3
    found = paired_test(a, np.zeros(40))
    assert found == paired_test(a, np.zeros(40))
    assert found.p_sign_flip == pytest.approx(stats.ttest_1samp(a, 0).pvalue, abs=0.02)


def test_missing_scores_and_equal_scores_are_said_as_they_are():
    found = paired_test([0.5, np.nan, 0.5], [0.4, 0.2, 0.4])
    assert (found.n, found.t, found.p_t) == (2, None, None)
    same = paired_test([0.5, 0.4], [0.5, 0.4])
    assert (same.difference, same.p_sign_flip, same.p_wilcoxon) == (0, 1, None)
    alone = paired_test([0.5], [0.1])
    assert (alone.n, alone.low, alone.p_t, alone.p_sign_flip) == (1, None, None, 1)
    with pytest.raises(FitError, match="no subject has both"):
        paired_test([np.nan], [0.1])
    with pytest.raises(FitError, match="2 and 1 scores"):
        paired_test([1, 2], [1])


def test_the_layer_is_chosen_on_cross_validation_and_ties_go_to_the_earlier():
    profile = layer_profile({0: 0.1, 6: 0.3, 12: 0.3, 3: np.nan}, {0: 0.5, 6: 0.2, 12: 0.4, 3: 0.9})
    assert (profile.layers, profile.best, profile.depth, profile.best_held_out) == ((0, 3, 6, 12), 6, 0.5, 0.2)
    assert layer_profile({0: 0.1}, {0: 0.1}).depth is None
    with pytest.raises(FitError, match="different layers"):
        layer_profile({0: 0.1}, {1: 0.1})
    with pytest.raises(FitError, match="no layer has a score"):
        layer_profile({0: np.nan}, {0: 0.1})


def test_a_slope_inside_subjects_equals_a_regression_with_an_intercept_each():
    rng = np.random.default_rng(1)
    sizes = [1e8, 1e9, 1e10]
    subjects = [f"{k:02d}" for k in range(6)]
    rows = [(size, subject) for subject in subjects for size in sizes]
    score = [0.02 * np.log10(size) + 0.1 * int(subject) + 0.01 * rng.standard_normal() for size, subject in rows]
    found = factor_slope([size for size, _ in rows], score, [subject for _, subject in rows], log10=True)
    dummies = np.array([[subject == one for one in subjects] for _, subject in rows], float)
    design = np.column_stack([np.log10([size for size, _ in rows]), dummies])
    # A balanced design: the mean of the subjects' slopes is the common slope.
    assert found.slope == pytest.approx(sm.OLS(score, design).fit().params[0])
    assert found.n == 6 and found.low < 0.02 < found.high and found.p < 0.05


def test_slopes_that_cannot_be_are_refused():
    with pytest.raises(FitError, match="no subject has scores at two values"):
        factor_slope([1, 1], [0.1, 0.2], ["01", "01"])
    with pytest.raises(FitError, match="no logarithm"):
        factor_slope([0, 1], [0.1, 0.2], ["01", "01"], log10=True)
    with pytest.raises(FitError, match="differ in length"):
        factor_slope([1], [0.1, 0.2], ["01", "01"])
    assert factor_slope([1, 2], [0.1, 0.2], ["01", "01"]).p is None


@pytest.mark.parametrize("n", [2, 3, 20])
def test_equal_differences_are_equal_however_they_round(n: int):
    """0.3 - 0.2 and 0.2 - 0.1 differ in float64: a t of 1e16 would come of it."""
    a, b = np.resize([0.3, 0.2, 0.4], n), np.resize([0.2, 0.1, 0.3], n)
    found = paired_test(a, b)
    assert (found.t, found.p_t, found.low, found.high) == (None, None, found.difference, found.difference)
    assert found.difference == pytest.approx(0.1)
    slopes = factor_slope([1, 2] * n, np.stack([b, a], axis=1).ravel(), np.repeat(np.arange(n), 2).astype(str))
    assert slopes.p is None and slopes.slope == pytest.approx(0.1)


def test_differences_of_the_same_size_share_their_rank():
    """Half the subjects gain 0.1, half lose it: nothing speaks for either model."""
    found = paired_test([0.3] * 20, [0.2] * 10 + [0.4] * 10)
    assert found.p_wilcoxon == pytest.approx(1) and found.p_sign_flip == 1
    assert found.difference == pytest.approx(0)
    assert paired_test([0.3, 0.5], [0.1 + 0.2, 0.4]).n_greater == 1


@pytest.mark.parametrize("n", range(1, 9))
def test_flips_of_few_subjects_equal_all_of_them_by_hand(n: int):
    rng = np.random.default_rng(n)
    a, b = np.round(rng.uniform(size=(2, n)), 1)
    signs = np.array(list(product([1, -1], repeat=n)))
    means = np.abs((signs * (a - b)).sum(axis=1))
    assert paired_test(a, b).p_sign_flip == (means >= abs((a - b).sum()) - 1e-9).mean()


def test_slopes_have_the_interval_and_p_of_a_t_test_over_subjects():
    rng = np.random.default_rng(2)
    sizes, scores = [1.0, 2.0, 4.0], rng.uniform(size=(5, 3))
    found = factor_slope(sizes * 5, scores.ravel(), np.repeat(np.arange(5), 3).astype(str))
    theirs = stats.ttest_1samp([np.polyfit(sizes, one, 1)[0] for one in scores], 0)
    assert found.p == pytest.approx(theirs.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval()))
    with pytest.raises(FitError, match="no finite number"):
        factor_slope([1, np.nan], [0.1, 0.2], ["01", "01"])
