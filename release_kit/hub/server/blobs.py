"""Content on disk, named by its sha256: a file has its final name only when every byte was counted and hashed.

Owns ``blobs/`` and ``tmp/`` under the root. Which content belongs to which repository is known to the index.
"""

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from release_kit.core.files import sync_folder
from release_kit.hub.server.replies import HttpError

_SHA256 = re.compile(r"[0-9a-f]{64}")
HASH_PIECE_BYTES = 1 << 20


def is_sha256(text: object) -> bool:
    """Return whether ``text`` is 64 lower-case hex digits."""
    return isinstance(text, str) and bool(_SHA256.fullmatch(text))


class BlobStore:
    """The content-addressed folder.

    Args:
        root: the Hub's folder.
        durable: fsync content and names before they count as stored.
    """

    def __init__(self, root: Path, *, durable: bool):
        self.folder, self.temporary, self.durable = root / "blobs", root / "tmp", durable
        self.folder.mkdir(parents=True, exist_ok=True)
        self.temporary.mkdir(parents=True, exist_ok=True)
        self._known_folders: set[str] = set()

    def path(self, sha256: str) -> Path:
        """Return where the content with this sha256 lies, or would lie."""
        if not is_sha256(sha256):
            raise ValueError(f"not a sha256: {sha256!r}")
        return self.folder / sha256[:2] / sha256[2:]

    def size(self, sha256: str) -> int | None:
        """Return the size in bytes of stored content, None when it is not there."""
        try:
            return os.stat(f"{self.folder}/{sha256[:2]}/{sha256[2:]}").st_size
        except OSError:
            return None

    def open_sink(self) -> "BlobSink":
        """Return a writer for new content."""
        return BlobSink(self, self.temporary / secrets.token_hex(12))

    def adopt(self, temporary: Path, sha256: str) -> None:
        """Give ``temporary``, already verified by the caller, its final name."""
        final = self.path(sha256)
        if self.durable:
            _sync_file(temporary)
        if final.parent.name not in self._known_folders:
            final.parent.mkdir(exist_ok=True)
            self._known_folders.add(final.parent.name)
            if self.durable:
                sync_folder(self.folder)
        os.replace(temporary, final)
        if self.durable:
            sync_folder(final.parent)

    def remove(self, sha256: str) -> None:
        """Delete stored content; nothing happens when it is not there."""
        self.path(sha256).unlink(missing_ok=True)

    def iter_names(self) -> Iterator[str]:
        """Yield the sha256 of everything stored, sorted."""
        for folder in sorted(self.folder.iterdir()):
            if folder.is_dir() and len(folder.name) == 2:
                yield from sorted(folder.name + name for name in os.listdir(folder))

    def clean_temporary(self) -> int:
        """Remove what interrupted uploads left behind and return how many files that were."""
        leftovers = list(self.temporary.iterdir())
        for path in leftovers:
            path.unlink()
        return len(leftovers)


class BlobSink:
    """Content that is arriving: written to a temporary file and hashed on the way."""

    def __init__(self, store: BlobStore, path: Path):
        self._store, self.path = store, path
        self._stream = open(path, "xb")  # noqa: SIM115 - closed in finish() or discard()
        self._hash = hashlib.sha256()
        self.n_bytes = 0

    def write(self, piece: bytes) -> None:
        """Add ``piece``."""
        self._hash.update(piece)
        self._stream.write(piece)
        self.n_bytes += len(piece)

    def finish(self, *, sha256: str | None = None, size: int | None = None) -> str:
        """Store the content under its sha256 and return it.

        Raises:
            HttpError: 400 when the content is not the promised one; nothing is stored then.
        """
        found = self._hash.hexdigest()
        try:
            self._stream.close()
            check_content(found, self.n_bytes, sha256=sha256, size=size)
            self._store.adopt(self.path, found)
        except BaseException:
            self.discard()
            raise
        return found

    def discard(self) -> None:
        """Forget what arrived; closing may fail on a full disk, which changes nothing."""
        with contextlib.suppress(OSError):
            self._stream.close()
        with contextlib.suppress(OSError):
            self.path.unlink()


def check_content(found: str, n_bytes: int, *, sha256: str | None, size: int | None) -> None:
    """Compare what arrived with what was promised.

    Raises:
        HttpError: 400 with both values.
    """
    if size is not None and n_bytes != size:
        raise HttpError(400, f"The upload has {n_bytes} bytes, {size} were announced; nothing was stored")
    if sha256 is not None and found != sha256:
        raise HttpError(400, f"The upload has sha256 {found}, {sha256} was announced; nothing was stored")


def hash_file(path: Path) -> tuple[str, int]:
    """Return sha256 and size in bytes of a file, read in pieces."""
    digest, n_bytes = hashlib.sha256(), 0
    with open(path, "rb") as stream:
        while piece := stream.read(HASH_PIECE_BYTES):
            digest.update(piece)
            n_bytes += len(piece)
    return digest.hexdigest(), n_bytes


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
