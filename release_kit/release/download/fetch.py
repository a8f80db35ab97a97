"""Fetch the content of one file: resumed where it broke off, hashed byte by byte, handed over only when it is right.

Partial content is kept by its sha256, so that a killed download loses nothing and equal files are fetched once. What
becomes of the bytes afterwards is the business of ``download/target``.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from release_kit.core.errors import HubError, IntegrityError
from release_kit.core.files import TEMPORARY_PREFIX, write_error
from release_kit.core.manifest import FileEntry
from release_kit.hub.client import HubClient
from release_kit.hub.errors import AbsurdReplyError, UnreachableError
from release_kit.release.download.source import Source

MAX_STALLS = 4
"""Tries in a row that bring no byte; each of them has been repeated by the client already."""

MAX_BREAKS = 200
"""How often one file may break off altogether, however slowly it goes on."""

_BLOCK_BYTES = 1 << 20


class Fetcher:
    """Fetches contents into ``folder``; one instance serves many threads.

    Args:
        client: the Hub.
        folder: where partial content is kept, named by sha256.
        on_bytes: told how many bytes came; negative when bytes had to be thrown away.
    """

    def __init__(self, client: HubClient, folder: Path, on_bytes: Callable[[int], None] | None = None):
        self._client, self._folder = client, folder
        self._on_bytes = on_bytes or (lambda n: None)

    def fetch(self, source: Source, entry: FileEntry) -> Path:
        """Return a file with exactly the content of ``entry``, on disk and synced, ready to be moved into place.

        Raises:
            IntegrityError: twice the Hub sent other bytes than the manifest says.
            HubError: the Hub cannot be reached or does not have the file.
            ReleaseKitError: the disk is full or the folder cannot be written.
        """
        path = self._folder / entry.sha256
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            got = ""
            for _ in range(2):
                got = self._attempt(source, entry, path)
                if got == entry.sha256:
                    return path
                path.unlink()
                self._on_bytes(-entry.size_bytes)
        except OSError as error:
            raise write_error(path, error) from error
        raise IntegrityError(
            f"the Hub sends wrong content: expected sha256 {entry.sha256[:12]}…, got {got[:12]}…, twice",
            where=str(source),
            next_step="nothing of it was kept; try again later, or tell the publisher",
        )

    def _attempt(self, source: Source, entry: FileEntry, path: Path) -> str:
        """Bring ``path`` to its full size and return the sha256 of what it then holds."""
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        with open(os.open(path, flags, 0o644), "r+b", buffering=0) as stream:
            incoming = _Incoming(stream, entry.size_bytes, self._on_bytes)
            stalls = breaks = 0
            while incoming.left:
                before = incoming.position
                problem = self._receive(source, incoming)
                breaks += 1
                stalls = 0 if incoming.position > before else stalls + 1
                if incoming.left and (stalls >= MAX_STALLS or breaks >= MAX_BREAKS):
                    raise problem or _short(source, incoming.position, entry.size_bytes)
            os.fsync(stream.fileno())
            return incoming.hasher.hexdigest()

    def _receive(self, source: Source, incoming: "_Incoming") -> HubError | None:
        """Take bytes until the file is whole or the connection breaks; returns why it broke."""
        start = incoming.position
        try:
            with self._client.stream(
                source.repo, source.revision, source.path, start=start, end=incoming.size
            ) as pieces:
                for piece in pieces:
                    incoming.take(piece)
        except AbsurdReplyError:
            if not start:
                raise
            incoming.restart()
        except UnreachableError as error:
            return error
        return None


class _Incoming:
    """A file that grows: what is there already is hashed first, then every piece as it is written."""

    def __init__(self, stream, size: int, on_bytes: Callable[[int], None]):
        self._stream, self.size, self._on_bytes = stream, size, on_bytes
        self.hasher = hashlib.sha256()
        self.position = 0
        if os.fstat(stream.fileno()).st_size > size:
            stream.truncate(0)
        while block := stream.read(_BLOCK_BYTES):
            self.hasher.update(block)
            self.position += len(block)
        on_bytes(self.position)

    @property
    def left(self) -> int:
        """Bytes that are still to come."""
        return self.size - self.position

    def take(self, piece: bytes) -> None:
        """Write one piece, never more than the manifest's size."""
        piece = piece[: self.left]
        view = memoryview(piece)
        while view:
            view = view[self._stream.write(view) :]
        self.hasher.update(piece)
        self.position += len(piece)
        self._on_bytes(len(piece))

    def restart(self) -> None:
        """Forget everything: the Hub sends no parts of files."""
        self._on_bytes(-self.position)
        self._stream.seek(0)
        self._stream.truncate(0)
        self.hasher, self.position = hashlib.sha256(), 0


def _short(source: Source, got: int, expected: int) -> HubError:
    return HubError(
        f"the Hub sends only {got} of {expected} bytes",
        where=str(source),
        next_step="what came is kept; run the same command again to continue",
    )


def remove_temporaries(*folders: Path) -> None:
    """Remove what a kill left of small files that were being written in these folders."""
    for folder in folders:
        for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
            with contextlib.suppress(OSError):
                path.unlink()


def remove_partials(folder: Path) -> None:
    """Remove what is left of partial content once nothing needs it."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
