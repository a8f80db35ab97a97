"""The identities that git gives to blobs, LFS pointers, folders and commits, computed without git.

The Hub shows these ids to its clients (``blobId``, ``oid``, commit ids), so the local Hub computes the same ones.
Owns only the arithmetic; storing is for ``trees`` and ``index``.
"""

import hashlib
from collections.abc import Iterable

DIRECTORY_MODE = b"40000"
FILE_MODE = b"100644"


def object_id(kind: str, payload: bytes) -> str:
    """Return the 40-hex id that git gives to an object of ``kind`` (blob, tree, commit) with this payload."""
    return hashlib.sha1(f"{kind} {len(payload)}\0".encode() + payload, usedforsecurity=False).hexdigest()


def pointer_text(sha256: str, size_bytes: int) -> bytes:
    """Return the Git LFS pointer file that stands in the tree for a large file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size_bytes}\n".encode()


def tree_id(entries: Iterable[tuple[str, bool, str]]) -> str:
    """Return the git id of a folder.

    Args:
        entries: ``(name, is_folder, object id)`` in any order.
    """
    ordered = sorted((name.encode() + (b"/" if folder else b""), name, folder, oid) for name, folder, oid in entries)
    lines = [
        (DIRECTORY_MODE if folder else FILE_MODE) + b" " + name.encode() + b"\0" + bytes.fromhex(oid)
        for _, name, folder, oid in ordered
    ]
    return object_id("tree", b"".join(lines))


def commit_id(*, tree: str, parent: str | None, author: str, seconds: int, message: str) -> str:
    """Return the git id of a commit made in UTC by ``author`` at ``seconds`` since the epoch."""
    signature = f"{author} <{author}@users.noreply.localhost> {seconds} +0000"
    lines = [f"tree {tree}"]
    if parent:
        lines.append(f"parent {parent}")
    lines += [f"author {signature}", f"committer {signature}", "", message]
    return object_id("commit", "\n".join(lines).encode("utf-8", "surrogateescape"))
