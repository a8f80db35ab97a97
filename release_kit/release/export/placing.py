"""A folder that appears all at once: files hard-linked (or copied) into it, then given its name in one step."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from release_kit.core.errors import UsageError
from release_kit.core.files import TEMPORARY_PREFIX, write_error

_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES}
"""Another file system, or one without hard links: the file is copied then."""


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder that takes the name ``target`` when the block ends without an error.

    Raises:
        UsageError: ``target`` exists and holds something.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError("is already there and not empty", where=str(target), next_step="name a new folder")
    temporary = target.parent / f"{TEMPORARY_PREFIX}{target.name}-{os.getpid()}"
    try:
        temporary.mkdir(parents=True)
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise write_error(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def place_file(source: Path, target: Path, *, link: bool) -> bool:
    """Put the content of ``source`` at ``target``.

    Args:
        source: the file; symbolic links are followed.
        target: a new name.
        link: make a hard link where the file system can.

    Returns:
        True when it is a hard link, False when it is a copy.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        try:
            os.link(os.path.realpath(source), target)
            return True
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
    shutil.copyfile(source, target)
    return False
