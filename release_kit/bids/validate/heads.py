"""The ends of an image file: what its header declares, and what gzip notes of its content, without reading the rest.

The eight bytes at the end of a ``.gz`` are the CRC-32 of the unpacked content and its length (RFC 1952): enough to see
a truncated file, and to suspect that two files hold the same image although they were packed differently. A suspicion
is made sure by reading, never reported as it is.
"""

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from release_kit.bids.recordings.header import ImageFacts
from release_kit.bids.recordings.nifti_header import header_length, parse_header

_GZIP = b"\x1f\x8b"
_HEADER_BYTES = 540
_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """What the ends of one image file say."""

    facts: ImageFacts
    expected_bytes: int
    """Length of the unpacked file by its header: offset of the voxels and their bytes."""
    trailer: tuple[int, int] | None
    """CRC-32 and length (modulo 2^32) that gzip notes; None for a file that is not packed."""


class Truncated(Exception):
    """The file holds less than its header declares; the message says how much."""


def read_head(path: Path) -> Head:
    """Return what header and trailer of an image say; the file is read through only where they contradict each other.

    Raises:
        Truncated: less data than declared, or the packed stream breaks off.
        RecordingError: no NIfTI, or a header that no image can have.
        OSError, zlib.error: the file cannot be read or unpacked.
    """
    with open(path, "rb") as stream:
        start = stream.read(8192)
        if not start.startswith(_GZIP):
            facts, expected = _parsed(start, str(path))
            held = stream.seek(0, 2)
            _refuse_less(held, expected)
            return Head(facts=facts, expected_bytes=expected, trailer=None)
        unpacked = zlib.decompressobj(wbits=31).decompress(start, _HEADER_BYTES)
        size = stream.seek(0, 2)
        stream.seek(max(0, size - 8))
        end = stream.read(8)
    facts, expected = _parsed(unpacked, str(path))
    trailer = (int.from_bytes(end[:4], "little"), int.from_bytes(end[4:], "little"))
    if trailer[1] != expected % 2**32:
        _refuse_less(sum(map(len, _unpacked(path))), expected)
    return Head(facts=facts, expected_bytes=expected, trailer=trailer)


def content_digest(path: Path) -> str:
    """Return the sha256 of an image as it is after unpacking, reading all of it.

    Raises:
        Truncated: the packed stream breaks off.
        OSError, zlib.error: the file cannot be read or unpacked.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        packed = stream.read(2) == _GZIP
        stream.seek(0)
        for block in _unpacked(path) if packed else iter(lambda: stream.read(_BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def _parsed(start: bytes, where: str) -> tuple[ImageFacts, int]:
    if len(start) < 4:
        raise Truncated(f"it holds {len(start)} bytes, less than a header")
    length = header_length(start[:4], where)
    if len(start) < length:
        raise Truncated(f"it holds {len(start)} bytes, a header has {length}")
    facts, offset = parse_header(start[:length], where)
    return facts, offset + facts.volume_bytes * facts.n_volumes


def _refuse_less(held: int, expected: int) -> None:
    if held < expected:
        raise Truncated(f"it holds {held:,} bytes of the {expected:,} that its header declares")


def _unpacked(path: Path) -> Iterator[bytes]:
    """Yield the content of a gzip file of any number of members, padding after the last one left out."""
    with open(path, "rb") as stream:
        unpack = zlib.decompressobj(wbits=31)
        rest = stream.read(_BLOCK)
        while rest:
            if block := unpack.decompress(rest):
                yield block
            rest = unpack.unused_data or stream.read(_BLOCK)
            if unpack.eof:
                rest = (rest + stream.read(_BLOCK)).lstrip(b"\0")
                if not rest:
                    return
                unpack = zlib.decompressobj(wbits=31)
        if not unpack.eof:
            raise Truncated("the packed stream breaks off before its end")
