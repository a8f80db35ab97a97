"""Estimates: which interval they get, and that it is the right one where a closed form is known."""

import numpy as np
import pytest
from scipy import stats

from release_kit.sft.analysis.bootstrap import weighted_mean
from release_kit.sft.analysis.intervals import (
    choose_units,
    jumpy_estimate,
    make_estimate,
    mean_estimate,
    smooth_estimate,
)
from release_kit.sft.analysis.partial import correlation, partial_correlation, partial_slope

UNITS = np.repeat(np.arange(5), 4)
VALUES = np.random.default_rng(0).normal(1.0, 1.0, 20)


def test_the_mean_of_balanced_units_has_the_t_interval_of_their_means():
    estimate = mean_estimate(VALUES, UNITS, over="base_model")
    means = VALUES.reshape(5, 4).mean(axis=1)
    low, high = stats.t.interval(0.95, 4, means.mean(), stats.sem(means))
    assert (estimate.low, estimate.high) == pytest.approx((low, high), rel=1e-6)
    assert estimate.p == pytest.approx(stats.ttest_1samp(means, 0).pvalue, rel=1e-6)
    assert (estimate.n, estimate.n_units, estimate.over) == (20, 5, "base_model")


def test_the_short_way_to_a_mean_gives_what_weights_give():
    units = np.array([0] * 2 + [1] * 7 + [2] * 5 + [3] * 6)
    short = mean_estimate(VALUES, units, over="run", null=0.5)
    long = smooth_estimate(weighted_mean(VALUES), [units], over="run", n=20, null=0.5)
    assert short == long


def test_two_units_give_no_interval():
    estimate = mean_estimate(VALUES[:8], UNITS[:8], over="base_model")
    assert (estimate.low, estimate.high, estimate.p, estimate.method) == (None, None, None, "")


def test_an_interval_of_a_share_stays_between_0_and_1():
    wins = np.array([1.0] * 9 + [0.0])
    estimate = mean_estimate(wins, np.arange(10), over="run", clip=(0.0, 1.0), null=0.5)
    assert estimate.high == 1.0 and estimate.p < 0.01


def test_the_interval_of_an_ordinary_correlation_is_near_fishers():
    rng = np.random.default_rng(1)
    x = rng.normal(size=400)
    y = 0.6 * x + rng.normal(size=400)
    estimate = smooth_estimate(correlation(x, y), [np.arange(400)], over="row", n=400, fisher=True)
    fisher = stats.pearsonr(x, y).confidence_interval()
    assert (estimate.low, estimate.high) == pytest.approx((fisher.low, fisher.high), abs=0.02)


def test_crossed_units_add_their_variances():
    rng = np.random.default_rng(2)
    base, dataset = (axis.ravel() for axis in np.indices((8, 8)))
    values = rng.normal(size=8)[base] + rng.normal(size=8)[dataset]
    estimate = smooth_estimate(weighted_mean(values), [base, dataset], over="", n=64)
    table = values.reshape(8, 8)
    single = [table.mean(axis=axis).var(ddof=1) / 8 for axis in (1, 0)]
    variance = sum(single) - values.var(ddof=1) / 64
    degrees = sum(single) ** 2 / sum(part**2 / 7 for part in single)
    half = stats.t.ppf(0.975, degrees) * np.sqrt(max(variance, *single))
    assert (estimate.high - estimate.low) / 2 == pytest.approx(half, rel=1e-6)


def test_bases_are_the_units_from_four_on():
    assert choose_units(["a", "b", "c", "d"], ["1", "2", "3", "4"])[0] == "base_model"
    over, units = choose_units(["a", "b", "c", "c"], ["1", "2", "3", "4"])
    assert over == "run" and units.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("n_units", "low"), [(3, 0.05 ** (1 / 3)), (4, 0.05**0.25), (27, 0.05 ** (1 / 27))])
