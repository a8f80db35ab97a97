"""Digests remembered between runs, so that a file which nobody touched is not read again.

A file is recognised by device, inode, size, mtime and ctime, never by its name. A file that was changed a moment
before it is hashed could change again without a new timestamp, so hashing waits out the clock's granularity first.
"""

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from release_kit.core.errors import ArtifactError, ReleaseKitError
from release_kit.core.hashing import GIT_LIMIT_BYTES, FileDigest, TensorDigest, has_tensors, hash_file, map_ordered

_CLOCK_GRANULARITY_NS = 20_000_000
"""Linux stamps files with the time of the last timer tick: at most 10 ms old."""

_KEEP_ROWS = 1_000_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS digests (
  device INTEGER, inode INTEGER, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER,
  sha256 TEXT NOT NULL, git_sha1 TEXT, tensors TEXT, problem TEXT, has_tensors INTEGER, has_values INTEGER,
  PRIMARY KEY (device, inode)
) WITHOUT ROWID
"""
_VERSION = 1

_REMEMBER = f"""
INSERT INTO digests AS old VALUES ({",".join("?" * 11)}) ON CONFLICT DO UPDATE SET
  (size, mtime_ns, ctime_ns, sha256, git_sha1, tensors, problem, has_tensors, has_values) =
  (excluded.size, excluded.mtime_ns, excluded.ctime_ns, excluded.sha256, excluded.git_sha1, excluded.tensors,
   excluded.problem, excluded.has_tensors, excluded.has_values)
  WHERE (old.size, old.mtime_ns, old.ctime_ns, old.sha256) IS NOT
        (excluded.size, excluded.mtime_ns, excluded.ctime_ns, excluded.sha256)
    OR old.has_tensors < excluded.has_tensors OR old.has_values < excluded.has_values
    OR (old.git_sha1 IS NULL AND excluded.git_sha1 IS NOT NULL)
