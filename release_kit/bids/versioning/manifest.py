"""``code/release_kit/manifest.json``: every file of a version of a dataset by its path, size and sha256.

Owns the record, its strict reader and what two manifests differ in. It holds no dates and nothing of git, so that it
is the same for a clone, a plain tree and a copy on the Hub. Format: ``docs/bids-versioning.md``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import UnsafePathError
from release_kit.core.files import STATE_FOLDER, safe_relative_path
from release_kit.core.manifest import root_digest
from release_kit.core.records import Fields, check_schema_version

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetFile:
    """One file: BIDS path and the identity of its bytes."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class DatasetManifest:
    """What a version of a dataset contains. ``DatasetManifest.from_dict(m.to_dict()) == m``."""

    name: str
    dataset_id: str
    version: str
    files: tuple[DatasetFile, ...]
    """Sorted by path; without the manifest itself and its signature."""

    @property
    def root(self) -> str:
        """The root digest: sha256 over the sorted lines ``path NUL size NUL sha256 LF`` of all files."""
        return root_digest((file.path, file.size_bytes, file.sha256) for file in self.files)

    @property
    def by_path(self) -> dict[str, DatasetFile]:
        """The files by their paths."""
        return {file.path: file for file in self.files}

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, keys as on disk."""
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "dataset_id": self.dataset_id,
            "version": self.version,
            "root": self.root,
            "files": [{"path": file.path, "size_bytes": file.size_bytes, "sha256": file.sha256} for file in self.files],
        }

    def to_bytes(self) -> bytes:
        """Return the canonical bytes of the file: equal versions give equal bytes."""
        return canonical.canonical_bytes(self.to_dict()) + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> "DatasetManifest":
        """Read the file's bytes strictly; see ``from_dict``."""
        return cls.from_dict(canonical.parse_json(data, where), where)

    @classmethod
    def from_dict(cls, value: Any, where: str) -> "DatasetManifest":
        """Read the JSON form strictly.

        Raises:
            RecordError: wrong shape, an unknown key, a path twice, or a ``root`` that does not follow from the files.
            UnsafePathError: a path that leaves the dataset, or lies in ``.git`` or the folder of local state.
        """
        fields = Fields(value, where)
        check_schema_version(fields, (SCHEMA_VERSION,))
        claimed = fields.take("root", str)
        manifest = cls(
            name=fields.take("name", str),
            dataset_id=fields.take("dataset_id", str),
            version=fields.take("version", str),
            files=tuple(_file(child) for child in fields.children("files")),
        )
        fields.done()
        if len(manifest.by_path) != len(manifest.files):
            raise fields.error("files", "names a path twice")
        if claimed != manifest.root:
            raise fields.error("root", f"is {claimed[:12]}…, but the files listed give {manifest.root[:12]}…")
        return manifest


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What changed from one version to the next, by path."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    moved: tuple[tuple[str, str], ...] = ()
    """(old path, new path) of the same bytes."""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.moved)


def compare_manifests(old: Mapping[str, DatasetFile], new: Mapping[str, DatasetFile]) -> Difference:
    """Return what differs between two sets of files by path; equal bytes under another path have moved."""
    gone = {path: file for path, file in old.items() if path not in new}
    come = {path: file for path, file in new.items() if path not in old}
    by_bytes: dict[str, list[str]] = {}
    for path in sorted(gone):
        by_bytes.setdefault(gone[path].sha256, []).append(path)
    moved = []
    for path in sorted(come):
        if before := by_bytes.get(come[path].sha256):
            moved.append((before.pop(0), path))
    left, right = {before for before, _ in moved}, {after for _, after in moved}
    return Difference(
        added=tuple(sorted(set(come) - right)),
        removed=tuple(sorted(set(gone) - left)),
        changed=tuple(sorted(path for path in new if path in old and new[path].sha256 != old[path].sha256)),
        moved=tuple(moved),
    )


def _file(fields: Fields) -> DatasetFile:
    file = DatasetFile(
        path=safe_relative_path(fields.take("path", str), where=fields.where),
        size_bytes=fields.take("size_bytes", int),
        sha256=fields.take("sha256", str),
    )
    fields.done()
    if len(file.sha256) != 64 or set(file.sha256) - set("0123456789abcdef"):
        raise fields.error("sha256", "is not 64 lower-case hex digits")
    if file.size_bytes < 0:
        raise fields.error("size_bytes", "is negative")
    if {".git", STATE_FOLDER} & {part.casefold() for part in file.path.split("/")}:
        # a plain tree that brings its own .git/config would have its commands run by the next git call
        what = f"lists {file.path!r}, a file of git or of local state and not of a dataset"
        raise UnsafePathError(what, where=fields.where, next_step="nothing was written; do not trust this source")
    return file
