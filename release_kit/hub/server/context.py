"""The parts of one Hub, put together: index, folders, content, and the settings that requests need.

What every route function receives. Owns opening and closing the folder, no rules.
"""

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from release_kit.hub.server.auth import Access
from release_kit.hub.server.blobs import BlobStore, check_content, hash_file
from release_kit.hub.server.collection_index import CollectionIndex
from release_kit.hub.server.content import ContentStore, StoredObject
from release_kit.hub.server.database import Database
from release_kit.hub.server.http import Request
from release_kit.hub.server.index import Clock, Index
from release_kit.hub.server.limits import RateLimiter, RateLimits
from release_kit.hub.server.replies import HttpError
from release_kit.hub.server.trees import Entry, TreeStore
from release_kit.hub.server.xet import XetStore

Durability = Literal["full", "fast"]


@dataclass(frozen=True, kw_only=True)
class HubSettings:
    """How one local Hub behaves.

    Args:
        root: folder of the index and the content; made when it is missing.
        durability: ``full`` waits for the disk before it answers, ``fast`` leaves that to the system.
        access: who may do what.
        xet: offer the Xet path; needs clients on the same machine.
        part_bytes: uploads larger than this are split into parts of this size.
        page_entries: entries on one page of a listing.
        clock: seconds since the epoch.
        rate_limits: refuse requests above these limits; None is without limits.
    """

    root: Path
    durability: Durability = "full"
    access: Access = field(default_factory=Access)
    xet: bool = True
    part_bytes: int = 256 << 20
    page_entries: int = 1000
    clock: Clock = time.time
    rate_limits: RateLimits | None = None


class Hub:
    """One opened Hub folder."""

    def __init__(self, settings: HubSettings):
        durable = settings.durability == "full"
        self.settings, self.access = settings, settings.access
        self.database = Database(settings.root, durable=durable)
        self.trees = TreeStore(self.database)
        self.index = Index(self.database, self.trees, settings.clock)
        self.collections = CollectionIndex(self.database, settings.clock)
        self.limiter = RateLimiter(settings.rate_limits, settings.clock) if settings.rate_limits else None
        self.blobs = BlobStore(settings.root, durable=durable)
        self.blobs.clean_temporary()
        self.xet = XetStore(settings.root, durable=durable)
        self._rebuilding: dict[str, asyncio.Lock] = {}
        self.content = ContentStore(self.database, self.blobs)
        self.upload_key = bytes.fromhex(self.database.setting("upload_key", secrets.token_hex(32)))

    def xet_hash(self, request: Request, entry: Entry) -> str | None:
        """Return the Xet hash under which this client can get a large file, None when it has to use HTTP."""
        return self.content.xet_hash(entry.sha256) if self.offers_xet(request) else None

    def offers_xet(self, request: Request) -> bool:
        """Return whether this client can use the Xet folder: it has to run on this machine."""
        return self.settings.xet and request.is_local

    def find_uploaded(self, sha256: str) -> StoredObject | None:
        """Return content that a commit may name, None when it never arrived."""
        stored = self.content.find(sha256)
        if self.settings.xet and (stored is None or not stored.xet_hash):
            found = self.xet.find(sha256, expected=stored is None)
            if found:
                self.xet.make_durable(found)
                return StoredObject(found.size, stored.data if stored else None, found.xet_hash)
        return stored

    async def local_file(self, entry: Entry) -> Path:
        """Return the file on this disk that holds the content of ``entry``, rebuilding it from Xet when needed.

        Raises:
            HttpError: 404 when the content is lost.
        """
        path = self.blobs.path(entry.sha256)
        if path.exists():
            return path
        async with self._rebuilding.setdefault(entry.sha256, asyncio.Lock()):
            if not path.exists():
                await asyncio.to_thread(self._rebuild, entry)
        self._rebuilding.pop(entry.sha256, None)
        return path

    def _rebuild(self, entry: Entry) -> None:
        found = self.xet.find(entry.sha256)
        if found is None:
            raise HttpError(404, f"The content {entry.sha256} is missing from this Hub's folder; run `hub fsck`")
        temporary = self.blobs.temporary / f"xet-{secrets.token_hex(8)}"
        try:
            self.xet.rebuild(found.xet_hash, found.size, temporary)
            check_content(*hash_file(temporary), sha256=entry.sha256, size=entry.size)
            self.blobs.adopt(temporary, entry.sha256)
        finally:
            temporary.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the folder."""
        self.database.close()
