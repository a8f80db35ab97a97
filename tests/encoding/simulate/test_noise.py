"""Real recordings at rest are read whole, keep their spectrum as noise, and do not pass for a signal."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from release_kit.encoding.errors import AnalysisError
from release_kit.encoding.simulate.make import simulate
from release_kit.encoding.simulate.noise import read_rest
from release_kit.encoding.simulate.plan import PlantedRegion, SimulationSpec
from release_kit.encoding.simulate.recovery import recover

SPEC = SimulationSpec(
    titles={"a": 3, "b": 3, "c": 3}, n_volumes=300, bands={"speech": 4, "story": 6}, smooth_s=4.0, noise="real",
    regions=(PlantedRegion(name="one", n_voxels=20, shares={"speech": 0.25}),
             PlantedRegion(name="silent", n_voxels=200, shares={})),
)  # fmt: skip


@pytest.fixture(scope="module")
def rest() -> dict[str, np.ndarray]:
    """Recordings that were read, each once."""
    return {}


def recording(name: str, rest: dict[str, np.ndarray], real_package: Callable) -> np.ndarray:
    if name not in rest:
        rest[name] = read_rest(name, real_package(name))
    return rest[name]


def test_recordings_hold_what_their_packages_say(rest: dict, real_package: Callable):
    both = recording("brainspace", rest, real_package)
    assert both.shape == (652, 2 * 10242) and both.dtype == np.float32
    assert (both[:, :10242].std(axis=0) == 0).sum() == 888
    regions = recording("nitime", rest, real_package)
    assert regions.shape == (250, 28) and (regions.std(axis=0) > 0).all()


def test_a_lag_a_run_keeps_voxels_as_alike_as_they_were(rest: dict, real_package: Callable):
    regions = recording("nitime", rest, real_package)
    small = replace(SPEC, n_volumes=250, regions=(PlantedRegion(name="silent", n_voxels=28, shares={}),))
    alike, apart = (simulate(replace(small, noise_lag=lag), real_noise=regions) for lag in ("run", "voxel"))
    was = np.sort(np.corrcoef(regions.T)[np.triu_indices(28, 1)])
    for part in alike.samples.borders:
        found = np.sort(np.corrcoef(alike.responses["01"][part].T)[np.triu_indices(28, 1)])
        np.testing.assert_allclose(found, was, atol=1e-3)
    found = np.corrcoef(apart.responses["01"][:250].T)[np.triu_indices(28, 1)]
    assert np.abs(found).max() < 0.75 < was.max() and np.abs(found).mean() < np.abs(was).mean()


def test_each_voxel_turns_a_recording_by_a_lag_of_its_own_in_each_run(rest: dict, real_package: Callable):
    column = recording("nitime", rest, real_package)[:, :1]
    small = replace(SPEC, n_volumes=250, regions=(PlantedRegion(name="silent", n_voxels=3, shares={}),))
    made = simulate(small, real_noise=column)
    unit = (column[:, 0] - column.mean()) / column.std()
    turned = np.array([np.roll(unit, -lag) for lag in range(250)])
    lags = []
    for part in made.samples.borders:
        distance = np.abs(turned[:, :, None] - made.responses["01"][part][None]).max(axis=1)
        assert (distance.min(axis=0) < 1e-3).all()
        lags += distance.argmin(axis=0).tolist()
    assert len(set(lags)) > 20


@pytest.mark.slow
def test_real_noise_is_called_a_signal_no_more_often_than_the_level_says(rest: dict, real_package: Callable):
    real = recording("brainspace", rest, real_package)
    # 20 of 220 voxels have a signal: FDR .05 needs p below .0045, hence more than 220 permutations.
    found = [
        recover(simulate(replace(SPEC, seed=seed), real_noise=real), "01", permutations=499, bootstrap=0)
        for seed in range(4)
    ]
    assert sum(one.false_p for one in found) <= binom.ppf(0.999, 800, 0.05)
    assert all(one.overlap >= 0.95 for one in found) and np.mean([one.power for one in found]) > 0.8


def test_other_names_and_files_are_refused(real_package: Callable):
    with pytest.raises(AnalysisError, match="'openneuro' holds no recording that is known, expected one of brainspace"):
        read_rest("openneuro")
