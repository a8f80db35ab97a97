"""A simulated study that can be analysed like a measured one: dataset, word vectors, regions and ``encoding.yaml``.

Owns what ``release-kit encoding simulate`` plants and the files of its folder. It is written beside its place and moved
there when it is whole.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from release_kit.core.errors import UsageError
from release_kit.core.files import TEMPORARY_PREFIX, write_atomic
from release_kit.encoding.simulate.dataset import RESPONSES, word_vectors, write_dataset
from release_kit.encoding.simulate.make import Simulated, simulate
from release_kit.encoding.simulate.noise import read_rest
from release_kit.encoding.simulate.plan import PlantedRegion, SimulationSpec

PLANTED = (
    PlantedRegion(name="auditory", n_voxels=20, shares={"speech": 0.2}),
    PlantedRegion(name="precuneus", n_voxels=20, shares={"story": 0.2}),
    PlantedRegion(name="angular", n_voxels=20, shares={"speech": 0.12, "story": 0.12}),
    PlantedRegion(name="silent", n_voxels=140, shares={}),
)
BANDS = {"speech": 4, "story": 6}
TITLES = {"heist": 3, "tower": 3, "voyage": 3}
REST = "brainspace"
MOST_VOLUMES = 652
"""Volumes of the recording at rest."""

Say = Callable[[str], None]


def study_spec(*, seed: int, noise: str, n_subjects: int, n_volumes: int, correlation: float) -> SimulationSpec:
    """Return what a study plants: two correlated levels in three regions of 20 voxels, noise alone in 140 voxels.

    Args:
        seed: of everything.
        noise: ``white``, ``ar1`` (coefficient .5) or ``real``.
        n_subjects: who see the same three films of three runs.
        n_volumes: of a run, one a second.
        correlation: of the levels' features, see ``SimulationSpec``.

    Raises:
        AnalysisError: a number that cannot be.
    """
    return SimulationSpec(
        titles=TITLES,
        n_volumes=n_volumes,
        bands=BANDS,
        regions=PLANTED,
        correlation=correlation,
        smooth_s=4.0,
        noise=noise,
        n_subjects=n_subjects,
        likeness=0.8,
        seed=seed,
    )


def write_study(spec: SimulationSpec, folder: Path, say: Say = lambda text: None) -> Path:
    """Simulate a study and write it with the ``encoding.yaml`` that analyses it; the same spec gives the same bytes.

    Args:
        spec: what is planted; a second is a volume.
        folder: must be empty or not there; nothing is left in it when writing fails.
        say: told what is done.

    Returns:
        The ``encoding.yaml``.

    Raises:
        UsageError: the folder holds something.
        ReleaseKitError: a recording at rest that is not to be had.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        step = "name another folder, or remove it yourself if nothing in it is needed"
        raise UsageError("is there and not empty; nothing was touched", where=str(folder), next_step=step)
    rest = None
    if spec.noise == "real":
        say(f"a recording at rest, out of the package {REST}")
        rest = read_rest(REST)
    say(f"responses of {spec.n_subjects} subjects, {len(spec.titles)} films")
    made = simulate(spec, real_noise=rest)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=folder.parent) as scratch:
        whole = Path(scratch) / "study"
        say("files")
        _write_files(made, whole)
        if folder.exists():
            folder.rmdir()
        os.replace(whole, folder)
    return folder / "encoding.yaml"


def _write_files(made: Simulated, folder: Path) -> None:
    write_dataset(made, folder / "dataset")
    for band in made.spec.bands:
        write_atomic(folder / f"vectors/{band}.txt", word_vectors(made, band), durable=False)
    names = [region.name for region in made.spec.regions]
    lines = "".join(f"{voxel}\t{names[place]}\n" for voxel, place in enumerate(made.region) if place >= 0)
    write_atomic(folder / "regions.tsv", f"voxel\tregion\n{lines}".encode())
    write_atomic(folder / "encoding.yaml", _analysis(made.spec).encode())


def _analysis(spec: SimulationSpec) -> str:
    """Return the ``encoding.yaml``: word vectors that are the planted features, at the planted delay and around it."""
    features = "".join(
        f"  {band}: {{level: {band}, kind: static, model: vectors/{band}.txt, language: en}}\n" for band in spec.bands
    )
    delays = ", ".join(f"{spec.delay_s + step:g}" for step in (-1, 0, 1))
    return (
        "# A simulated study: what was planted lies in dataset/derivatives/truth.\n"
        "schema_version: 1\n"
        "name: planted-truth\n"
        "description: Levels of made-up films that responses are known to follow.\n"
        f"dataset: {{path: dataset, derivative: {RESPONSES}}}\n"
        "clean: {detrend: none}\n"
        f"delays: {{seconds: [{delays}]}}\n"
        f"features:\n{features}"
        "ridge: {alphas: {from: 0, to: 5, n: 11}}\n"
        f"bands: {{levels: {{features: [{', '.join(spec.bands)}], n_iter: 5}}}}\n"
        "statistics: {permutations: 999, bootstrap: 500}\n"
        "regions: regions.tsv\n"
        "mode: both\n"
        f"seed: {spec.seed}\n"
    )
