"""``release/manifest.json``: every file of a release with the identities that the Hub itself uses, and one root digest.

Owns the records, their strict reader and the root digest. Nothing here touches the files that it describes. Paths are
those of the release tree: ``cells/<name>/<file>``, ``index/<file>``, ``results/<file>`` — the same on every layout of
the Hub and in every download. Format: ``docs/formats/manifest.md``.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.dataset_tree import DATASET_KIND, HOME_FOLDER, check_dataset_paths
from release_kit.core.files import safe_relative_path
from release_kit.core.hashing import TENSOR_ALGORITHM, FileDigest, tensors_digest
from release_kit.core.records import Fields, check_schema_version
from release_kit.core.words import Level

SCHEMA_VERSION = 1
MANIFEST_FILE = "manifest.json"
RELEASE_FOLDER = "release"
TENSORS_FILE = "tensors.json"
KINDS = ("weights", "adapter", "results-only", DATASET_KIND)


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSummary:
    """One digest for all tensors of a file; the single ones stand in the cell's ``tensors.json``."""

    n_tensors: int
    digest: str
    algorithm: str = TENSOR_ALGORITHM


@dataclass(frozen=True, kw_only=True, slots=True)
class FileEntry:
    """One file: path relative to its group (a cell, ``index`` or ``results``) and its identities."""

    path: str
    size_bytes: int
    sha256: str
    git_sha1: str | None = None
    tensors: TensorSummary | None = None

    @classmethod
    def of(cls, path: str, digest: FileDigest) -> "FileEntry":
        """Return the entry for a file that was hashed."""
        summary = None
        if digest.tensors is not None:
            summary = TensorSummary(n_tensors=len(digest.tensors), digest=tensors_digest(digest.tensors))
        return cls(
            path=path,
            size_bytes=digest.size_bytes,
            sha256=digest.sha256,
            git_sha1=digest.git_sha1,
            tensors=summary,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class CellEntry:
    """One cell of the release; ``name`` is its readable, unique name on the Hub and on disk."""

    cell_id: str
    name: str
    levels: Mapping[str, Level]
    kind: str
    files: tuple[FileEntry, ...]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a release contains. ``Manifest.from_dict(m.to_dict()) == m``."""

    study: str
    version: str
    cells: tuple[CellEntry, ...]
    index: tuple[FileEntry, ...] = ()
    results: tuple[FileEntry, ...] = ()

    def iter_files(self) -> Iterator[tuple[str, FileEntry]]:
        """Yield ``(path in the release tree, entry)`` of every file, cells first, in manifest order."""
        for cell in self.cells:
            for entry in cell.files:
                yield f"cells/{cell.name}/{entry.path}", entry
        for group, entries in (("index", self.index), ("results", self.results)):
            for entry in entries:
                yield f"{group}/{entry.path}", entry

    @property
    def is_dataset(self) -> bool:
        """Whether the release is one dataset and its cells are parts of it."""
        return any(cell.kind == DATASET_KIND for cell in self.cells)

    @property
    def root(self) -> str:
        """The root digest: sha256 over the sorted lines ``path NUL size NUL sha256 LF`` of all files."""
        return root_digest((path, entry.size_bytes, entry.sha256) for path, entry in self.iter_files())

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, keys as on disk."""
        return {
            "schema_version": SCHEMA_VERSION,
            "study": self.study,
            "version": self.version,
            "root": self.root,
            "cells": [_cell_dict(cell) for cell in self.cells],
            "index": [_file_dict(entry) for entry in self.index],
            "results": [_file_dict(entry) for entry in self.results],
        }

    def to_bytes(self) -> bytes:
        """Return the canonical bytes of the manifest file: equal releases give equal bytes."""
        return canonical.canonical_bytes(self.to_dict()) + b"\n"

    @classmethod
    def from_dict(cls, value: Any, where: str = MANIFEST_FILE) -> "Manifest":
        """Read the JSON form strictly.

        Raises:
            RecordError: wrong shape, unknown key, unsafe path, a name or path that stands twice, or a ``root`` that
                does not follow from the files.
        """
        fields = Fields(value, where)
        check_schema_version(fields, (SCHEMA_VERSION,))
        claimed = fields.take("root", str)
        manifest = cls(
            study=fields.take("study", str),
            version=fields.take("version", str),
            cells=tuple(_cell_from(child) for child in fields.children("cells")),
            index=_files_from(fields, "index"),
            results=_files_from(fields, "results"),
        )
        fields.done()
        _check_unique((cell.name for cell in manifest.cells), "cells", fields)
        _check_unique((cell.cell_id for cell in manifest.cells), "cells", fields)
        if manifest.is_dataset:
            _check_dataset(manifest, fields)
        if claimed != manifest.root:
            raise fields.error("root", f"is {claimed[:12]}…, but the files listed give {manifest.root[:12]}…")
        return manifest


def root_digest(files: Iterable[tuple[str, int, str]]) -> str:
    """Return the sha256 over the sorted lines ``path NUL size NUL sha256 LF``; order of ``files`` does not matter."""
    lines = sorted(f"{path}\0{size}\0{sha256}\n".encode() for path, size, sha256 in files)
    return hashlib.sha256(b"".join(lines)).hexdigest()


def read_manifest(path: Path) -> Manifest:
    """Read a manifest from its file, or from a folder: ``manifest.json`` there, or in ``release/`` or ``.release/``.

    Raises:
        RecordError: there is none, or it is not valid.
    """
    if path.is_dir():
        nested = path / RELEASE_FOLDER / MANIFEST_FILE
        path = nested if nested.is_file() else own_folder(path) / MANIFEST_FILE
    return Manifest.from_dict(canonical.read_json(path), str(path))


def own_folder(root: Path) -> Path:
    """Return where the release's own files lie in a download or clone: ``root``, or ``.release`` in a dataset."""
    home = root / HOME_FOLDER
    return home if (home / MANIFEST_FILE).is_file() else root


def _file_dict(entry: FileEntry) -> dict[str, Any]:
    result: dict[str, Any] = {"path": entry.path, "size_bytes": entry.size_bytes, "sha256": entry.sha256}
    if entry.git_sha1 is not None:
        result["git_sha1"] = entry.git_sha1
    if entry.tensors is not None:
        summary = entry.tensors
        result["tensors"] = {
            "algorithm": summary.algorithm,
            "digest": summary.digest,
            "n_tensors": summary.n_tensors,
        }
    return result


def _cell_dict(cell: CellEntry) -> dict[str, Any]:
    return {
        "cell_id": cell.cell_id,
        "name": cell.name,
        "levels": dict(cell.levels),
        "kind": cell.kind,
        "files": [_file_dict(entry) for entry in cell.files],
    }


def _cell_from(fields: Fields) -> CellEntry:
    name = safe_relative_path(fields.take("name", str), where=fields.where)
    if "/" in name:
        raise fields.error("name", f"is {name!r}; a cell's name is one path part")
    kind = fields.take("kind", str)
    if kind not in KINDS:
        raise fields.error("kind", f"is {kind!r}; expected one of {list(KINDS)}")
    cell = CellEntry(
        cell_id=fields.take("cell_id", str),
        name=name,
        levels=fields.take("levels", dict),
        kind=kind,
        files=_files_from(fields, "files"),
    )
    fields.done()
    return cell


def _files_from(fields: Fields, key: str) -> tuple[FileEntry, ...]:
    entries = tuple(_file_from(child) for child in fields.children(key))
    _check_unique((entry.path for entry in entries), key, fields)
    return entries


def _file_from(fields: Fields) -> FileEntry:
    summary = fields.take("tensors", dict, None)
    entry = FileEntry(
        path=safe_relative_path(fields.take("path", str), where=fields.where),
        size_bytes=fields.take("size_bytes", int),
        sha256=_hex(fields, "sha256", 64),
        git_sha1=_hex(fields, "git_sha1", 40, optional=True),
        tensors=None if summary is None else _summary_from(fields.child("tensors")),
    )
    fields.done()
    if entry.size_bytes < 0:
        raise fields.error("size_bytes", "is negative")
    return entry


def _summary_from(fields: Fields) -> TensorSummary:
    summary = TensorSummary(
        n_tensors=fields.take("n_tensors", int),
        digest=_hex(fields, "digest", 64),
        algorithm=fields.take("algorithm", str),
    )
    fields.done()
    return summary


def _hex(fields: Fields, key: str, length: int, optional: bool = False) -> str | None:
    text = fields.take(key, str, None) if optional else fields.take(key, str)
    if text is not None and (len(text) != length or set(text) - set("0123456789abcdef")):
        raise fields.error(key, f"is not {length} lower-case hex digits")
    return text


def _check_dataset(manifest: Manifest, fields: Fields) -> None:
    if any(cell.kind != DATASET_KIND for cell in manifest.cells) or manifest.results:
        raise fields.error("cells", "a release that is a dataset has parts of it, and nothing else")
    cells = (entry.path for cell in manifest.cells for entry in cell.files)
    check_dataset_paths([*cells, *(entry.path for entry in manifest.index)], fields.where)


def _check_unique(names: Iterable[str], key: str, fields: Fields) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise fields.error(key, f"names {name!r} twice")
        seen.add(name)
