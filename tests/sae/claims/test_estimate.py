"""Intervals over seeds are Student's, hold their level, and equal seeds tell no spread."""

import math

import numpy as np
import pytest
from scipy import stats

from release_kit.sae.claims.estimate import corrected, over_seeds, t_interval


def test_intervals_and_p_are_those_of_a_one_sample_t_test():
    values = np.array([0.11, 0.14, 0.08, 0.2])
    test = stats.ttest_1samp(values, 0)
    ends = test.confidence_interval(0.95)
    assert t_interval(values) == pytest.approx((values.mean(), ends.low, ends.high, test.pvalue), rel=1e-6)


def test_three_seeds_cover_the_truth_as_often_as_is_said():
    rng = np.random.default_rng(1)
    drawn = rng.normal(0.3, 0.1, (2000, 3))
    inside = [low <= 0.3 <= high for _, low, high, _ in map(t_interval, drawn)]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("value", [0.5, 0.0])
def test_equal_seeds_have_no_interval(value: float):
    mean, low, high, p = t_interval(np.full(3, value))
    assert mean == value and all(map(math.isnan, (low, high, p)))
    assert over_seeds("w", "small", "", [0.5, 0.5, 0.5]).outcome == "open"


def test_holm_counts_needed_comparisons_only_and_one_without_p_makes_no_other_surer():
    values = [0.10, 0.11, 0.12]
    alone = corrected([over_seeds("a", "s", "", values)])
    beside = corrected(
        [over_seeds("a", "s", "", values), over_seeds("b", "s", "", values, needed=False),
         over_seeds("c", "s", "", [1.0, 1.0, 1.0])]
    )  # fmt: skip
    assert beside[0].p_adjusted == pytest.approx(2 * alone[0].p_adjusted)
    assert beside[1].p_adjusted == beside[1].p
    assert math.isnan(beside[2].p_adjusted)


def test_seeds_without_a_value_are_left_out_and_counted_so():
    one = over_seeds("a", "s", "", [0.1, np.nan, 0.2])
    assert one.n_seeds == 2 and one.values == (0.1, 0.2)
