"""A planted truth is found again, and smooth noise is taken for a signal more often by the published choices."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, kstest

from release_kit.encoding.simulate.make import simulate
from release_kit.encoding.simulate.plan import PlantedRegion, SimulationSpec
from release_kit.encoding.simulate.recovery import recover

SPEC = SimulationSpec(
    titles={"a": 3, "b": 3, "c": 3},
    n_volumes=300,
    bands={"speech": 4, "story": 6},
    smooth_s=4.0,
    regions=(
        PlantedRegion(name="one", n_voxels=10, shares={"speech": 0.15}),
        PlantedRegion(name="both", n_voxels=10, shares={"speech": 0.1, "story": 0.1}),
        PlantedRegion(name="silent", n_voxels=160, shares={}),
    ),
)


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_corrected_finds_what_was_planted_and_errs_as_often_as_it_says(correlation: float):
    found = recover(simulate(replace(SPEC, correlation=correlation)), "01")
    assert found.overlap >= 0.95 and found.power >= 0.95
    assert 0.85 < found.r / found.attainable_r < 1.05
    assert all(abs(error) < 0.04 for error in found.unique_error.values())
    assert found.false_p <= binom.ppf(0.999, found.n_null, 0.05)


def test_with_smooth_noise_the_published_null_calls_more_silent_voxels():
    smooth = [simulate(replace(SPEC, noise_carry=0.9, seed=seed)) for seed in range(3)]
    corrected, paper = (
        np.sum([recover(made, "01", mode).false_p for made in smooth]) for mode in ("corrected", "paper")
    )
    assert corrected <= binom.ppf(0.999, 480, 0.05) and paper > corrected


def test_p_values_of_silent_voxels_are_uniform():
    silent = replace(SPEC, regions=(PlantedRegion(name="silent", n_voxels=100, shares={}),), noise_carry=0.7)
    found = [recover(simulate(replace(silent, seed=seed)), "01", bootstrap=0, seed=seed) for seed in range(8)]
    p = np.concatenate([one.null_p for one in found])
    # They come in steps of 1/200: each is spread over its step.
    spread = p - np.random.default_rng(0).random(len(p)) / 200
    assert kstest(spread, "uniform").pvalue > 0.001
    assert binom.ppf(0.0005, len(p), 0.05) <= (p <= 0.05).sum() <= binom.ppf(0.9995, len(p), 0.05)


def test_intervals_hold_what_the_models_reach_and_the_paper_has_none():
    made = simulate(replace(SPEC, correlation=0.3))
    corrected, paper = (recover(made, "01", mode, permutations=19) for mode in ("corrected", "paper"))
    assert set(corrected.coverage) == {"speech", "story"} and min(corrected.coverage.values()) > 0.75
    assert set(corrected.mean_coverage) == {(region, band) for region in ("one", "both") for band in made.spec.bands}
    assert (paper.coverage, paper.mean_coverage) == ({}, {})
    assert all(abs(error) < 0.05 for error in paper.attained_error.values())
