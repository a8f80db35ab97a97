"""Whether a dataset still tells who took part, where or when: every file is looked at, and fails when it cannot be.

Owns the walk, the record of a finding and what it means for a release. How a file is looked at is ``leak_files.py``.
Not looked at: voxels, sound and pictures themselves, and the history in ``.git``.
"""

import csv
import os
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from release_kit.bids.recipe.model import Privacy
from release_kit.bids.sidecars.leak_files import Looking, look_at
from release_kit.bids.sidecars.leak_words import WordFinder, masked
from release_kit.bids.sidecars.privacy import scrub_reasons

WARNINGS = frozenset({"header-text", "gzip-time", "gzip-note", "short-word"})
"""Findings that need a look but tell nothing by themselves; every other code is an error."""
_NOT_THE_DATASET = frozenset({".git"})
_DAMAGE = (OSError, EOFError, ValueError, OverflowError, RecursionError, zlib.error, csv.Error, struct.error)
"""What readers raise on files that are not what they claim to be."""
_POINTER = re.compile(rb"/annex/objects/[^\n]+\n?")


@dataclass(frozen=True, kw_only=True, order=True)
class Leak:
    """One thing that a file tells and should not; words are masked, since reports travel with data."""

    path: str
    """In the dataset."""
    code: str
    what: str
    where: str
    """The dataset's folder."""

    @property
    def severity(self) -> str:
        """``error``, or ``warning`` for what needs a look but tells nothing by itself."""
        return "warning" if self.code in WARNINGS else "error"

    def to_dict(self) -> dict[str, Any]:
        """Return the finding for JSON; the folder on this machine is left out."""
        return {"code": self.code, "severity": self.severity, "path": self.path, "what": self.what}


def find_leaks(
    dataset_folder: Path, words: Iterable[str] = (), privacy: Privacy | None = None, *, content: bool = True
) -> list[Leak]:
    """Return everything in a dataset that may identify a person, sorted by file; none is what a release needs.

    Looked for: words (in names and contents, in ten encodings), keys of the scrub list in JSON, dates and DICOM numbers
    in sidecars, acquisition times that were not shifted, columns about persons, ages above 89, names and times in gzip
    headers, text and extensions in NIfTI headers, EXIF and texts in pictures, DICOM files. A file that cannot be read,
    or whose kind cannot be looked into, is a finding.

    Args:
        dataset_folder: the dataset.
        words: what must appear nowhere: names in the lab, hospital numbers. ``privacy.words`` are added.
        privacy: the recipe's decisions on the scrub list; the built-in list alone if None.
        content: False for a clone whose files were not fetched: absent contents are passed over, not reported.
    """
    privacy = privacy or Privacy()
    looking = Looking(
        finder=WordFinder([*words, *privacy.words]),
        reasons=scrub_reasons(privacy),
        kept=frozenset(key.lower() for key in privacy.keep),
    )
    where = str(dataset_folder)
    short = [f"the word {masked(word)} is too short to be searched for" for word in looking.finder.too_short]
    found = {Leak(path=".", code="short-word", what=what, where=where) for what in short}
    for relative, error in _walk(dataset_folder):
        findings = _names(relative, looking)
        findings += [("unreadable", f"the folder cannot be read ({error})")] if error else []
        findings += [] if error else _one(dataset_folder, relative, looking, content)
        found |= {Leak(path=_shown(relative), code=code, what=what, where=where) for code, what in findings}
    return sorted(found)


def _walk(root: Path) -> Iterator[tuple[str, str | None]]:
    """Yield (relative path, why a folder could not be read or None) of every file and link, sorted."""
    failed: list[OSError] = []
    for folder, folders, files in os.walk(root, onerror=failed.append):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = sorted(name for name in folders if name not in links and name not in _NOT_THE_DATASET)
        for name in sorted([*files, *links]):
            relative = os.path.relpath(os.path.join(folder, name), root)
            if relative != ".git":  # the file that leads to the history of a submodule
                yield relative, None
    for error in failed:
        yield os.path.relpath(os.fsdecode(error.filename), root), error.strerror or str(error)


def _names(relative: str, looking: Looking) -> list[tuple[str, str]]:
    hits = looking.finder.search_text(relative)
    return [("name", f"the word {masked(hit.word)} stands in the name of the file or a folder") for hit in hits]


def _one(root: Path, relative: str, looking: Looking, content: bool) -> list[tuple[str, str]]:
    """Return what one file tells; whatever keeps it from being read is what it tells."""
    path = root / relative
    try:
        if path.is_symlink() and (told := _link(root, path, looking)):
            return told
        if (key := _absent_key(path)) is not None:
            told = _word_hits(key, "in the key that stands for its content", looking)
            return told + ([("absent", "its content is not here, so it was not looked into")] if content else [])
        if not path.is_file():
            return [("opaque", "neither a file nor a folder")]
        return list(look_at(path, PurePosixPath(relative).as_posix(), looking))
    except _DAMAGE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return [("unreadable", f"cannot be looked into ({reason})")]


def _link(root: Path, path: Path, looking: Looking) -> list[tuple[str, str]]:
    """Return what is wrong with a link: it leads out of the dataset, or to a folder."""
    target = os.readlink(path)
    told = _word_hits(target, "in the target of the link", looking)
    if ".git/annex/objects/" in target.replace(os.sep, "/") and not os.path.isabs(target):
        return told
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):  # resolve() raises where links turn
        return [*told, ("link", "the link leads out of the dataset")]
    return [*told, ("link", "the link leads to a folder")] if path.is_dir() else told


def _word_hits(text: str, place: str, looking: Looking) -> list[tuple[str, str]]:
    return [("word", f"the word {masked(hit.word)} stands {place}") for hit in looking.finder.search_text(text)]


def _absent_key(path: Path) -> str | None:
    """Return what git-annex knows of a content that lies elsewhere, None where the file is here.

    Absent is a link into its store to nothing, or a pointer instead of a file.
    """
    if path.is_symlink():
        target = os.readlink(path)
        return target if not path.exists() and ".git/annex/objects/" in target.replace(os.sep, "/") else None
    if path.is_file() and path.stat().st_size < 32_768:
        with open(path, "rb") as stream:
            data = stream.read(32_768)
        return os.fsdecode(data) if _POINTER.fullmatch(data) else None
    return None


def _shown(relative: str) -> str:
    return relative.replace(os.sep, "/").encode("utf-8", "backslashreplace").decode()
