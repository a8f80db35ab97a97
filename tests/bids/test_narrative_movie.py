"""The shipped recipe of the narrative-movie study names the files that are published, and converts their twin."""

import csv
import gzip
import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest

from release_kit.bids.convert.run import convert
from release_kit.bids.recipe.check import check_recipe
from release_kit.bids.recipe.model import Recipe
from release_kit.bids.recipe.read import anatomy_source, annotation_files, read_recipe, run_source
from release_kit.bids.validate.run import validate_dataset
from release_kit.core.resources import resource_root

RECIPE = resource_root("bids").joinpath("recipes", "narrative-movie", "recipe.yaml")
TREE = Path(__file__).resolve().parents[3] / "shared" / "data" / "ds005531" / "tree.tsv"
FEATURE = re.compile(r"derivatives/feature/(\w+_run-\d+)_story_GPT2medium_jp_layer24_mean\.mat")
MAT_HEADER_BYTES, SECOND_BYTES = 184, 4 * 1024
"""A feature file holds 1,024 float32 values a second behind its header."""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """Return the recipe as it lies beside its sources; the twin's heads have no faces."""
    path = tmp_path / "recipe.yaml"
    text = RECIPE.read_text(encoding="utf-8")
    path.write_text(text.replace('T1w.nii.gz"}', 'T1w.nii.gz", deface: false}'), encoding="utf-8")
    return read_recipe(path, sources=tmp_path / "published")


@pytest.fixture(scope="module")
def published() -> list[dict[str, str]]:
    """Return the rows of the published file tree, or skip where it is not at hand."""
    if not TREE.is_file():
        pytest.skip("the published tree (shared/data/ds005531/tree.tsv) is not on this machine")
    with open(TREE, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def _sources(recipe: Recipe) -> set[str]:
    runs = {run_source(recipe, run, subject) for run in recipe.runs for subject in recipe.subjects}
    heads = {anatomy_source(recipe, image, subject) for image in recipe.anatomy for subject in recipe.subjects}
    texts = {file.path for source in recipe.annotations for file in annotation_files(recipe, source)}
    return {path.relative_to(recipe.root).as_posix() for path in runs | heads | texts}


def test_every_published_recording_and_annotation_is_named_and_nothing_else(recipe: Recipe, published: list[dict]):
    wanted = r"sub-S\d+/(func|anat)/.*\.nii\.gz|derivatives/annotation/.*\.txt"
    assert _sources(recipe) == {row["path"] for row in published if re.fullmatch(wanted, row["path"])}
    assert len(_sources(recipe)) == 258 + 6 + 172


def test_lengths_of_runs_are_those_of_the_published_features(recipe: Recipe, published: list[dict]):
    found = {m[1]: int(row["size_bytes"]) for row in published if (m := FEATURE.fullmatch(row["path"]))}
    lengths = {name: (size - MAT_HEADER_BYTES) / SECOND_BYTES for name, size in found.items()}
    assert {run.name or f"{run.task}_run-{run.run:02d}": run.shows.duration_s for run in recipe.runs} == lengths
    assert sum(lengths.values()) == 31_905


def test_parts_tile_their_episodes_with_twenty_seconds_in_common(recipe: Recipe):
    for stimulus in recipe.stimuli.values():
        shown = [run.shows for run in recipe.runs if run.shows.stimulus == stimulus.label]
        assert shown[0].start_s == 0 and shown[-1].end_s == stimulus.duration_s
        assert all(b.start_s == a.end_s - 20 for a, b in itertools.pairwise(shown))


@pytest.mark.slow
def test_twin_is_checked_converted_and_valid(recipe: Recipe, tmp_path: Path):
    for path, data in _twin(recipe):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    start = time.process_time()
    assert check_recipe(recipe).errors == ()
    checked_s = time.process_time() - start
    report = convert(recipe, tmp_path / "dataset", workers=2)
    assert report.problems == () and len(report.written) > 258
    start = time.process_time()
    assert convert(recipe, tmp_path / "dataset", workers=2).written == ()
    again_s = time.process_time() - start
    verdict = validate_dataset(tmp_path / "dataset")
    assert verdict.ok, verdict.text()
    unexplained = {one.code for one in verdict.findings if one.severity == "warning" and one.explained is None}
    assert unexplained == {"sessions-absent"}, "which runs were recorded together is not published"
    assert checked_s < 5 and again_s < 3


def _twin(recipe: Recipe) -> Iterator[tuple[Path, bytes]]:
    """Yield every source of the recipe: volumes of eight voxels, no two runs alike, and a line for every second."""
    random = np.random.default_rng(0)
    for subject in recipe.subjects:
        for run in recipe.runs:
            volumes = random.integers(0, 900, (2, 2, 2, int(run.shows.duration_s)), dtype=np.int16)
            yield run_source(recipe, run, subject), _nifti(volumes, run.tr_s)
        for image in recipe.anatomy:
            yield (
                anatomy_source(recipe, image, subject),
                _nifti(random.integers(0, 900, (4, 4, 4), dtype=np.int16), None),
            )
    for source in recipe.annotations:
        for file in annotation_files(recipe, source):
            seconds = range(int(file.run.shows.duration_s))
            where = int(file.run.shows.start_s)
            speech = source.level == "speech"
            parts = (
                f"メイン#Ann:line {{s}} in {source.language}"
                if speech
                else "/".join(f"{source.level} {i} at {{s}}" for i in range(1, 6))
            )
            lines = [f"[{second}] {parts.format(s=where + second)}\n" for second in seconds]
            yield file.path, "".join(lines).encode()


def _nifti(data: np.ndarray, tr_s: float | None) -> bytes:
    image = nibabel.Nifti1Image(data, np.diag((2.0, 2.0, 2.0, 1.0)))
    image.header.set_zooms((2.0, 2.0, 2.0, tr_s) if tr_s else (2.0, 2.0, 2.0))
    image.header.set_xyzt_units("mm", "sec" if tr_s else None)
    return gzip.compress(image.to_bytes(), mtime=0)
