"""What a Hub says about repos, read strictly: files with their identities, branches and tags.

Pure parsing of foreign answers. Anything that cannot be true is refused whole; a path that would leave its folder is
never passed on.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from release_kit.core.errors import UnsafePathError
from release_kit.core.files import safe_relative_path
from release_kit.hub.errors import AbsurdReplyError

MAX_FILES = 2_000_000
MAX_SIZE_BYTES = 1 << 50
_HEX = {40: re.compile(r"^[0-9a-f]{40}\Z"), 64: re.compile(r"^[0-9a-f]{64}\Z")}


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a repo at a commit, with the Hub's own identities."""

    path: str
    size_bytes: int
    git_oid: str
    """git-sha1 of the blob; of the pointer for a large file."""
    lfs_sha256: str | None = None
    """sha256 of the content of a large file; None for a regular file."""
    xet_hash: str | None = None

    @property
    def identity(self) -> str:
        """``sha256:…`` of a large file, ``git:…`` of a regular one: equal content has an equal identity."""
        return f"sha256:{self.lfs_sha256}" if self.lfs_sha256 else f"git:{self.git_oid}"


@dataclass(frozen=True, slots=True)
class Refs:
    """Branches and tags of a repo, name → commit."""

    branches: Mapping[str, str]
    tags: Mapping[str, str]


def commit_id(value: Any, where: str) -> str:
    """Return ``value`` if it is a commit id.

    Raises:
        AbsurdReplyError: it is not 40 hex digits.
    """
    if not isinstance(value, str) or not _HEX[40].match(value):
        raise AbsurdReplyError(f"the Hub named {str(value)[:60]!r} as a commit", where=where)
    return value


def parse_files(items: Iterable[Any], where: str) -> list[RemoteFile]:
    """Return the files of a tree listing, sorted by path; folders are left out.

    Raises:
        AbsurdReplyError: a malformed entry, a path that stands twice, too many entries.
        UnsafePathError: a path that leaves its folder.
    """
    files: dict[str, RemoteFile] = {}
    for item in items:
        if not isinstance(item, dict):
            raise AbsurdReplyError("an entry of the listing is not a mapping", where=where)
        if item.get("type") == "directory":
            continue
        file = _file(item, where)
        if file.path in files:
            raise AbsurdReplyError(f"the listing names {file.path!r} twice", where=where)
        files[file.path] = file
        if len(files) > MAX_FILES:
            raise AbsurdReplyError(f"the listing has more than {MAX_FILES} files", where=where)
    return [files[path] for path in sorted(files)]


def _file(item: dict, where: str) -> RemoteFile:
    path = item.get("path")
    if not isinstance(path, str):
        raise AbsurdReplyError("an entry of the listing has no path", where=where)
    try:
        safe_relative_path(path, where=where)
    except UnsafePathError as error:
        raise UnsafePathError(error.what, where=where, next_step=error.next_step) from None
    lfs = item.get("lfs")
    lfs = lfs if isinstance(lfs, dict) else None
    sha256 = None
    if lfs is not None:
        sha256 = _hex(lfs.get("oid") or lfs.get("sha256"), 64, path, where)
    xet_hash = item.get("xetHash")
    size = lfs.get("size", item.get("size")) if lfs else item.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_SIZE_BYTES:
        raise AbsurdReplyError(f"the Hub says that {path!r} has {str(size)[:40]} bytes", where=where)
    return RemoteFile(
        path=path,
        size_bytes=size,
        git_oid=_hex(item.get("oid") or item.get("blobId"), 40, path, where),
        lfs_sha256=sha256,
        xet_hash=xet_hash if isinstance(xet_hash, str) else None,
    )


def _hex(value: Any, length: int, path: str, where: str) -> str:
    if not isinstance(value, str) or not _HEX[length].match(value):
        raise AbsurdReplyError(f"the Hub named {str(value)[:80]!r} as the identity of {path!r}", where=where)
    return value


def parse_refs(value: Mapping[str, Any], where: str) -> Refs:
    """Return branches and tags.

    Raises:
        AbsurdReplyError: a malformed entry.
    """
    groups: dict[str, dict[str, str]] = {}
    for group in ("branches", "tags"):
        entries = value.get(group) or []
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise AbsurdReplyError(f"the Hub's {group} are not a list of mappings", where=where)
        names = [entry.get("name") for entry in entries]
        if not all(isinstance(name, str) and 0 < len(name) < 1000 for name in names):
            raise AbsurdReplyError(f"one of the Hub's {group} has no name", where=where)
        groups[group] = {entry["name"]: commit_id(entry.get("targetCommit"), where) for entry in entries}
    return Refs(groups["branches"], groups["tags"])


def parse_repo_ids(items: Iterable[Any], where: str) -> list[str]:
    """Return the ids of a listing of repos.

    Raises:
        AbsurdReplyError: an entry has no id of the form ``namespace/name``.
    """
    ids = [item.get("id") if isinstance(item, dict) else None for item in items]
    for found in ids:
        if not isinstance(found, str) or not re.match(r"^[\w-][\w.-]*(/[\w-][\w.-]*)?\Z", found, re.ASCII):
            raise AbsurdReplyError(f"the Hub named {str(found)[:80]!r} as a repo", where=where)
    return ids
