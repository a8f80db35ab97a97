"""Room for activations on disk, shared by all workers of a study: nobody goes beyond it, nobody waits for the dead.

A cell says how much it will need before it begins (``reserved.json``); a set whose cell nobody works on is removed when
the room is needed.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from release_kit.core import canonical
from release_kit.core.errors import RecordError, ReleaseKitError
from release_kit.core.files import LINGER_S, exclusive, write_atomic
from release_kit.core.wording import counted
from release_kit.sae.activations.shards import DTYPES
from release_kit.sae.errors import ActivationError

RESERVED_FILE = "reserved.json"
LOOK_S = 1.0
_CELL, _ROOM = "cell", "room"


def bytes_needed(n_tokens: int, d_model: int, n_layers: int, dtype: str) -> int:
    """Return what the activations of a model at several layers take on disk."""
    return n_tokens * d_model * n_layers * DTYPES[dtype][1]


def check_fits(needed: int, max_gb: float, *, n_layers: int, where: str) -> None:
    """Refuse what could never fit, and say what would.

    Raises:
        ActivationError: with what to change in the study.
    """
    limit = int(max_gb * 1e9)
    if needed > limit:
        what = f"activations of {counted(n_layers, 'layer')} need {needed / 1e9:,.3f} GB, cache.max_gb is {max_gb:g}"
        more = f"{needed / 1e9 * 1.01:.3g}"
        step = f"raise cache.max_gb to {more}, lower training.tokens, or write cache: {{kind: stream}}"
        raise ActivationError(what, where=where, next_step=step)


@contextlib.contextmanager
def room_for(home: Path, root: Path, needed: int, max_gb: float, wait: Callable[[], None]) -> Iterator[None]:
    """Hold room for the activations of one cell for the block.

    Args:
        home: folder of the cell's sets, below ``root``.
        root: folder of the activations of all cells.
        needed: bytes.
        max_gb: what all cells may take together.
        wait: called before each new look; what it raises ends the waiting.

    Raises:
        ReleaseKitError: another process works on the same cell, or the disk is full.
    """
    with exclusive(home, _CELL, wait_s=LINGER_S):
        while not _reserve(home, root, needed, int(max_gb * 1e9)):
            wait()
        yield


def release(home: Path) -> None:
    """Remove everything of a cell that is done."""
    shutil.rmtree(home, ignore_errors=True)
    with contextlib.suppress(OSError):
        home.parent.rmdir()


def _reserve(home: Path, root: Path, needed: int, limit: int) -> bool:
    """Write down what the cell needs if there is room; cells that nobody works on make room."""
    try:
        with exclusive(root, _ROOM):
            others = {one: _taken(one) for one in _cells(root) if one != home}
            for other, size in list(others.items()):
                if sum(others.values()) + needed <= limit:
                    break
                if size and _abandoned(other):
                    release(other)
                    del others[other]
            if sum(others.values()) + needed > limit:
                return False
            write_atomic(home / RESERVED_FILE, canonical.document_bytes({"bytes": needed}))
            return True
    except ReleaseKitError as error:
        if "at work here" in error.what:
            return False
        raise


def _cells(root: Path) -> list[Path]:
    return sorted(path.parent for path in root.glob(f"*/*/{RESERVED_FILE}"))


def _taken(home: Path) -> int:
    """Return what a cell takes or will take."""
    there = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    try:
        return max(there, int(canonical.read_json(home / RESERVED_FILE)["bytes"]))
    except (RecordError, KeyError, TypeError, ValueError):
        return there


def _abandoned(home: Path) -> bool:
    try:
        with exclusive(home, _CELL):
            return True
    except ReleaseKitError:
        return False
