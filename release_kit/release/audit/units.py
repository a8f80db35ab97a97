"""Units: the folders with weights in what a Hub lists, each with its label; the things that an audit compares.

A unit is one folder at one revision of one repo. Its label is its address (``ns/name@step3000``,
``ns/name@main:layer_3/width_16k``); its payload is its sets of weights, a set being one file or one family of shards.
Pure: made from listings, reads nothing.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from release_kit.hub.reference import Repo
from release_kit.hub.remote import RemoteFile

MAIN = "main"
SAFE_SUFFIXES = (".safetensors", ".npz", ".gguf", ".npy", ".onnx", ".h5", ".msgpack")
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")

_SHARD = re.compile(r"^(?P<stem>.+?)[-_](?P<index>\d{5})-of-(?P<total>\d{5})(?P<suffix>\.\w+)\Z")
_VERSION = re.compile(r"^v?\d+(\.\d+)+\Z")
_STATE = re.compile(r"(^|/)(optimizer|scheduler|rng_state|training_args|random_states|scaler|tokenizer|vocab|merges)")
"""Files beside the weights that have the suffixes of weights."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All files of one repo at one revision."""

    repo: Repo
    revision: str
    commit: str
    files: tuple[RemoteFile, ...]


@dataclass(frozen=True, kw_only=True)
class WeightSet:
    """One weights file, or all shards of one."""

    stem: str
    """Name without shard numbers: ``model.safetensors``."""
    files: tuple[RemoteFile, ...]
    """Paths relative to the unit's folder, sorted."""
    totals: frozenset[int] = frozenset()
    """What the shards' names say how many there are; empty for a single file."""

    @cached_property
    def payload(self) -> str:
        """Equal payloads are equal bytes, whatever the files are called."""
        return hashlib.sha256("\n".join(sorted(file.identity for file in self.files)).encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(file.size_bytes for file in self.files)

    @property
    def is_pickle(self) -> bool:
        """Whether loading it runs a pickle."""
        return self.stem.endswith(PICKLE_SUFFIXES)

    @property
    def missing_shards(self) -> tuple[str, ...]:
        """Names of shards that the others count and that are not there."""
        if not self.totals:
            return ()
        there = {file.path for file in self.files}
        stem, _, suffix = self.stem.rpartition(".")
        separator = "_" if any(re.search(r"_\d{5}-of-", path) for path in there) else "-"
        names = (f"{stem}{separator}{i:05}-of-{n:05}.{suffix}" for n in sorted(self.totals) for i in range(1, n + 1))
        zero_based = any(re.search(r"[-_]00000-of-", path) for path in there)
        return () if zero_based else tuple(name for name in names if name not in there)


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One folder with weights at one revision of one repo."""

    listing: Listing
    folder: str
    """Relative to the repo; empty for its root."""
    files: tuple[RemoteFile, ...]
    """All files directly in the folder (with their paths in the repo)."""
    sets: tuple[WeightSet, ...]

    @property
    def address(self) -> str:
        """``ns/name@revision`` or ``ns/name@revision:folder``."""
        return address_of(self.listing, self.folder)

    @property
    def is_alias(self) -> bool:
        """Whether it may well repeat a labelled unit: the root of main, or of a tag that names a version."""
        return not self.folder and (self.listing.revision == MAIN or bool(_VERSION.match(self.listing.revision)))

    def file(self, name: str) -> RemoteFile | None:
        """Return the file called ``name`` in the unit's folder."""
        path = f"{self.folder}/{name}" if self.folder else name
        return next((file for file in self.files if file.path == path), None)


def address_of(listing: Listing, folder: str = "") -> str:
    """Return how a place is named in findings."""
    text = f"{listing.repo}@{listing.revision}"
    return f"{text}:{folder}" if folder else text


def places_of(listing: Listing) -> tuple[str, ...]:
    """Return the addresses where weights could lie: the root of a revision that holds files, and every folder."""
    folders = {_folder(file.path) for file in listing.files}
    return tuple(address_of(listing, folder) for folder in sorted(folders | ({""} if folders else set())))


def units_of(listing: Listing) -> tuple[Unit, ...]:
    """Return the units of a listing, by folder; a folder without weights is none."""
    folders: dict[str, list[RemoteFile]] = {}
    for file in listing.files:
        folders.setdefault(_folder(file.path), []).append(file)
    units = []
    for folder, files in sorted(folders.items()):
        if sets := weight_sets(files):
            units.append(Unit(listing=listing, folder=folder, files=tuple(files), sets=sets))
    return tuple(units)


def weight_sets(files: Iterable[RemoteFile]) -> tuple[WeightSet, ...]:
    """Return the sets of weights among the files of one folder, largest first; small companions are left out."""
    groups: dict[str, list[RemoteFile]] = {}
    totals: dict[str, set[int]] = {}
    for file in files:
        name = file.path.rsplit("/", 1)[-1]
        if not name.endswith(SAFE_SUFFIXES + PICKLE_SUFFIXES) or _STATE.search(name):
            continue
        shard = _SHARD.match(name)
        stem = f"{shard['stem']}{shard['suffix']}" if shard else name
        groups.setdefault(stem, []).append(_renamed(file, name))
        if shard:
            totals.setdefault(stem, set()).add(int(shard["total"]))
    sets = [
        WeightSet(
            stem=stem,
            files=tuple(sorted(members, key=lambda file: file.path)),
            totals=frozenset(totals.get(stem, ())),
        )
        for stem, members in groups.items()
    ]
    largest = max((one.size_bytes for one in sets), default=0)
    kept = [one for one in sets if one.size_bytes * 100 >= largest]
    return tuple(sorted(kept, key=lambda one: (-one.size_bytes, one.stem)))


def _renamed(file: RemoteFile, name: str) -> RemoteFile:
    return RemoteFile(name, file.size_bytes, file.git_oid, file.lfs_sha256, file.xet_hash)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
