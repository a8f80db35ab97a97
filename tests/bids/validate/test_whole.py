"""The whole validation with the real reference validator: verdicts, gaps, crashes, the report and the command."""

import json
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import bids_factory
import numpy as np
import pytest
from bids_changes import edit
from cli_in_process import release_kit

from release_kit.bids.validate.reference import parse_answer
from release_kit.bids.validate.run import validate_dataset

BOLD = "sub-01/func/sub-01_task-film_run-01_bold.nii.gz"
DERIVATIVE = "derivatives/annotations"


def test_sound_dataset_has_no_error_and_everything_was_looked_at(dataset):
    report = validate_dataset(dataset)
    assert report.ok and report.complete, report.text(everything=True)
    assert [(v.dataset, v.said, v.headers_read) for v in report.verdicts] == [
        (".", "no errors", True),
        (DERIVATIVE, "no errors", True),
    ]
    assert report.facts["n_runs"] == 4
    assert report.facts["recorded_s"] == 80


@pytest.mark.slow
def test_same_dataset_elsewhere_gives_the_same_report(dataset, tmp_path):
    moved = tmp_path / "elsewhere" / "copy"
    shutil.copytree(dataset, moved)
    one, other = validate_dataset(dataset), validate_dataset(moved)
    assert one.to_dict() == other.to_dict()
    assert one.html() == other.html()
    assert str(tmp_path) not in json.dumps(one.to_dict()) + one.html() + one.text()


def test_every_row_of_a_table_is_checked_and_each_derivative_by_itself(dataset):
    rows = "".join(f"{row}\t0\n" for row in range(1600)).replace("1500\t0", "1500\tlong")
    for folder, name in ((".", "sub-01/func/sub-01_task-film_run-01"), (DERIVATIVE, "task-film_run-01_desc-storyA01")):
        (dataset / folder / f"{name}_events.tsv").write_text("onset\tduration\n" + rows)
    report = validate_dataset(dataset)
    errors = {(one.dataset, one.row) for one in report.findings if one.code.startswith("TSV_VALUE_INCORRECT_TYPE")}
    assert errors == {(".", 1501), (DERIVATIVE, 1501)}
    assert [verdict.said for verdict in report.verdicts] == ["errors", "errors"]


def test_validator_without_a_verdict_is_an_error(dataset, monkeypatch):
    monkeypatch.setenv("BIDS_SCHEMA", "file:///no/such/schema.json")
    report = validate_dataset(dataset)
    crashed = [one for one in report.findings if one.code == "reference-crashed"]
    assert [one.dataset for one in crashed] == [".", DERIVATIVE]
    assert not report.ok
    assert "exit code" in crashed[0].what
    assert report.verdicts[0].said == "no verdict"


def test_answer_that_is_cut_off_is_no_verdict():
    with pytest.raises(ValueError):
        parse_answer(b'{"issues": {"issues": [', 0, dataset=".", headers=True)


def test_errors_without_their_exit_code_are_no_verdict():
    answer = {
        "issues": {"issues": [{"code": "X", "severity": "error", "location": "/a"}], "codeMessages": {}},
        "summary": {"totalFiles": 1},
    }
    with pytest.raises(ValueError, match="contradicts"):
        parse_answer(json.dumps(answer).encode(), 0, dataset=".", headers=True)


def test_clone_without_content_is_judged_by_what_is_there(dataset):
    for path in list(dataset.rglob("*.nii.gz")):
        _drop(path)
    report = validate_dataset(dataset)
    assert report.ok and not report.complete
    assert [verdict.headers_read for verdict in report.verdicts] == [False, True]
    gaps = {one.what: one.n for one in report.not_checked}
    assert gaps["headers of images against their sidecars (by the reference validator)"] == 4
    assert not report.passed(strict=True)


def test_part_of_the_content_is_checked_and_the_rest_set_aside(dataset):
    """Headers that are here are read although others are not, and the others give no error."""
    _drop(dataset / BOLD)
    other = dataset / BOLD.replace("sub-01", "sub-02")
    bids_factory.write_nifti(other, np.ones((4, 4, 3, 20)), tr_s=3.0)
    report = validate_dataset(dataset)
    errors = {(one.code, one.path) for one in report.findings if one.severity == "error" and one.source == "reference"}
    assert errors == {("REPETITION_TIME_MISMATCH", str(other.relative_to(dataset)))}
    gaps = {one.what: one.examples for one in report.not_checked}
    assert gaps["content of files that are not here (by the reference validator)"] == (BOLD,)


def test_keys_of_an_absent_sidecar_are_not_held_against_the_dataset(dataset):
    _drop(dataset / "task-film_bold.json", up="")
    report = validate_dataset(dataset)
    assert report.ok, report.text(everything=True)
    assert {one.what: one.n for one in report.not_checked}["keys of sidecars that are not here"] == 4


@pytest.mark.slow
def test_page_escapes_what_the_dataset_says(dataset):
    edit(dataset / "dataset_description.json", "Twenty seconds", "<script>alert(1)</script>")
    page = validate_dataset(dataset).html()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("https://bids-specification", ""), "the page needs nothing from outside"


def test_command_tells_where_and_ends_with_one(dataset, tmp_path):
    edit(dataset / "participants.tsv", "sub-02\t33\n", "")
    page, report = tmp_path / "report.html", tmp_path / "report.json"
    ran = release_kit("bids", "validate", dataset, "--html", page, "--report", report)
    assert ran.returncode == 1
    assert "error    participant-unlisted (1)" in ran.stdout
    assert ran.stdout.splitlines()[-1].startswith("not valid: 2 errors")
    assert json.loads(report.read_text())["counts"]["error"] == 2
    assert "participant-unlisted" in page.read_text()


def test_command_with_json_is_one_object(dataset):
    ran = release_kit("bids", "validate", dataset, "--json")
    value = json.loads(ran.stdout)
    assert (ran.returncode, value["ok"], value["complete"]) == (0, True, True)
    assert {one["severity"] for one in value["findings"]} <= {"warning", "note"}


def test_strict_fails_on_what_nothing_explains(dataset):
    ran = release_kit("bids", "validate", dataset, "--strict", "--json")
    value = json.loads(ran.stdout)
    assert value["n_unexplained_warnings"] > 0
    assert (ran.returncode, value["ok"]) == (1, False)


def test_explain_needs_no_dataset():
    ran = release_kit("bids", "validate", "--explain", "content-under-two-labels")
    assert ran.returncode == 0
    assert "Next step:" in ran.stdout
    assert release_kit("bids", "validate", "--explain", "no-such-code").returncode == 2
    assert release_kit("bids", "validate").returncode == 2


def test_folder_that_is_not_there_is_said_in_one_line(tmp_path):
    ran = release_kit("bids", "validate", tmp_path / "nowhere")
    assert ran.returncode == 1
    assert "is not a folder" in ran.stderr


@pytest.mark.slow
def test_validation_writes_nothing_into_the_dataset(dataset):
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(dataset.rglob("*"))}
    validate_dataset(dataset)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(dataset.rglob("*"))} == before


def test_rules_are_loaded_without_what_only_images_need():
    code = "import sys, release_kit.cli.bids_validate\nprint([n for n in ('nibabel', 'numpy') if n in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def _drop(path: Path, up: str = "../../") -> None:
    path.unlink()
    key = f"SHA256E-s99--{zlib.crc32(str(path).encode())}"
    path.symlink_to(f"{up}.git/annex/objects/aa/bb/{key}/{key}")
