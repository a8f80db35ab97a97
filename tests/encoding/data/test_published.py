"""The seed's published layout gives the same runs as its converted dataset, and nothing of it is unpickled."""

import json
import re
import shutil
from pathlib import Path

import encoding_published_factory as published
import numpy as np
import pytest
from published_twin import published_tree

from release_kit.bids.annotations.problems import AnnotationError
from release_kit.core.errors import StudyError, UsageError
from release_kit.encoding.data.check import check_dataset
from release_kit.encoding.data.layout import ResponsesSpec, open_dataset
from release_kit.encoding.data.problems import DataError
from release_kit.encoding.data.published import (
    MASK_FILE,
    REFERENCE,
    published_name,
    read_published_recipe,
    response_path,
)
from release_kit.encoding.data.samples import SampleRule, plan_samples

TASKS = ("gis",)
OTHERS = ("breakingbad", "bigbangtheory", "crown", "heroes", "suits", "dreamgirls", "glee", "mentalist")
SPEC = ResponsesSpec(layout="ds005531", leave_out=OTHERS)


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """Return a tiny published dataset and its responses; only to be read."""
    root = tmp_path_factory.mktemp("published")
    return root, published.write_published(root, TASKS)


@pytest.fixture
def own_twin(twin, tmp_path: Path) -> Path:
    """Return a copy of the dataset that may be changed."""
    return Path(shutil.copytree(twin[0], tmp_path / "own"))


def test_names_are_those_of_the_published_tree(tmp_path):
    tree = {file.path for file in published_tree()}
    subjects = [f"S{n:02d}" for n in range(1, 7)]
    recipe = read_published_recipe(tmp_path)
    responses = {response_path(subject, run) for subject in subjects for run in recipe.runs}
    assert responses == {path for path in tree if re.fullmatch(r"derivatives/preprocessed_data/.*_task-.*\.mat", path)}
    for subject in subjects:
        assert f"derivatives/preprocessed_data/sub-{subject}/{MASK_FILE}" in tree
        assert REFERENCE.format(subject=subject) in tree


def test_runs_have_the_names_and_titles_of_the_converted_dataset(tmp_path):
    published.write_published(tmp_path, ("dreamgirls",))
    others = (*(task for task in OTHERS if task != "dreamgirls"), "gis")
    runs = open_dataset(tmp_path, ResponsesSpec(layout="ds005531", leave_out=others)).runs("S01")
    assert [run.name for run in runs] == [f"task-dreamgirls_run-{n:02d}" for n in range(1, 10)]
    assert {run.title for run in runs} == {"dreamgirls"}
    assert runs[5].stim_start_s == runs[4].stim_end_s - 20  # the second session goes on where the first ended
    assert [run.overlap_s for run in runs] == [0, *[20] * 8]


@pytest.mark.parametrize("masked", [False, True], ids=["all voxels", "voxels of the mask"])
def test_responses_are_the_masked_voxels_at_their_place(tmp_path, twin, masked):
    root, values = (tmp_path, published.write_published(tmp_path, TASKS, masked=True)) if masked else twin
    dataset = open_dataset(root, SPEC)
    mask = dataset.mask("S01")
    assert mask.shape == published.SHAPE and np.allclose(mask.affine, published.AFFINE)
    for run, declared in zip(dataset.runs("S01"), published.published_runs(TASKS), strict=True):
        whole = values[f"S01 {published_name(declared)}"]
        assert run.n_volumes == len(whole) == run.duration_s + published.N_AFTER
        assert np.array_equal(dataset.responses("S01", run), whole[:, mask.selected])


def test_without_a_reference_the_shape_is_the_studys_and_no_position_is_stated(own_twin):
    for path in own_twin.glob("derivatives/pycortex_db/**/reference.nii.gz"):
        path.unlink()
    mask = open_dataset(own_twin, SPEC).mask("S01")
    assert mask.shape == (96, 96, 72) and mask.affine is None
    with pytest.raises(DataError, match="dataDT is 60 x"):
        open_dataset(own_twin, SPEC).runs("S01")


def test_volumes_after_the_film_are_no_samples(twin):
    runs = open_dataset(twin[0], SPEC).runs("S01")
    samples = plan_samples(runs, SampleRule())
    assert samples.n == sum(int(run.duration_s) - 20 for run in runs)
    assert samples.title_names == ("gis",)
    assert [samples.runs[samples.run[part.start]] for part in samples.borders if not samples.train[part.start]] == [
        "task-gis_run-04"
    ]


