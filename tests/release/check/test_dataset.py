"""A study that releases a dataset: its record, its files, and numbers that were taken from other bytes."""

import json
from pathlib import Path

import pytest

from release_kit.bids.release_study import write_release_study
from release_kit.core.study import read_study
from release_kit.release.check import check_study


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of a dataset of one subject."""
    (tmp_path / "data" / "sub-01").mkdir(parents=True)
    (tmp_path / "data" / "dataset_description.json").write_text(json.dumps({"Name": "Heads", "License": "CC0-1.0"}))
    (tmp_path / "data" / "README.md").write_text("# Heads\n")
    (tmp_path / "data" / "sub-01" / "sub-01_scans.tsv").write_text("filename\n")
    write_release_study(tmp_path / "data", tmp_path / "study", version="1.0.0")
    return tmp_path / "study"


def codes(study: Path) -> list[str]:
    return [problem.code for problem in check_study(read_study(study)).problems]


def test_nothing_is_wrong_with_a_fresh_study(study: Path):
    assert codes(study) == []


def test_a_record_that_is_gone_or_contradicts_the_parts_is_named(study: Path):
    path = study / "dataset.json"
    value = json.loads(path.read_text())
    path.write_text(json.dumps(value | {"shared": [*value["shared"], "sub-01/sub-01_scans.tsv"]}))
    assert codes(study) == ["dataset-broken"]
    path.unlink()
    assert codes(study) == ["dataset-broken"]


def test_a_file_that_is_gone_is_named(study: Path):
    (study / "dataset" / "sub-01" / "sub-01_scans.tsv").unlink()
    assert "dataset-file" in codes(study)


def test_a_page_that_changed_is_named(study: Path):
    (study / "dataset" / "README.md").write_text("# Other heads\n")
    assert codes(study) == ["dataset-outdated"]
