"""Uncommitted changes of a dataset under git, so that conversion never mixes its work with somebody else's.

Asks ``git status`` and nothing more; saving is ``versioning``'s.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Set
from pathlib import Path

from release_kit.bids.convert.decide import N_SHOWN
from release_kit.core.errors import ReleaseKitError, StudyError
from release_kit.core.wording import counted


def uncommitted(out: Path) -> list[str]:
    """Return the files of ``out`` that differ from its last commit and exist, sorted; [] where there is no git.

    Raises:
        ReleaseKitError: git cannot say.
    """
    entries = _git(out, "status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames")
    return sorted(entry[3:] for entry in entries if os.path.lexists(out / entry[3:]))


def committed(out: Path) -> list[str]:
    """Return the files that the last commit of ``out`` holds; [] where there is no git.

    Raises:
        ReleaseKitError: git cannot say.
    """
    return _git(out, "ls-files", "-z")


def _git(out: Path, *words: str) -> list[str]:
    """Return what a git command lists, with zero bytes between; [] where there is no git."""
    if not (out / ".git").exists():
        return []
    # git asks git-annex about files that it holds; in a virtual environment both lie beside the interpreter.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, "PATH": path, "GIT_OPTIONAL_LOCKS": "0"}
    command = ["git", "-c", f"safe.directory={out.resolve()}", *words]
    try:
        ran = subprocess.run(command, cwd=out, env=environment, capture_output=True, check=False)
    except OSError as error:
        raise ReleaseKitError(f"git cannot be run ({error.strerror})", where=str(out)) from error
    if ran.returncode:
        said = ran.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ReleaseKitError(
            f"git cannot tell what is committed: {said[-1] if said else ran.returncode}", where=str(out)
        )
    return [os.fsdecode(entry) for entry in ran.stdout.split(b"\0") if entry]


def refuse_foreign_changes(
    out: Path, changed: list[str], there: Mapping[str, str], ours: Mapping[str, Set[str]]
) -> None:
    """Refuse what is uncommitted and not conversion's own work.

    Args:
        out: the dataset.
        changed: ``uncommitted(out)``.
        there: path → sha256 of what lies there, for the paths that conversion knows.
        ours: path → contents that conversion gave it, or would give it.

    Raises:
        StudyError: the files are named.
    """
    foreign = [path for path in changed if there.get(path) not in ours.get(path, frozenset())]
    if foreign:
        more = f" and {len(foreign) - N_SHOWN} more" if len(foreign) > N_SHOWN else ""
        raise StudyError(
            f"{counted(len(foreign), 'file')} with uncommitted changes that are not conversion's: "
            f"{', '.join(foreign[:N_SHOWN])}{more}",
            where=str(out),
            next_step="nothing was written; save or take back these changes, then run again",
        )
