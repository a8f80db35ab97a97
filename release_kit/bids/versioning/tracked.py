"""What git knows of a dataset: tracked files with their identities, and how the working tree differs from a commit.

Owns reading git's listings and git-annex's keys; nothing is written here.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from release_kit.bids.versioning.annex import Repository, VersioningError

SYMLINK, SUBMODULE = "120000", "160000"
_POINTER_BYTES = 32 * 1024
"""git-annex reads no longer file as a pointer."""

_ENTRY = re.compile(rb"(\d{6}) (?:blob |commit )?([0-9a-f]{40,64})(?: 0)?\t(.*)", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """A key of git-annex: which bytes it stands for."""

    text: str
    backend: str
    """Without the ``E`` that says that the file's extension is kept."""
    size_bytes: int | None
    digest: str | None
    """Hex digits of the backend's digest; None for backends that have none (URL, WORM)."""

    @property
    def sha256(self) -> str | None:
        """The sha256 when the key holds it."""
        return self.digest if self.backend == "SHA256" else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Tracked:
    """One file of a commit (or of the index)."""

    path: str
    mode: str
    blob: str
    """git's object id."""
    key: Key | None = None
    """The annex key when the content lies in the annex."""
    target: str | None = None
    """What a symbolic link points to."""

    @property
    def locked(self) -> bool:
        """Whether the file is a link into the annex (else its content, or a pointer, lies in its place)."""
        return self.mode == SYMLINK


_DIGEST_LENGTHS = {"SHA256": 64, "SHA512": 128, "SHA1": 40, "MD5": 32, "SHA384": 96, "SHA224": 56}


def parse_key(text: str) -> Key:
    """Return the parts of a key such as ``SHA256E-s123--<digest>.nii.gz``.

    Raises:
        VersioningError: the text is no key.
    """
    found = re.fullmatch(r"([A-Z0-9_]+)((?:-[a-zA-Z]\d+)*)--([^/\n]+)", text)
    if not found:
        raise VersioningError(f"{text!r} is no key of git-annex", where="annex link")
    name, fields, rest = found.groups()
    backend = name.removesuffix("E") if name.removesuffix("E") in _DIGEST_LENGTHS else name
    size = re.search(r"-s(\d+)", fields)
    n = _DIGEST_LENGTHS.get(backend)
    digest = rest[:n] if n and re.fullmatch(rf"[0-9a-f]{{{n}}}(\..*)?", rest) else None
    return Key(text=text, backend=backend, size_bytes=int(size[1]) if size else None, digest=digest)


def key_of_pointer(data: bytes) -> Key | None:
    """Return the key that the content of a pointer file names, or None when the bytes are no pointer."""
    first = data.split(b"\n", 1)[0]
    if len(data) > _POINTER_BYTES or not first.startswith(b"/annex/objects/"):
        return None
    return parse_key(os.fsdecode(first.rsplit(b"/", 1)[1]))


def key_of_link(target: str) -> Key | None:
    """Return the key that a symbolic link into the annex names, or None for any other link."""
    if not re.search(r"(^|/)\.git/annex/objects/", target):
        return None
    return parse_key(target.rsplit("/", 1)[1])


def commit_files(repository: Repository, commit: str = "HEAD") -> list[Tracked]:
    """Return every file of a commit, sorted by path, keys of git-annex read from links and pointers."""
    return _with_keys(repository, repository.run(["git", "ls-tree", "-r", "-z", "--full-tree", commit])[1])


def index_files(repository: Repository) -> list[Tracked]:
    """Return every file of the index, as ``commit_files``."""
    return _with_keys(repository, repository.run(["git", "ls-files", "--stage", "-z"])[1])


def _with_keys(repository: Repository, listing: bytes) -> list[Tracked]:
    rows = []
    for line in filter(None, listing.split(b"\0")):
        found = _ENTRY.fullmatch(line)
        if found is None:
            what = f"git lists a file as {line[:80]!r}: a merge is under way"
            step = "finish the merge and commit, then run again"
            raise VersioningError(what, where=str(repository.folder), next_step=step)
        rows.append((os.fsdecode(found[3]), found[1].decode(), found[2].decode()))
    sizes = dict(_sizes(repository, {blob for _, mode, blob in rows if mode != SUBMODULE}))
    small = {blob for _, mode, blob in rows if mode != SUBMODULE and sizes[blob] <= _POINTER_BYTES}
    contents = dict(read_blobs(repository, small))
    return sorted((_tracked(*row, contents.get(row[2])) for row in rows), key=lambda file: file.path)


def _tracked(path: str, mode: str, blob: str, data: bytes | None) -> Tracked:
    if mode == SYMLINK:
        target = os.fsdecode(data or b"")
        return Tracked(path=path, mode=mode, blob=blob, key=key_of_link(target), target=target)
    return Tracked(path=path, mode=mode, blob=blob, key=key_of_pointer(data) if data else None)


def _sizes(repository: Repository, blobs: Iterable[str]) -> Iterator[tuple[str, int]]:
    asked = "".join(f"{blob}\n" for blob in sorted(blobs)).encode()
    for line in repository.run(["git", "cat-file", "--batch-check"], stdin=asked)[1].splitlines():
        words = line.decode().split()
        if len(words) != 3:
            raise VersioningError(f"the repository lacks its object {words[0]}", where=str(repository.folder),
                                  next_step="get it again, or run: git fsck")  # fmt: skip
        yield words[0], int(words[2])


def read_blobs(repository: Repository, blobs: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yield ``(object id, content)`` of files that lie in git."""
    asked = sorted(blobs)
    said = repository.run(["git", "cat-file", "--batch"], stdin="".join(f"{blob}\n" for blob in asked).encode())[1]
    place = 0
    for blob in asked:
        end = said.index(b"\n", place)
        size = int(said[place:end].split()[2])
        yield blob, said[end + 1 : end + 1 + size]
        place = end + 2 + size


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One path whose working tree or index differs from HEAD."""

    path: str
    code: str
    """git's two letters: index, working tree (``??`` untracked, `` D`` deleted …)."""

    @property
    def staged(self) -> bool:
        """Whether somebody has put the change into the index."""
        return self.code[0] not in " ?!"

    @property
    def removed(self) -> bool:
        """Whether the file is gone from the working tree."""
        return "D" in self.code

    def sentence(self) -> str:
        """Return ``path (changed)`` for messages."""
        words = {"?": "new", "D": "removed", "A": "added", "T": "changed", "M": "changed", "U": "in conflict"}
        what = words.get(self.code.strip()[:1], "changed")
        return f"{self.path} ({what}{', staged' if self.staged else ''})"


def changes(repository: Repository) -> list[Change]:
    """Return what differs from HEAD: staged, unstaged, untracked; sorted by path."""
    said = repository.run(
        ["git", "status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames", "--ignored=no",
         "--ignore-submodules=none"]
    )[1]  # fmt: skip
    rows = [os.fsdecode(row) for row in said.split(b"\0") if row]
    return sorted((Change(path=row[3:], code=row[:2]) for row in rows), key=lambda change: change.path)


def has_commit(repository: Repository) -> bool:
    """Return whether HEAD is a commit."""
    return repository.ask("rev-parse", "--verify", "--quiet", "HEAD") is not None


def is_repository(folder: Path) -> bool:
    """Return whether ``folder`` is itself the root of a git repository."""
    return (folder / ".git" / "HEAD").is_file() or (folder / ".git").is_file()
