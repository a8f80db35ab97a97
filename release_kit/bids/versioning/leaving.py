"""What a publication sends of a dataset: every file of every commit that leaves, and the messages of commits and tags.

Lays files out in a folder of their own, by their path in the dataset, so that they can be looked into: from git's
objects and the annex, not from the working tree, which may hold something else a moment later. Judges nothing.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from release_kit.bids.versioning.annex import Repository
from release_kit.bids.versioning.tracked import SUBMODULE, SYMLINK, key_of_link, key_of_pointer, read_blobs
from release_kit.core.canonical import digest

_BLOBS_AT_ONCE = 200
MESSAGES = "messages"
"""Name of the layer that holds messages; no commit has it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaving:
    """One file of a commit, or one message, by git's id of it."""

    layer: str
    """The commit that brought it; two files of one path never share a layer."""
    path: str
    mode: str
    blob: str

    @property
    def mark(self) -> str:
        """What it is remembered by: its path and its bytes (a link of the annex holds the key)."""
        return digest([os.fsencode(self.path).hex(), self.mode, self.blob])


def list_history(repository: Repository) -> list[Leaving]:
    """Return every file that any commit of the branch and of the versions brought, each once, and every message."""
    commits = repository.git("rev-list", "HEAD", "--tags").encode()
    words = ["git", "diff-tree", "--stdin", "--root", "-m", "-r", "-z", "--no-renames", "--no-abbrev"]
    fields = iter(repository.run(words, stdin=commits + b"\n")[1].split(b"\0"))
    found: dict[tuple[str, str, str], Leaving] = {}
    layer = ""
    for field in fields:
        if not field.startswith(b":"):
            layer = field.decode() or layer
            continue
        _, mode, _, blob, status = field.decode().split()
        path = os.fsdecode(next(fields))
        if status != "D" and mode != SUBMODULE:
            found.setdefault((path, mode, blob), Leaving(layer=layer, path=path, mode=mode, blob=blob))
    return [*found.values(), *_messages(repository, commits.decode().split())]


def list_version(repository: Repository, version: str) -> list[Leaving]:
    """Return every file of one version: what a plain tree takes."""
    found = []
    for row in repository.run(["git", "ls-tree", "-r", "-z", "--full-tree", version])[1].split(b"\0"):
        if row:
            words, _, path = row.partition(b"\t")
            mode, kind, blob = words.decode().split()
            if kind == "blob":
                found.append(Leaving(layer=version, path=os.fsdecode(path), mode=mode, blob=blob))
    return found


def _messages(repository: Repository, commits: Sequence[str]) -> list[Leaving]:
    rows = repository.git("for-each-ref", "--format=%(objecttype) %(objectname)", "refs/tags").splitlines()
    tags = [words[1] for row in rows if (words := row.split()) and words[0] == "tag"]
    named = [("commit", one) for one in commits] + [("tag", one) for one in tags]
    return [Leaving(layer=MESSAGES, path=f"message-of-{kind}-{one}.txt", mode=kind, blob=one) for kind, one in named]


def lay_out(repository: Repository, leaving: Iterable[Leaving], folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield (layer, its folder), one after another; a folder holds the layer's files and is removed afterwards.

    Contents of the annex are linked, not copied, where the file system can. A content that is not here does not leave
    from here: its link (or pointer) is laid out as it is.
    """
    layers: dict[str, list[Leaving]] = {}
    for one in leaving:
        layers.setdefault(one.layer, []).append(one)
    for layer, members in layers.items():
        place = folder / layer
        for start in range(0, len(members), _BLOBS_AT_ONCE):
            _lay(repository, members[start : start + _BLOBS_AT_ONCE], place)
        yield layer, place
        shutil.rmtree(place)


def _lay(repository: Repository, members: Sequence[Leaving], place: Path) -> None:
    blobs = {one.blob for one in members if one.layer != MESSAGES}
    data = dict(read_blobs(repository, blobs)) if blobs else {}
    keys = {}
    for one in members:
        if one.layer != MESSAGES:
            key = key_of_link(os.fsdecode(data[one.blob])) if one.mode == SYMLINK else key_of_pointer(data[one.blob])
            keys[one] = key.text if key else None
    here = _contents(repository, {key for key in keys.values() if key})
    for one in members:
        target = place / one.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if one.layer == MESSAGES:
            target.write_bytes(repository.run(["git", "cat-file", one.mode, one.blob])[1].partition(b"\n\n")[2])
        elif content := here.get(keys[one] or ""):
            link_or_copy(content, target)
        elif one.mode == SYMLINK:
            target.symlink_to(os.fsdecode(data[one.blob]))
        else:
            target.write_bytes(data[one.blob])


def _contents(repository: Repository, keys: set[str]) -> dict[str, Path]:
    """Return key → content, for those that are here."""
    asked = sorted(keys)
    if not asked:
        return {}
    said = repository.annex("contentlocation", "--batch", stdin=os.fsencode("".join(f"{key}\n" for key in asked)))
    return {key: repository.folder / line for key, line in zip(asked, said.split("\n"), strict=True) if line}


def link_or_copy(source: Path, target: Path) -> None:
    """Put the bytes of ``source`` at ``target`` without reading them, where the file system can."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
