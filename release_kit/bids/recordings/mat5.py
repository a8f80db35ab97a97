"""Numeric arrays of MATLAB's version 5 files (``save -v6`` and ``-v7``), for small ones: masks and lists of voxels.

Owns the part of the format that plain numbers use (MathWorks, "MAT-File Format", Level 5); cells, structs, objects,
function handles and text are named and left alone. Big matrices belong into version 7.3 (``mat.py``).
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from release_kit.bids.recordings.header import RecordingError

if TYPE_CHECKING:
    import numpy as np

MAX_BYTES = 1 << 28
"""Of the file and of one decompressed element: no mask is larger, and a small file cannot fill the memory."""

_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_OTHER = {1: "cell", 2: "struct", 3: "object", 4: "char", 5: "sparse", 16: "function", 17: "opaque", 18: "object"}
_MATRIX, _COMPRESSED, _COMPLEX = 14, 15, 0x0800


def is_mat5(start: bytes) -> bool:
    """Return whether a file with these first 128 bytes is of version 5."""
    return len(start) >= 128 and start[126:128] in (b"IM", b"MI") and start[124:126] in (b"\0\1", b"\1\0")


def read_mat5(path: Path) -> "dict[str, np.ndarray | str]":
    """Return the variables of a version 5 file: numeric ones as arrays of their MATLAB shape, others as their class.

    Raises:
        RecordingError: not version 5, larger than ``MAX_BYTES``, truncated or damaged.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        step = "save it with -v7.3"
        raise RecordingError(f"{size} bytes are too many for MATLAB version 5", where=str(path), next_step=step)
    data = path.read_bytes()
    if not is_mat5(data[:128]):
        raise RecordingError("this is not a MATLAB file of version 5", where=str(path))
    order = "<" if data[126:128] == b"IM" else ">"
    try:
        return dict(_variables(data[128:], order))
    except (struct.error, zlib.error, ValueError, KeyError, UnicodeDecodeError) as error:
        step = "copy it again from where it was made"
        raise RecordingError(f"the file is damaged ({error})", where=str(path), next_step=step) from error


def _variables(data: bytes, order: str) -> "Iterator[tuple[str, np.ndarray | str]]":
    for kind, content in _elements(data, order):
        if kind == _COMPRESSED:
            inflate = zlib.decompressobj()
            content = inflate.decompress(content, MAX_BYTES)
            if inflate.unconsumed_tail or not inflate.eof:
                raise ValueError("a compressed element is too large or cut off")
            yield from _variables(content, order)
        elif kind == _MATRIX:
            yield _matrix(content, order)


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Yield type and content of the elements that follow each other in ``data``."""
    at = 0
    while at + 8 <= len(data):
        kind, n_bytes = struct.unpack_from(f"{order}II", data, at)
        begin, step = at + 8, 8 + n_bytes + (-n_bytes % 8 if kind != _COMPRESSED else 0)
        if kind >> 16:  # up to four bytes of content share the eight bytes of the tag
            kind, n_bytes, begin, step = kind & 0xFFFF, kind >> 16, at + 4, 8
        content = data[begin : begin + n_bytes]
        if len(content) < n_bytes:
            raise ValueError(f"an element of {n_bytes} bytes ends after {len(content)}")
        yield kind, content
        at += step


def _matrix(content: bytes, order: str) -> "tuple[str, np.ndarray | str]":
    import numpy as np

    parts = list(_elements(content, order))
    if len(parts) < 3:
        raise ValueError("an array has no name")
    flags = struct.unpack_from(f"{order}I", parts[0][1])[0]
    shape = tuple(np.frombuffer(parts[1][1], f"{order}i4").tolist())
    name, number = parts[2][1].decode("ascii"), flags & 0xFF
    if number not in _CLASSES or flags & _COMPLEX:
        return name, "complex" if number in _CLASSES else _OTHER.get(number, f"class {number}")
    if len(parts) < 4:
        raise ValueError(f"the array {name} has no values")
    kind, values = parts[3]
    array = np.frombuffer(values, f"{order}{_TYPES[kind]}").astype(f"<{_CLASSES[number]}")
    return name, array.reshape(shape, order="F")
