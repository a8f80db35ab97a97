"""Names and keys follow the BIDS schema, which other readers of it confirm."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.bids import schema
from release_kit.bids.schema import BIDS_VERSION, bids_name, parse_name, sidecar_keys
from release_kit.core.errors import ReleaseKitError, StudyError

NAMES = [
    ({"subject": "01", "task": "x", "run": 1, "suffix": "bold"}, "sub-01/func/sub-01_task-x_run-01_bold.nii.gz"),
    ({"subject": "01", "suffix": "T1w", "run": 2}, "sub-01/anat/sub-01_run-02_T1w.nii.gz"),
    (
        {"subject": "01", "session": "02", "task": "x", "suffix": "events", "extension": ".tsv"},
        "sub-01/ses-02/func/sub-01_ses-02_task-x_events.tsv",
    ),
    (
        {"subject": "01", "session": "a", "suffix": "scans", "extension": ".tsv"},
        "sub-01/ses-a/sub-01_ses-a_scans.tsv",
    ),
    ({"task": "x", "suffix": "bold", "extension": ".json"}, "task-x_bold.json"),
    (
        {"task": "x", "run": 3, "desc": "storyA01", "suffix": "events", "extension": ".tsv"},
        "task-x_run-03_desc-storyA01_events.tsv",
    ),
    (
        {"subject": "01", "description": "mean", "task": "x", "suffix": "bold", "direction": "AP", "run": "7"},
        "sub-01/func/sub-01_task-x_dir-AP_run-7_desc-mean_bold.nii.gz",
    ),
    ({"subject": "01", "dir": "AP", "suffix": "epi"}, "sub-01/fmap/sub-01_dir-AP_epi.nii.gz"),
]  # fmt: skip


@pytest.mark.parametrize(("entities", "path"), NAMES)
def test_entities_stand_in_the_order_and_folder_of_the_schema(entities, path):
    assert bids_name(**entities) == path


LABELS = st.text("abcXYZ0123456789", min_size=1, max_size=6)


@given(LABELS, LABELS, st.integers(0, 120), st.none() | LABELS)
def test_a_name_is_read_back_as_it_was_made(subject, task, run, session):
    path = bids_name(subject=subject, session=session, task=task, run=run, suffix="bold")
    read = parse_name(path)
    assert (read.suffix, read.extension, read.datatype) == ("bold", ".nii.gz", "func")
    assert read.entities.get("ses") == session
    assert bids_name(**read.entities, suffix="bold") == path


@given(LABELS, st.integers(0, 99), st.sampled_from(["bold", "events"]))
def test_pybids_reads_every_name_the_same(task, run, suffix):
    from bids.layout import parse_file_entities

    path = bids_name(subject="01", task=task, run=run, suffix=suffix, extension=".json")
    found = parse_file_entities("/" + path)
    assert (found["subject"], found["task"], int(found["run"]), found["suffix"]) == ("01", task, run, suffix)
    assert found["datatype"] == "func"


@pytest.mark.parametrize(
    ("entities", "words"),
    [
        ({"subject": "01", "suffix": "blod", "task": "x"}, "did you mean 'bold'"),
        ({"subject": "01", "suffix": "bold"}, "needs ['sub', 'task']"),
        ({"subject": "01", "suffix": "bold", "task": "x", "taks": "y"}, "did you mean 'task'"),
        ({"subject": "0-1", "suffix": "T1w"}, "letters and digits"),
        ({"subject": "01", "suffix": "bold", "task": "x", "run": "first"}, "a whole number"),
        ({"subject": "01", "suffix": "T1w", "datatype": "func"}, "in func/"),
        ({"subject": "01", "suffix": "bold", "task": "x", "extension": ".mat"}, "unknown"),
        ({"subject": "", "suffix": "T1w"}, "letters and digits"),
    ],
)
def test_what_the_schema_does_not_know_is_refused(entities, words):
    with pytest.raises(StudyError) as error:
        bids_name(**entities)
    assert words in str(error.value)


def test_every_wrong_entity_is_named_at_once():
    with pytest.raises(StudyError) as error:
        bids_name(subject="0_1", task="a b", suffix="bold", echoe=1)
    assert all(part in str(error.value) for part in ("sub-0_1", "task-a b", "'echo'"))


@pytest.mark.parametrize("path", ["sub-01/func/bold.txt.gz", "sub-01_task_bold.nii.gz", "sub-01/func/README"])
def test_names_without_a_meaning(path):
    if path.endswith("_bold.nii.gz"):
        with pytest.raises(StudyError):
            parse_name(path)
    else:
        assert parse_name(path).entities == {}


def test_keys_have_the_level_of_the_schema():
    keys = sidecar_keys("bold", "func")
    assert keys["TaskName"] == keys["RepetitionTime"] == "required"
    assert keys["DeviceSerialNumber"] == "recommended" and keys["NumberOfVolumesDiscardedByUser"] == "optional"
    assert list(keys.values()) == sorted(keys.values(), key=schema.LEVELS.index)


def test_conditions_of_the_schema_are_judged_by_what_the_sidecar_says():
    assert "SliceTiming" not in sidecar_keys("bold", "func")
    assert sidecar_keys("bold", "func", values={"MRAcquisitionType": "2D"})["SliceTiming"] == "recommended"
    assert "VolumeTiming" not in sidecar_keys("bold", "func", values={"RepetitionTime": 1.0})
    assert "RepetitionTime" not in sidecar_keys("bold", "func", values={"VolumeTiming": [0]})
    assert sidecar_keys("T1w", "anat", entities={"task": "x"})["TaskName"] == "recommended"
    assert "TaskName" not in sidecar_keys("T1w", "anat")


def test_every_condition_of_the_schema_can_be_judged():
    for datatype in sorted(schema._all_datatypes()):
        for suffix in ("bold", "T1w", "events", "pet", "eeg", "physio", "asl", "mask"):
            for values in ({}, {"MTState": True, "SpoilingState": True, "PhysioType": "eyetrack", "LookLocker": True}):
                assert isinstance(sidecar_keys(suffix, datatype, values=values, derivative=True), dict)


def test_a_condition_that_is_not_known_is_refused():
    from bidsschematools.expressions import parse

    from release_kit.bids.schema_conditions import holds

    with pytest.raises(ReleaseKitError, match="sorted"):
        holds(parse("sorted(columns.onset) == columns.onset"), {})


def test_the_version_that_is_written_is_known_to_the_validator(tmp_path):
    from bidsschematools.schema import load_schema

    assert BIDS_VERSION.rpartition(".")[0] == load_schema().bids_version.rpartition(".")[0]
    (tmp_path / "sub-01/anat").mkdir(parents=True)
    (tmp_path / "sub-01/anat/sub-01_T1w.nii.gz").touch()
    for version, expected in ((BIDS_VERSION, 0), (f"v{BIDS_VERSION}", 1)):
        (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": version}))
        command = [Path(sys.executable).with_name("bids-validator-deno"), tmp_path, "--format", "json"]
        ran = subprocess.run(command, capture_output=True, check=False)
        issues = json.loads(ran.stdout)["issues"]["issues"]
        assert sum(issue["code"] == "UNKNOWN_BIDS_VERSION" for issue in issues) == expected


@pytest.mark.parametrize("text", ["", "a-b", "ü", "٣"])
def test_labels_are_ascii_letters_and_digits(text):
    assert bids_name(subject="A01", suffix="T1w", extension=".nii.gz", datatype="anat")
    with pytest.raises(ReleaseKitError, match="sub-"):
        bids_name(subject=text, suffix="T1w", extension=".nii.gz", datatype="anat")