def test_annotations_are_in_the_time_of_the_film_and_repeats_are_there_once(twin):
    rows = open_dataset(twin[0], SPEC).annotations().to_pylist()
    speech = [row for row in rows if row["level"] == "speech" and row["language"] == "en"]
    assert {row["speaker"] for row in speech} == {"Rachel"}
    assert all(row["text"] == f"line {row['onset_s']:g}" for row in speech)
    keys = [(row["stim_id"], row["onset_s"], row["annot_id"]) for row in rows]
    assert len(keys) == len(set(keys))
    assert {row["annotator"] for row in rows if row["level"] == "object"} == {f"A0{n}" for n in range(1, 6)}
    objects = {row["onset_s"] for row in rows if (row["stim_id"], row["annot_id"]) == ("gis1", "objectA03")}
    assert objects == set(range(1510))


def test_levels_that_were_not_fetched_are_missing_and_nothing_else(own_twin):
    for path in own_twin.glob("derivatives/annotation/*"):
        if not path.name.endswith("_story_each1sec.txt"):
            path.unlink()
    dataset = open_dataset(own_twin, SPEC)
    assert set(dataset.annotations()["level"].to_pylist()) == {"story"}
    assert check_dataset(dataset, levels=[("story", "ja")]) == ()
    (problem,) = check_dataset(dataset, levels=[("story", "ja"), ("speech", "en")])
    assert problem.what == "no annotation of level 'speech' in 'en' is here; there are: story (ja)"


def test_every_run_that_cannot_be_read_is_named(own_twin):
    paths = [own_twin / response_path("S01", run) for run in published.published_runs(TASKS)]
    paths[0].write_bytes(paths[0].read_bytes()[:3000])
    published.save_mat(paths[1], dataDT=np.zeros((100, 60), np.float32))
    paths[2].unlink()
    sidecar = own_twin / "sub-S01/func/sub-S01_task-gis_run-04_bold.json"
    sidecar.write_text(json.dumps({"RepetitionTime": 2.0}))
    with pytest.raises(DataError) as caught:
        open_dataset(own_twin, SPEC).runs("S01")
    said = {problem.run: problem.what for problem in caught.value.problems}
    assert "cannot be read as MATLAB 7.3" in said["task-gis_run-01"]
    assert "has 100 volumes of 1 s, the film is shown for 726 s" in said["task-gis_run-02"]
    assert said["task-gis_run-03"].startswith("its responses are missing: derivatives/preprocessed_data/sub-S01/")
    assert said["task-gis_run-04"] == "its TR differs: 2 s in the sidecar, 1 s in the recipe"


def test_an_unreadable_line_of_annotation_is_named(own_twin):
    path = own_twin / "derivatives/annotation/gis_run-02_story_each1sec.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], "no time", *lines[4:]]) + "\n")
    with pytest.raises(AnnotationError, match=r"gis_run-02_story_each1sec\.txt, line 4: does not begin with a time"):
        open_dataset(own_twin, SPEC).annotations()
    (problem,) = check_dataset(open_dataset(own_twin, SPEC), levels=[("story", None)])
    assert "line 4" in problem.what


def test_a_folder_that_is_not_the_dataset_is_refused(tmp_path, twin):
    with pytest.raises(StudyError, match=r"no responses are in derivatives/preprocessed_data/ — name the top folder"):
        open_dataset(tmp_path, SPEC)
    with pytest.raises(UsageError, match=r"no responses of a subject 'S1'.*'S01'"):
        open_dataset(twin[0], SPEC).runs("S1")


def test_an_episode_that_was_not_fetched_is_left_out_by_its_stimulus(twin):
    spec = ResponsesSpec(layout="ds005531", leave_out=(*OTHERS, "gis2"))
    assert [run.name for run in open_dataset(twin[0], spec).runs("S01")] == ["task-gis_run-01", "task-gis_run-02"]
    with pytest.raises(UsageError, match=r"leave_out names no task, run or stimulus: 'gis3'"):
        open_dataset(twin[0], ResponsesSpec(layout="ds005531", leave_out=("gis3",)))
