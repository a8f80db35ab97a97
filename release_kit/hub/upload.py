"""Bringing bytes to a Hub: LFS objects in batches, streamed from disk, and commits made of regular files and pointers.

Every byte is hashed again while it is read, so that a file which changed since it was hashed never gets under a
commit. Owns the LFS and commit payloads; which files go where is decided in ``release/``.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core.errors import PublishError
from release_kit.core.hashing import git_blob_sha1
from release_kit.hub.channel import Channel
from release_kit.hub.errors import AbsurdReplyError, RefusedError
from release_kit.hub.filemodes import SAMPLE_BYTES, is_large_by_name, is_text
from release_kit.hub.reference import Repo
from release_kit.hub.replies import Reply

PIECE_BYTES = 1 << 20
BATCH_FILES = 256
BATCH_BYTES = 8 << 30
"""Upload addresses expire; a batch of this size is done well before."""

LFS_HEADERS = {"accept": "application/vnd.git-lfs+json", "content-type": "application/vnd.git-lfs+json"}

OnBytes = Callable[[int], None]
"""Told how many more bytes went out; negative when a part has to be sent again. What it raises ends the upload."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SendFile:
    """One file to send: its path in the repo, its identities, and where its bytes are."""

    path: str
    size_bytes: int
    sha256: str
    source: Path | bytes
    git_sha1: str | None = None

    @property
    def is_large(self) -> bool:
        """Whether it goes up as an LFS object; unknown kinds are decided by their first bytes."""
        known = is_large_by_name(self.path, self.size_bytes)
        return not is_text(next(self.pieces(size=SAMPLE_BYTES), b"")) if known is None else known

    def pieces(self, start: int = 0, end: int | None = None, size: int = PIECE_BYTES) -> Iterator[bytes]:
        """Yield the bytes ``start`` … ``end``.

        Raises:
            PublishError: the file cannot be read.
        """
        left = (self.size_bytes if end is None else end) - start
        if isinstance(self.source, bytes):
            yield self.source[start : start + left]
            return
        try:
            with open(self.source, "rb", buffering=0) as stream:
                stream.seek(start)
                while left > 0 and (piece := stream.read(min(size, left))):
                    left -= len(piece)
                    yield piece
        except OSError as error:
            raise PublishError(f"cannot be read ({error.strerror})", where=str(self.source)) from error

    def checked_bytes(self) -> bytes:
        """Return the whole content of a small file.

        Raises:
            PublishError: it is not what was hashed.
        """
        data = b"".join(self.pieces())
        same = git_blob_sha1(data) == self.git_sha1 if self.git_sha1 else _sha256(data) == self.sha256
        if len(data) != self.size_bytes or not same:
            raise self.changed()
        return data

    def changed(self) -> PublishError:
        """Return the error for a file that is not what the manifest says."""
        where = str(self.source) if isinstance(self.source, Path) else self.path
        return PublishError(
            "has changed since the release was built; nothing of it was published",
            where=where,
            next_step="run `release-kit build` again, then publish",
        )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ---- LFS objects


