"""What git-annex leaves where content is not on this machine: pointer files in place of unlocked ones.

Links into its objects are told by their target, which each caller judges in its own way.
"""

from pathlib import Path

_POINTER = b"/annex/objects/"
_MOST_BYTES = 32 * 1024
"""git-annex takes no larger file for a pointer."""


def pointer_key(file: Path | str) -> str | None:
    """Return the key that a pointer file stands for; None for every other file.

    Raises:
        OSError: the file cannot be read.
    """
    with open(file, "rb") as stream:
        if stream.read(len(_POINTER)) != _POINTER:
            return None
        rest = stream.read(_MOST_BYTES)
    if len(_POINTER) + len(rest) > _MOST_BYTES:
        return None
    return rest.partition(b"\n")[0].strip().rpartition(b"/")[2].decode(errors="replace") or None
