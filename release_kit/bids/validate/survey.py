"""What lies in a dataset: every file once, with its entities, its annex key, and whether its content is here.

Owns the walk, the names, the split into the raw dataset and its derivatives, and the inheritance of sidecars. Opens
nothing but JSON sidecars (on demand) and files so small that they may be annex pointers; judges nothing.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from release_kit.core.annexed import pointer_key
from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import STATE_FOLDER, TEMPORARY_PREFIX
from release_kit.core.foreign_yaml import check_foreign_yaml, fast_loader

DESCRIPTION = "dataset_description.json"
_SKIPPED = {".git", ".datalad", STATE_FOLDER}
_POINTER_BYTES = 400
"""A pointer is its key, which is a file name, and a few letters more; larger files need not be opened."""
_SPECIAL = -2
"""Stands for the size of what is neither a file nor a folder nor a link."""
_N_SHOWN = 10
_KEY_SIZE = re.compile(r"-s(\d+)(?:-|--)")
_ENTITY = re.compile(r"[A-Za-z0-9]+-[A-Za-z0-9+]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One file of a dataset."""

    path: str
    """POSIX path relative to the dataset that was given."""
    size_bytes: int
    """Of the content, also where only the annex key is here; -1 when nobody knows."""
    key: str | None = None
    """Its git-annex key, when it is annexed."""
    absent: bool = False
    """Annexed, and the content is not on this machine."""
    broken: str | None = None
    """Where a link points that leads nowhere, to a folder or out of the dataset, and is no annex link."""
    entities: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""
    extension: str = ""

    @property
    def readable(self) -> bool:
        """Whether there is content to look at."""
        return not self.absent and self.broken is None


