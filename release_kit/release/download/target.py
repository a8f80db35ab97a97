"""Where verified content goes: a folder with the paths of the release tree, or the Hugging Face cache.

Both take a finished file and give it its final name in one step; what stood there before is kept aside. Neither talks
to a Hub.
"""

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from release_kit.core.dataset_tree import local_path
from release_kit.core.errors import IntegrityError
from release_kit.core.files import STATE_FOLDER, inside, write_error
from release_kit.core.manifest import FileEntry
from release_kit.release.download.cache import CachePlace, link_blob, repo_folder_name
from release_kit.release.download.source import RemoteRelease, Source

QUARANTINE_FOLDER = "quarantine"
PARTIAL_FOLDER = "partial"
_BLOCK_BYTES = 1 << 20
_FICLONE = 0x40049409


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One file of a release on its way: what it must be, where it comes from, which file is to hold it."""

    tree_path: str
    entry: FileEntry
    source: Source
    path: Path
    """The file that holds the bytes: the final name in a folder, the blob in a cache."""


class Namer(Protocol):
    """A place in which files with the right bytes still need their names."""

    @property
    def state(self) -> Path:
        """The folder that keeps partial content and what was replaced."""

    def linked(self, item: Item) -> bool:
        """Return whether the file has its name, given that its bytes are right."""

    def name(self, item: Item) -> None:
        """Give a file whose bytes lie at ``item.path`` its name."""


@dataclass(frozen=True, kw_only=True)
class FolderTarget:
    """A folder in which every file lies under its path in the release tree; in a dataset, under its path there."""

    root: Path
    release: RemoteRelease
    checked: dict[str, Path] = field(default_factory=dict)
    """Folders of the tree that were found to lie inside ``root``."""

    @property
    def state(self) -> Path:
        """The folder's own ``.release_kit``."""
        return self.root / STATE_FOLDER

    def item(self, tree_path: str, entry: FileEntry) -> Item:
        """Return what is to be done for one file of the release tree."""
        local = local_path(tree_path, dataset=self.release.manifest.is_dataset)
        parent, _, name = local.rpartition("/")
        if parent not in self.checked:
            self.checked[parent] = inside(self.root, local).parent
        path = self.checked[parent] / name
        return Item(tree_path=tree_path, entry=entry, source=self.release.source(tree_path), path=path)

    def linked(self, item: Item) -> bool:
        """Return True: in a folder the bytes lie under their name."""
        return True

    def name(self, item: Item) -> None:
        """Do nothing: in a folder the bytes lie under their name."""


@dataclass(frozen=True, kw_only=True)
class CacheTarget:
    """The Hugging Face cache.

    Args:
        root: the cache.
        release: the release.
        regular: git-sha1 of the regular files of each (repo, commit), by path; all others are LFS files.
    """

    root: Path
    release: RemoteRelease
    regular: Mapping[tuple[Source, str], str]

    @property
    def repo_folder(self) -> Path:
        """The folder of the index repo."""
        return inside(self.root, repo_folder_name(self.release.index.id, self.release.index.type))

    @property
    def state(self) -> Path:
        """A folder inside the index repo's, where no client looks."""
        return self.repo_folder / STATE_FOLDER

    def place(self, tree_path: str, entry: FileEntry) -> CachePlace:
        """Return where one file of the release tree goes."""
        source = cache_source(self.release, tree_path)
        identity = self.regular.get((Source(source.repo, source.revision, ""), source.path), entry.sha256)
        folder = inside(self.root, repo_folder_name(source.repo.id, source.repo.type))
        return CachePlace(repo_folder=folder, commit=source.revision, path=source.path, identity=identity)

    def item(self, tree_path: str, entry: FileEntry) -> Item:
        """Return what is to be done for one file of the release tree."""
        source = cache_source(self.release, tree_path)
        return Item(tree_path=tree_path, entry=entry, source=source, path=self.place(tree_path, entry).blob)

    def linked(self, item: Item) -> bool:
        """Return whether the snapshot's link points to the blob."""
        link = self.place(item.tree_path, item.entry).link
        return link.is_symlink() and os.path.realpath(link) == os.path.realpath(item.path)

    def name(self, item: Item) -> None:
        """Make the snapshot's link."""
        link_blob(self.place(item.tree_path, item.entry), self.state / PARTIAL_FOLDER)


def cache_source(release: RemoteRelease, tree_path: str) -> Source:
    """Return where a client looks for a file: cells inside the index repo are read at the commit of its tag."""
    source = release.source(tree_path)
    if source.repo == release.index and tree_path.startswith("cells/"):
        place = release.placement.cells[tree_path.split("/")[1]]
        if place.prefix or release.manifest.is_dataset:
            return Source(source.repo, release.commit, source.path)
    return source


def put(item: Item, finished: Path, quarantine: Path | None) -> None:
    """Move a finished file to its final name; what stood there goes to ``quarantine`` (None: it is replaced).

    Raises:
        ReleaseKitError: the target cannot be written.
    """
    try:
        item.path.parent.mkdir(parents=True, exist_ok=True)
        if quarantine is not None:
            set_aside(item.path, quarantine / item.tree_path)
        os.replace(finished, item.path)
    except OSError as error:
        raise write_error(item.path, error) from error


def copy_checked(source: Path, item: Item, scratch: Path, quarantine: Path | None) -> None:
    """Give ``item`` the content of another file of this disk, hashed on the way.

    Args:
        source: the other file.
        item: what is to hold the content.
        scratch: folder on the same file system for the copy while it has no name.
        quarantine: where to keep what stood there; None: it is replaced.

    Raises:
        IntegrityError: ``source`` is not, or no longer, what the manifest says.
        ReleaseKitError: the target cannot be written.
    """
    temporary = scratch / f"copy-{secrets.token_hex(8)}"
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        got = _copy(source, temporary)
        if got != item.entry.sha256:
            raise IntegrityError("changed while it was being copied", where=str(source))
        put(item, temporary, quarantine)
    except OSError as error:
        raise write_error(item.path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _copy(source: Path, target: Path) -> str:
    """Copy (sharing blocks where the file system can) and return the sha256 of the copy."""
    hasher = hashlib.sha256()
    with open(source, "rb", buffering=0) as reading, open(target, "xb+", buffering=0) as writing:
        shared = _clone(reading.fileno(), writing.fileno())
        stream = writing if shared else reading
        while block := stream.read(_BLOCK_BYTES):
            hasher.update(block)
            if not shared:
                _write_all(writing, block)
        os.fsync(writing.fileno())
    return hasher.hexdigest()


def _write_all(stream, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[stream.write(view) :]


def _clone(source: int, target: int) -> bool:
    import fcntl

    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def set_aside(path: Path, kept: Path) -> bool:
    """Move whatever is at ``path`` to ``kept``; returns whether anything was there."""
    if not os.path.lexists(path):
        return False
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(path, kept)
    return True


def remove_empty_folders(root: Path, folder: Path) -> None:
    """Remove ``folder`` and its parents below ``root`` as far as they are empty."""
    with contextlib.suppress(OSError):
        while folder != root:
            folder.rmdir()
            folder = folder.parent


def new_quarantine(state: Path) -> Path:
    """Return a folder, not made yet, for files that this run replaces: ``quarantine/1``, ``quarantine/2`` …"""
    folder = state / QUARANTINE_FOLDER
    number = 1
    while (folder / str(number)).exists():
        number += 1
    return folder / str(number)
