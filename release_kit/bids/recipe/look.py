"""Looks at a folder for a first recipe: which files are functional series, anatomical images, matrices, annotations.

Reads headers, and the beginnings of texts. What names say is ``guess_names.py``'s, the recipe ``draft.py``'s.
"""

import os
import re
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from release_kit.bids.recordings.header import ImageFacts, read_facts
from release_kit.core.errors import ReleaseKitError, StudyError

IMAGES = (".nii", ".nii.gz", ".img")
ANNOTATIONS = {".srt": "srt", ".vtt": "vtt", ".textgrid": "textgrid", ".eaf": "elan", ".csv": "intervals"}
"""Ending → reader; ``.txt`` and ``.tsv`` are looked into."""
_SERIES_FILES = 8
"""Single volumes in one folder with one form of name, from this many on, are a series."""
_NOT_ANNOTATIONS = re.compile(r"(?i)(readme|changes|license|participants|pseudonyms|requirements|notes?)\b.*")
_MAX_FILES = 200_000


@dataclass(frozen=True, kw_only=True)
class FoundImage:
    """One recording; ``path`` is relative to the folder, with ``/``."""

    path: str
    facts: ImageFacts
    kind: str = "nifti"
    n_files: int = 1


@dataclass(frozen=True, kw_only=True)
class FoundSeries:
    """One DICOM series of a folder."""

    path: str
    number: int | None
    description: str
    n_files: int
    n_images: int
    mosaic: bool


@dataclass(kw_only=True)
class Found:
    """Everything in a folder that a recipe may name."""

    folder: Path
    functional: list[FoundImage] = field(default_factory=list)
    anatomical: list[FoundImage] = field(default_factory=list)
    dicom: list[FoundSeries] = field(default_factory=list)
    matrices: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)
    """Path → reader."""
    unread: list[str] = field(default_factory=list)
    """Sentences about what could not be read."""


def look(folder: Path) -> Found:
    """Return what lies in a folder and below it; hidden files and folders are passed over.

    Raises:
        StudyError: it is no folder, or holds more files than a study of recordings would.
    """
    if not folder.is_dir():
        raise StudyError("is not a folder", where=str(folder), next_step="name the folder of the recordings")
    found, images, dicom = Found(folder=folder), [], set()
    for path in _walk(folder):
        name = path.name.lower()
        if name.endswith(IMAGES):
            images.append(path)
        elif name.endswith(".mat"):
            found.matrices.append(path.relative_to(folder).as_posix())
        elif path.parent not in dicom and _is_dicom(path):
            dicom.add(path.parent)
        elif (reader := _reader(path)) is not None:
            found.annotations[path.relative_to(folder).as_posix()] = reader
    _sort_images(found, images)
    for place in sorted(dicom):
        _add_dicom(found, place)
    return found


def _walk(folder: Path) -> list[Path]:
    paths: list[Path] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths += [Path(parent, name) for name in sorted(files) if not name.startswith(".")]
        if len(paths) > _MAX_FILES:
            what = f"holds more than {_MAX_FILES:,} files"
            raise StudyError(what, where=str(folder), next_step="name the folder of one study")
    return paths


def _sort_images(found: Found, images: list[Path]) -> None:
    with ThreadPoolExecutor() as pool:
        read = list(zip(images, pool.map(_facts, images), strict=True))
    single: dict[tuple[Path, str], list[tuple[Path, ImageFacts]]] = defaultdict(list)
    for path, facts in read:
        if not isinstance(facts, ImageFacts):
            found.unread.append(facts)
        elif facts.n_volumes > 1:
            found.functional.append(FoundImage(path=path.relative_to(found.folder).as_posix(), facts=facts))
        else:
            single[path.parent, re.sub(r"\d+", "#", path.name)].append((path, facts))
    for (parent, _), members in sorted(single.items()):
        if len(members) >= _SERIES_FILES and parent != found.folder:
            relative = parent.relative_to(found.folder).as_posix()
            image = FoundImage(path=relative, facts=members[0][1], kind="nifti-series", n_files=len(members))
            found.functional.append(image)
            continue
        for path, facts in members:
            found.anatomical.append(FoundImage(path=path.relative_to(found.folder).as_posix(), facts=facts))


def _facts(path: Path) -> ImageFacts | str:
    try:
        return read_facts(path)
    except ReleaseKitError as error:
        return f"{path}: {error.what}"
    except OSError as error:
        return f"{path}: {error.strerror}"


def _is_dicom(path: Path) -> bool:
    if path.suffix.lower() not in ("", ".dcm", ".ima") and not path.suffix[1:].isdigit():
        return False
    try:
        with open(path, "rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _add_dicom(found: Found, place: Path) -> None:
    from release_kit.bids.recordings.dicom import dicom_series

    try:
        series = dicom_series(place)
    except ReleaseKitError as error:
        found.unread.append(f"{place}: {error.what}")
        return
    relative = place.relative_to(found.folder).as_posix()
    if relative == ".":
        found.unread.append(f"{place}: DICOM files of nobody; put the files of each subject into a folder of their own")
        return
    for one in series:
        if one.files[0].parent != place:
            continue
        found.dicom.append(
            FoundSeries(
                path=relative,
                number=one.number,
                description=one.description or one.protocol,
                n_files=len(one.files),
                n_images=one.n_frames,
                mosaic=one.mosaic,
            )
        )


def _reader(path: Path) -> str | None:
    """Return the reader that a text seems to need; None for what is no annotation."""
    ending = path.suffix.lower()
    if ending in ANNOTATIONS or ending not in (".txt", ".tsv"):
        return ANNOTATIONS.get(ending) if not _NOT_ANNOTATIONS.fullmatch(path.name) else None
    if _NOT_ANNOTATIONS.fullmatch(path.name):
        return None
    try:
        with open(path, "rb") as stream:
            lines = stream.read(65536).decode("utf-8", "replace").splitlines()[:50]
    except OSError:
        return None
    if len(lines) < 2:
        return None
    if ending == ".tsv" and re.match(r"(?i)(onset|start|begin)", lines[0]):
        return "intervals"
    return "seconds-table" if sum("\t" in line for line in lines) > len(lines) / 2 else "seconds"
