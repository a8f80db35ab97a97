"""The transactional index file: schema, connection, and the promise that a transaction is all or nothing.

Owns ``hub.sqlite3`` and the lock that keeps a second server away from the same folder. Knows no rules of the Hub.
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from release_kit.core.errors import HubError

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS repos (
    id INTEGER PRIMARY KEY, type TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
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
CREATE INDEX IF NOT EXISTS item_order ON collection_items (collection, position);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class Database:
    """One connection, used by one thread at a time, to the index of one Hub folder.

    Args:
        root: the Hub's folder.
        durable: wait for the disk at the end of each transaction.

    Raises:
        HubError: another server uses the folder, or a newer release_kit made it.
    """

    def __init__(self, root: Path, *, durable: bool):
        root.mkdir(parents=True, exist_ok=True)
        self._lock = _take_lock(root)
        self.connection = sqlite3.connect(
            root / "hub.sqlite3", isolation_level=None, check_same_thread=False, cached_statements=256
        )
        self.query = self.connection.execute
        self._configure(durable)
        self._create(root)

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
        """Run a block whose writes all happen, or none of them. Blocks do not nest."""
        self.query("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.query("ROLLBACK")
            raise
        self.query("COMMIT")

    def setting(self, name: str, default: str) -> str:
        """Return a stored setting, storing ``default`` first when it has no value yet."""
        with self.transaction():
            self.query("INSERT OR IGNORE INTO settings VALUES (?, ?)", (name, default))
            return self.query("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()[0]

    def close(self) -> None:
        """Close the index and let other servers use the folder."""
        self.connection.close()
        os.close(self._lock)


def _take_lock(root: Path) -> int:
    descriptor = os.open(root / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise HubError(
            "another local Hub is using this folder", where=str(root), next_step="stop it, or choose another --root"
        ) from error
    return descriptor
