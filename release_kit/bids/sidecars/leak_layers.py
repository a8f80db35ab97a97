"""Files that wrap other contents: every member of a gzip file, and what MATLAB and HDF5 files hold beside numbers.

Numbers are not searched: voxels and responses are told apart from texts by what the file says they are. What cannot be
told apart (objects, tables, cells of version 5) raises ``ValueError``, which the caller reports as not looked into.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from release_kit.bids.sidecars.leak_headers import Found, gzip_header
from release_kit.bids.sidecars.leak_words import WordFinder, masked
from release_kit.core.errors import ReleaseKitError

_BLOCK_BYTES = 1 << 20
_MAGIC = b"\x1f\x8b"
_MAT_TEXT_BYTES = 116


def gzip_members(stream: BinaryIO, own_name: str, image_head: bytes | None, finder: WordFinder) -> Found:
    """Yield what the headers of all gzip members tell, and words behind the end of an image.

    Finding the second member needs the whole first one unpacked (RFC 1952). That is spared an image whose last member
    says the length that the image's header gives: it is alone, or followed by an image of the very same length.

    Args:
        stream: at the start of the file.
        own_name: the file's name now.
        image_head: how the unpacked content begins, if it is a NIfTI image; None for anything else.
        finder: the words.
    """
    length = None if image_head is None else _image_bytes(image_head)
    if length is not None:
        stream.seek(-4, 2)
        alone = int.from_bytes(stream.read(4), "little") == length % (1 << 32)
        stream.seek(0)
        if alone:
            yield from gzip_header(stream, own_name)
            return
    told: list[tuple[str, str]] = []
    hits = finder.search(_behind(stream, own_name, length, told))
    yield from told
    for hit in hits:
        yield "word", f"the word {masked(hit.word)} stands behind the end of the image"


def _behind(stream: BinaryIO, own_name: str, length: int | None, told: list[tuple[str, str]]) -> Iterator[bytes]:
    """Yield the unpacked bytes from ``length`` on; what the headers tell is added to ``told``."""
    at = 0
    while True:
        told.extend(gzip_header(stream, own_name))
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        while not inflate.eof:
            block = inflate.unconsumed_tail or stream.read(_BLOCK_BYTES)
            if not block:
                raise EOFError("a compressed stream without its end")
            data = inflate.decompress(block, 4 * _BLOCK_BYTES)
            if length is not None and at + len(data) > length:
                yield data[max(length - at, 0) :]
            at += len(data)
        stream.seek(8 - len(inflate.unused_data), 1)
        while (byte := stream.read(1)) == b"\x00":  # padding is allowed
            pass
        if not byte:
            return
        stream.seek(-1, 1)
        if stream.read(2) != _MAGIC:
            raise ValueError("there are bytes behind the end of the compressed data")
        stream.seek(-2, 1)


def _image_bytes(head: bytes) -> int | None:
    """Return how long a NIfTI file is by its header, None where it does not say so."""
    order = next((o for o in "<>" if struct.unpack_from(f"{o}i", head)[0] in (348, 540)), None)
    if order is None or len(head) < 348:
        return None
    if struct.unpack_from(f"{order}i", head)[0] == 348:
        dim, bits = struct.unpack_from(f"{order}8h", head, 40), struct.unpack_from(f"{order}h", head, 72)[0]
        offset = struct.unpack_from(f"{order}f", head, 108)[0]
    else:
        dim, bits = struct.unpack_from(f"{order}8q", head, 16), struct.unpack_from(f"{order}h", head, 14)[0]
        offset = struct.unpack_from(f"{order}q", head, 168)[0]
    if not (1 <= dim[0] <= 7 and all(n > 0 for n in dim[1 : dim[0] + 1]) and bits > 0 and 0 <= offset < 1 << 40):
        return None
    voxels = 1
    for n in dim[1 : dim[0] + 1]:
        voxels *= n
    return int(offset) + (voxels * bits + 7) // 8


def matlab_texts(path: Path, finder: WordFinder) -> Found:
    """Yield words in names, attributes and texts of a MATLAB file of version 5 or 7.3, or of any HDF5 file.

    Raises:
        ValueError: it holds something that is neither numbers nor text, or is damaged; or h5py is not installed.
    """
    from release_kit.bids.recordings.mat import iter_texts
    from release_kit.bids.recordings.mat5 import is_mat5, read_mat5

    with open(path, "rb") as stream:
        head = stream.read(128)
    if head.startswith(b"MATLAB "):
        yield "header-text", "the MATLAB header says when and on which system the file was made"
    try:
        if is_mat5(head):
            found = read_mat5(path)
            others = sorted({kind for kind in found.values() if isinstance(kind, str)} - {"complex"})
            if others:
                raise ValueError(f"a MATLAB file of version 5 with variables of the class {', '.join(others)}")
            texts: Iterator[bytes] = (name.encode() for name in found)
        else:
            texts = iter_texts(path)
        for hit in finder.search(piece + b"\n" for piece in _joined(head[:_MAT_TEXT_BYTES], texts)):
            yield "word", f"the word {masked(hit.word)} stands in a name or a text of the file"
    except ReleaseKitError as error:
        raise ValueError(error.what) from error


def _joined(first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
    if first.startswith(b"MATLAB "):
        yield first
    yield from others