@dataclass(frozen=True, kw_only=True)
class Part:
    """The raw dataset, or one derivative dataset inside it."""

    path: str
    """``.`` or ``derivatives/<name>``."""
    entries: tuple[Entry, ...]
    """Its files, without those of datasets inside it; sorted by path."""

    def inside(self, path: str) -> str:
        """Return a path of the whole as seen from this part."""
        return path if self.path == "." else path.removeprefix(f"{self.path}/")

    def images(self) -> Iterator[Entry]:
        """Yield the NIfTI files that the specification has names for: inside a subject's folder."""
        for entry in self.entries:
            if entry.extension in (".nii", ".nii.gz") and self.inside(entry.path).startswith("sub-"):
                yield entry


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A whole dataset as it lies on disk."""

    folder: Path
    entries: tuple[Entry, ...]
    parts: tuple[Part, ...]
    """The raw dataset first, then its derivatives by name."""
    loose: tuple[str, ...]
    """Folders of derivatives without a description."""
    empty: tuple[str, ...]
    """Folders of derivatives without any file: subdatasets that were not fetched."""
    by_path: Mapping[str, Entry]
    _general: Mapping[tuple[str, str, str], list[Entry]]
    """Folder, suffix, extension → the JSON and TSV files there."""
    _read: dict[str, Any] = field(default_factory=dict)

    def bytes_of(self, path: str) -> bytes:
        """Return the content of a file.

        Raises:
            ReleaseKitError: it is absent or cannot be read.
        """
        try:
            return (self.folder / path).read_bytes()
        except OSError as error:
            raise ReleaseKitError(f"cannot be read ({error.strerror or error})", where=path) from error

    def first_line(self, path: str) -> str:
        """Return how a file begins, up to its first line end or 64 KiB; empty where it cannot be read."""
        try:
            with open(self.folder / path, "rb") as stream:
                return stream.readline(65_536).decode(errors="replace")
        except OSError:
            return ""

    def json_of(self, path: str) -> Any:
        """Return the value of a JSON file; None where there is none, it is absent or broken (others report that)."""
        if path not in self._read:
            entry = self.by_path.get(path)
            value = None
            if entry is not None and entry.readable:
                try:
                    value = json.loads(self.bytes_of(path).decode("utf-8-sig"))
                except (ReleaseKitError, ValueError, RecursionError):
                    value = None
            self._read[path] = value
        return self._read[path]

    def yaml_of(self, path: str) -> dict[str, Any]:
        """Return the mapping in a YAML file; empty where there is none that can be read."""
        import yaml

        entry = self.by_path.get(path)
        if entry is None or not entry.readable:
            return {}
        try:
            text = self.bytes_of(path).decode("utf-8-sig")
            check_foreign_yaml(text)
            value = yaml.load(text, Loader=fast_loader())  # the safe loader of libyaml
        except (ReleaseKitError, ValueError, yaml.YAMLError):
            return {}
        return value if isinstance(value, dict) else {}

    @property
    def is_derivative(self) -> bool:
        """Whether the dataset that was given calls itself a derivative."""
        description = self.json_of(DESCRIPTION)
        return isinstance(description, dict) and description.get("DatasetType") == "derivative"

    def inherited(self, part: Part, entry: Entry, suffix: str, extension: str = ".json") -> list[Entry]:
        """Return the files of ``suffix`` that apply to ``entry``, the most general first (inheritance principle)."""
        top = "" if part.path == "." else part.path
        folder = entry.path.rpartition("/")[0]
        folders = [folder]
        while folder and folder != top:
            folder = folder.rpartition("/")[0]
            folders.append(folder)
        found: list[Entry] = []
        for level in reversed(folders):
            candidates = self._general.get((level, suffix, extension), [])
            fitting = [one for one in candidates if one.entities.items() <= entry.entities.items()]
            found += sorted(fitting, key=lambda one: len(one.entities))
        return found

    def metadata(self, part: Part, entry: Entry) -> dict[str, Any]:
        """Return the merged sidecar values that apply to ``entry``."""
        merged: dict[str, Any] = {}
        for sidecar in self.inherited(part, entry, entry.suffix):
            value = self.json_of(sidecar.path)
            if isinstance(value, dict):
                merged.update(value)
        return merged


def survey_dataset(folder: Path) -> Survey:
    """Walk ``folder`` once.

    Raises:
        ReleaseKitError: it is no folder, or a folder inside cannot be listed; pipes, sockets and devices in it, which
            whoever reads them would wait for without end, are named.
    """
    if not folder.is_dir():
        raise ReleaseKitError("is not a folder", where=str(folder), next_step="give the top folder of a dataset")
    try:
        entries = tuple(sorted(_walk(folder, "", os.path.realpath(folder)), key=lambda entry: entry.path))
    except OSError as error:
        raise ReleaseKitError(
            f"cannot be listed ({error.strerror})", where=str(error.filename), next_step="make the folder readable"
        ) from error
    if special := [entry.path for entry in entries if entry.size_bytes == _SPECIAL]:
        more = f" and {len(special) - _N_SHOWN} more" if len(special) > _N_SHOWN else ""
        raise ReleaseKitError(
            f"holds what is no file: {', '.join(special[:_N_SHOWN])}{more} (pipes, sockets, devices, or links to them)",
            where=str(folder),
            next_step="take them out of the dataset; nothing was read",
        )
    nested = [entry.path.rpartition("/")[0] for entry in entries if _describes_derivative(entry.path)]
    general: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in entries:
        if entry.extension in (".json", ".tsv") and entry.suffix:
            general.setdefault((entry.path.rpartition("/")[0], entry.suffix, entry.extension), []).append(entry)
    loose, empty = _loose_derivatives(folder, entries, nested)
    return Survey(
        folder=folder,
        entries=entries,
        parts=_parts(entries, sorted(nested)),
        loose=loose,
        empty=empty,
        by_path={entry.path: entry for entry in entries},
        _general=general,
    )


def parse_name(path: str) -> tuple[dict[str, str], str, str]:
    """Return entities, suffix and extension of a file name; suffix is empty where the name follows no BIDS pattern."""
    name = path.rpartition("/")[2]
    stem, dot, extension = name.partition(".")
    parts = stem.split("_")
    pairs, suffix = parts[:-1], parts[-1]
    if not suffix.isalnum() or not all(_ENTITY.fullmatch(pair) for pair in pairs):
        return {}, "", dot + extension
    entities = dict(pair.split("-", 1) for pair in pairs)
    return entities, suffix, dot + extension


def _describes_derivative(path: str) -> bool:
    folders = path.split("/")
    return folders[-1] == DESCRIPTION and "derivatives" in folders[:-1] and "sourcedata" not in folders[:-1]


def _parts(entries: tuple[Entry, ...], nested: list[str]) -> tuple[Part, ...]:
    known = set(nested)
    members: dict[str, list[Entry]] = {".": [], **{path: [] for path in nested}}
    for entry in entries:
        owner = entry.path.rpartition("/")[0]
        while owner and owner not in known:
            owner = owner.rpartition("/")[0]
        members[owner or "."].append(entry)
    return tuple(Part(path=path, entries=tuple(files)) for path, files in members.items())


def _loose_derivatives(folder: Path, entries: tuple[Entry, ...], nested: list[str]) -> tuple[tuple, tuple]:
    top = folder / "derivatives"
    names = sorted(child.name for child in top.iterdir() if child.is_dir()) if top.is_dir() else []
    described = {path.split("/")[1] for path in nested if "/" in path}
    filled = {entry.path.split("/")[1] for entry in entries if entry.path.startswith("derivatives/")}
    if "derivatives" in nested:
        return (), ()
    loose = tuple(f"derivatives/{name}" for name in names if name in filled and name not in described)
    return loose, tuple(f"derivatives/{name}" for name in names if name not in filled)


def _walk(folder: Path, prefix: str, root: str) -> Iterator[Entry]:
    with os.scandir(folder) as listing:
        children = list(listing)
    for child in children:
        if child.name.startswith(TEMPORARY_PREFIX) or child.name in _SKIPPED:
            continue
        path = prefix + child.name
        if child.is_dir(follow_symlinks=False):
            yield from _walk(Path(child.path), f"{path}/", root)
        elif child.is_symlink():
            yield _linked(child, path, root)
        else:
            yield _plain(child, path)


def _linked(child: os.DirEntry, path: str, root: str) -> Entry:
    target = os.readlink(child.path)
    entities, suffix, extension = parse_name(path)
    named = {"path": path, "entities": entities, "suffix": suffix, "extension": extension}
    real = os.path.realpath(child.path)
    there = os.path.exists(real)
    if there and not os.path.isfile(real) and not os.path.isdir(real):
        return Entry(**named, size_bytes=_SPECIAL)
    if ".git/annex/objects/" in target and not os.path.isabs(target):
        key = target.rpartition("/")[2]
        size = os.path.getsize(real) if there else _key_size(key)
        return Entry(**named, key=key, size_bytes=size, absent=not there)
    leaves = os.path.isabs(target) or not real.startswith(root + os.sep)
    if not there or leaves or not os.path.isfile(real):
        return Entry(**named, size_bytes=-1, broken=target)
    return Entry(**named, size_bytes=os.path.getsize(real))


def _plain(child: os.DirEntry, path: str) -> Entry:
    size = child.stat().st_size if child.is_file() else _SPECIAL
    entities, suffix, extension = parse_name(path)
    named = {"path": path, "entities": entities, "suffix": suffix, "extension": extension}
    if 0 < size <= _POINTER_BYTES and (key := _key_of(child.path)):
        return Entry(**named, key=key, size_bytes=_key_size(key), absent=True)
    return Entry(**named, size_bytes=size)


def _key_of(path: str) -> str | None:
    try:
        return pointer_key(path)
    except OSError:
        return None


def _key_size(key: str) -> int:
    found = _KEY_SIZE.search(key)
    return int(found[1]) if found else -1
