"""Files as such: links that lead nowhere, pickles, formats of one vendor, arrays that nobody explains.

Recognises pickles by name and by their first bytes. Nothing is ever loaded: an ``.npy`` says in its header whether it
holds objects, a ``.npz`` is a zip file whose members say the same.
"""

import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from typing import BinaryIO

from release_kit.bids.validate.codes import finding
from release_kit.bids.validate.finding import Finding
from release_kit.bids.validate.survey import Entry, Survey
from release_kit.core.wording import counted

PICKLES = (".pkl", ".pickle", ".p", ".joblib", ".pt", ".pth", ".dill", ".cpickle")
FOREIGN = {
    ".mat": "MATLAB",
    ".sav": "SPSS",
    ".rda": "R",
    ".rdata": "R",
    ".rds": "R",
    ".xlsx": "Excel",
    ".xls": "Excel",
    ".docx": "Word",
    ".doc": "Word",
    ".pzfx": "Prism",
    ".fig": "MATLAB",
}
ARRAYS = (".npy", ".npz", ".mat", ".h5", ".hdf5", ".zarr", ".rds")
_UNNAMED = ("", ".bin", ".dat", ".data", ".model")
_OBJECTS = (b"'descr': '|O'", b"'descr': 'O'", b"|O")
_HEADER_BYTES = 1 << 16
"""The header of an array is no longer, but for version 2 of its format, which numpy writes when it has to."""


def check_files(survey: Survey) -> Iterator[Finding]:
    """Yield what nobody can or should open."""
    foreign: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    bare: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in survey.entries:
        top = entry.path.split("/")[0]
        if entry.broken is not None:
            yield finding("link-dangling", entry.path, f"it points to {entry.broken}")
        last = "." + entry.path.rpartition("/")[2].rpartition(".")[2].lower() if "." in entry.path else ""
        if entry.readable and (why := _pickled(survey, entry, last)):
            yield finding("pickle", entry.path, why)
        elif last in PICKLES:
            yield finding("pickle", entry.path, f"by its name ({last})")
        if last in FOREIGN and top not in ("sourcedata", "code"):
            foreign[_group(entry), last].append(entry)
        if last in ARRAYS and top in ("derivatives", "stimuli") and not _explained(survey, entry, last):
            bare[_group(entry), last].append(entry)
    for (folder, last), entries in sorted(foreign.items()):
        yield finding("foreign-format", folder, f"{_counted(entries, last)} of {FOREIGN[last]}")
    for (folder, last), entries in sorted(bare.items()):
        yield finding("array-without-sidecar", folder, f"{_counted(entries, last)} without a JSON file beside")


def _group(entry: Entry) -> str:
    """Return the derivative, or the top folder, that a file belongs to: a finding for each, not for each file."""
    parts = entry.path.split("/")
    return "/".join(parts[: 2 if parts[0] == "derivatives" and len(parts) > 2 else 1]) if len(parts) > 1 else "."


def _counted(entries: list[Entry], last: str) -> str:
    n = len(entries)
    return f"{counted(n, f'{last} file')} (such as {entries[0].path.rpartition('/')[2]})"


def _explained(survey: Survey, entry: Entry, last: str) -> bool:
    stem = entry.path[: -len(last)]
    if f"{stem}.json" in survey.by_path:
        return True
    part = max((p for p in survey.parts if p.path == "." or entry.path.startswith(f"{p.path}/")), key=_depth)
    return bool(entry.suffix and survey.inherited(part, entry, entry.suffix))


def _depth(part: object) -> int:
    return len(getattr(part, "path", ""))


def _pickled(survey: Survey, entry: Entry, last: str) -> str | None:
    """Return why a file is taken for a pickle; None when it is not."""
    if last not in (*PICKLES, *_UNNAMED, ".npy", ".npz"):
        return None
    try:
        with open(survey.folder / entry.path, "rb") as stream:
            if last == ".npz" and zipfile.is_zipfile(stream):
                return _objects_in_zip(stream)
            start = stream.read(_HEADER_BYTES)
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError):
        return None
    if start.startswith(b"\x93NUMPY"):
        return "an array of Python objects, which numpy pickles" if _holds_objects(start) else None
    if len(start) > 1 and start[0] == 0x80 and 2 <= start[1] <= 5:
        return f"it begins as a pickle of protocol {start[1]}"
    return None


def _objects_in_zip(stream: BinaryIO) -> str | None:
    with zipfile.ZipFile(stream) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                if _holds_objects(member.read(_HEADER_BYTES)):
                    return f"its array {name.removesuffix('.npy')} holds Python objects, which numpy pickles"
    return None


def _holds_objects(start: bytes) -> bool:
    header = start.partition(b"\n")[0]
    return start.startswith(b"\x93NUMPY") and any(mark in header for mark in _OBJECTS)
