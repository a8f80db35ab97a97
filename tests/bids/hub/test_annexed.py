"""A dataset under git-annex: content goes to the Hub, never a link or a pointer; what is not here is named."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from bids_hub import NAMES, OWN, build, contents, download, publish
from versioning_factory import AUTHOR, DATE, writable

from release_kit.bids.release_study import write_release_study
from release_kit.bids.versioning.annex import environment
from release_kit.bids.versioning.save import save_version
from release_kit.core.errors import ArtifactError, StudyError
from release_kit.core.study import read_study
from release_kit.hub.server import LocalHub
from release_kit.release.check import check_study
from release_kit.release.verify.run import verify_folder

BOLD = "sub-01/func/sub-01_task-film_run-01_bold.nii.gz"


@pytest.fixture
def annexed(dataset: Path, tmp_path: Path) -> Iterator[Path]:
    """The dataset saved as a version."""
    save_version(dataset, version="1.0.0", author=AUTHOR, date=DATE)
    yield dataset
    writable(tmp_path)


def test_content_of_the_annex_is_published_as_files(annexed: Path, hub: LocalHub, tmp_path: Path):
    assert (annexed / BOLD).is_symlink()
    study = tmp_path / "study"
    report = write_release_study(annexed, study, search=NAMES)
    assert report.study.version == "1.0.0"
    build(study)
    publish(study, hub)
    download(hub, tmp_path / "copy")
    got, original = contents(tmp_path / "copy"), contents(annexed)
    left = {path for path in original if path not in got}
    assert left and all(path.startswith(".datalad/") or path.endswith(".gitattributes") for path in left)
    assert {path for path in got if got[path] != original.get(path)} == {"README.md", *OWN}
    assert not (tmp_path / "copy" / BOLD).is_symlink() and verify_folder(tmp_path / "copy").ok


def test_content_that_is_not_here_is_refused_by_name(annexed: Path, tmp_path: Path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(annexed), str(clone)], check=True, env=environment(), capture_output=True)
    with pytest.raises(StudyError, match=r"run-01_bold\.nii\.gz.*get their content first"):
        write_release_study(clone, tmp_path / "of-clone")
    study = tmp_path / "study"
    write_release_study(annexed, study)
    (study / "dataset").unlink()
    (study / "dataset").symlink_to(clone)
    with pytest.raises(ArtifactError, match=r"T1w\.nii\.gz.*git-annex has not got its content here"):
        build(study)
    found = {problem.code for problem in check_study(read_study(study)).problems}
    assert "dataset-file" in found


def test_a_pointer_in_place_of_its_content_is_refused_by_name(dataset: Path, tmp_path: Path):
    study = tmp_path / "study"
    write_release_study(dataset, study)
    path = dataset / BOLD.replace("run-01", "run-02")
    path.write_text("/annex/objects/SHA256E-s100--" + "0" * 64 + ".nii.gz\n")
    with pytest.raises(ArtifactError, match=r"run-02_bold\.nii\.gz' is a pointer to its content"):
        build(study)
