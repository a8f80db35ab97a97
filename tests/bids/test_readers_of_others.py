"""Readers that are not ours find everything in a converted dataset: subjects, runs, events, sidecar values, spans.

pybids and bids2table walk the dataset with their own rules; nibabel, pyarrow and csv read the files.
"""

import csv
import json
import warnings
from pathlib import Path

import bids_factory
import nibabel
import numpy as np
import pyarrow.parquet as pq
import pytest

from release_kit.bids.convert.run import convert
from release_kit.bids.recipe.read import read_recipe

SUBJECTS, RUNS = ("01", "02"), (1, 2)
SOURCES = {"01": "AB12", "02": "CD34"}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the recordings and the recipe of two subjects with two runs each."""
    folder = tmp_path_factory.mktemp("study")
    bids_factory.make_recordings(folder)
    return folder


@pytest.fixture(scope="module")
def converted(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convert the study."""
    out = tmp_path_factory.mktemp("out") / "dataset"
    report = convert(read_recipe(study / "recipe.yaml"), out)
    assert not report.problems
    return out


@pytest.fixture(scope="module")
def layout(converted: Path):
    """Return pybids' view of the dataset and of its derivative, without its index on disk."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from bids import BIDSLayout

        return BIDSLayout(converted, derivatives=[converted / "derivatives" / "annotations"])


@pytest.fixture(scope="module")
def table(converted: Path) -> list[dict]:
    """Return bids2table's rows of the dataset."""
    import bids2table

    return bids2table.index_dataset(converted).to_pylist()


def test_pybids_finds_every_subject_task_and_run(layout):
    assert layout.get_subjects() == list(SUBJECTS)
    assert layout.get_tasks() == ["film"]
    assert layout.get_runs() == list(RUNS)
    bold = layout.get(scope="raw", suffix="bold", extension=".nii.gz")
    assert {(one.entities["subject"], int(one.entities["run"])) for one in bold} == {
        (subject, run) for subject in SUBJECTS for run in RUNS
    }
    assert len(layout.get(scope="raw", suffix="T1w", extension=".nii.gz")) == 2


def test_pybids_finds_events_of_every_run_with_their_stimulus_position(layout):
    for one in layout.get(scope="raw", suffix="bold", extension=".nii.gz"):
        entities = {key: one.entities[key] for key in ("subject", "task", "run")}
        (events,) = layout.get(scope="raw", suffix="events", extension=".tsv", **entities)
        frame = events.get_df()
        assert {"onset", "duration", "stim_id", "stim_start", "stim_end"} <= set(frame.columns)
        shown = frame[frame["duration"] == 20].iloc[0]
        assert shown["stim_id"] == "stim-film"
        assert shown["stim_start"] == (0 if entities["run"] == 1 else 16)


def test_pybids_inherits_every_value_of_the_sidecars(layout, converted):
    for one in layout.get(scope="raw", suffix="bold", extension=".nii.gz"):
        values = one.get_metadata()
        assert values["RepetitionTime"] == bids_factory.TR_S
        assert values["TaskName"] == "A film"
        own = json.loads(Path(str(one.path).replace(".nii.gz", ".json")).read_text(encoding="utf-8"))
        assert own.items() <= values.items()
    described = layout.get(scope="raw", suffix="events", extension=".tsv")[0].get_metadata()
    assert described["stim_start"]["Units"] == "s"


def test_pybids_finds_the_annotations_of_each_run(layout):
    found = layout.get(scope="derivatives", suffix="events", extension=".tsv")
    labels = {(one.entities["desc"], int(one.entities["run"])) for one in found}
    assert labels == {(name, run) for name in ("storyA01", "storyA02", "objectA01") for run in RUNS}


def test_bids2table_finds_every_image_events_table_and_sidecar(table):
    def found(suffix: str, ext: str) -> set[tuple]:
        return {(row["sub"], row["run"]) for row in table if (row["suffix"], row["ext"]) == (suffix, ext)}

    runs = {(subject, run) for subject in SUBJECTS for run in RUNS}
    assert {(sub, int(run)) for sub, run in found("bold", ".nii.gz")} == runs
    assert {(sub, int(run)) for sub, run in found("events", ".tsv")} == runs
    assert {sub for sub, _ in found("T1w", ".nii.gz")} == set(SUBJECTS)


def test_bids2table_inherits_every_value_of_the_sidecars(table, converted):
    import bids2table

    for row in table:
        if (row["suffix"], row["ext"]) == ("bold", ".nii.gz"):
            values = bids2table.load_bids_metadata(converted / row["path"])
            assert values["RepetitionTime"] == bids_factory.TR_S
            assert values["TaskName"] == "A film"


def test_voxels_are_those_of_the_recordings(study, converted):
    for subject, source in SOURCES.items():
        for run in RUNS:
            recorded = nibabel.load(study / source / f"film_run{run}.nii.gz")
            path = converted / f"sub-{subject}" / "func" / f"sub-{subject}_task-film_run-{run:02d}_bold.nii.gz"
            image = nibabel.load(path)
            assert np.array_equal(np.asanyarray(image.dataobj), np.asanyarray(recorded.dataobj))
            assert np.array_equal(image.affine, recorded.affine)
            assert image.header.get_zooms() == recorded.header.get_zooms()


def test_participants_are_those_of_the_recipe(converted):
    with open(converted / "participants.tsv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert [(row["participant_id"], row["age"], row["sex"]) for row in rows] == [
        ("sub-01", "28", "F"),
        ("sub-02", "33", "M"),
    ]
    assert set(rows[0]) - {"participant_id"} <= set(json.loads((converted / "participants.json").read_text()))


def test_arrow_reads_every_annotation_of_a_level(converted):
    story = pq.read_table(converted / "stimuli" / "annotations" / "story.parquet").to_pylist()
    assert {row["annotator"] for row in story} == {"A01", "A02"}
    assert [row["text"] for row in story if row["annotator"] == "A01"] == [
        f"story_A01 at {second} s" for second in range(0, 36, 4)
    ]
