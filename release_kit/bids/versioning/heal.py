"""Mends files that a proof found bad, from the dataset's siblings or from named references.

Nothing is destroyed: what lies in the place of a good file is set aside under ``.git`` (or ``.release_kit`` of a plain
tree), a damaged content goes where git-annex keeps such. Every byte that comes in was held against its digest.
"""

import io
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.bids.versioning.annex import NOBODY, Repository
from release_kit.bids.versioning.expected import Expectation, Expected
from release_kit.bids.versioning.guard import STATE
from release_kit.bids.versioning.prove import Proof
from release_kit.bids.versioning.select import recorded
from release_kit.bids.versioning.sources import Files, Reference, copy_checked, files_of_base, object_places, resolve
from release_kit.bids.versioning.tracked import Key, Tracked, commit_files, parse_key
from release_kit.core.errors import ReleaseKitError, UsageError
from release_kit.core.files import STATE_FOLDER, TEMPORARY_PREFIX, inside, open_atomic

SET_ASIDE = "set-aside"
_PATHS_AT_ONCE = 200

Say = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Healed:
    """One file that a good content was found for."""

    path: str
    source: str

    def to_dict(self) -> dict[str, str]:
        """Return the form that ``--json`` prints."""
        return {"path": self.path, "source": self.source}


def heal_files(expectation: Expectation, bad: Sequence[Proof], refs: Sequence[str], say: Say) -> list[Healed]:
    """Mend what can be mended; whoever calls reads the files again.

    Args:
        expectation: what the folder should hold.
        bad: proofs of damaged or missing files.
        refs: where to take contents from, in this order; none means the dataset's own siblings.
        say: told ``{"event": "healed", "path", "source"}``.
    """
    files = [proof.expected for proof in bad]
    if expectation.repository is None:
        known = recorded(expectation.folder)
        named = list(refs) or ([known[0]] if known else [])
        if not named:
            raise UsageError("a plain tree knows no other copy of itself", where=str(expectation.folder),
                             next_step="name one: --heal-from REF")  # fmt: skip
        healed = list(_heal_tree(expectation.folder, files, [_Source.of(ref) for ref in named]))
    else:
        healed = list(_heal_repository(expectation, files, bad, [_Source.of(ref) for ref in refs]))
    for one in healed:
        say({"event": "healed", **one.to_dict()})
    return healed


@dataclass(frozen=True, kw_only=True)
class _Source:
    """One reference that contents can be read from."""

    ref: Reference
    files: Files
    tracked: Mapping[str, Tracked]
    """Files of the commit there; empty where it cannot be asked (over http)."""

    @classmethod
    def of(cls, text: str) -> "_Source":
        ref = resolve(text)
        tracked: list[Tracked] = []
        if ref.kind != "plain" and not ref.over_http:
            tracked = commit_files(Repository(Path(ref.git_url)))
        return cls(ref=ref, files=files_of_base(ref.base), tracked={file.path: file for file in tracked})

    def fetch(self, file: Expected, write: Callable[[bytes], object], rewind: Callable[[], object]) -> bool:
        """Write a file's content and return True, or return False when no good one is here."""
        for place in self._places(file):
            try:
                with self.files.open(place) as stream:
                    copy_checked(stream, write, size=file.size_bytes, sha256=file.sha256 or "", where=self.ref.text)
                    return True
            except (OSError, ReleaseKitError):
                rewind()
        there = self.tracked.get(file.path)
        if there is not None and there.key is None:
            data = io.BytesIO(Repository(Path(self.ref.git_url)).run(["git", "cat-file", "blob", there.blob])[1])
            try:
                copy_checked(data, write, size=file.size_bytes, sha256=file.sha256 or "", where=self.ref.text)
                return True
            except ReleaseKitError:
                rewind()
        return False

    def _places(self, file: Expected) -> Iterator[str]:
        if self.ref.kind == "plain" or os.path.isdir(os.path.join(self.ref.base, ".git")):
            yield file.path
        if self.ref.kind != "plain":
            there = self.tracked.get(file.path)
            for key in filter(None, (file.key, there.key if there else None, _guessed_key(file))):
                yield from object_places(key)


