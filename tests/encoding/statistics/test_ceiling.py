"""Ceilings are what was planted: the root of the signal's share of the variance."""

import numpy as np
import pytest

from release_kit.encoding.errors import FitError
from release_kit.encoding.statistics.ceiling import annotator_ceiling, normalised, repeat_ceiling, subject_ceiling

N = 4000


def presentations(k: int, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """``(signal (N, 3), noisy copies (k, N, 3))``; the signal is ``share`` of the variance of a copy."""
    rng = np.random.default_rng(seed)
    signal = np.sqrt(share) * rng.standard_normal((N, 3))
    return signal, signal + np.sqrt(1 - share) * rng.standard_normal((k, N, 3))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("k", [2, 5])
def test_repeats_give_the_r_that_the_signal_itself_reaches(share: float, k: int):
    signal, repeats = presentations(k, share)
    reached = [np.corrcoef(signal[:, v], repeats[0, :, v])[0, 1] for v in range(3)]
    np.testing.assert_allclose(repeat_ceiling(repeats.astype(np.float32)), reached, atol=0.06)
    np.testing.assert_allclose(repeat_ceiling(repeats), np.sqrt(share), atol=0.06)


def test_noise_without_a_signal_has_a_ceiling_near_0_and_no_normalised_score():
    _, repeats = presentations(3, 0.0)
    ceiling = repeat_ceiling(repeats)
    assert (ceiling < 0.15).all() and (ceiling >= 0).all()
    assert np.isnan(normalised([0.01, 0.02, 0.03], ceiling)).all()


def test_subjects_bound_what_they_share():
    signal, responses = presentations(6, 0.4)
    bounds = subject_ceiling(responses)
    assert bounds.lower.shape == bounds.upper.shape == (6, 3)
    # The signal's own r with a subject lies between the mean of the others and the mean that includes the subject.
    own = np.array([[np.corrcoef(signal[:, v], one[:, v])[0, 1] for v in range(3)] for one in responses])
    assert (bounds.lower < own).all() and (own < bounds.upper).all()
    others = responses[1:].mean(axis=0)
    expected = np.corrcoef(responses[0, :, 1] / responses[0, :, 1].std(), others[:, 1])[0, 1]
    assert bounds.lower[0, 1] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_annotators_bound_what_their_mean_predicts(share: float):
    truth, predictions = presentations(4, share)
    mean = predictions.mean(axis=0)
    reached = [np.corrcoef(truth[:, v], mean[:, v])[0, 1] for v in range(3)]
    np.testing.assert_allclose(annotator_ceiling(predictions), reached, atol=0.03)


def test_constant_voxels_have_no_ceiling():
    _, repeats = presentations(3, 0.5)
    repeats[1, :, 0] = 7.1
    for found in (repeat_ceiling(repeats), subject_ceiling(repeats).lower[1], annotator_ceiling(repeats)):
        assert np.isnan(found[0]) and np.isfinite(found[1:]).all()
    assert np.isnan(normalised([0.5], [np.nan])).all()
    np.testing.assert_allclose(normalised([0.2, -0.1], [0.4, 0.5]), [0.5, -0.2])


@pytest.mark.parametrize("ceiling", [repeat_ceiling, subject_ceiling, annotator_ceiling])
def test_one_is_not_enough(ceiling):
    with pytest.raises(FitError, match="expected at least 2"):
        ceiling(np.zeros((1, 10, 2)))


@pytest.mark.parametrize("k", [2, 4])
def test_the_signal_variance_is_that_of_sahani_and_linden(k: int):
    """With n repeats: (n Power(mean) - mean Power) / (n - 1), and their share of the power of one presentation."""
    _, repeats = presentations(k, 0.4, seed=3)
    repeats = repeats[:, :50] * np.geomspace(1, 3, k)[:, None, None] + 1e6
    power = repeats.var(axis=1).mean(axis=0)
    signal = (k * repeats.mean(axis=0).var(axis=0) - power) / (k - 1)
    expected = np.sqrt(np.clip(signal, 0, None) / power)
    np.testing.assert_allclose(repeat_ceiling(repeats), expected, rtol=1e-6)


def test_bounds_of_subjects_are_correlations_by_hand():
    _, responses = presentations(4, 0.4, seed=1)
    responses = responses[:, :60] * np.geomspace(0.1, 30, 4)[:, None, None] + 50
    bounds = subject_ceiling(responses)
    z = (responses - responses.mean(axis=1, keepdims=True)) / responses.std(axis=1, keepdims=True)
    for subject in range(4):
        for v in range(3):
            others = np.delete(z[:, :, v], subject, axis=0).mean(axis=0)
            assert bounds.lower[subject, v] == pytest.approx(np.corrcoef(z[subject, :, v], others)[0, 1])
            assert bounds.upper[subject, v] == pytest.approx(
                np.corrcoef(z[subject, :, v], z[:, :, v].mean(axis=0))[0, 1]
            )


def test_annotators_are_raised_by_the_formula_of_spearman_and_brown():
    _, predictions = presentations(3, 0.5, seed=2)
    between = [np.corrcoef(predictions[:, :, v])[np.triu_indices(3, 1)].mean() for v in range(3)]
    expected = [np.sqrt(3 * r / (1 + 2 * r)) for r in between]
    np.testing.assert_allclose(annotator_ceiling(predictions), expected)


def test_a_voxel_that_one_subject_lacks_keeps_the_ceiling_of_the_others():
    _, responses = presentations(4, 0.4)
    without = responses.copy()
    without[1, :, 0] = 0
    found, others = subject_ceiling(without), subject_ceiling(np.delete(responses, 1, axis=0))
    for mine, theirs in ((found.lower, others.lower), (found.upper, others.upper)):
        assert np.isnan(mine[1, 0])
        np.testing.assert_allclose(np.delete(mine, 1, axis=0)[:, 0], theirs[:, 0])
    without[2:, :, 0] = 0
    assert np.isnan(subject_ceiling(without).upper[:, 0]).all(), "one subject alone has nobody to share with"


def test_a_spread_far_below_the_mean_is_a_spread_in_float64():
    _, repeats = presentations(3, 0.5)
    far = 1e-3 * repeats + 1e6
    for ceiling in (repeat_ceiling, annotator_ceiling):
        np.testing.assert_allclose(ceiling(far), ceiling(repeats), atol=1e-6)
