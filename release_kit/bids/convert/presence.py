"""What a dataset holds now: the sha256 of each file, remembered, or told by git-annex where it keeps the content.

A file that git-annex holds is named by its key, content here or not: the key is the sha256, and proving it is
``versioning``'s. Owns no decision about what is found.
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from release_kit.bids.versioning.guard import guarded
from release_kit.core.digest_cache import DigestCache, digest_files
from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import TEMPORARY_PREFIX, write_error

_KEY = re.compile(r"annex/objects/(?:.*/)?SHA256E?-s\d+--([0-9a-f]{64})[^/\n]*\n?\Z")
_POINTER_BYTES = 32 * 1024
UNREADABLE = "unreadable"
"""Stands for the digest of something that is no file, or cannot be read."""


@contextlib.contextmanager
def held(out: Path) -> Iterator[None]:
    """Hold the folder of a dataset for one conversion; made when it is missing, and left empty it is removed again.

    Raises:
        ReleaseKitError: another conversion or a save is at work in it, or it cannot be made.
    """
    made = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise write_error(out, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with guarded(out / ".git") if (out / ".git").is_dir() else contextlib.nullcontext():
            yield
    except BlockingIOError as error:
        step = "wait until it ends, then run again"
        raise ReleaseKitError("another conversion is at work here", where=str(out), next_step=step) from error
    finally:
        os.close(descriptor)
        if made:
            with contextlib.suppress(OSError):
                out.rmdir()


def contents(out: Path, paths: Iterable[str], cache: DigestCache | None) -> dict[str, str]:
    """Return path → sha256 of those ``paths`` that exist in ``out``; ``UNREADABLE`` for what is no readable file."""
    found: dict[str, str] = {}
    to_hash: list[str] = []
    for path in paths:
        target = out / path
        if not os.path.lexists(target):
            continue
        if (key := annex_sha256(target)) is not None:
            found[path] = key
        elif target.is_file():
            to_hash.append(path)
        else:
            found[path] = UNREADABLE
    digests = digest_files([out / path for path in to_hash], cache=cache, tensors=False, git=False)
    for path, digest in zip(to_hash, digests, strict=True):
        found[path] = UNREADABLE if isinstance(digest, ReleaseKitError) else digest.sha256
    return found


def annex_sha256(path: Path) -> str | None:
    """Return the sha256 in the annex key behind ``path``, None when git-annex does not hold it under a sha256."""
    if path.is_symlink():
        text = os.readlink(path)
    elif path.is_file() and path.stat().st_size < _POINTER_BYTES:
        with path.open("rb") as stream:
            if stream.read(15) != b"/annex/objects/":
                return None
            text = "/annex/objects/" + stream.read().decode("utf-8", "replace")
    else:
        return None
    key = _KEY.search(text)
    return key.group(1) if key else None


def leftovers(out: Path) -> Iterator[Path]:
    """Yield temporary files that an interrupted conversion left in ``out``; git's own folder is not entered."""
    for folder, folders, files in os.walk(out):
        folders[:] = [name for name in folders if name not in (".git", ".datalad")]
        yield from (Path(folder, name) for name in files if name.startswith(TEMPORARY_PREFIX))