def _heal_repository(
    expectation: Expectation, files: Sequence[Expected], bad: Sequence[Proof], sources: Sequence[_Source]
) -> Iterator[Healed]:
    """Put links, pointers and text back from the commit, take damaged contents away, fetch good ones."""
    repository = Repository(expectation.folder, NOBODY)
    git_folder = Path(repository.git("rev-parse", "--absolute-git-dir"))
    wrong = [proof.expected for proof in bad if proof.finding and not _right_link(expectation.folder, proof)]
    for file in wrong:
        set_aside(expectation.folder, file.path, git_folder / STATE / SET_ASIDE)
    if wrong:
        repository.git("checkout", "HEAD", "--pathspec-from-file=-", "--pathspec-file-nul",
                       stdin=_listed(f":(literal){file.path}" for file in wrong))  # fmt: skip
    annexed = [file for file in files if file.key]
    if annexed:
        for start in range(0, len(annexed), _PATHS_AT_ONCE):
            repository.annex_records("fsck", "--", *(file.path for file in annexed[start : start + _PATHS_AT_ONCE]))
    for file in files:
        if file.key is None:
            yield Healed(path=file.path, source="the commit")
    missing = [file for file in annexed if not has_content(expectation.folder / file.path)]
    yield from (Healed(path=file.path, source="the commit") for file in annexed if file not in missing)
    if not sources:
        yield from _from_siblings(repository, missing)
        return
    for file in missing:
        if source := _into_annex(repository, git_folder, file, sources):
            yield Healed(path=file.path, source=source)


def _right_link(folder: Path, proof: Proof) -> bool:
    """Return whether the file in the working tree is right and only the content behind it is not."""
    tracked, place = proof.expected.tracked, folder / proof.expected.path
    if proof.finding and proof.finding.code == "link":
        return False
    return bool(tracked and tracked.key and place.is_symlink() and os.readlink(place) == tracked.target)


def has_content(place: Path) -> bool:
    """Return whether an annexed file is there with its content: no dangling link, no pointer."""
    if place.is_symlink():
        return place.is_file()
    with place.open("rb") as stream:
        return not stream.read(15).startswith(b"/annex/objects/")


def _from_siblings(repository: Repository, files: Sequence[Expected]) -> Iterator[Healed]:
    if not files:
        return
    for record in repository.annex_records("get", "--batch", "-z", stdin=_listed(file.path for file in files)):
        if record.get("success"):
            found = re.search(r"from (\S+?)\.{3}", str(record.get("note") or ""))
            yield Healed(path=str(record["file"]), source=found[1] if found else "a sibling")


def _into_annex(repository: Repository, git_folder: Path, file: Expected, sources: Sequence[_Source]) -> str | None:
    """Fetch a content and hand it to git-annex under its key; return where it came from."""
    assert file.key is not None
    if file.sha256 is None:
        return None
    folder = git_folder / STATE
    folder.mkdir(exist_ok=True)
    for source in sources:
        descriptor, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=folder)
        with os.fdopen(descriptor, "wb") as stream:
            found = source.fetch(file, stream.write, lambda s=stream: (s.seek(0), s.truncate()))
        if found:
            repository.annex("setkey", file.key.text, name)
            return source.ref.text
        os.unlink(name)
    return None


def _heal_tree(folder: Path, files: Sequence[Expected], sources: Sequence[_Source]) -> Iterator[Healed]:
    for file in files:
        for source in sources:
            target, fetched = inside(folder, file.path), folder / STATE_FOLDER / "healing"
            with open_atomic(fetched) as stream:
                found = source.fetch(file, stream.write, lambda s=stream: (s.seek(0), s.truncate()))
            if found:
                set_aside(folder, file.path, folder / STATE_FOLDER / SET_ASIDE)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(fetched, target)
                yield Healed(path=file.path, source=source.ref.text)
                break
            fetched.unlink()


def set_aside(folder: Path, path: str, aside: Path) -> None:
    """Move what lies at ``path`` below ``aside``; a link on the way there is moved itself, not what it leads to.

    Args:
        folder: root of the dataset.
        path: a file of it; nothing is done when nothing is there.
        aside: the folder that takes it; what was set aside before stays.
    """
    parts = path.split("/")
    ways = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
    path = next((way for way in ways if (folder / way).is_symlink()), path)
    if not os.path.lexists(folder / path):
        return
    target = aside / path
    target.parent.mkdir(parents=True, exist_ok=True)
    number, free = 0, target
    while os.path.lexists(free):
        number += 1
        free = target.with_name(f"{target.name}.{number}")
    os.replace(folder / path, free)


def _guessed_key(file: Expected) -> Key | None:
    """Return the key that git-annex gives these bytes under this name: at most two short extensions are kept."""
    if file.sha256 is None or file.size_bytes is None:
        return None
    kept: list[str] = []
    for part in reversed(file.path.rsplit("/", 1)[-1].split(".")[1:]):
        if len(kept) == 2 or not re.fullmatch(r"[0-9A-Za-z]{1,4}", part):
            break
        kept.insert(0, part)
    return parse_key(f"SHA256E-s{file.size_bytes}--{file.sha256}{''.join('.' + part for part in kept)}")


def _listed(paths: Iterable[str]) -> bytes:
    return b"".join(os.fsencode(path) + b"\0" for path in paths)
