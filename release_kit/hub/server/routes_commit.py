"""The request that makes a commit: one JSON line after the other, applied as one transaction.

Memory holds one line and a bounded amount of small files. Nothing changes unless every line is good.
"""

import base64
import binascii
import json
from collections.abc import AsyncIterator

from release_kit.hub.server.blobs import is_sha256
from release_kit.hub.server.content import PendingContent
from release_kit.hub.server.context import Hub
from release_kit.hub.server.http import Request
from release_kit.hub.server.index import Commit, NewCommit, Repo
from release_kit.hub.server.names import check_path
from release_kit.hub.server.replies import HttpError, Reply, entry_not_found, json_reply
from release_kit.hub.server.requested import repo_url, writable_repo
from release_kit.hub.server.trees import Changes, Entry

MAX_REGULAR_BYTES = 10 << 20
MAX_LINE_BYTES = 15 << 20
MAX_TITLE = 1000


async def commit(hub: Hub, request: Request, names: list[str], rest: list[str]) -> Reply:
    """POST /api/models/R/commit/BRANCH with ndjson lines header, file, lfsFile, deletedFile, deletedFolder"""
    repo = writable_repo(hub, request, *names)
    if request.flag("create_pr"):
        raise HttpError(501, "This local Hub has no pull requests; commit to a branch instead")
    branch = "/".join(rest).removeprefix("refs/heads/")
    head = hub.index.resolve(repo, branch)
    reader = CommitReader(hub, repo, head)
    async for line in _lines(request):
        reader.add_line(line)
    made = hub.index.commit(repo, branch, reader.finish(request.user.name))
    url = f"{repo_url(request, repo)}/commit/{made.id}"
    return json_reply({"success": True, "commitOid": made.id, "commitUrl": url, "hookOutput": ""})


class CommitReader:
    """Collects the lines of one commit request.

    Args:
        hub: the Hub.
        repo: the repository.
        head: commit that the changes start from.
    """

    def __init__(self, hub: Hub, repo: Repo, head: Commit):
        self._hub, self._repo, self._head = hub, repo, head
        self._changes: Changes = {}
        self._content = PendingContent(hub.content)
        self._header: dict | None = None
        self._actions = {
            "file": self._file,
            "lfsFile": self._lfs_file,
            "deletedFile": self._deleted_file,
            "deletedFolder": self._deleted_folder,
            "deletedEntry": self._deleted_file,
        }

    def add_line(self, line: bytes) -> None:
        """Take one line.

        Raises:
            HttpError: 400 and others, with what is wrong.
        """
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise HttpError(400, f"A line of the commit is not valid JSON: {error}") from error
        key, value = (item.get("key"), item.get("value")) if isinstance(item, dict) else (None, None)
        if not isinstance(value, dict):
            raise HttpError(400, "Every line of a commit must be a mapping with `key` and `value`")
        if key == "header":
            self._header = value
        elif key in self._actions:
            self._actions[key](value)
        else:
            raise HttpError(400, f"Unknown commit operation {str(key)[:50]!r}")

    def finish(self, author: str) -> NewCommit:
        """Return the commit.

        Raises:
            HttpError: 400 without a title or with a malformed header.
        """
        header = self._header or {}
        title, description, parent = (header.get(name) for name in ("summary", "description", "parentCommit"))
        if not isinstance(title, str) or not title.strip() or len(title) > MAX_TITLE:
            raise HttpError(400, f"A commit needs a summary of 1-{MAX_TITLE} characters")
        if not isinstance(description or "", str) or not isinstance(parent or "", str):
            raise HttpError(400, "`description` and `parentCommit` must be texts")
        return NewCommit(
            changes=self._changes,
            author=author,
            title=title,
            message=description or "",
            parent=parent or None,
            record_content=self._content.record,
        )

    def _file(self, value: dict) -> None:
        path, content = check_path(value.get("path")), value.get("content")
        if not isinstance(content, str):
            raise HttpError(400, f"{path}: `content` must be text")
        if value.get("encoding", "base64") == "base64":
            try:
                data = base64.b64decode(content, validate=True)
            except binascii.Error as error:
                raise HttpError(400, f"{path}: `content` is not base64") from error
        else:
            data = content.encode("utf-8", "surrogateescape")
        if len(data) > MAX_REGULAR_BYTES:
            raise HttpError(413, f"{path}: {len(data)} bytes are too many for a regular file; use LFS or Xet")
        self._changes[path] = self._content.add_regular(data)

    def _lfs_file(self, value: dict) -> None:
        path, oid, size = check_path(value.get("path")), value.get("oid"), value.get("size")
        if value.get("algo", "sha256") != "sha256" or not is_sha256(oid):
            raise HttpError(400, f"{path}: expected algo sha256 and an oid of 64 hex digits")
        found = self._hub.find_uploaded(oid)
        if found is None:
            raise HttpError(400, f"{path}: the content {oid} was not uploaded before the commit")
        if size is not None and size != found.size:
            raise HttpError(400, f"{path}: the content {oid} has {found.size} bytes, not {size}")
        self._changes[path] = self._content.add_large(oid, found.size, found.xet_hash)

    def _deleted_file(self, value: dict) -> None:
        path = check_path(value.get("path"))
        if self._current(path) is None:
            raise entry_not_found(path, self._head.id)
        self._changes[path] = None

    def _deleted_folder(self, value: dict) -> None:
        path = check_path(str(value.get("path")).rstrip("/"))
        current = self._current(path)
        if current is None or not current.is_folder:
            raise entry_not_found(path, self._head.id)
        for inner in [known for known in self._changes if known.startswith(f"{path}/")]:
            del self._changes[inner]
        self._changes[path] = None

    def _current(self, path: str) -> Entry | None:
        if path in self._changes:
            return self._changes[path]
        return self._hub.trees.lookup(self._head.tree, path)


async def _lines(request: Request) -> AsyncIterator[bytes]:
    rest = bytearray()
    async for piece in request.pieces():
        rest += piece
        if b"\n" not in piece:
            if len(rest) > MAX_LINE_BYTES:
                raise HttpError(413, f"A line of the commit is longer than {MAX_LINE_BYTES} bytes")
            continue
        *lines, last = rest.split(b"\n")
        rest = bytearray(last)
        for line in lines:
            if line.strip():
                yield bytes(line)
    if rest.strip():
        yield bytes(rest)
