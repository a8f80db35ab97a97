"""A clone made with plain DataLad redoes the conversion from the record of the version, whole or annotations alone."""

import shutil
from pathlib import Path

import pytest
from bids_factory import make_recordings
from cli_in_process import release_kit
from versioning_factory import AUTHOR, git, writable


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``study`` (recordings and recipe) and ``dataset``, converted from it and saved."""
    folder = tmp_path_factory.mktemp("converted")
    make_recordings(folder / "study")
    for command in (
        ("bids", "convert", folder / "study", folder / "dataset"),
        ("bids", "save", folder / "dataset", "--author", AUTHOR, "--recipe", folder / "study" / "recipe.yaml",
         "--date", "2026-11-22"),
    ):  # fmt: skip
        ran = release_kit(*command)
        assert ran.returncode == 0, ran.stderr
    return folder


@pytest.fixture
def empty_clone(converted: Path, tmp_path: Path) -> Path:
    """A clone made by plain DataLad, without the content of anything that git-annex holds."""
    git(tmp_path, "datalad!", "clone", str(converted / "dataset"), str(tmp_path / "clone"))
    yield tmp_path / "clone"
    writable(tmp_path)


@pytest.fixture
def clone(empty_clone: Path) -> Path:
    """A clone with everything, made by plain DataLad."""
    git(empty_clone, "datalad!", "get", ".")
    return empty_clone


def redone(clone: Path, commit: str) -> list[str]:
    """Run plain ``datalad rerun`` and return what of the tree differs afterwards."""
    git(clone, "datalad!", "rerun", commit)
    assert git(clone, "status", "--short") == ""
    return git(clone, "diff", "--name-only", "1.0.0").splitlines()


@pytest.mark.slow
def test_datalad_rerun_redoes_the_annotations_without_the_recordings(clone: Path):
    commit = git(clone, "log", "--grep=Annotations of 1.0.0", "--format=%H")
    for path in ("stimuli", "derivatives/annotations"):
        shutil.rmtree(clone / path)
    git(clone, "commit", "-qam", "Lost")
    assert redone(clone, commit) == []


@pytest.mark.slow
def test_datalad_rerun_redoes_the_annotations_without_the_content_of_any_image(empty_clone: Path):
    commit = git(empty_clone, "log", "--grep=Annotations of 1.0.0", "--format=%H")
    for path in ("stimuli", "derivatives/annotations"):
        shutil.rmtree(empty_clone / path)
    git(empty_clone, "commit", "-qam", "Lost")
    assert redone(empty_clone, commit) == []
    images = list(empty_clone.rglob("*_bold.nii.gz"))
    assert images and not any(image.exists() for image in images)


@pytest.mark.slow
def test_datalad_rerun_redoes_the_whole_conversion_where_the_recordings_are(
    clone: Path, converted: Path, monkeypatch: pytest.MonkeyPatch
):
    names = converted / "pseudonyms.tsv"
    names.write_text("participant_id\tsource\nsub-01\tAB12\nsub-02\tCD34\n")
    monkeypatch.setenv("RELEASE_KIT_SOURCES", str(converted / "study"))
    monkeypatch.setenv("RELEASE_KIT_PSEUDONYMS", str(names))
    shutil.rmtree(clone / "sub-01")
    git(clone, "commit", "-qam", "Lost")
    assert redone(clone, "1.0.0") == []


@pytest.mark.slow
def test_second_version_takes_what_conversion_wrote_and_refuses_what_it_did_not(converted: Path, tmp_path: Path):
    study, dataset = tmp_path / "study", tmp_path / "dataset"
    shutil.copytree(converted / "study", study, ignore=shutil.ignore_patterns(".release_kit"))
    recipe = study / "recipe.yaml"
    save = ("bids", "save", dataset, "--author", AUTHOR, "--recipe", recipe)
    assert release_kit("bids", "convert", study, dataset).returncode == 0
    assert release_kit(*save).returncode == 0
    story = study / "annotations" / "film_story_A01.csv"
    story.write_text(story.read_text().replace("at 8 s", "at eight s"))
    recipe.write_text(recipe.read_text().replace("version: 1.0.0", "version: 1.1.0"))
    assert release_kit("bids", "convert", study, dataset).returncode == 0
    (dataset / "notes.txt").write_text("mine\n")
    refused = release_kit(*save)
    assert refused.returncode == 1 and "1 change not made by conversion: notes.txt (new)" in refused.stderr
    (dataset / "notes.txt").unlink()
    ran = release_kit(*save)
    assert ran.returncode == 0, ran.stderr
    assert "Annotations: " in (dataset / "CHANGES").read_text().split("1.0.0")[0]
    assert git(dataset, "tag", "--list").split() == ["1.0.0", "1.1.0"]
    writable(tmp_path)
