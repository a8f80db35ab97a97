"""Writing so that an interruption loses nothing, and paths from strangers kept inside their folder.

Every write goes to a temporary file in the target folder and is moved into place. Owns no format.
"""

import contextlib
import fcntl
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from release_kit.core.errors import ReleaseKitError, UnsafePathError

TEMPORARY_PREFIX = ".rk-tmp-"
"""Temporary files start with this, so that listings can leave them out and the next run can remove them."""

STATE_FOLDER = ".release_kit"
"""Local state (journals, remembered digests) beside a study or a download; never part of a release."""
LINGER_S = 10.0
"""How long work that a grid gives to one worker alone waits for the locks of the worker before."""


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> bool:
    """Put ``data`` at ``path`` in one step; a reader sees the old bytes or the new ones, never a part.

    Args:
        path: target file; missing parent folders are made.
        data: the whole content.
        durable: fsync the file before it takes its name.

    Returns:
        False when the file already held exactly these bytes (nothing is written then), else True.

    Raises:
        ReleaseKitError: the disk is full or the folder cannot be written.
    """
    if _holds(path, data):
        return False
    with open_atomic(path, durable=durable) as stream:
        stream.write(data)
    return True


@contextlib.contextmanager
def open_atomic(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Yield a binary stream whose content takes the name ``path`` only when the block ends without an error."""
    temporary = path.parent / f"{TEMPORARY_PREFIX}{path.name[:40]}-{secrets.token_hex(4)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as stream:
            yield stream
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        _remove_quietly(temporary)
        raise write_error(path, error) from error
    except BaseException:
        _remove_quietly(temporary)
        raise


def write_error(path: Path, error: OSError) -> ReleaseKitError:
    """Return the sentence for a failed write: where, why, and what to do."""
    steps = {"No space left on device": "free some space and run the same command again"}
    step = steps.get(error.strerror or "", "make the folder writable and run the same command again")
    return ReleaseKitError(f"cannot be written ({error.strerror or error})", where=str(path), next_step=step)


@contextlib.contextmanager
def exclusive(folder: Path, name: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold ``folder/.release_kit/<name>.lock`` for the block; the lock goes with the process, however it ends.

    Args:
        folder: what is worked on. name: of the work.
        wait_s: how long to wait for another holder. A killed process keeps its locks until the system has cleared it
            away, some moments after whoever killed it went on.

    Raises:
        ReleaseKitError: another process holds it.
    """
    path = folder / STATE_FOLDER / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise write_error(path, error) from error
    try:
        if not _is_locked(descriptor, time.monotonic() + wait_s):
            step = "wait until it ends, then run again"
            raise ReleaseKitError(f"another {name} is at work here", where=str(folder), next_step=step)
        yield
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int, deadline: float) -> bool:
    """Lock a file, and return whether that was possible in time."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)


def sync_folder(folder: Path) -> None:
    """Make the names inside ``folder`` durable (POSIX: a rename is safe only after this)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")
"""Control characters, backslashes, and halves of surrogate pairs, which UTF-8 has no bytes for."""
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
"""What nearly every path looks like; everything else is looked at part by part."""


def safe_relative_path(text: str, *, where: str = "path") -> str:
    """Return ``text`` if it is a plain relative POSIX path that stays inside its folder.

    Raises:
        UnsafePathError: absolute, empty, ``.``/``..`` parts, backslashes, control characters, text that is not valid
            Unicode, a drive letter.
    """
    if len(text) <= 4096 and _PLAIN.fullmatch(text):
        return text
    parts = text.split("/")
    unsafe = (
        not text
        or _FORBIDDEN.search(text)
        or any(part in ("", ".", "..") for part in parts)
        or re.match(r"^[A-Za-z]:", text)
        or len(text.encode()) > 4096
    )
    if unsafe:
        raise UnsafePathError(
            f"the path {text!r} is not a plain relative path",
            where=where,
            next_step="nothing was written; do not trust this source",
        )
    return str(PurePosixPath(text))


def inside(root: Path, relative: str) -> Path:
    """Return ``root / relative`` after checking that neither text nor symlinked parents leave ``root``.

    Raises:
        UnsafePathError: the path would be outside ``root``.
    """
    target = root / safe_relative_path(relative, where=str(root))
    real_root = os.path.realpath(root)
    real_parent = os.path.realpath(target.parent)
    if real_parent != real_root and not real_parent.startswith(real_root + os.sep):
        raise UnsafePathError(f"{relative!r} leaves the folder through a symbolic link", where=str(root))
    return target


def iter_files(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield ``(relative POSIX path, stat)`` of every file under ``root``, sorted, symlinks to files followed.

    Temporary files and the state folder are left out. Symlinked folders are not entered.
    """
    for relative, entry in sorted(_walk(root, ""), key=lambda pair: pair[0]):
        yield relative, entry.stat()


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, os.DirEntry]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(TEMPORARY_PREFIX) or entry.name == STATE_FOLDER:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")
            elif entry.is_file():
                yield f"{prefix}{entry.name}", entry


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False


def _remove_quietly(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