def iter_batches(files: Iterable[SendFile]) -> Iterator[list[SendFile]]:
    """Yield groups of files whose upload addresses are asked for together; each content once."""
    batch: list[SendFile] = []
    seen: set[str] = set()
    size = 0
    for file in files:
        if file.sha256 in seen:
            continue
        seen.add(file.sha256)
        if batch and (len(batch) >= BATCH_FILES or size + file.size_bytes > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.size_bytes
    if batch:
        yield batch


def ask_upload(channel: Channel, repo: Repo, files: Sequence[SendFile]) -> list[tuple[SendFile, dict[str, Any]]]:
    """Return ``(file, actions)`` for the files that the Hub does not have yet.

    Raises:
        RefusedError: the Hub refuses one of them.
        AbsurdReplyError: the answer names other objects.
    """
    where = f"upload to {repo}"
    by_oid = {file.sha256: file for file in files}
    wish = {
        "operation": "upload",
        "transfers": ["basic", "multipart"],
        "hash_algo": "sha256",
        "objects": [{"oid": file.sha256, "size": file.size_bytes} for file in by_oid.values()],
    }
    path = f"{repo.page_path}.git/info/lfs/objects/batch"
    answer = channel.send_json("POST", path, wish, what=where, headers=LFS_HEADERS, writes=True).mapping()
    objects = answer.get("objects")
    if not isinstance(objects, list) or not all(isinstance(item, dict) for item in objects):
        raise AbsurdReplyError("the Hub's answer names no objects", where=where)
    result = []
    for item in objects:
        file = by_oid.pop(str(item.get("oid")), None)
        if file is None:
            raise AbsurdReplyError("the Hub's answer names an object that nobody asked for", where=where)
        if isinstance(item.get("error"), dict):
            reason = channel.scrub(str(item["error"].get("message")))
            raise RefusedError(f"the Hub refuses {file.path}: {reason}", where=where)
        actions = item.get("actions")
        if isinstance(actions, dict) and isinstance(actions.get("upload"), dict):
            result.append((file, actions))
    if by_oid:
        raise AbsurdReplyError(f"the Hub's answer leaves out {len(by_oid)} of the objects", where=where)
    return result


def upload_object(channel: Channel, file: SendFile, actions: dict[str, Any], on_bytes: OnBytes | None = None) -> None:
    """Send one LFS object to the address that the Hub named, in one piece or in parts.

    Raises:
        PublishError: the file is not what was hashed; nothing is kept of it.
        HubError: the Hub failed or refused.
    """
    upload = actions["upload"]
    href, header = upload.get("href"), upload.get("header") or {}
    if not isinstance(href, str) or not isinstance(header, dict):
        raise AbsurdReplyError("the Hub names no upload address", where=file.path)
    if "chunk_size" in header:
        _upload_parts(channel, file, href, header, on_bytes)
    else:
        plain = {str(name): str(value) for name, value in header.items()}
        reader = _Reader(file, on_bytes)
        reply = _send_range(channel, href, reader, 0, file.size_bytes, plain)
        if reply.headers.get("etag", "").strip('"') == file.sha256:
            return  # a store that names the content by its sha256 has confirmed it already
    verify = actions.get("verify")
    if isinstance(verify, dict) and isinstance(verify.get("href"), str):
        value = {"oid": file.sha256, "size": file.size_bytes}
        channel.send_json("POST", verify["href"], value, what=f"upload of {file.path}", headers=LFS_HEADERS)


class _Reader:
    """Hashes a file over several ranges, each of which may be sent more than once."""

    def __init__(self, file: SendFile, on_bytes: OnBytes | None):
        self.file, self.on_bytes = file, on_bytes
        self.done = hashlib.sha256()
        self.position = self.reported = 0

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """Yield a range; its last piece is held back until the whole file is known to be unchanged."""
        hasher, position = self.done.copy(), start
        self._report(self.position - self.reported)
        for piece in self.file.pieces(start, end):
            hasher.update(piece)
            position += len(piece)
            last = position == self.file.size_bytes
            if last and hasher.hexdigest() != self.file.sha256:
                raise self.file.changed()
            yield piece
            self._report(len(piece))
        if position != end:
            raise self.file.changed()
        self._next = hasher

    def _report(self, n: int) -> None:
        self.reported += n
        if n and self.on_bytes:
            self.on_bytes(n)

    def accept(self, end: int) -> None:
        """Take the range as sent."""
        self.done, self.position = self._next, end
        self._report(end - self.reported)


def _send_range(channel: Channel, url: str, reader: _Reader, start: int, end: int, headers: dict[str, str]) -> Reply:
    body: Any = lambda: reader.pieces(start, end)  # noqa: E731
    if end - start <= PIECE_BYTES:
        body = b"".join(reader.pieces(start, end))
    what = f"upload of {reader.file.path}"
    reply = channel.request("PUT", url, what=what, body=body, length=end - start, headers=headers)
    reader.accept(end)
    return reply


def _upload_parts(
    channel: Channel, file: SendFile, href: str, header: dict[str, Any], on_bytes: OnBytes | None
) -> None:
    where = f"upload of {file.path}"
    try:
        size = int(header["chunk_size"])
        urls = [str(header[number]) for number in sorted((k for k in header if str(k).isdigit()), key=int)]
    except (TypeError, ValueError) as error:
        raise AbsurdReplyError("the Hub's parts have no size", where=where) from error
    if size <= 0 or len(urls) != -(-file.size_bytes // size):
        raise AbsurdReplyError(f"the Hub names {len(urls)} parts for {file.size_bytes} bytes", where=where)
    reader, parts = _Reader(file, on_bytes), []
    for index, url in enumerate(urls):
        start = index * size
        reply = _send_range(channel, url, reader, start, min(start + size, file.size_bytes), {})
        etag = reply.headers.get("etag")
        if not etag:
            raise AbsurdReplyError("the Hub confirmed a part without an ETag", where=where)
        parts.append({"partNumber": index + 1, "etag": etag})
    channel.send_json("POST", href, {"oid": file.sha256, "parts": parts}, what=where, headers=LFS_HEADERS)


# ---- commits


@dataclass(frozen=True, kw_only=True)
class NewCommit:
    """What a commit changes; ``large`` are paths in ``files`` that were uploaded as LFS objects."""

    title: str
    files: Sequence[SendFile]
    large: frozenset[str] = frozenset()
    deleted: Sequence[str] = ()
    description: str = ""
    parent: str | None = None


def commit_length(commit: NewCommit) -> int:
    """Return how many bytes the payload of a commit has, without reading files."""
    total = len(_line("header", _header(commit)))
    for file in commit.files:
        line = _lfs_line(file) if file.path in commit.large else _file_line(file, "")
        total += len(line) + (0 if file.path in commit.large else 4 * -(-file.size_bytes // 3))
    return total + sum(len(_line("deletedFile", {"path": path})) for path in commit.deleted)


def commit_pieces(commit: NewCommit) -> Iterator[bytes]:
    """Yield the payload of a commit, one line after the other; one regular file at a time is in memory.

    Raises:
        PublishError: a file is not what was hashed.
    """
    yield _line("header", _header(commit))
    for file in commit.files:
        if file.path in commit.large:
            yield _lfs_line(file)
        else:
            yield _file_line(file, base64.b64encode(file.checked_bytes()).decode())
    for path in commit.deleted:
        yield _line("deletedFile", {"path": path})


def _header(commit: NewCommit) -> dict[str, str]:
    header = {"summary": commit.title, "description": commit.description}
    return header | ({"parentCommit": commit.parent} if commit.parent else {})


def _line(key: str, value: dict[str, Any]) -> bytes:
    return json.dumps({"key": key, "value": value}, separators=(",", ":")).encode() + b"\n"


def _lfs_line(file: SendFile) -> bytes:
    return _line("lfsFile", {"path": file.path, "algo": "sha256", "oid": file.sha256, "size": file.size_bytes})


def _file_line(file: SendFile, content: str) -> bytes:
    return _line("file", {"content": content, "path": file.path, "encoding": "base64"})
