"""What a simulation says it planted is there: with much data, plain regression finds it."""

from dataclasses import replace

import numpy as np
import pytest

from release_kit.encoding.errors import AnalysisError
from release_kit.encoding.partition.sets import partition
from release_kit.encoding.simulate.make import Simulated, simulate
from release_kit.encoding.simulate.plan import PlantedRegion, SimulationSpec

REGIONS = (
    PlantedRegion(name="auditory", n_voxels=6, shares={"speech": 0.4}),
    PlantedRegion(name="both", n_voxels=6, shares={"speech": 0.2, "story": 0.3}),
    PlantedRegion(name="silent", n_voxels=8, shares={}),
)
SPEC = SimulationSpec(
    titles={"a": 2, "b": 3}, n_volumes=400, bands={"speech": 6, "story": 8}, regions=REGIONS, n_subjects=2, n_constant=2
)


def explained(made: Simulated, names: tuple[str, ...], subject: str = "01") -> np.ndarray:
    """R² of least squares on delayed features of some bands, where the run has any."""
    rows = np.flatnonzero(made.samples.volume >= made.spec.delay)
    x = np.concatenate([band.x for band in made.bands if band.name in names], axis=1)[rows - made.spec.delay]
    y = made.responses[subject][rows]
    y, x = y - y.mean(axis=0), x - x.mean(axis=0)
    left = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    with np.errstate(invalid="ignore"):
        return 1 - (left**2).mean(axis=0) / (y**2).mean(axis=0)


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_each_union_explains_what_is_said(correlation: float):
    made = simulate(replace(SPEC, n_volumes=4000, correlation=correlation, smooth_s=1.0))
    truth = made.truth("01")
    for union, planted in truth.items():
        np.testing.assert_allclose(explained(made, tuple(union))[:20], planted[:20], atol=0.03)
    parts = partition(truth, ["speech", "story"])
    whole = truth[frozenset(["speech", "story"])]
    np.testing.assert_allclose(sum(parts.values()), whole)
    np.testing.assert_allclose(whole[:20], [0.4] * 6 + [0.5] * 6 + [0.0] * 8, atol=1e-12)
    shared = parts["shared:speech+story"][:12]
    assert (np.abs(shared) < 1e-12).all() if correlation == 0 else (np.abs(shared) > 0.01).any()
    if correlation == 0:
        np.testing.assert_allclose(parts["unique:story"][6:12], 0.3)


def test_rows_voxels_and_held_out_runs_are_labelled():
    made = simulate(SPEC)
    assert made.samples.runs == ("task-a_run-1", "task-a_run-2", "task-b_run-1", "task-b_run-2", "task-b_run-3")
    assert made.samples.n == 2000 and made.samples.train.sum() == 1200
    assert made.samples.title_names == ("a", "b")
    assert np.bincount(made.region + 1).tolist() == [2, 6, 6, 8]
    assert made.null.sum() == 8 and not made.null[-2:].any()
    assert (made.responses["02"][:, -2:] == 100).all()
    assert np.isnan(made.truth("01")[frozenset(["story"])][-2:]).all()


def test_the_same_spec_gives_the_same_bytes_and_another_seed_others():
    first, again, other = simulate(SPEC), simulate(SPEC), simulate(replace(SPEC, seed=1))
    assert first.responses["02"].tobytes() == again.responses["02"].tobytes()
    assert first.bands[1].x.tobytes() == again.bands[1].x.tobytes() != other.bands[1].x.tobytes()


@pytest.mark.parametrize("likeness", [1.0, 0.0])
def test_subjects_share_as_much_as_is_said(likeness: float):
    made = simulate(replace(SPEC, likeness=likeness, noise="white"))
    one, two = (response[:, :12] for response in made.responses.values())
    r = np.array([np.corrcoef(one[:, k], two[:, k])[0, 1] for k in range(12)])
    # Only the signal is common, so r is the signal's share of the variance: .4 and .5.
    assert abs(r.mean() - 0.45) < 0.06 if likeness else abs(r.mean()) < 0.25


def test_noise_has_the_autocorrelation_that_is_said():
    made = simulate(replace(SPEC, n_volumes=2000, noise_carry=0.7))
    silent = made.responses["01"][:2000, 12:20].astype(float)
    lagged = [np.corrcoef(silent[1:, k], silent[:-1, k])[0, 1] for k in range(8)]
    np.testing.assert_allclose(lagged, 0.7, atol=0.05)


def test_real_noise_keeps_its_spectrum_and_leaves_out_dead_columns():
    rng = np.random.default_rng(0)
    real = np.cumsum(rng.standard_normal((450, 5)), axis=0)
    real[:, 2] = 3
    made = simulate(replace(SPEC, noise="real"), real_noise=real)
    silent = made.responses["01"][:400, 12:20].astype(float)
    assert all(np.corrcoef(silent[1:, k], silent[:-1, k])[0, 1] > 0.9 for k in range(8))
    with pytest.raises(AnalysisError, match="at least 400 volumes, got nothing"):
        simulate(replace(SPEC, noise="real"))
    with pytest.raises(AnalysisError, match=r"at least 400 volumes, got \(300, 5\)"):
        simulate(replace(SPEC, noise="real"), real_noise=real[:300])
    with pytest.raises(AnalysisError, match="every column"):
        simulate(replace(SPEC, noise="real"), real_noise=np.full((450, 3), 7.1))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"regions": (PlantedRegion(name="x", n_voxels=1, shares={"smell": 0.1}),)},
            "region x names unknown bands smell",
        ),
        ({"regions": (PlantedRegion(name="x", n_voxels=1, shares={"story": 1.0}),)}, "leave no room for noise"),
        ({"titles": {"a": 1}}, r"titles\.a is 1, expected at least 2"),
        ({"noise": "pink"}, "noise is 'pink'"),
        ({"delay_s": 2.5}, "no whole number of volumes"),
        (
            {"correlation": 1.0, "n_volumes": 3},
            "n_volumes is 3, expected at least 8; correlation is 1.0, expected 0 to 0.99",
        ),
    ],
)
def test_a_plan_that_cannot_be_is_refused(changes: dict, said: str):
    with pytest.raises(AnalysisError, match=said):
        replace(SPEC, **changes)
