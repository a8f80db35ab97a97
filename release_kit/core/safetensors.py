"""Headers of safetensors files, read as data: names, types, shapes and byte spans, all checked against the file size.

No tensor is loaded and nothing of torch is needed. Format: https://github.com/huggingface/safetensors (header length
as little-endian u64, JSON header, then one contiguous data section).
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path

from release_kit.core.canonical import parse_json
from release_kit.core.errors import ArtifactError, RecordError

MAX_HEADER_BYTES = 100_000_000
"""The limit of the reference implementation."""

MAX_DIMENSIONS = 64
"""More than any library makes; a bound on what a hostile header can make us multiply."""

BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64,
    "C64": 64,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TensorSpan:
    """One tensor and where its bytes lie: ``[start, end)`` counted from the start of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Header:
    """The parsed header; ``spans`` are sorted by ``start``."""

    spans: tuple[TensorSpan, ...]
    metadata: dict[str, str]
    data_start: int


def header_length(prefix: bytes, size_bytes: int, where: str) -> int:
    """Return the length of the JSON header from the first 8 bytes of a file of ``size_bytes``.

    Raises:
        ArtifactError: the file is too short for what its first bytes announce.
    """
    if len(prefix) < 8:
        raise ArtifactError(f"is truncated: {size_bytes} bytes cannot hold a safetensors header", where=where)
    (length,) = struct.unpack("<Q", prefix[:8])
    if length > MAX_HEADER_BYTES or 8 + length > size_bytes:
        raise ArtifactError(
            f"is truncated or not safetensors: its header claims {length} bytes, the file has {size_bytes}",
            where=where,
        )
    return length


def parse_header(header: bytes, size_bytes: int, where: str) -> Header:
    """Parse the JSON header and check every span against the size of the file.

    Args:
        header: the JSON bytes, without the 8 length bytes.
        size_bytes: size of the whole file.
        where: the file, for messages.

    Raises:
        ArtifactError: not JSON, unknown dtype, spans that overlap, leave holes, contradict their shape, or end
            anywhere but at the end of the file.
    """
    try:
        value = parse_json(header, where)
    except RecordError as error:
        raise ArtifactError("its safetensors header is not valid JSON", where=where) from error
    if not isinstance(value, dict):
        raise ArtifactError("its safetensors header is not a mapping", where=where)
    metadata = value.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ArtifactError("`__metadata__` of its safetensors header is not a mapping of texts", where=where)
    data_start = 8 + len(header)
    spans = sorted((_span(name, entry, data_start, where) for name, entry in value.items()), key=_order)
    _check_cover(spans, data_start, size_bytes, where)
    return Header(spans=tuple(spans), metadata=metadata, data_start=data_start)


def read_header(path: Path) -> Header:
    """Read the header of one file on disk.

    Raises:
        ArtifactError: unreadable, truncated or malformed.
    """
    try:
        with open(path, "rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(0)
            length = header_length(stream.read(8), size, str(path))
            return parse_header(stream.read(length), size, str(path))
    except OSError as error:
        raise ArtifactError(f"cannot be read ({error.strerror})", where=str(path)) from error


def _span(name: str, entry: object, data_start: int, where: str) -> TensorSpan:
    try:
        dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        counts = [*shape, start, end]
        if not isinstance(dtype, str) or len(shape) > MAX_DIMENSIONS:
            raise ValueError
        if any(not isinstance(n, int) or isinstance(n, bool) or not 0 <= n < 2**64 for n in counts) or start > end:
            raise ValueError
    except (TypeError, KeyError, ValueError) as error:
        raise ArtifactError(f"the header entry of tensor {name!r} is malformed", where=where) from error
    if dtype not in BITS:
        raise ArtifactError(f"tensor {name!r} has the unknown type {dtype!r}", where=where)
    n_bytes = (math.prod(shape, start=BITS[dtype]) + 7) // 8
    if n_bytes != end - start:
        needs = str(n_bytes) if n_bytes < 2**64 else "more than 2^64"
        raise ArtifactError(
            f"tensor {name!r} of shape {shape} and type {dtype} needs {needs} bytes, has {end - start}", where=where
        )
    return TensorSpan(name=name, dtype=dtype, shape=tuple(shape), start=data_start + start, end=data_start + end)


def _order(span: TensorSpan) -> tuple[int, int, str]:
    return (span.start, span.end, span.name)


def _check_cover(spans: list[TensorSpan], data_start: int, size_bytes: int, where: str) -> None:
    position = data_start
    for span in spans:
        if span.start != position:
            raise ArtifactError(f"the bytes of tensor {span.name!r} overlap others or leave a hole", where=where)
        position = span.end
    if position != size_bytes:
        state = "truncated" if position > size_bytes else "followed by foreign bytes"
        raise ArtifactError(
            f"is {state}: its header describes {position} bytes, the file has {size_bytes}", where=where
        )
