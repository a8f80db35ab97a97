"""Digests of files, each byte read once: sha256, git-sha1 for small files, BLAKE3 for every tensor.

A file's identity is what the Hub itself uses. BLAKE3 for tensors because it costs a quarter of sha256 on the same
bytes, so both fit into one read (``benchmarks/release.py``). Threads work here: all three release the GIL.
"""

import hashlib
import mmap
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

from blake3 import blake3

from release_kit.core import canonical
from release_kit.core.errors import ArtifactError, IntegrityError
from release_kit.core.safetensors import Header, header_length, parse_header
from release_kit.core.values import ValueScan

BLOCK_BYTES = 1 << 20
"""Read size. A quarter of it would stay in the second-level cache, but two threads then hand over too often."""

LARGE_BYTES = 64 * 1024 * 1024
_AHEAD_BYTES = 1 << 22
"""From this size on a second thread may read ahead, in blocks large enough that handing over costs nothing."""

GIT_LIMIT_BYTES = 10 * 1024 * 1024
"""Above this the Hub stores every file as LFS, so that a git-sha1 identity is never asked for."""

TENSOR_ALGORITHM = "blake3"


class TensorDigest(NamedTuple):
    """One tensor's identity: type, shape and BLAKE3 (64 hex digits) of its bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    blake3: str
    n_bytes: int
    zero: bool | None = None
    """All bytes are zero; None where the values were not looked at."""
    n_nonfinite: int | None = None
    """NaN and infinite values; None where the values were not looked at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileDigest:
    """What one read of a file told.

    ``tensors`` is None for anything but well-formed safetensors; ``problem`` then says why for a ``.safetensors``.
    """

    size_bytes: int
    sha256: str
    git_sha1: str | None = None
    tensors: tuple[TensorDigest, ...] | None = None
    problem: str | None = None


def tensors_digest(tensors: Iterable[TensorDigest]) -> str:
    """Return one digest of a set of tensors, independent of header bytes and of their order in the file."""
    return canonical.digest(sorted([t.name, t.dtype, list(t.shape), t.blake3] for t in tensors))


def hash_file(
    path: Path | str, *, tensors: bool = True, git: bool = True, values: bool = False, read_ahead: bool = False
) -> FileDigest:
    """Hash one file, reading each byte once.

    Args:
        path: the file.
        tensors: also digest every tensor of a ``.safetensors`` file.
        git: also compute the git blob sha1 of files up to ``GIT_LIMIT_BYTES``.
        values: also look at the values of the tensors (NaN, infinities, all zero), from the same read.
        read_ahead: read the next block of a large file in a second thread; worth it when a core is idle.

    Raises:
        ArtifactError: the file cannot be read.
        IntegrityError: the file was written to while it was read: its digest would be that of no state of it.
    """
    try:
        if tensors and has_tensors(path):
            with open(path, "rb", buffering=0) as stream:
                before = os.fstat(stream.fileno())
                result = _hash_tensors(stream, before.st_size, Path(path), git, values)
                after = os.fstat(stream.fileno())
        else:
            before, result, after = _hash_plain(path, git, read_ahead)
    except OSError as error:
        raise ArtifactError(f"cannot be read ({error.strerror})", where=str(path)) from error
    if (result.size_bytes, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise IntegrityError("changed while it was being read", where=str(path), next_step="run the command again")
    return result


def digest_bytes(data: bytes) -> FileDigest:
    """Return the digest of a file with this content that is no safetensors."""
    return FileDigest(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), git_sha1=git_blob_sha1(data))


def git_blob_sha1(data: bytes) -> str:
    """Return the git object id of a blob with this content."""
    return hashlib.sha1(b"blob %d\x00" % len(data) + data, usedforsecurity=False).hexdigest()


class _FileHash:
    """sha256 and, where wanted, git-sha1 of a stream of blocks."""

    def __init__(self, size: int, git: bool):
        self.sha256 = hashlib.sha256()
        self.sha1 = hashlib.sha1(b"blob %d\x00" % size, usedforsecurity=False) if git else None
        self.size = 0

    def update(self, block) -> None:
        self.sha256.update(block)
        if self.sha1 is not None:
            self.sha1.update(block)
        self.size += len(block)

    def result(self, tensors=None, problem=None) -> FileDigest:
        git_sha1 = self.sha1.hexdigest() if self.sha1 is not None else None
        return FileDigest(
            size_bytes=self.size,
            sha256=self.sha256.hexdigest(),
            git_sha1=git_sha1,
            tensors=tensors,
            problem=problem,
        )


