"""Datasets inside a dataset are judged by themselves and named by their place; our own state is no part of any."""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from release_kit.bids.validate.run import validate_dataset
from release_kit.bids.validate.survey import survey_dataset

BOLD = "sub-01/func/sub-01_task-film_run-01_bold.nii.gz"


def study(folder: Path, dataset: Path, at: str, kind: str | None) -> Path:
    """Move ``dataset`` into a study that keeps its raw data at ``at``."""
    (folder / at).parent.mkdir(parents=True)
    shutil.move(dataset, folder / at)
    described = {
        "Name": "Whole",
        "BIDSVersion": "1.11.1",
        "License": "CC0-1.0",
        "Authors": ["Ada Example", "B Example"],
    }
    described |= {"DatasetType": kind} if kind else {}
    (folder / "dataset_description.json").write_text(json.dumps(described))
    (folder / "README.md").write_text("The whole of a study, whose recordings lie in a dataset of their own. " * 3)
    (folder / "CHANGES").write_text("1.0.0 2026-01-01\n  - First version\n")
    return folder


@pytest.mark.parametrize(("at", "kind"), [("rawdata", "study"), ("sourcedata/raw", "study"), ("rawdata", None)])
def test_raw_data_of_a_study_are_judged_and_named_by_their_place(
    at: str, kind: str | None, dataset: Path, tmp_path: Path
):
    whole = study(tmp_path / "study", dataset, at, kind)
    data = (whole / at / BOLD).read_bytes()
    (whole / at / BOLD).write_bytes(data[: len(data) // 2])
    (whole / at / "participants.tsv").write_text("participant_id\tage\nsub-01\t28\nsub-02\t33\nsub-02\t33\n")
    report = validate_dataset(whole)
    assert [one.dataset for one in report.verdicts] == [".", at, f"{at}/derivatives/annotations"]
    named = {(one.code, one.path, one.dataset) for one in report.findings}
    assert ("participant-twice", f"{at}/participants.tsv", at) in named
    assert {code for code, path, _ in named if path == f"{at}/{BOLD}" and code.islower()}
    assert not report.ok and len(report.runs) == 4
    assert list(report.facts["nested"]) == [at] and report.facts["nested"][at]["n_subjects"] == 2
    assert f"{at}/participants.tsv" in report.text(everything=True) and at in report.html()


def test_a_sound_study_has_no_errors_of_ours_and_says_nothing_twice(dataset: Path, tmp_path: Path):
    (dataset / "notes.bin").write_bytes(b"\x80\x03pickle")
    alone = validate_dataset(dataset)
    report = validate_dataset(study(tmp_path / "study", dataset, "sourcedata/raw", "study"))
    inner = [(one.code, one.what) for one in report.findings if one.path.startswith("sourcedata")]
    assert sorted(inner) == sorted((one.code, one.what) for one in alone.findings)
    assert [one for one in report.findings if not one.path.startswith("sourcedata") and one.severity == "error"] == []


def test_a_dataset_in_sourcedata_is_named_and_searched_but_not_judged(dataset: Path, tmp_path: Path):
    other = shutil.copytree(dataset, tmp_path / "other")
    shutil.copytree(other, dataset / "sourcedata" / "first")
    (dataset / "sourcedata/first/sub-01/func/sub-01_task-film_run-01_bold.json").write_text('{"PatientName": "Ada"}')
    report = validate_dataset(dataset)
    found = {(one.code, one.path) for one in report.findings}
    assert ("nested-not-judged", "sourcedata/first") in found
    assert ("identity-leak", "sourcedata/first/sub-01/func/sub-01_task-film_run-01_bold.json") in found
    assert [one.dataset for one in report.verdicts] == [".", "derivatives/annotations"]


def test_what_a_download_has_set_aside_is_no_part_of_the_dataset(dataset: Path, found_in: Callable):
    before = found_in(dataset, words=["Tanaka"])
    for place in (dataset, dataset / "derivatives/annotations"):
        aside = place / ".release_kit" / "quarantine" / BOLD
        aside.parent.mkdir(parents=True)
        aside.write_bytes(gzip.compress(b"Tanaka")[:-3])
    assert found_in(dataset, words=["Tanaka"]) == before
    assert not any(".release_kit" in entry.path for entry in survey_dataset(dataset).entries)
    hidden = dataset / "sub-01" / ".release_kit" / "notes.txt"
    hidden.parent.mkdir()
    hidden.write_text("Tanaka\n")
    assert [one.path for one in found_in(dataset, "identity-leak", words=["Tanaka"])] == [
        "sub-01/.release_kit/notes.txt"
    ]
