"""Datasets of strangers: whatever lies in them becomes findings; the checks neither crash nor believe it."""

import json
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from release_kit.bids.validate.report import ValidationReport
from release_kit.bids.validate.run import own_checks, validate_dataset
from release_kit.bids.validate.survey import survey_dataset
from release_kit.core.errors import ReleaseKitError

JSON_FILES = ("dataset_description.json", "participants.json", "task-film_bold.json", "task-film_events.json")
TABLES = (
    "participants.tsv",
    "stimuli/stimuli.tsv",
    "stimuli/annotations.tsv",
    "derivatives/annotations/descriptions.tsv",
)
CONTENTS = [b"", b"\n", b"\xff\xfe\x00", b"a\ta\n1\t2\n", b"onset\tduration\n\n\n1", b"\0" * 400]
EVENTS = "sub-01/func/sub-01_task-film_run-01_events.tsv"
BOLD = "sub-01/func/sub-01_task-film_run-01_bold.nii.gz"


@pytest.mark.parametrize("content", ["[]", "null", "{", '"a"', "1e999", "[" * 100_000, '{"a": {"b": NaN}}', "\ufeff{}"])
@pytest.mark.parametrize("name", JSON_FILES)
def test_any_json_is_survived(dataset, found_in, name, content):
    (dataset / name).write_text(content, encoding="utf-8")
    for one in found_in(dataset):
        assert one.what and one.next_step


def test_pipes_and_sockets_are_refused_by_name_and_never_waited_for(tmp_path, monkeypatch):
    folder = tmp_path / "dataset"
    (folder / "sub-01").mkdir(parents=True)
    os.mkfifo(folder / "sub-01/pipe.tsv")
    os.symlink("/dev/zero", folder / "endless.json")
    with socket.socket(socket.AF_UNIX) as open_socket:
        monkeypatch.chdir(folder)  # the name of a socket may have a hundred letters
        open_socket.bind("door")
        with pytest.raises(ReleaseKitError, match=r"no file: door, endless\.json, sub-01/pipe\.tsv"):
            validate_dataset(folder)


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("name", [*TABLES, EVENTS])
def test_any_table_is_survived(dataset, found_in, name, content):
    (dataset / name).write_bytes(content)
    assert found_in(dataset), "none of these is a table that fits"


@settings(max_examples=60)
@given(data=st.binary(max_size=900), keep=st.integers(0, 700))
def test_any_bytes_in_an_image_are_survived(tmp_path_factory, data, keep):
    folder = tmp_path_factory.mktemp("any")
    path = folder / "sub-01" / "func" / "sub-01_task-a_bold.nii"
    path.parent.mkdir(parents=True)
    path.write_bytes(_HEADER[:keep] + data)
    _, _, found = own_checks(survey_dataset(folder))
    assert {one.code for one in found} & {"image-unreadable", "image-truncated", "events-absent"}


@settings(max_examples=60)
@given(
    name=st.sampled_from(["RepetitionTime", "License", "Authors", "BIDSVersion", "GeneratedBy", "stim_id"]),
    value=st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=6,
    ),
)
def test_any_value_of_a_key_is_survived(tmp_path_factory, name, value):
    folder = tmp_path_factory.mktemp("any")
    for file in JSON_FILES:
        (folder / file).write_text(json.dumps({"Name": "a", name: value}))
    (folder / "participants.tsv").write_text("participant_id\nsub-01\n")
    (folder / "sub-01").mkdir()
    (folder / "sub-01" / "sub-01_task-film_bold.nii").write_bytes(_HEADER)
    own_checks(survey_dataset(folder))


@pytest.mark.parametrize("value", ["Infinity", "1e308", "1" + "0" * 400])
def test_a_repetition_time_that_is_none_leaves_a_report_that_can_be_written(dataset, value):
    (dataset / "task-film_bold.json").write_text(f'{{"TaskName": "film", "RepetitionTime": {value}}}')
    report = validate_dataset(dataset)
    assert "tr-differs" in {one.code for one in report.findings}
    written = json.loads(report.to_bytes())
    assert written["facts"]["recorded_s"] == 80.0, "the header's TR is taken"
    assert report.html()


def test_name_that_is_no_text_is_survived_and_printed(dataset, found_in):
    odd = os.fsencode(dataset / "code") + b"/\xff\xfe \x1b[31m.pkl"
    (dataset / "code").mkdir()
    with open(odd, "wb") as stream:
        stream.write(b"\x80\x04N.")
    found = found_in(dataset, "pickle")
    report = ValidationReport(
        name="odd", facts=_FACTS, verdicts=(), validator_version="0", findings=tuple(found), not_checked=()
    )
    report.html().encode("utf-8")
    report.text(everything=True).encode("utf-8")
    assert "\x1b" not in report.text(everything=True)
    assert json.loads(report.to_bytes()) == report.to_dict()


def test_links_to_folders_and_to_each_other_end_in_findings(dataset, found_in):
    (dataset / "code").mkdir()
    (dataset / "code" / "again").symlink_to("..", target_is_directory=True)
    (dataset / "code" / "self").symlink_to("self")
    assert [one.path for one in found_in(dataset, "link-dangling")] == ["code/again", "code/self"]


def test_large_sidecar_tree_has_one_look_at_each_file(dataset):
    survey = survey_dataset(dataset)
    image = survey.by_path[BOLD]
    first = survey.metadata(survey.parts[0], image)
    Path(dataset / "task-film_bold.json").write_text("{}")
    assert survey.metadata(survey.parts[0], image) == first


def _header() -> bytes:
    import nibabel
    import numpy as np

    return nibabel.Nifti1Image(np.zeros((2, 2, 2, 3), np.int16), np.eye(4)).to_bytes()


_HEADER = _header()
_FACTS = {"n_subjects": 1, "n_runs": 1, "n_runs_of_known_length": 0, "recorded_s": 0, "n_files": 1}
