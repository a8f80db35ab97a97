"""What one file of a dataset still tells, told by what the file is, not by what it is called.

Owns the choice of how to look at a file and the looks at JSON, TSV, Parquet and plain text. Headers of images are
``leak_headers.py``, words ``leak_words.py``, the walk over a dataset ``leaks.py``. Nothing is unpickled or unpacked: a
kind of file that cannot be looked into is itself a finding.
"""

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from release_kit.bids.sidecars.leak_headers import HEADERS, nifti_header
from release_kit.bids.sidecars.leak_layers import gzip_members, matlab_texts
from release_kit.bids.sidecars.leak_words import WordFinder, masked, read_chunks
from release_kit.bids.sidecars.privacy import identifying

Found = Iterator[tuple[str, str]]

_HEAD_BYTES = 560
MAX_JSON_BYTES = 64 << 20
MAX_AGE = 89
"""Ages above are rare enough to identify; BIDS lets them be written as ``89+``."""
_OPAQUE = {
    b"PK\x03\x04": "a zip archive",
    b"PK\x05\x06": "a zip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a rar archive",
    b"%PDF": "a PDF",
    b"\x89HDF": "an HDF5 file",
    b"MATLAB ": "a .mat file",
    b"II*\x00": "a TIFF",
    b"MM\x00*": "a TIFF",
    b"\xd0\xcf\x11\xe0": "an Office document",
    b"SQLite format 3": "a database",
}
"""First bytes → what it is; none can be looked into here without unpacking or running foreign code. HDF5 and MATLAB
files are, where they are not themselves inside of something."""
_MEDIA = (b"RIFF", b"ID3", b"OggS", b"fLaC", b"\x1aE\xdf\xa3", b"\xff\xfb", b"GIF8")
"""Sound and film: searched for words as they are."""
_ARRAY = b"\x93NUMPY"
_PROMISES = {
    ".gz": b"\x1f\x8b",
    ".parquet": b"PAR1",
    ".png": b"\x89PNG\r\n\x1a\n",
    ".jpg": b"\xff\xd8\xff",
    ".jpeg": b"\xff\xd8\xff",
}
"""Ending → first bytes that the file must have."""
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_DICOM_NAMES = re.compile(r"(.*\.(dcm|ima|dicom)|dicomdir)", re.IGNORECASE)
_PERSON_COLUMN = re.compile(
    r"(.*birth.*|dob|(first|last|family|given|full|patient)?_?name|surname|.*address.*|.*phone.*|.*e_?mail.*|mrn"
    r"|.*hospital.*|patient_?id|source(_?id)?|initials|zip_?code|postal_?code)",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Looking:
    """What to look for: words, and the scrub list with what the study keeps of it (lower case)."""

    finder: WordFinder
    reasons: Mapping[str, str]
    kept: frozenset[str]


def look_at(path: Path, relative: str, looking: Looking) -> Found:
    """Yield (code, what) of everything that a file tells and should not.

    Raises:
        OSError, EOFError, ValueError: it cannot be read, or is not what it claims to be.
    """
    with open(path, "rb") as stream:
        head = stream.read(_HEAD_BYTES)
        stream.seek(0)
        if not head.startswith(_PROMISES.get(path.suffix.lower(), b"")):
            raise ValueError(f"not what {path.suffix} promises")
        if head[:2] == b"\x1f\x8b":
            inside = relative.removesuffix(".gz")
            with gzip.open(stream) as inner:
                head = inner.read(_HEAD_BYTES)
                inner.seek(0)
                yield from _look_inside(inner, inside, looking)
            stream.seek(0)
            image = head if _is_nifti(head, PurePosixPath(inside).name) else None
            yield from gzip_members(stream, path.name, image, looking.finder)
        elif head.startswith((b"\x89HDF", b"MATLAB ")):
            yield from matlab_texts(path, looking.finder)
        elif head[:4] == b"PAR1":
            yield from _parquet(path, looking.finder)
        else:
            yield from _look_inside(stream, relative, looking)


def _look_inside(stream: BinaryIO, relative: str, looking: Looking) -> Found:
    """Look at what a file holds, gzip already taken off."""
    head = stream.read(_HEAD_BYTES)
    stream.seek(0)
    name = PurePosixPath(relative).name
    picture = next((look for magic, look in HEADERS.items() if head.startswith(magic)), None)
    if head[128:132] == b"DICM" or _DICOM_NAMES.fullmatch(name) or head[:6] == b"\x08\x00\x05\x00\x0a\x00":
        yield "dicom", "a DICOM file is left behind; its header names the person, the place and the time"
    elif _is_nifti(head, name):
        yield from nifti_header(stream, looking.finder)
    elif picture is not None:
        yield from picture(stream, looking.finder)
    elif kind := _opaque(head, name):
        yield "opaque", f"{kind} cannot be looked into"
    else:
        yield from _text(stream, head, relative, looking)


def _is_nifti(head: bytes, name: str) -> bool:
    return head[344:347] in (b"n+1", b"ni1") or head[4:7] in (b"n+2", b"ni2") or name.endswith((".nii", ".hdr"))


def _opaque(head: bytes, name: str) -> str | None:
    """Return what kind of file this is, if it cannot be looked into."""
    if head[257:262] == b"ustar":
        return "a tar archive"
    if head[:2] in _PICKLES or name.endswith((".pkl", ".pickle")):
        return "a pickle"
    if head.startswith(_ARRAY):
        return "an array of pickled objects" if b"|O" in head else None
    known = next((kind for magic, kind in _OPAQUE.items() if head.startswith(magic)), None)
    if known or _is_media(head, name):
        return known
    return "a binary file of unknown kind" if b"\x00" in head and not _is_utf16(head) else None


def _is_media(head: bytes, name: str) -> bool:
    """Whether it is sound, film, an array, or voxels without a header: searched for words as it is."""
    return head.startswith((*_MEDIA, _ARRAY)) or head[4:8] == b"ftyp" or name.endswith(".img")


def _is_utf16(head: bytes) -> bool:
    """Whether ``head`` reads as UTF-16 text of either byte order."""
    even = head[: len(head) // 2 * 2].removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff")
    texts = [even.decode(encoding, "ignore") for encoding in ("utf-16-le", "utf-16-be")]
    # One character in three is unassigned or invisible, so that a hundred random ones never pass.
    return any(text and all(c.isprintable() or c in "\r\n\t" for c in text) for text in texts)


def _text(stream: BinaryIO, head: bytes, relative: str, looking: Looking) -> Found:
    """Search a text for words, and JSON and tables for what their keys and columns say."""
    media, plain = _is_media(head, relative), b"\x00" not in head
    for hit in looking.finder.search(read_chunks(stream), binary=media):
        place = f"line {hit.line}" if plain else f"byte {hit.offset}"
        yield "word", f"the word {masked(hit.word)} stands in {place}"
    stream.seek(0)
    if relative.endswith(".json"):
        yield from _json(stream, relative, looking)
    elif relative.endswith(".tsv"):
        yield from _table(stream, PurePosixPath(relative).name)


def _json(stream: BinaryIO, relative: str, looking: Looking) -> Found:
    """Yield keys and values that the scrub list would have removed; dates only where a recording is described."""
    data = stream.read(MAX_JSON_BYTES + 1)
    if len(data) > MAX_JSON_BYTES:
        raise ValueError("a JSON file that is too large to look into")
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not valid JSON ({error})") from error
    of_recording = _describes_recording(relative)
    for key, why in identifying(value, looking.reasons, looking.kept):
        listed = re.sub(r"\[\d+\]", "", key).rpartition(".")[2].lower() in looking.reasons
        if listed or of_recording:
            yield "sidecar-key", f"`{key}` stands in it: {why}"


def _describes_recording(relative: str) -> bool:
    """Whether a JSON file describes recordings (``sub-*/…``, ``task-x_bold.json``), not tables or stimuli."""
    suffix = PurePosixPath(relative).name.removesuffix(".json").rpartition("_")[2]
    tables = ("events", "scans", "sessions", "participants", "description", "stimuli", "annotations", "descriptions")
    in_subject = any(part.startswith("sub-") for part in PurePosixPath(relative).parts[:-1])
    return suffix not in tables and (in_subject or "/" not in relative)


def _table(stream: BinaryIO, name: str) -> Found:
    """Yield columns that name people, ages that are rare, and acquisition times that were not shifted."""
    lines = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    header = next(rows, [])
    of_people = name == "participants.tsv" or name.endswith(("_sessions.tsv", "_scans.tsv"))
    for column in header if of_people else ():
        if _PERSON_COLUMN.fullmatch(column):
            yield "column", f"the column {column!r} tells who somebody is"
    wanted = {index: column for index, column in enumerate(header) if column in ("acq_time", "age") and of_people}
    told = set()
    for line, row in enumerate(rows if wanted else (), start=2):
        for index, column in wanted.items():
            cell = row[index] if index < len(row) else "n/a"
            if column not in told and (what := _identifying_cell(column, cell)):
                told.add(column)
                yield what[0], f"{what[1]} (line {line})"
    lines.detach()


def _identifying_cell(column: str, cell: str) -> tuple[str, str] | None:
    if column == "age" and re.fullmatch(r"\d+(\.\d+)?", cell) and float(cell) > MAX_AGE:
        return "age", f"an age above {MAX_AGE} identifies; write `{MAX_AGE}+`"
    year = re.match(r"(\d{4})-", cell)
    if column == "acq_time" and year and int(year[1]) >= 1925:
        return "time", "an acquisition time of 1925 or later: a real date, or one that says it is"
    return None


def _parquet(path: Path, finder: WordFinder) -> Found:
    """Search names, notes and texts of a Parquet file, which lie compressed."""
    import pyarrow
    import pyarrow.parquet

    def pieces() -> Iterator[bytes]:
        with pyarrow.parquet.ParquetFile(path) as table:
            notes = table.schema_arrow.metadata or {}
            yield b"\n".join([*(b"\n".join(pair) for pair in notes.items()), str(table.schema_arrow).encode()])
            for batch in table.iter_batches(batch_size=65_536):
                yield b"\n"
                for column in batch.columns:
                    yield from _strings(column)

    try:
        for hit in finder.search(pieces()):
            yield "word", f"the word {masked(hit.word)} stands in a row or a note"
    except pyarrow.ArrowException as error:
        raise ValueError(f"not a readable Parquet file ({error})") from error


def _strings(column) -> Iterator[bytes]:
    import pyarrow

    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary
    if pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type):
        yield "\n".join(text for text in column.to_pylist() if text is not None).encode("utf-8", "surrogatepass")
    elif pyarrow.types.is_nested(column.type) or pyarrow.types.is_binary(column.type):
        yield repr(column.to_pylist()).encode("utf-8", "surrogatepass")
