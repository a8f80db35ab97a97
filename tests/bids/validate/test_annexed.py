"""A real git-annex dataset, cloned with plain commands: judged before, during and after the content is fetched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from release_kit.bids.validate.run import validate_dataset

pytestmark = pytest.mark.slow
BOLD = "sub-01/func/sub-01_task-film_run-01_bold.nii.gz"


@pytest.fixture
def clone(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a fresh clone of the sound dataset, whose images are annexed."""
    bin_folder = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", f"{bin_folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "test@example.org")
    (dataset / ".gitattributes").write_text(
        "* annex.backend=SHA256E annex.largefiles=nothing\n*.nii.gz annex.largefiles=anything\n"
    )
    git(dataset, "init", "-q")
    git(dataset, "annex", "init", "-q", "origin")
    git(dataset, "annex", "add", "-q", ".")
    git(dataset, "commit", "-qm", "Dataset")
    git(tmp_path, "clone", "-q", str(dataset), "clone")
    git(tmp_path / "clone", "annex", "init", "-q", "clone")
    yield tmp_path / "clone"
    for folder in (dataset, tmp_path / "clone"):
        subprocess.run(["chmod", "-R", "u+w", str(folder)], check=True)


def git(folder: Path, *arguments: str) -> None:
    """Run git in a folder."""
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


def test_clone_before_during_and_after_get(clone):
    bare = validate_dataset(clone)
    assert bare.ok and not bare.complete, bare.text()
    assert not bare.verdicts[0].headers_read
    git(clone, "annex", "get", BOLD)
    part = validate_dataset(clone)
    assert part.ok and part.verdicts[0].headers_read
    assert part.facts["n_runs_of_known_length"] == 1
    git(clone, "annex", "get", ".")
    whole = validate_dataset(clone, content=True)
    assert whole.ok and whole.complete, whole.text()
    git(clone, "annex", "unlock", ".")
    git(clone, "annex", "drop", "--force", BOLD)
    pointer = validate_dataset(clone)
    assert pointer.ok and not pointer.complete, pointer.text()
    assert [one.what[:4] for one in pointer.findings if one.code == "content-absent"] == ["1 of"]


def test_run_copied_under_another_label_shows_in_a_clone_without_content(dataset, clone):
    other = BOLD.replace("sub-01", "sub-02")
    git(dataset, "annex", "unlock", other)
    (dataset / other).write_bytes((dataset / BOLD).read_bytes())
    git(dataset, "annex", "add", other)
    git(dataset, "commit", "-qm", "A wrong run")
    git(clone, "pull", "-q")
    report = validate_dataset(clone)
    assert [one.path for one in report.findings if one.code == "content-under-two-labels"] == [BOLD]
