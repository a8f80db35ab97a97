"""The folder of a demo: its own or nobody's. What something else lies in is never touched."""

import shutil
from pathlib import Path

from release_kit.core.errors import UsageError


def claim_folder(folder: Path, mark: str, command: str, *, fresh: bool) -> None:
    """Make ``folder``, or take the one that an earlier demo left.

    Args:
        folder: of the demo.
        mark: name of the file that says that a demo made it.
        command: that makes it, as people type it.
        fresh: throw away what an earlier demo left.

    Raises:
        UsageError: it is a file, or holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError("is a file", where=str(folder), next_step="name another --dir")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / mark).is_file():
        what = f"is not empty, and no {mark} in it says that a demo made it; nothing was touched"
        step = "name another --dir, or remove the folder yourself if nothing in it is needed"
        raise UsageError(what, where=str(folder), next_step=step)
    if fresh and folder.is_dir():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / mark).write_text(f"Made by `{command}`; `--fresh` throws this folder away.\n", "utf-8")
