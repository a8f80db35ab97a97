"""``.release_kit/selection.json`` in a download: where it came from and which cells were asked for.

Written before the first byte arrives with ``complete: false`` and once more at the end, so that verify tells an
interrupted download from a damaged one, and a cell that nobody asked for from one that is lost.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import STATE_FOLDER, write_atomic, write_error
from release_kit.core.records import Fields, check_schema_version

SCHEMA_VERSION = 1
SELECTION_FILE = "selection.json"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a download is of. ``Selection.from_dict(s.to_dict()) == s``."""

    endpoint: str
    repo_id: str
    revision: str
    """The revision as the user named it: a tag, a branch or a commit."""
    commit: str
    """The commit of the index repo that ``revision`` meant."""
    manifest_sha256: str
    cells: tuple[str, ...] | None = None
    """Names of the cells that were asked for; None means all of them."""
    complete: bool = False

    def wants(self, cell: str) -> bool:
        """Return whether this cell was asked for."""
        return self.cells is None or cell in self.cells

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, keys as on disk."""
        return {
            "schema_version": SCHEMA_VERSION,
            "endpoint": self.endpoint,
            "repo_id": self.repo_id,
            "revision": self.revision,
            "commit": self.commit,
            "manifest_sha256": self.manifest_sha256,
            "cells": None if self.cells is None else list(self.cells),
            "complete": self.complete,
        }

    @classmethod
    def from_dict(cls, value: Any, where: str = SELECTION_FILE) -> "Selection":
        """Read the JSON form strictly.

        Raises:
            RecordError: wrong shape or unknown key.
        """
        fields = Fields(value, where)
        check_schema_version(fields, (SCHEMA_VERSION,))
        cells = fields.take_list("cells", str, None)
        texts = ("endpoint", "repo_id", "revision", "commit", "manifest_sha256")
        selection = cls(
            **{key: fields.take(key, str) for key in texts},
            cells=None if cells is None else tuple(cells),
            complete=fields.take("complete", bool),
        )
        fields.done()
        return selection


def selection_path(root: Path) -> Path:
    """Return where the selection of the download in the folder ``root`` stands."""
    return root / STATE_FOLDER / SELECTION_FILE


def read_selection(path: Path) -> Selection | None:
    """Return the selection that stands at ``path``, or None when there is none.

    Raises:
        RecordError: it is there and not valid.
    """
    return Selection.from_dict(canonical.read_json(path), str(path)) if path.is_file() else None


def write_selection(path: Path, selection: Selection) -> None:
    """Write a selection."""
    write_atomic(path, canonical.document_bytes(selection.to_dict()))


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Keep ``root`` for this process while files in it change.

    Raises:
        ReleaseKitError: another process works on it, or it cannot be written.
    """
    path = root / STATE_FOLDER / "lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise write_error(path, error) from error
    try:
        _take(descriptor, root)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, root: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ReleaseKitError(
            "another release-kit works on this folder",
            where=str(root),
            next_step="wait until it has finished, then run the same command again",
        ) from error
