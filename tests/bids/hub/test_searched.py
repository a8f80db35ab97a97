"""A dataset goes to a Hub only as the bytes that were searched for what may identify a person."""

import json
from pathlib import Path

import pytest
from bids_hub import NAMES, build, publish
from cli_in_process import release_kit
from publish_hub import n_writes
from versioning_factory import AUTHOR, DATE, git, writable

from release_kit.bids.release_study import write_release_study
from release_kit.bids.versioning.identity import Search
from release_kit.bids.versioning.save import save_version
from release_kit.core.errors import IntegrityError, PublishError
from release_kit.hub.server import LocalHub

NOTES = "sub-01/notes.txt"


def test_dataset_that_nobody_searched_is_not_published_with_any_option(dataset: Path, hub: LocalHub, tmp_path: Path):
    made = release_kit("bids", "release", dataset, "--out", tmp_path / "study")
    assert made.returncode == 0 and "publish will refuse it" in made.stdout
    build(tmp_path / "study")
    where = ("--to", "lab", "--endpoint", hub.endpoint)
    for options in ((), ("--despite-errors", "--overwrite", "--replace"), ("--dry-run",)):
        ran = release_kit("publish", tmp_path / "study", *where, *options)
        assert ran.returncode == 1, ran.stdout
        assert "files not searched for what may identify a person" in ran.stdout + ran.stderr
    assert n_writes(hub) == 0


def test_file_that_came_or_changed_after_the_search_is_not_published(study: Path, hub: LocalHub):
    dataset = study.parent / "dataset"
    (dataset / NOTES).write_text("Slept.\n")
    write_release_study(dataset, study, search=NAMES)
    (dataset / NOTES).write_text("AB12 slept.\n")
    build(study)
    with pytest.raises(PublishError, match=rf"1 file not searched .*: {NOTES} — .*bids release .* --recipe"):
        publish(study, hub)
    assert n_writes(hub) == 0
    with pytest.raises(IntegrityError, match=rf"1 place with something identifying: {NOTES}: the word"):
        write_release_study(dataset, study, search=NAMES)
    (dataset / NOTES).write_text("Slept.\n")
    write_release_study(dataset, study, search=NAMES)
    build(study)
    publish(study, hub)


def test_making_the_study_anew_without_names_forgets_the_search(study: Path, hub: LocalHub):
    assert not write_release_study(study.parent / "dataset", study).searched
    with pytest.raises(PublishError, match="not searched"):
        publish(study, hub)


def test_version_that_was_searched_when_it_was_saved_needs_no_names(dataset: Path, hub: LocalHub, tmp_path: Path):
    study = tmp_path / "study"
    save_version(dataset, version="1.0.0", author=AUTHOR, date=DATE, search=NAMES)
    made = release_kit("bids", "release", dataset, "--out", study, "--json")
    assert json.loads(made.stdout)["searched"]
    build(study)
    publish(study, hub)
    (dataset / NOTES).write_text("AB12 slept.\n")
    assert not write_release_study(dataset, study).searched, "the folder is no saved version any more"
    git(dataset, "add", NOTES)
    git(dataset, "commit", "-qm", "By hand")
    assert not write_release_study(dataset, study).searched
    with pytest.raises(IntegrityError, match=NOTES):
        write_release_study(dataset, study, search=NAMES)
    writable(tmp_path)


def test_file_that_no_program_can_look_into_needs_somebody_who_has(dataset: Path, tmp_path: Path):
    (dataset / "sourcedata" / "form.pdf").write_bytes(b"%PDF-1.4 scanned")
    with pytest.raises(IntegrityError, match=r"1 file that cannot be looked into: sourcedata/form\.pdf.*--vouch"):
        write_release_study(dataset, tmp_path / "study", search=NAMES)
    report = write_release_study(dataset, tmp_path / "study", search=Search(words=NAMES.words, vouched=("*.pdf",)))
    assert report.searched