def has_tensors(path: Path | str) -> bool:
    """Return whether a file is by its name one whose tensors are digested."""
    return os.fspath(path).endswith(".safetensors")


def _hash_plain(path: Path | str, git: bool, read_ahead: bool) -> tuple[os.stat_result, FileDigest, os.stat_result]:
    """Return the digest between what the system says of the file before and after it was read.

    Bare system calls, because for small files Python's streams cost as much as hashing.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        before = os.fstat(descriptor)
        size = before.st_size
        digest = _FileHash(size, git and size <= GIT_LIMIT_BYTES)
        blocks = _blocks_ahead(descriptor) if read_ahead and size >= LARGE_BYTES else _blocks_of(descriptor, size)
        for block in blocks:
            digest.update(block)
        return before, digest.result(), os.fstat(descriptor)
    finally:
        os.close(descriptor)


_own = threading.local()


def _buffer() -> memoryview:
    """Return this thread's read buffer, aligned to a page: copying into one that is not can cost half the speed."""
    if not hasattr(_own, "buffer"):
        _own.buffer = memoryview(mmap.mmap(-1, BLOCK_BYTES))
    return _own.buffer


def _blocks(stream: BinaryIO) -> Iterator[memoryview]:
    """Yield the rest of a file in blocks; each is overwritten by the next one."""
    view = _buffer()
    while n := stream.readinto(view):
        yield view[:n]


def _blocks_of(descriptor: int, size: int) -> Iterator[memoryview]:
    """Yield a file in blocks; a last short block that completes ``size`` needs no further call to see the end."""
    view, position = _buffer(), 0
    while n := os.readv(descriptor, [view]):
        position += n
        yield view[:n]
        if n < len(view) and position == size:
            return


def _blocks_ahead(descriptor: int) -> Iterator[memoryview]:
    """Yield a file in blocks while the next one is being read."""
    ready, coming = (memoryview(mmap.mmap(-1, _AHEAD_BYTES)) for _ in range(2))
    with ThreadPoolExecutor(1) as reader:
        n = os.readv(descriptor, [ready])
        while n:
            future = reader.submit(os.readv, descriptor, [coming])
            yield ready[:n]
            n, ready, coming = future.result(), coming, ready


def _hash_tensors(stream: BinaryIO, size: int, path: Path, git: bool, values: bool) -> FileDigest:
    digest = _FileHash(size, git and size <= GIT_LIMIT_BYTES)
    try:
        prefix = stream.read(8)
        digest.update(prefix)
        raw = stream.read(header_length(prefix, size, str(path)))
        digest.update(raw)
        header = parse_header(raw, size, str(path))
    except ArtifactError as error:
        for block in _blocks(stream):
            digest.update(block)
        return digest.result(problem=error.what)
    return digest.result(tensors=tuple(_tensor_digests(stream, size, header, digest, values)))


def _tensor_digests(
    stream: BinaryIO, size: int, header: Header, digest: _FileHash, values: bool
) -> Iterator[TensorDigest]:
    """Walk blocks and spans together: each block goes to sha256 once, its parts to the tensors that they belong to."""
    blocks = _blocks(stream)
    block, start = memoryview(b""), header.data_start
    for span in header.spans:
        hasher, position = blake3(), span.start
        scan = ValueScan(span.dtype) if values and span.end > span.start else None
        while position < span.end:
            if position >= start + len(block):
                start += len(block)
                block = next(blocks, None)
                if block is None:
                    return
                digest.update(block)
            part = block[position - start : span.end - start]
            hasher.update(part)
            if scan is not None:
                scan.update(part)
            position += len(part)
        yield TensorDigest(
            name=span.name, dtype=span.dtype, shape=span.shape, blake3=hasher.hexdigest(),
            n_bytes=span.end - span.start,
            zero=scan.zero if scan else None, n_nonfinite=scan.n_nonfinite if scan else None,
        )  # fmt: skip
    for rest in blocks:
        digest.update(rest)


Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def default_workers() -> int:
    """Return how many threads hash at once: one for each usable core."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_ordered(
    work: Callable[[Item], Outcome], items: Iterable[Item], workers: int | None = None
) -> Iterator[Outcome]:
    """Yield ``work(item)`` in the order of ``items``, computed by threads, with bounded look-ahead."""
    n = workers or default_workers()
    if n <= 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(n) as pool:
        pending: list = []
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) >= 64 * n:
                    yield pending.pop(0).result()
            while pending:
                yield pending.pop(0).result()
        finally:
            for future in pending:
                future.cancel()
