"""Large uploads in parts: every part goes to its place in one temporary file, which is verified as a whole.

Owns the temporary file of an upload in parts; it survives a lost connection, so single parts can be repeated.
"""

import contextlib
import hashlib
import math
import os
from collections.abc import Iterator

from release_kit.hub.server.blobs import BlobStore, check_content, hash_file
from release_kit.hub.server.replies import HttpError


class PartSink:
    """One part that is arriving at its place in the file."""

    def __init__(self, descriptor: int, start: int, length: int):
        self._descriptor, self._at, self._left = descriptor, start, length
        self._hash = hashlib.sha256()

    def write(self, piece: bytes) -> None:
        """Add ``piece``.

        Raises:
            HttpError: 400 when the part is longer than announced.
        """
        if len(piece) > self._left:
            raise HttpError(400, "The part is longer than announced")
        self._hash.update(piece)
        os.pwrite(self._descriptor, piece, self._at)
        self._at += len(piece)
        self._left -= len(piece)

    def etag(self) -> str:
        """Return the digest of the whole part.

        Raises:
            HttpError: 400 when bytes are missing.
        """
        if self._left:
            raise HttpError(400, f"The part lacks {self._left} bytes")
        return self._hash.hexdigest()


class PartedUpload:
    """One large upload.

    Args:
        store: where the content ends.
        oid: announced sha256.
        size: announced bytes.
        part_bytes: size of every part but the last.
    """

    def __init__(self, store: BlobStore, oid: str, size: int, part_bytes: int):
        self._store, self._oid, self._size, self._part_bytes = store, oid, size, part_bytes
        self._path = store.temporary / f"parts-{oid}"
        self.n_parts = math.ceil(size / part_bytes)

    @contextlib.contextmanager
    def open_part(self, number: int) -> Iterator[PartSink]:
        """Yield a sink for part ``number`` (from 1)."""
        if not 1 <= number <= self.n_parts:
            raise HttpError(400, f"There is no part {number}; the upload has {self.n_parts}")
        start = (number - 1) * self._part_bytes
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            yield PartSink(descriptor, start, min(self._part_bytes, self._size - start))
        finally:
            os.close(descriptor)

    def join(self, parts: object) -> None:
        """Verify the whole content and store it.

        Raises:
            HttpError: 400 when parts are missing or the content is not the announced one.
        """
        if not isinstance(parts, list) or len(parts) != self.n_parts:
            raise HttpError(400, f"Expected {self.n_parts} parts")
        try:
            found, n_bytes = hash_file(self._path)
        except FileNotFoundError as error:
            raise HttpError(400, "No part of this upload has arrived") from error
        try:
            check_content(found, n_bytes, sha256=self._oid, size=self._size)
        except HttpError:
            self._path.unlink()
            raise
        self._store.adopt(self._path, self._oid)
