"""What an export speaks of: the files of a release that lie on this disk, and what its own cards say of it.

Digests come from the manifest; nothing is hashed again. A file that is not there, or has another size than the
manifest says, stops an export before it writes anything. The formats themselves are the other files of this folder.
"""

import datetime
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from release_kit.core.dataset_tree import local_path, own_file
from release_kit.core.errors import IntegrityError, RecordError, UsageError
from release_kit.core.manifest import MANIFEST_FILE, CellEntry, Manifest
from release_kit.release.tree import ReleaseTree, open_tree

INDEX_CARD = "index/README.md"
RESULTS_CARD = "results/README.md"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportFile:
    """One file of a release: its path in the release tree, where it lies, and what the manifest says of it."""

    tree_path: str
    place: str
    """Its path in an exported folder: that of the release tree, or in a dataset its own."""
    path: Path
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Contents:
    """A release as it lies on this disk."""

    tree: ReleaseTree
    files: tuple[ExportFile, ...]
    """Files of the manifest in its order, then ``manifest.json`` itself."""
    left_out: tuple[str, ...]
    """Cells of the manifest of which nothing was downloaded."""

    @property
    def manifest(self) -> Manifest:
        """The manifest of the release."""
        return self.tree.manifest

    @property
    def cells(self) -> tuple[CellEntry, ...]:
        """The cells that lie here."""
        return tuple(cell for cell in self.manifest.cells if cell.name not in self.left_out)

    def file(self, tree_path: str) -> ExportFile | None:
        """Return the file at ``tree_path``, or None."""
        return next((file for file in self.files if file.tree_path == tree_path), None)


def read_contents(path: Path) -> Contents:
    """Open a built study or a download for an export.

    Raises:
        IntegrityError: files of the release are missing or have another size; all are counted, some are named.
        ReleaseKitError: there is no release at ``path``.
    """
    tree = open_tree(path)
    left_out = tuple(_absent_cells(tree)) if tree.kind == "download" else ()
    prefixes = tuple(f"cells/{name}/" for name in left_out)
    files = [
        ExportFile(
            tree_path=tree_path,
            place=local_path(tree_path, dataset=tree.manifest.is_dataset),
            path=tree.locate(tree_path),
            size_bytes=entry.size_bytes,
            sha256=entry.sha256,
        )
        for tree_path, entry in tree.manifest.iter_files()
        if not tree_path.startswith(prefixes)
    ]
    problems = [text for text in map(_problem, files) if text]
    if problems:
        shown = "; ".join(problems[:10]) + (f"; … and {len(problems) - 10} more" if len(problems) > 10 else "")
        step = f"run: release-kit verify {path}"
        what = f"{len(problems)} files are not as the manifest says: {shown}"
        raise IntegrityError(what, where=str(path), next_step=step)
    data = tree.manifest_path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    place = own_file(MANIFEST_FILE, dataset=tree.manifest.is_dataset)
    files.append(
        ExportFile(tree_path=MANIFEST_FILE, place=place, path=tree.manifest_path, size_bytes=len(data), sha256=digest)
    )
    return Contents(tree=tree, files=tuple(files), left_out=left_out)


def card_facts(contents: Contents, tree_path: str) -> dict[str, Any]:
    """Return the front matter of a card of the release, with its first heading as ``heading``; empty without one.

    Raises:
        RecordError: the card is not text, or its front matter is not valid YAML.
    """
    file = contents.file(tree_path)
    if file is None:
        return {}
    try:
        text = file.path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        step = f"run: release-kit verify {contents.tree.root}"
        raise RecordError(f"cannot be read ({error})", where=str(file.path), next_step=step) from error
    front = re.match(r"\A---\r?\n(.*?\n)---\r?\n", text, re.DOTALL)
    try:
        facts = yaml.safe_load(front.group(1)) if front else {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecordError(f"its front matter is not YAML ({error})", where=str(file.path)) from error
    facts = facts if isinstance(facts, dict) else {}
    heading = re.search(r"^# +(.+?)\s*$", text[front.end() if front else 0 :], re.MULTILINE)
    return facts | ({"heading": heading.group(1)} if heading else {})


def publication_date(text: str | None) -> str:
    """Return the date of an export as ``YYYY-MM-DD``: the given one, that of ``SOURCE_DATE_EPOCH``, or today.

    Raises:
        UsageError: ``text`` is not a date.
    """
    if text is None:
        epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
        now = datetime.datetime.now(datetime.UTC)
        moment = datetime.datetime.fromtimestamp(int(epoch), datetime.UTC) if epoch.isdigit() else now
        return moment.date().isoformat()
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise UsageError(f"{text!r} is not a date", where="--date", next_step="write YYYY-MM-DD") from None


def _absent_cells(tree: ReleaseTree) -> Iterator[str]:
    for cell in tree.manifest.cells:
        if not any(tree.locate(f"cells/{cell.name}/{entry.path}").is_file() for entry in cell.files):
            yield cell.name


def _problem(file: ExportFile) -> str | None:
    try:
        size = file.path.stat().st_size
    except OSError as error:
        return f"{file.tree_path}: {error.strerror}"
    expected = file.size_bytes
    return None if size == expected else f"{file.tree_path}: expected {expected} bytes, got {size}"
