"""The Xet path without a Xet server: clients on this machine use a folder of the Hub as their content store.

The only import point of hf_xet. Learns from the store's index files (shards) which sha256 has which Xet hash, and
rebuilds whole files for clients that speak plain HTTP. The format is undocumented; it was measured with hf_xet 1.8.
"""

import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from release_kit.core.files import sync_folder

RECORD = 48
HEADER = 48
HAS_VERIFICATION, HAS_METADATA = 1 << 31, 1 << 30
BOOKEND = b"\xff" * 32


class XetFile(NamedTuple):
    """One file that the store can rebuild.

    Args:
        xet_hash: 64 hex digits.
        size: bytes.
        blocks: hashes of the blocks ("xorbs") that hold its pieces.
    """

    xet_hash: str
    size: int
    blocks: tuple[str, ...]


class XetStore:
    """The folder that hf_xet uses as its content store.

    Args:
        root: the Hub's folder.
        durable: fsync what a commit names.
    """

    def __init__(self, root: Path, *, durable: bool):
        self._folder = root.absolute() / "xet"
        self._shards = self._folder / "xet" / "xorbs" / "shards"
        self._blocks = self._folder / "xet" / "xorbs" / "xorbs"
        self._durable = durable
        self._files: dict[str, XetFile] = {}
        self._read: set[str] = set()
        self._synced: set[str] = set()
        self._changed_ns = -1
        self._lock = threading.Lock()
        self._session = None

    @property
    def url(self) -> str:
        """What clients are told to use."""
        self._folder.mkdir(exist_ok=True)
        return f"local://{self._folder}"

    def find(self, sha256: str, *, expected: bool = True) -> XetFile | None:
        """Return the file with this content, None when the store lacks it or one of its blocks.

        Args:
            sha256: the content.
            expected: False skips looking at the disk when the folder does not seem to have changed.
        """
        found = self._files.get(sha256)
        if found is None:
            self._refresh(always=expected)
            found = self._files.get(sha256)
        if found is None or not all(self._block(name).exists() for name in found.blocks):
            return None
        return found

    def make_durable(self, found: XetFile) -> None:
        """Wait until the disk has what ``find`` returned, when that was asked for."""
        if not self._durable:
            return
        waiting = [self._block(name) for name in found.blocks if name not in self._synced]
        waiting += [self._shards / name for name in self._read if name not in self._synced]
        for path in waiting:
            _sync_file(path)
        if waiting:
            sync_folder(self._blocks)
            sync_folder(self._shards)
        self._synced.update(found.blocks, self._read)

    def rebuild(self, xet_hash: str, size: int, target: Path) -> None:
        """Write the whole file to ``target``; blocks.

        Raises:
            OSError: the store cannot rebuild it.
        """
        import hf_xet

        with self._lock:
            self._session = self._session or hf_xet.XetSession()
        try:
            with self._session.new_file_download_group(endpoint=self.url) as group:
                group.start_download_file(hf_xet.XetFileInfo(xet_hash, size), str(target))
        except RuntimeError as error:
            raise OSError(f"Xet content {xet_hash} cannot be rebuilt: {error}") from error

    def forget(self, sha256: str) -> None:
        """Lose the way to some content; for fault plans."""
        self._files.pop(sha256, None)

    def _block(self, name: str) -> Path:
        return self._blocks / f"default.{name}"

    def _refresh(self, *, always: bool) -> None:
        try:
            changed_ns = os.stat(self._shards).st_mtime_ns
        except OSError:
            return
        # Two changes within one tick of the file system's clock look like one, so a wanted shard is looked for anyway.
        if changed_ns == self._changed_ns and not always:
            return
        self._changed_ns = changed_ns
        for name in sorted(os.listdir(self._shards)):
            if name.endswith(".mdb") and name not in self._read:
                self._files.update(parse_shard((self._shards / name).read_bytes()))
                self._read.add(name)


def parse_shard(data: bytes) -> dict[str, XetFile]:
    """Return the files that one shard describes, by sha256; a damaged end is left out."""
    return dict(_shard_files(data))


def _shard_files(data: bytes) -> Iterator[tuple[str, XetFile]]:
    at = HEADER
    while at + RECORD <= len(data):
        name = data[at : at + 32]
        if name == BOOKEND:
            return
        flags, n_segments = struct.unpack_from("<II", data, at + 32)
        at += RECORD
        end = at + RECORD * n_segments * (2 if flags & HAS_VERIFICATION else 1)
        if not flags & HAS_METADATA:
            at = end
            continue
        if end + RECORD > len(data):
            return
        segments = [at + RECORD * index for index in range(n_segments)]
        size = sum(struct.unpack_from("<I", data, place + 36)[0] for place in segments)
        blocks = dict.fromkeys(_hash_text(data[place : place + 32]) for place in segments)
        yield _hash_text(data[end : end + 32]), XetFile(_hash_text(name), size, tuple(blocks))
        at = end + RECORD


def _hash_text(raw: bytes) -> str:
    """Return the hex form of a hash: four little-endian 64-bit numbers."""
    return "".join(raw[start : start + 8][::-1].hex() for start in range(0, 32, 8))


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
