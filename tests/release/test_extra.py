"""Files that a study publishes beside its cells: taken along as they are, seen when they change, never in the way."""

import pytest
from cli_in_process import release_kit
from study_factory import make_study

from release_kit.core.errors import ArtifactError
from release_kit.release.build import build_release


@pytest.fixture
def study(tmp_path):
    """Return a small study with a page and a table beside its cells."""
    made = make_study(tmp_path / "study", datasets=("alpaca",), methods=("lora",), seeds=(0,))
    for name, text in {"browser/index.html": "<p>look</p>", "browser/data.js": "1", "index.json": "{}"}.items():
        path = made.folder / "extra" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return made


def test_they_are_in_the_manifest_and_on_the_card_and_stay_the_same(study):
    report = build_release(study)
    listed = {entry.path for entry in report.manifest.index}
    assert {"browser/index.html", "browser/data.js", "index.json"} <= listed
    card = (study.folder / "release" / "index" / "README.md").read_text()
    assert "[browser/index.html](browser/index.html) | 2 | 12 |" in card
    assert "[index.json](index.json) | 1 | 2 |" in card
    assert build_release(study).written == ()


def test_a_file_that_changed_since_the_build_is_reported_and_a_removed_one_goes(study):
    build_release(study)
    (study.folder / "extra" / "index.json").write_text('{"a": 1}')
    done = release_kit("check", study.folder)
    assert "release-stale" in done.stdout and "index.json" in done.stdout
    (study.folder / "extra" / "index.json").unlink()
    assert "release/index/index.json" in build_release(study).removed


@pytest.mark.parametrize("name", ["README.md", "manifest.json", "placement.json", "cells/a", "figures/a.svg"])
def test_names_of_the_release_itself_are_refused(study, name):
    path = study.folder / "extra" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    with pytest.raises(ArtifactError, match="is the name of a file of the release itself"):
        build_release(study)


def test_links_that_leave_the_study_are_refused(study, tmp_path):
    (tmp_path / "secret").write_text("no")
    (study.folder / "extra" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ArtifactError, match="leaves the study"):
        build_release(study)
