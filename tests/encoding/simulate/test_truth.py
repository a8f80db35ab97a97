"""What a fitted model is said to reach on endless new data is what it reaches on very many, and what estimates tell."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from release_kit.encoding.features.delays import delayed
from release_kit.encoding.simulate.make import simulate
from release_kit.encoding.simulate.plan import PlantedRegion, SimulationSpec
from release_kit.encoding.simulate.recovery import recover
from release_kit.encoding.simulate.truth import attained_scores, planted_scores
from release_kit.encoding.solve.scores import pearson, r2

REGIONS = (
    PlantedRegion(name="one", n_voxels=10, shares={"speech": 0.15}),
    PlantedRegion(name="both", n_voxels=10, shares={"speech": 0.1, "story": 0.1}),
)
SPEC = SimulationSpec(
    titles={"a": 3, "b": 3, "c": 3}, n_volumes=300, bands={"speech": 4, "story": 6}, smooth_s=4.0, regions=REGIONS,
    correlation=0.3,
)  # fmt: skip


def test_any_weights_at_any_delays_reach_on_many_samples_what_is_calculated():
    spec = replace(SPEC, titles={"a": 2}, n_volumes=120_000, noise="white", smooth_s=2.0)
    made = simulate(spec)
    rng = np.random.default_rng(5)
    fitted = {step: 0.1 * rng.standard_normal((10, 20)) for step in (5, 6, 8)}
    offset = 0.2 * rng.standard_normal(20)
    score_r2, score_r = attained_scores(spec, made.weights["01"], made.noise_variance, fitted, offset)
    x = np.concatenate([band.x for band in made.bands], axis=1)
    shifted = delayed(x, list(fitted), 1.0, made.samples.borders, "concatenate")
    predicted = (shifted @ np.concatenate(list(fitted.values())) + offset).astype(np.float32)
    np.testing.assert_allclose(score_r2, r2(made.responses["01"], predicted), atol=0.012)
    np.testing.assert_allclose(score_r, pearson(made.responses["01"], predicted), atol=0.012)


def test_no_weights_attain_more_than_the_best_of_all():
    made = simulate(SPEC)
    args = (SPEC, made.weights["01"], made.noise_variance)
    best = planted_scores(*args)[frozenset(SPEC.bands)]
    attained, r = attained_scores(*args, {6: made.weights["01"]}, np.zeros(20))
    np.testing.assert_allclose(attained, best)
    np.testing.assert_allclose(r, np.sqrt(best))
    for scale in (0.5, 1.5):
        assert (attained_scores(*args, {6: scale * made.weights["01"]}, np.zeros(20))[0] < best - 0.01).all()


@pytest.mark.parametrize("carry", [0.5, 0.9])
def test_unique_parts_are_unbiased_for_what_the_fitted_models_reach(carry: float):
    found = [
        recover(simulate(replace(SPEC, noise_carry=carry, seed=seed)), "01", permutations=1, bootstrap=0)
        for seed in range(12)
    ]
    for band in SPEC.bands:
        errors = [one.attained_error[band] for one in found]
        assert stats.ttest_1samp(errors, 0).pvalue > 0.001 and abs(np.mean(errors)) < 0.01


def test_what_is_lost_to_finite_training_data_halves_where_they_double():
    lost = []
    for times in (1, 2, 4):
        found = [
            recover(simulate(replace(SPEC, n_volumes=300 * times, seed=seed)), "01", permutations=1, bootstrap=0)
            for seed in range(6)
        ]
        lost.append(np.mean([one.unique_error["story"] - one.attained_error["story"] for one in found]))
    assert all(one < 0 for one in lost)
    assert 1.5 < lost[0] / lost[1] < 3 and 1.5 < lost[1] / lost[2] < 3