"""

_SAVE_ROWS = 500
_SAVE_BYTES = 64 << 20
"""What was hashed is saved after so many files or bytes: a killed run loses no more, and between two savings no other
process waits for the database."""

_BATCH_BYTES = 1 << 20
_BATCH_FILES = 32
"""Small files go to a worker together: handing over one of them costs as much as hashing 50 kB."""

Stamp = tuple[int, int, int, int, int]
"""(device, inode, size, mtime_ns, ctime_ns)"""


def default_cache_path() -> Path:
    """Return ``$RELEASE_KIT_CACHE`` or ``~/.cache/release-kit/digests.sqlite`` (XDG respected)."""
    if named := os.environ.get("RELEASE_KIT_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "release-kit" / "digests.sqlite"


class DigestCache:
    """Remembered digests in one SQLite file; a context manager. Losing the file costs time, never correctness.

    Args:
        path: the database; None keeps everything in memory. A folder that cannot be written falls back to memory;
            a file that is no database, or a damaged one, is set aside as ``<name>.damaged``.
    """

    def __init__(self, path: Path | None = None):
        self._database = _open(path)
        self._unsaved: dict[tuple[int, int], tuple] = {}
        self._unsaved_bytes = 0

    def __enter__(self) -> "DigestCache":
        return self

    def __exit__(self, *exc_info) -> None:
        self.close()

    def close(self) -> None:
        """Save and close."""
        self._save()
        self._database.close()

    def lookup(
        self, stamp: Stamp, *, tensors: bool = False, values: bool = False, git: bool = False
    ) -> FileDigest | None:
        """Return the digest of the file with ``stamp``, or None when it is not known in the detail asked for."""
        query = (
            "SELECT size, mtime_ns, ctime_ns, sha256, git_sha1, problem, has_tensors, has_values, "
            f"{'tensors' if tensors else 'NULL'} FROM digests WHERE device = ? AND inode = ?"
        )
        if stamp[:2] in self._unsaved:
            self._save()
        try:
            row = self._database.execute(query, stamp[:2]).fetchone()
        except sqlite3.Error:
            return None
        if row is None or row[:3] != stamp[2:] or (tensors and not row[6]) or (values and not row[7]):
            return None
        if git and row[4] is None and row[0] <= GIT_LIMIT_BYTES:
            return None
        listed = None if row[8] is None else tuple(_tensor(item) for item in json.loads(row[8]))
        return FileDigest(size_bytes=row[0], sha256=row[3], git_sha1=row[4], tensors=listed, problem=row[5])

    def remember(self, stamp: Stamp, digest: FileDigest, *, tensors: bool, values: bool) -> None:
        """Keep the digest of the file with ``stamp``; ``tensors`` and ``values`` say what was looked at.

        What is known of the same bytes in more detail stays.
        """
        listed = None if digest.tensors is None else json.dumps(digest.tensors, separators=(",", ":"))
        row = (*stamp, digest.sha256, digest.git_sha1, listed, digest.problem, int(tensors), int(values))
        if stamp[:2] in self._unsaved:
            self._save()
        self._unsaved[stamp[:2]] = row
        self._unsaved_bytes += digest.size_bytes
        if len(self._unsaved) >= _SAVE_ROWS or self._unsaved_bytes >= _SAVE_BYTES:
            self._save()

    def _save(self) -> None:
        with contextlib.suppress(sqlite3.Error), self._database:
            self._database.executemany(_REMEMBER, self._unsaved.values())
        self._unsaved, self._unsaved_bytes = {}, 0


def stamp_of(stat: os.stat_result) -> Stamp:
    """Return what a file is recognised by."""
    return (stat.st_dev, _signed(stat.st_ino), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def digest_files(
    paths: Iterable[Path | str],
    *,
    cache: DigestCache | None = None,
    trust: bool = True,
    tensors: bool = True,
    values: bool = False,
    git: bool = True,
    read_ahead: bool = False,
    workers: int | None = None,
    on_bytes: Callable[[int], None] | None = None,
    on_hashed: Callable[[Path | str, int], None] | None = None,
) -> Iterator[FileDigest | ReleaseKitError]:
    """Yield the digest of every path, in order; a file that cannot be read gives its error and stops nothing.

    Args:
        paths: files.
        cache: where digests are remembered; None reads every byte and remembers nothing.
        trust: take what the cache knows; without it every byte is read, and remembered for later.
        tensors: digest the tensors of safetensors files.
        values: look at tensor values too (NaN, infinities, all zero).
        git: compute git-sha1 identities of small files.
        read_ahead: read large files in a second thread each; for fewer large files than cores.
        workers: threads; default one for each core.
        on_bytes: told the size of each file that is done, remembered or read.
        on_hashed: told path and size of each file whose bytes were read.
    """

    def known(path: Path | str) -> _Job:
        try:
            stamp = stamp_of(os.stat(path))
        except OSError as error:
            return path, None, ArtifactError(f"cannot be read ({error.strerror})", where=str(path))
        if cache is None or not trust:
            return path, stamp, None
        wants = tensors and has_tensors(path)
        return path, stamp, cache.lookup(stamp, tensors=wants, values=wants and values, git=git)

    def hash_one(path: Path | str) -> FileDigest:
        return hash_file(path, tensors=tensors, values=values, git=git, read_ahead=read_ahead)

    def work(batch: list[_Job]) -> list[_Done]:
        return [_digest(job, hash_one, settle=cache is not None) for job in batch]

    for done in map_ordered(work, _batches(map(known, paths)), workers):
        for path, stamp, outcome, hashed in done:
            if hashed and cache is not None and stamp is not None:
                looked = tensors and has_tensors(path)
                cache.remember(stamp, outcome, tensors=looked, values=looked and values)
            if hashed and on_hashed:
                on_hashed(path, outcome.size_bytes)
            if on_bytes and isinstance(outcome, FileDigest):
                on_bytes(outcome.size_bytes)
            yield outcome


_Job = tuple[Path | str, Stamp | None, FileDigest | ReleaseKitError | None]
_Done = tuple[Path | str, Stamp | None, FileDigest | ReleaseKitError, bool]


def _batches(jobs: Iterable[_Job]) -> Iterator[list[_Job]]:
    """Group jobs in order, up to ``_BATCH_BYTES`` and ``_BATCH_FILES`` in one."""
    batch: list[_Job] = []
    n_bytes = 0
    for job in jobs:
        size = job[1][2] if job[1] is not None and job[2] is None else 0
        if batch and (n_bytes + size > _BATCH_BYTES or len(batch) >= _BATCH_FILES):
            yield batch
            batch, n_bytes = [], 0
        batch.append(job)
        n_bytes += size
    if batch:
        yield batch


def _digest(job: _Job, hash_one: Callable[[Path | str], FileDigest], *, settle: bool) -> _Done:
    path, stamp, found = job
    if found is not None or stamp is None:
        return path, stamp, found, False
    try:
        if not settle:
            return path, None, hash_one(path), True
        return (path, *_hash_settled(path, stamp, hash_one), True)
    except ReleaseKitError as error:
        return path, None, error, False


def _hash_settled(
    path: Path | str, before: Stamp, hash_one: Callable[[Path | str], FileDigest]
) -> tuple[Stamp | None, FileDigest]:
    """Hash a file; the stamp is None when the file was touched meanwhile, so that it is not remembered."""
    fresh_ns = before[4] + _CLOCK_GRANULARITY_NS - time.time_ns()
    if 0 < fresh_ns <= _CLOCK_GRANULARITY_NS:
        time.sleep(fresh_ns / 1e9)
    digest = hash_one(path)
    try:
        after = stamp_of(os.stat(path))
    except OSError as error:
        raise ArtifactError(f"cannot be read ({error.strerror})", where=str(path)) from error
    return (after if before == after else None), digest


def _tensor(item: list) -> TensorDigest:
    name, dtype, shape, *rest = item
    return TensorDigest(name, dtype, tuple(shape), *rest)


def _signed(inode: int) -> int:
    return inode - (1 << 64) if inode >= 1 << 63 else inode


def _open(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        for _ in range(2):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                return _prepared(sqlite3.connect(path, timeout=10, check_same_thread=False))
            except (OSError, sqlite3.OperationalError):
                break
            except sqlite3.DatabaseError:
                with contextlib.suppress(OSError):
                    os.replace(path, path.with_name(path.name + ".damaged"))
    return _prepared(sqlite3.connect(":memory:", check_same_thread=False))


def _prepared(database: sqlite3.Connection) -> sqlite3.Connection:
    try:
        return _with_table(database)
    except BaseException:
        database.close()
        raise


def _with_table(database: sqlite3.Connection) -> sqlite3.Connection:
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version != _VERSION:
        database.execute("DROP TABLE IF EXISTS digests")
        database.execute(f"PRAGMA user_version={_VERSION}")
    database.execute(_SCHEMA)
    if database.execute("SELECT count(*) FROM digests").fetchone()[0] > _KEEP_ROWS:
        database.execute("DELETE FROM digests")
    database.commit()
    return database
