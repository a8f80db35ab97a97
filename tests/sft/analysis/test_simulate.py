"""The statistics recover planted effects, and their intervals cover them as often as they say."""

import numpy as np
import pytest
from scipy import stats

from release_kit.sft.analysis.bootstrap import bootstrap_draws, codes_of, percentile_interval, weighted_mean
from release_kit.sft.analysis.simulate import ESTIMATORS, Planted, coverage, estimate_r, estimate_slope, simulate

SMALL = Planted(n_bases=5, n_datasets=6, n_seeds=2, n_epochs=2)


def _within_binomial_error(n_covered: int, n: int, slack: float = 0.02) -> bool:
    """Whether a count is likely for a coverage of 95 % ± ``slack``."""
    low = stats.binom.ppf(0.0005, n, 0.95 - slack)
    high = stats.binom.ppf(0.9995, n, min(1.0, 0.95 + slack))
    return bool(low <= n_covered <= high)


@pytest.mark.parametrize("quantity", sorted(ESTIMATORS))
def test_intervals_cover_planted_effects_at_their_level(quantity):
    estimator, truth = ESTIMATORS[quantity]
    found = coverage(SMALL, estimator, truth(SMALL), n_replicates=300, seed=1)
    assert _within_binomial_error(found.n_covered, 300), found
    assert abs(found.bias) < 4 * found.width / 4 / np.sqrt(300)


@pytest.mark.slow
@pytest.mark.parametrize("quantity", sorted(ESTIMATORS))
@pytest.mark.parametrize("n_bases", [4, 11])
def test_coverage_is_93_to_97_percent_in_grids_of_the_papers_size(quantity, n_bases):
    planted = Planted(n_bases=n_bases)
    estimator, truth = ESTIMATORS[quantity]
    found = coverage(planted, estimator, truth(planted), n_replicates=3000, seed=2)
    assert 0.93 <= found.share <= 0.97, found


def test_a_slope_that_is_not_there_is_found_as_often_as_the_level_says():
    planted = Planted(n_bases=5, n_datasets=6, n_seeds=2, n_epochs=2, slope=0.0)
    rng = np.random.default_rng(3)
    found = sum(estimate_slope(simulate(planted, rng)).p < 0.05 for _ in range(300))
    assert found <= stats.binom.ppf(0.9995, 300, 0.07)


def test_a_plain_bootstrap_over_rows_would_cover_far_too_rarely():
    rng = np.random.default_rng(4)
    covered = {"rows": 0, "bases": 0}
    for replicate in range(120):
        grid = simulate(SMALL, rng)
        full = ~grid.lora
        values, bases = grid.gain[full], codes_of(grid.base[full].tolist())[0]
        for name, units in (("rows", np.arange(len(values))), ("bases", bases)):
            draws = bootstrap_draws(weighted_mean(values), [units], n_draws=200, seed=replicate)
            low, high = percentile_interval(draws)
            covered[name] += low <= SMALL.mean <= high
    assert covered["rows"] < 0.5 * 120, "why rows are no units"
    assert covered["bases"] < 0.93 * 120, "why percentiles are not used for means of few bases"


def test_base_effects_do_not_look_like_perplexity():
    planted = Planted(slope=0.0, base_sd=5.0, interaction_sd=0.3, dataset_sd=0.0, run_sd=0.3, epoch_sd=0.3)
    rs = [estimate_r(simulate(planted, np.random.default_rng(seed))).value for seed in range(5)]
    assert np.abs(rs).max() < 0.35 and abs(np.mean(rs)) < 0.15


def test_the_same_seed_gives_the_same_grid():
    first, again = (simulate(SMALL, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first.gain, again.gain)
    assert len(first.gain) == 5 * 6 * 2 * 2 * 2 and len(np.unique(first.run)) == 5 * 6 * 2 * 2
