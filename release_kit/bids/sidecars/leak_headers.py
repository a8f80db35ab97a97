"""What the headers of image files still tell: gzip, NIfTI, PNG and JPEG, read byte by byte without decoding images.

Each function takes an open binary stream and yields (code, what) pairs; it raises ``ValueError`` or ``EOFError`` where
a file is not what it claims to be. Which file goes where is ``leak_files.py``.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

from release_kit.bids.sidecars.leak_words import WordFinder, masked

Found = Iterator[tuple[str, str]]

MAX_HEADER_BYTES = 64 << 20
"""A NIfTI header with its extensions is some kilobytes; beyond this it is not a header."""
_EXTENSIONS = {
    2: "DICOM tags",
    4: "an AFNI history",
    6: "a comment",
    10: "JIM notes",
    30: "Matlab data",
    44: "MRS facts",
}
_CIFTI = 32
"""The one extension that belongs to its format: without it a CIFTI file has no meaning."""
_TIME = re.compile(r"(?<!\d)([0-2]?\d:[0-5]\d|time\s*=?\s*\d{4,}|(19|20)\d\d[-/]?[01]\d[-/]?[0-3]\d)", re.IGNORECASE)
_PNG_HARMLESS = ("Software", "Title", "Description")
_PNG_MAX_CHUNK = 16 << 20


def gzip_header(stream: BinaryIO, own_name: str) -> Found:
    """Yield what the header of a gzip file says of its past: the name it had, when it was made, notes.

    RFC 1952, section 2.3. ``own_name`` is the file's name now; a stored name equal to it (without ``.gz``) is no news.
    """
    head = _exactly(stream, 10)
    flags, made = head[3], int.from_bytes(head[4:8], "little")
    if made:
        yield "gzip-time", "the gzip header says when it was compressed"
    if flags & 4:
        extra = _exactly(stream, int.from_bytes(_exactly(stream, 2), "little"))
        if extra[:2] != b"BC":  # block sizes of bgzip
            yield "gzip-note", f"the gzip header carries {len(extra)} bytes of its own"
    if flags & 8:
        name = _until_zero(stream)
        if name.lower() != own_name.removesuffix(".gz").lower():
            yield "gzip-name", "the gzip header names the file it was made from"
    if flags & 16:
        yield "gzip-note", f"the gzip header carries a comment of {len(_until_zero(stream))} characters"


def nifti_header(stream: BinaryIO, finder: WordFinder) -> Found:
    """Yield what the free text, the extensions and the gap before the voxels of a NIfTI image tell.

    NIfTI-1 (nifti1.h) and NIfTI-2 (nifti2.h), either byte order; voxels are not read.
    """
    size = _exactly(stream, 4)
    order = next((o for o in "<>" if struct.unpack(f"{o}i", size)[0] in (348, 540)), None)
    if order is None:
        raise ValueError("not a NIfTI header")
    length = struct.unpack(f"{order}i", size)[0]
    head = size + _exactly(stream, length - 4)
    texts, start = _layout(head, order)
    for name, text in texts.items():
        yield from _header_text(name, text, finder)
    if not length <= start <= MAX_HEADER_BYTES:
        if start == 0:  # a .hdr with its voxels in .img
            return
        raise ValueError(f"the voxels are said to begin at byte {start}")
    rest = _exactly(stream, start - length)
    for hit in finder.search([rest]):
        yield "word", f"the word {masked(hit.word)} stands in a header extension"
    yield from _extensions(rest, order)


def png_chunks(stream: BinaryIO, finder: WordFinder) -> Found:
    """Yield what a PNG carries beside its picture: EXIF, times, texts (PNG specification, section 11.3)."""
    _exactly(stream, 8)
    while True:
        length, kind = struct.unpack(">I4s", _exactly(stream, 8))
        if kind == b"eXIf":
            yield "exif", "the picture carries EXIF data"
        elif kind == b"tIME":
            yield "time", "the picture says when it was made"
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            if length > _PNG_MAX_CHUNK:
                raise ValueError(f"a text of {length} bytes in a picture")
            yield from _png_text(kind, _exactly(stream, length), finder)
        else:
            _skip(stream, length)
        _exactly(stream, 4)
        if kind == b"IEND":
            if stream.read(1):
                yield "hidden", "there are bytes behind the end of the picture"
            return


def jpeg_segments(stream: BinaryIO, finder: WordFinder) -> Found:
    """Yield what a JPEG carries before its picture: EXIF, XMP, Photoshop notes, comments (ITU T.81, B.1.1)."""
    _exactly(stream, 2)
    while True:
        mark = _exactly(stream, 2)
        if mark[0] != 0xFF:
            raise ValueError("a JPEG segment without its mark")
        if mark[1] in (0xDA, 0xD9):
            return
        length = struct.unpack(">H", _exactly(stream, 2))[0]
        data = _exactly(stream, length - 2)
        if mark[1] == 0xE1:
            yield "exif", "the picture carries EXIF or XMP data"
        elif mark[1] == 0xED or mark[1] == 0xFE:
            yield "exif", "the picture carries notes of a program"
        for hit in finder.search([data]):
            yield "word", f"the word {masked(hit.word)} stands in the picture's notes"


def _layout(head: bytes, order: str) -> tuple[dict[str, bytes], int]:
    """Return the free-text fields of a header and where its voxels begin."""
    if len(head) == 348:
        places = {"data_type": (4, 10), "db_name": (14, 18), "descrip": (148, 80), "aux_file": (228, 24)}
        start = int(struct.unpack(f"{order}f", head[108:112])[0])
        places["intent_name"] = (328, 16)
        magic = head[344:347]
        if magic not in (b"n+1", b"ni1"):
            raise ValueError("not a NIfTI header")
        start = 0 if magic == b"ni1" else start
    else:
        places = {"descrip": (240, 80), "aux_file": (320, 24), "intent_name": (508, 16)}
        start = 0 if head[4:7] == b"ni2" else struct.unpack(f"{order}q", head[168:176])[0]
    return {name: head[at : at + size] for name, (at, size) in places.items()}, start


def _header_text(name: str, data: bytes, finder: WordFinder) -> Found:
    # Behind the first zero byte may stand the rest of an older text.
    text = data.replace(b"\x00", b" ").decode("latin-1").strip()
    if not text:
        return
    for hit in finder.search([data]):
        yield "word", f"the word {masked(hit.word)} stands in {name} of the header"
    if _TIME.search(text):
        yield "time", f"{name} of the header holds a date or a time of day"
    elif name != "data_type":
        yield "header-text", f"{name} of the header holds free text: {text[:60]!r}"


def _extensions(rest: bytes, order: str) -> Found:
    """Yield each extension between header and voxels; 4 bytes say whether there are any."""
    at = 4
    while rest[:1] not in (b"", b"\x00") and at + 8 <= len(rest):
        size, code = struct.unpack(f"{order}ii", rest[at : at + 8])
        if size < 8 or at + size > len(rest):
            raise ValueError("a damaged header extension")
        if code != _CIFTI:
            kind = _EXTENSIONS.get(code, f"notes of kind {code}")
            yield "nifti-extension", f"the header carries an extension with {kind}"
        at += size
    if any(rest[at:]):
        yield "hidden", "there are bytes between header and voxels that belong to neither"


def _png_text(kind: bytes, data: bytes, finder: WordFinder) -> Found:
    name, _, rest = data.partition(b"\x00")
    keyword = name.decode("latin-1")
    if kind == b"zTXt":
        rest = _inflated(rest[1:])
    elif kind == b"iTXt" and rest[:1] == b"\x01":
        rest = _inflated(rest[2:].split(b"\x00", 2)[2])
    for hit in finder.search([rest]):
        yield "word", f"the word {masked(hit.word)} stands in the text {keyword!r} of the picture"
    if keyword not in _PNG_HARMLESS:
        yield "exif", f"the picture carries a text {keyword!r}"


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, _PNG_MAX_CHUNK)
    except zlib.error as error:
        raise ValueError(f"a damaged text in a picture ({error})") from error


def _exactly(stream: BinaryIO, n: int) -> bytes:
    data = stream.read(n)
    if len(data) != n:
        raise EOFError(f"ends {n - len(data)} bytes too early")
    return data


def _skip(stream: BinaryIO, n: int) -> None:
    while n > 0:
        n -= len(_exactly(stream, min(n, 1 << 20)))


def _until_zero(stream: BinaryIO) -> str:
    data = bytearray()
    while (byte := _exactly(stream, 1)) != b"\x00":
        data += byte
        if len(data) > 1 << 16:
            raise ValueError("a gzip header without an end")
    return data.decode("latin-1")


HEADERS: dict[bytes, Callable[[BinaryIO, WordFinder], Found]] = {
    b"\x89PNG\r\n\x1a\n": png_chunks,
    b"\xff\xd8\xff": jpeg_segments,
}
"""First bytes of a picture → what reads it."""