def test_units_that_always_win_leave_the_doubt_that_their_number_leaves(n_units, low):
    wins = np.ones(5 * n_units)
    estimate = mean_estimate(wins, np.repeat(np.arange(n_units), 5), over="run", clip=(0.0, 1.0), null=0.5)
    assert (estimate.low, estimate.high) == (pytest.approx(low), 1.0)
    assert stats.binomtest(n_units, n_units, low, alternative="greater").pvalue == pytest.approx(0.05)
    losses = mean_estimate(1 - wins, np.repeat(np.arange(n_units), 5), over="run", clip=(0.0, 1.0), null=0.5)
    assert (losses.low, losses.high) == (0.0, pytest.approx(1 - low))


@pytest.mark.parametrize("value", [0.0, 0.1, -0.7])
def test_units_that_are_all_alike_give_no_interval_and_no_p(value):
    for estimate in (
        mean_estimate(np.full(12, value), np.repeat(np.arange(4), 3), over="run"),
        smooth_estimate(weighted_mean(np.full(12, value)), [np.repeat(np.arange(4), 3)], over="run", n=12),
    ):
        assert (estimate.low, estimate.high, estimate.p, estimate.method) == (None, None, None, "")


def test_a_jumpy_statistic_keeps_its_percentiles():
    def largest(weights):
        return np.where(weights > 0, VALUES, -np.inf).max(axis=1)

    estimate = jumpy_estimate(largest, [UNITS], over="run", n=20, seed=0, n_draws=400)
    assert estimate.value == pytest.approx(VALUES.max()) and estimate.low < estimate.value == estimate.high


def test_numbers_that_are_not_finite_become_null_and_no_negative_zero_is_left():
    estimate = make_estimate(-1e-320, float("nan"), 1.0, n=1, n_units=1, over="run", method="x", p=float("nan"))
    assert estimate.to_dict()["low"] is None and estimate.p is None
    nan = make_estimate(float("nan"), 0.0, 1.0, n=1, n_units=1, over="run", method="x", p=None)
    assert nan.to_dict()["value"] is None


def _reference(x, y, groups, covariates):
    """Residuals of least squares on dummies and covariates."""
    design = np.column_stack([groups[:, None] == np.unique(groups)[None, :], *covariates]).astype(float)
    residuals = [column - design @ np.linalg.lstsq(design, column, rcond=None)[0] for column in (x, y)]
    return residuals


@pytest.mark.parametrize("n_covariates", [0, 1, 2])
def test_partial_correlation_and_slope_are_those_of_least_squares(n_covariates):
    rng = np.random.default_rng(n_covariates)
    groups = rng.integers(5, size=60)
    covariates = [rng.normal(size=60) for _ in range(n_covariates)]
    x = rng.normal(size=60) + groups + sum(covariates, np.zeros(60))
    y = 0.5 * x + 3 * groups + rng.normal(size=60)
    rx, ry = _reference(x, y, groups, covariates)
    one = np.ones((1, 60))
    assert partial_correlation(x, y, groups, covariates)(one)[0] == pytest.approx(np.corrcoef(rx, ry)[0, 1])
    assert partial_slope(x, y, groups, covariates)(one)[0] == pytest.approx(float(rx @ ry / (rx @ rx)))


def test_a_weight_of_two_is_a_row_that_stands_twice():
    rng = np.random.default_rng(3)
    x, y, z, groups = *rng.normal(size=(3, 30)), rng.integers(3, size=30)
    weights = rng.integers(0, 4, size=30)
    repeated = np.repeat(np.arange(30), weights)
    weighted = partial_correlation(x, y, groups, [z])(weights[None, :].astype(float))[0]
    plain = partial_correlation(x[repeated], y[repeated], groups[repeated], [z[repeated]])
    assert weighted == pytest.approx(plain(np.ones((1, len(repeated))))[0])


def test_a_constant_has_no_correlation():
    y = np.arange(6.0)
    assert np.isnan(correlation(np.ones(6), y)(np.ones((1, 6)))[0])
    within = partial_correlation(np.repeat([1.0, 2.0], 3), y, np.repeat([0, 1], 3))
    assert np.isnan(within(np.ones((1, 6)))[0])
