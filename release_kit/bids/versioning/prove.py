"""Reads every byte of a dataset once and says whether it is what it should be.

The annex key is the expectation for what lies in the annex, git's object id for what lies in git, the manifest for
both and for plain trees. Several files at a time; hashing lets go of the interpreter.
"""

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.bids.versioning.expected import CODES, Expectation, Expected, Finding
from release_kit.bids.versioning.tracked import SYMLINK, key_of_link, key_of_pointer
from release_kit.core.hashing import map_ordered

_BLOCK_BYTES = 1 << 20
_POINTER_BYTES = 32 * 1024
_ALGORITHMS = {
    "SHA256": "sha256",
    "SHA512": "sha512",
    "SHA384": "sha384",
    "SHA224": "sha224",
    "SHA1": "sha1",
    "MD5": "md5",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """What reading one file told."""

    expected: Expected
    state: str
    """``good``, ``absent`` (its content was never fetched) or ``bad``."""
    finding: Finding | None = None
    size_bytes: int = 0
    """Bytes read."""


def prove(
    expectation: Expectation,
    files: Iterable[Expected],
    *,
    workers: int | None = None,
    wanted: Callable[[str], bool] | None = None,
    lost: Collection[str] = (),
    on_event: Callable[[Mapping[str, Any]], None] | None = None,
) -> Iterator[Proof]:
    """Yield the proof of each of ``files``, in their order.

    Args:
        expectation: what the folder should hold.
        files: those of its files to read.
        workers: threads; one for each core when None.
        wanted: whether the content of a path must be here; None lets absent content be absent.
        lost: those of which git-annex has noted that their content is here.
        on_event: told ``{"event": "read", "path", "size_bytes"}`` after each file.
    """
    owners = expectation.owners
    root = os.path.realpath(expectation.folder)

    def one(file: Expected) -> Proof:
        asked = wanted or (lambda path: False)
        return _Reading(root=Path(root), owners=owners, wanted=asked, lost=lost).proof(file)

    for proof in map_ordered(one, files, workers):
        if on_event:
            on_event({"event": "read", "path": proof.expected.path, "size_bytes": proof.size_bytes})
        yield proof


@dataclass(frozen=True, kw_only=True)
class _Reading:
    root: Path
    owners: Mapping[str, Sequence[str]]
    wanted: Callable[[str], bool]
    lost: Collection[str]

    def proof(self, file: Expected) -> Proof:
        place = self.root / file.path
        if not os.path.lexists(place):
            not_asked = file.tracked is None and not self.wanted(file.path)
            return Proof(expected=file, state="absent") if not_asked else self._bad(file, "missing")
        if not Path(os.path.realpath(place.parent)).is_relative_to(self.root):
            return self._bad(file, "link", "its folder is a link that leaves the dataset")
        tracked = file.tracked
        if tracked and tracked.mode == SYMLINK:
            return self._link(file, place)
        if place.is_symlink() or not place.is_file():
            return self._bad(file, "link", "is no regular file")
        if tracked and tracked.key:
            with place.open("rb") as stream:
                pointer = key_of_pointer(stream.read(_POINTER_BYTES + 1))
            if pointer is not None:
                right = pointer.text == tracked.key.text
                return self._absent(file) if right else self._bad(file, "link", f"names the content {pointer.text}")
        return self._content(file, place)

    def _link(self, file: Expected, place: Path) -> Proof:
        assert file.tracked is not None
        if not place.is_symlink():
            # an unlocked file, or one that somebody wrote over the link: its bytes decide
            return self._content(file, place) if file.key and place.is_file() else self._bad(file, "link", "is no link")
        target = os.readlink(place)
        if target != file.tracked.target:
            key = key_of_link(target)
            if key is None or file.key is None or key.text != file.key.text:
                whose = [p for p in self.owners.get(key.sha256 or "", ()) if p != file.path] if key else []
                return self._bad(file, "swapped" if whose else "link", f"points to {whose[0] if whose else target}")
        if file.key is None:
            return Proof(expected=file, state="good")
        return self._content(file, place) if place.is_file() else self._absent(file)

    def _absent(self, file: Expected) -> Proof:
        if self.wanted(file.path):
            gone = "the content that was here is not there any more"
            return self._bad(file, "content", gone if file.path in self.lost else None)
        return Proof(expected=file, state="absent")

    def _content(self, file: Expected, place: Path) -> Proof:
        names, git = _digests_for(file)
        if not names and not git:
            return self._bad(file, "unchecked", f"a key of {file.key.backend if file.key else 'nothing'} has no digest")
        try:
            size, digests = _read(place, names, git)
        except OSError as error:
            return self._bad(file, "unchecked", f"cannot be read ({error.strerror})")
        whose = [path for path in self.owners.get(digests.get("sha256", ""), ()) if path != file.path] if size else []
        if file.size_bytes is not None and size != file.size_bytes:
            if whose:
                return self._bad(file, "swapped", f"holds the bytes of {whose[0]}", size)
            return self._bad(file, "size", f"has {size:,} bytes instead of {file.size_bytes:,}", size)
        wrong = (
            (file.key and file.key.digest and digests[_ALGORITHMS[file.key.backend]] != file.key.digest)
            or (
                file.listed
                and not (file.key and file.key.sha256)
                and not git
                and digests["sha256"] != file.listed.sha256
            )
            or (git and file.tracked and digests["git"] != file.tracked.blob)
        )
        if wrong:
            return self._bad(file, "swapped", f"holds the bytes of {whose[0]}", size) if whose else self._bad(
                file, "changed", size=size)  # fmt: skip
        return Proof(expected=file, state="good", size_bytes=size)

    def _bad(self, file: Expected, code: str, what: str | None = None, size: int = 0) -> Proof:
        finding = Finding(code=code, path=file.path, what=what or CODES[code])
        return Proof(expected=file, state="bad", finding=finding, size_bytes=size)


def _digests_for(file: Expected) -> tuple[set[str], bool]:
    """Return the digests that a file is held against, and whether git's object id is one."""
    names = {"sha256"} if file.listed else set()
    if file.key:
        return names | ({_ALGORITHMS[file.key.backend]} if file.key.digest else set()), False
    return names, file.tracked is not None


def _read(place: Path, names: set[str], git: bool) -> tuple[int, dict[str, str]]:
    """Return size and digests of a file, from one read."""
    hashers = {name: hashlib.new(name, usedforsecurity=False) for name in names}
    buffer = bytearray(_BLOCK_BYTES)
    view, size = memoryview(buffer), 0
    with open(place, "rb", buffering=0) as stream:
        if git:
            length = os.fstat(stream.fileno()).st_size
            hashers["git"] = hashlib.sha1(b"blob %d\x00" % length, usedforsecurity=False)
        while n := stream.readinto(buffer):
            for hasher in hashers.values():
                hasher.update(view[:n])
            size += n
    return size, {name: hasher.hexdigest() for name, hasher in hashers.items()}
