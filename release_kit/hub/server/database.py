"""The transactional index file: schema, connection, and the promise that a transaction is all or nothing.

Owns ``hub.sqlite3`` and the lock that keeps a second server away from the same folder. Knows no rules of the Hub.
"""

import asyncio
import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from release_kit.core.errors import HubError
from release_kit.core.files import write_error

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS repos (
    id INTEGER PRIMARY KEY AUTOINCREMENT, type TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    private INTEGER NOT NULL, gated TEXT, sdk TEXT, created_s REAL NOT NULL, updated_s REAL NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS repo_names ON repos (type, namespace COLLATE NOCASE, name COLLATE NOCASE);
CREATE TABLE IF NOT EXISTS refs (
    repo INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, commit_id TEXT NOT NULL, message TEXT,
    PRIMARY KEY (repo, kind, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS commits (
    repo INTEGER NOT NULL, id TEXT NOT NULL, parent TEXT, tree TEXT NOT NULL, author TEXT NOT NULL,
    created_s INTEGER NOT NULL, title TEXT NOT NULL, message TEXT NOT NULL,
    PRIMARY KEY (repo, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS trees (id TEXT PRIMARY KEY, entries BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    sha256 TEXT PRIMARY KEY, size INTEGER NOT NULL, data BLOB, xet_hash TEXT);
CREATE TABLE IF NOT EXISTS collections (
    id INTEGER PRIMARY KEY, slug TEXT NOT NULL UNIQUE, namespace TEXT NOT NULL, title TEXT NOT NULL,
    description TEXT, private INTEGER NOT NULL, theme TEXT NOT NULL, position INTEGER NOT NULL,
    updated_s REAL NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS collection_titles ON collections (namespace, title);
CREATE TABLE IF NOT EXISTS collection_items (
    id TEXT PRIMARY KEY, collection INTEGER NOT NULL, item_type TEXT NOT NULL, item_id TEXT NOT NULL,
    position INTEGER NOT NULL, note TEXT, UNIQUE (collection, item_type, item_id));
CREATE INDEX IF NOT EXISTS item_target ON collection_items (item_type, item_id);
CREATE INDEX IF NOT EXISTS item_order ON collection_items (collection, position);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class Database:
    """One connection, used by one thread at a time, to the index of one Hub folder.

    Args:
        root: the Hub's folder.
        durable: wait for the disk at the end of each transaction.

    Raises:
        HubError: another server uses the folder, a newer release_kit made it, or it cannot be made or read.
    """

    def __init__(self, root: Path, *, durable: bool):
        self._lock = _take_lock(root)
        self.connection = sqlite3.connect(
            root / "hub.sqlite3", isolation_level=None, check_same_thread=False, cached_statements=256
        )
        self.query = self.connection.execute
        self.on_undo: list[Callable[[], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._final: asyncio.Future[None] | None = None
        try:
            self._configure(durable)
            self._create(root)
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.DatabaseError):
                raise _unusable(root / "hub.sqlite3", str(error)) from error
            raise

    def _configure(self, durable: bool) -> None:
        # One process, one connection: without the locks of shared use a query needs half the time.
        self.query("PRAGMA locking_mode=EXCLUSIVE")
        self.query("PRAGMA journal_mode=WAL")
        self.query(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        self.query("PRAGMA cache_size=-65536")
        self.query("PRAGMA temp_store=MEMORY")
        self.query("PRAGMA wal_autocheckpoint=4000")

    def _create(self, root: Path) -> None:
        version = self.query("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise HubError(
                f"the index has version {version}, this release_kit reads up to {SCHEMA_VERSION}",
                where=str(root / "hub.sqlite3"),
                next_step="install a newer release_kit",
            )
        with self.transaction():
            for statement in SCHEMA.split(";"):
                self.query(statement)
            self.query(f"PRAGMA user_version={SCHEMA_VERSION}")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Run a block whose writes all happen, or none of them. Blocks do not nest.

        After ``share_waits``, requests that arrive together share one wait for the disk: what they wrote is final when
        ``settle`` returns. Before, it is final when the block ends.
        """
        shared = self._open_shared()
        self.query("SAVEPOINT block" if shared else "BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.query("ROLLBACK TO block" if shared else "ROLLBACK")
            raise
        finally:
            if shared:
                self.query("RELEASE block")
        if not shared:
            self.query("COMMIT")

    async def settle(self) -> None:
        """Wait until everything that was written or read so far is final.

        Raises:
            sqlite3.Error: it could not be written and is undone.
        """
        if self._final is not None:
            await asyncio.shield(self._final)

    def share_waits(self) -> None:
        """From now on, let the blocks that this event loop runs in one turn share one wait for the disk."""
        self._loop = asyncio.get_running_loop()

    def _open_shared(self) -> bool:
        if self._loop is None:
            return False
        if self._final is None:
            self.query("BEGIN IMMEDIATE")
            self._final = self._loop.create_future()
            self._loop.call_soon(self._finish_shared)
        return True

    def _finish_shared(self) -> None:
        final, self._final = self._final, None
        try:
            self.query("COMMIT")
        except sqlite3.Error as error:
            self._undo()
            final.set_exception(error)
            final.exception()
        else:
            final.set_result(None)

    def _undo(self) -> None:
        if self.connection.in_transaction:
            self.query("ROLLBACK")
        for forget in self.on_undo:
            forget()

    def setting(self, name: str, default: str) -> str:
        """Return a stored setting, storing ``default`` first when it has no value yet."""
        with self.transaction():
            self.query("INSERT OR IGNORE INTO settings VALUES (?, ?)", (name, default))
            return self.query("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()[0]

    def close(self) -> None:
        """Close the index and let other servers use the folder."""
        if self.connection.in_transaction:
            self.query("COMMIT")
        self.connection.close()
        os.close(self._lock)


def _unusable(path: Path, reason: str) -> HubError:
    step = "restore it from a copy, or choose another --root"
    return HubError(f"cannot be used as the index of a Hub ({reason})", where=str(path), next_step=step)


def _take_lock(root: Path) -> int:
    try:
        root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(root / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise write_error(root, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise HubError(
            "another local Hub is using this folder", where=str(root), next_step="stop it, or choose another --root"
        ) from error
    return descriptor
