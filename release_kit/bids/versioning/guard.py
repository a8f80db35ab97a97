"""One save at a time, and what a killed one leaves behind.

A lock under ``.git`` is inherited by every child, so it is free only when the last of them has ended; only then are
lock files of git that a killed child left removed, and only when a mark says that they are of a save.
"""

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from release_kit.bids.versioning.annex import Identity, Repository
from release_kit.core.canonical import canonical_bytes
from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import TEMPORARY_PREFIX, write_atomic, write_error

STATE = "release_kit"
"""Folder under ``.git`` with what is known only here: never cloned, never pushed."""

_MARK = "saving"
INIT_PREFIX = f"{TEMPORARY_PREFIX}git-"
"""Folder in a dataset that becomes its repository."""

_LOCKS = ("*.lock", "refs/**/*.lock", "annex/*.lock", "objects/**/*.lock", "logs/**/*.lock")


@dataclass(frozen=True, kw_only=True)
class Guard:
    """The hold on one dataset."""

    state: Path
    held: int
    """Descriptor of the lock, for children to inherit."""
    taken: Mapping[str, list[int] | None]
    """Path → size and time of the changes that the save before this one began to save."""
    cut: bool
    """A save before this one was cut off: what is staged is its work, not somebody's."""

    def begin(self, folder: Path, paths: Iterable[str]) -> None:
        """Mark that a save of these changes is at work: from here on the index and git's lock files are its own."""
        write_atomic(self.state / _MARK, canonical_bytes({path: _stamp(folder / path) for path in paths}))

    def was_taken(self, folder: Path, path: str) -> bool:
        """Return whether a save that was cut off had begun to save this file, and nobody has changed it since."""
        if not self.cut or path not in self.taken:
            return False
        now = _stamp(folder / path)
        return now == self.taken[path] or (now is not None and (folder / path).is_symlink())

    def done(self) -> None:
        """Take the mark away."""
        (self.state / _MARK).unlink(missing_ok=True)


@contextlib.contextmanager
def guarded(git_folder: Path) -> Iterator[Guard]:
    """Hold a dataset for one save; what a killed save left of git's locks is removed.

    Raises:
        ReleaseKitError: another save, or a child of a killed one, is still at work.
    """
    state = git_folder / STATE
    try:
        state.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise write_error(state, error) from error
    try:
        _lock(descriptor, git_folder)
        cut = (state / _MARK).exists()
        if cut:
            _remove_leftovers(git_folder)
        elif (git_folder / "index.lock").exists():
            step = "wait until it ends; if none runs, remove that file, and run again"
            raise ReleaseKitError(
                "another git command is at work", where=str(git_folder / "index.lock"), next_step=step
            )
        yield Guard(state=state, held=descriptor, cut=cut, taken=_taken(state / _MARK) if cut else {})
    finally:
        os.close(descriptor)


def init_repository(folder: Path, identity: Identity) -> None:
    """Make ``folder`` a git repository in one step: it is none, or it is a whole one that a save is at work in."""
    for left in folder.glob(f"{INIT_PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=INIT_PREFIX, dir=folder))
    try:
        Repository(scratch, identity).git("init", "--quiet", "-b", "main")
        (scratch / ".git" / STATE).mkdir()
        write_atomic(scratch / ".git" / STATE / _MARK, b"{}")
        os.rename(scratch / ".git", folder / ".git")
    except OSError as error:
        raise write_error(folder / ".git", error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _lock(descriptor: int, git_folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        step = "wait until it ends, then run again"
        raise ReleaseKitError("another save is at work here", where=str(git_folder.parent), next_step=step) from error


def _stamp(place: Path) -> list[int] | None:
    """Return size and time of a file, of a link itself; None when nothing is there."""
    try:
        found = place.lstat()
    except FileNotFoundError:
        return None
    return [found.st_size, found.st_mtime_ns]


def _taken(mark: Path) -> dict[str, list[int] | None]:
    try:
        value = json.loads(mark.read_bytes())
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _remove_leftovers(git_folder: Path) -> None:
    for pattern in _LOCKS:
        for path in git_folder.glob(pattern):
            path.unlink(missing_ok=True)
    for folder in (git_folder, git_folder / STATE):
        for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
            path.unlink(missing_ok=True)
