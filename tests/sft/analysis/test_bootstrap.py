"""Weights, draws and intervals: against closed forms and scipy."""

import numpy as np
import pytest
from scipy import stats

from release_kit.sft.analysis.bootstrap import (
    bca_interval,
    bootstrap_draws,
    codes_of,
    hierarchical_weights,
    jackknife_values,
    jackknife_variance,
    percentile_interval,
    weighted_mean,
)

BASES = np.repeat(np.arange(4), 6)
RUNS = np.repeat(np.arange(12), 2)


def test_a_drawn_base_takes_all_its_rows_along():
    weights = hierarchical_weights([BASES], 50, np.random.default_rng(0))
    by_base = weights.reshape(50, 4, 6)
    assert np.all(by_base == by_base[:, :, :1])
    assert np.all(by_base[:, :, 0].sum(axis=1) == 4)


def test_runs_are_drawn_inside_the_bases_that_were_drawn():
    rng = np.random.default_rng(1)
    weights = hierarchical_weights([BASES, RUNS], 200, rng)
    per_run = weights.reshape(200, 12, 2)
    assert np.all(per_run[:, :, 0] == per_run[:, :, 1])
    per_base = per_run[:, :, 0].reshape(200, 4, 3).sum(axis=2)
    assert np.all(per_base % 3 == 0) and np.all(per_base.sum(axis=1) == 12)


def test_draws_of_a_mean_have_the_standard_error_of_base_means():
    rng = np.random.default_rng(2)
    values = rng.normal(size=4)[BASES] + 0.3 * rng.normal(size=24)
    draws = bootstrap_draws(weighted_mean(values), [BASES], n_draws=8000, seed=3)
    means = values.reshape(4, 6).mean(axis=1)
    assert draws.std() == pytest.approx(means.std() / np.sqrt(4), rel=0.03)


def test_resampling_runs_too_adds_their_variance_again():
    rng = np.random.default_rng(4)
    values = rng.normal(size=12)[RUNS]
    top = bootstrap_draws(weighted_mean(values), [BASES], seed=0).var()
    nested = bootstrap_draws(weighted_mean(values), [BASES, RUNS], seed=0).var()
    within = values.reshape(4, 3, 2)[:, :, 0].var(axis=1).mean() / 12
    assert nested == pytest.approx(top + within, rel=0.15)


def test_draws_are_the_same_for_a_seed_and_do_not_depend_on_chunks():
    values = np.arange(24.0)
    first = bootstrap_draws(weighted_mean(values), [BASES, RUNS], n_draws=600, seed=5)
    again = bootstrap_draws(weighted_mean(values), [BASES, RUNS], n_draws=600, seed=5)
    other = bootstrap_draws(weighted_mean(values), [BASES, RUNS], n_draws=600, seed=6)
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_jackknife_variance_of_a_mean_is_the_classical_one():
    values = np.random.default_rng(7).normal(size=15)
    left_out = jackknife_values(weighted_mean(values), np.arange(15))
    assert jackknife_variance(left_out) == pytest.approx(values.var(ddof=1) / 15)


def test_bca_agrees_with_scipy():
    values = np.random.default_rng(8).exponential(size=40)
    units = np.arange(40)
    statistic = weighted_mean(values)
    draws = bootstrap_draws(statistic, [units], n_draws=20_000, seed=9)
    ours = bca_interval(float(values.mean()), draws, jackknife_values(statistic, units))
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(9)
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), rel=0.02)
    assert ours[0] > percentile_interval(draws)[0], "a right-skewed mean moves the interval to the right"


def test_codes_number_labels_by_first_appearance():
    codes, n_units = codes_of(["b", "a", "b", ("a", 1)])
    assert codes.tolist() == [0, 1, 0, 2] and n_units == 3
