"""Where the bytes of a file are: small ones in the index, larger ones in the blob folder, Xet ones in the CAS.

Owns the table ``objects``. A row says that content is complete; a blob on disk with its final name is complete too.
"""

import hashlib
from typing import NamedTuple

from release_kit.hub.server import gitids
from release_kit.hub.server.blobs import BlobStore
from release_kit.hub.server.database import Database
from release_kit.hub.server.trees import Entry

INLINE_BYTES = 64 * 1024
"""Content up to this size lives in the index: no file to make, and one wait for the disk for a whole commit."""

MAX_HELD_BYTES = 64 << 20
"""Of the small files of one commit so many bytes wait in memory for its transaction; the rest goes to blobs."""


class StoredObject(NamedTuple):
    """Content that the index knows; ``data`` is None when the bytes are not in the index itself."""

    size: int
    data: bytes | None
    xet_hash: str | None


class ContentStore:
    """Content by sha256, wherever it lies."""

    def __init__(self, database: Database, blobs: BlobStore):
        self._query, self.blobs = database.query, blobs

    def find(self, sha256: str) -> StoredObject | None:
        """Return what is known about some content, None when the Hub does not have it."""
        row = self._query("SELECT size, data, xet_hash FROM objects WHERE sha256 = ?", (sha256,)).fetchone()
        if row:
            return StoredObject(*row)
        size = self.blobs.size(sha256)
        return None if size is None else StoredObject(size, None, None)

    def xet_hash(self, sha256: str) -> str | None:
        """Return the Xet hash of some content, None when it did not come through Xet."""
        row = self._query("SELECT xet_hash FROM objects WHERE sha256 = ?", (sha256,)).fetchone()
        return row[0] if row else None

    def record(self, sha256: str, size: int, *, data: bytes | None = None, xet_hash: str | None = None) -> None:
        """Say that content is complete; call inside a transaction. What is known already is kept."""
        sql = (
            "INSERT INTO objects VALUES (?, ?, ?, ?) ON CONFLICT (sha256) DO UPDATE SET "
            "data = coalesce(data, excluded.data), xet_hash = coalesce(xet_hash, excluded.xet_hash)"
        )
        self._query(sql, (sha256, size, data, xet_hash))

    def lose(self, sha256: str) -> None:
        """Destroy content while everything still names it; for fault plans."""
        self.blobs.remove(sha256)
        self._query("UPDATE objects SET data = NULL, xet_hash = NULL WHERE sha256 = ?", (sha256,))


class PendingContent:
    """The content of one commit that is being read: stored so that the commit's transaction can name it."""

    def __init__(self, store: ContentStore):
        self._store = store
        self._rows: dict[str, tuple[int, bytes | None, str | None]] = {}
        self._held_bytes = 0

    def add_regular(self, content: bytes) -> Entry:
        """Take the content of a regular file and return its entry."""
        sha256 = hashlib.sha256(content).hexdigest()
        inline = len(content) <= INLINE_BYTES and self._held_bytes + len(content) <= MAX_HELD_BYTES
        self._held_bytes += len(content) if inline else 0
        if not inline and self._store.blobs.size(sha256) is None:
            sink = self._store.blobs.open_sink()
            try:
                sink.write(content)
                sink.finish()
            finally:
                sink.discard()
        self._rows[sha256] = (len(content), content if inline else None, None)
        return Entry(gitids.object_id("blob", content), len(content), sha256, False)

    def add_large(self, sha256: str, size: int, xet_hash: str | None) -> Entry:
        """Take content that was uploaded before and return its entry."""
        self._rows[sha256] = (size, None, xet_hash)
        return Entry(gitids.object_id("blob", gitids.pointer_text(sha256, size)), size, sha256, True)

    def record(self) -> None:
        """Write what was taken into the index; call inside the commit's transaction."""
        for sha256, (size, data, xet_hash) in self._rows.items():
            self._store.record(sha256, size, data=data, xet_hash=xet_hash)
