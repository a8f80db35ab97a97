"""Writes ``.nii.gz`` files whose bytes follow from the facts and the volumes alone.

Owns the gzip stream (no time, no name, no operating system in it) and the digests taken on the way. The header comes
from ``nifti_header.py``, the compressor from ``packing.py``; ``content_sha256`` is the same with every compressor.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from release_kit.bids.recordings.header import ImageFacts, RecordingError
from release_kit.bids.recordings.image import THREAD_BYTES
from release_kit.bids.recordings.nifti_header import build_header
from release_kit.bids.recordings.packing import deflater
from release_kit.bids.recordings.source import Damage, Source
from release_kit.core.files import open_atomic

if TYPE_CHECKING:
    import numpy as np

LEVEL = 3
"""Of zlib-ng. On recordings, level 6 takes up to a quarter longer for files at most 1 % smaller: noise hides the
repetitions that it looks for (figures in ``docs/bids-recordings.md``)."""
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""RFC 1952: deflate, no flags, no time, no extra flags, unknown operating system."""


@dataclass(frozen=True, kw_only=True)
class WrittenImage:
    """What was written."""

    sha256: str
    """Of the file."""
    size_bytes: int
    n_volumes: int
    content_sha256: str
    """Of the NIfTI inside (header and voxels, decompressed)."""
    n_nonfinite: int = 0
    """NaN and infinite values among the stored numbers; they are written as they are."""

    def to_dict(self) -> dict[str, str | int]:
        """Return the fields for records."""
        return asdict(self)


def write_nifti_gz(
    out: Path, facts: ImageFacts, volumes: "Iterable[np.ndarray]", *, level: int = LEVEL, durable: bool = True
) -> WrittenImage:
    """Write one NIfTI file; it appears under its name only when every volume is in it.

    The stored numbers are written as they come, with the slope, intercept and byte order of ``facts``; free text,
    extensions and unused fields of the source's header are not written. Memory: the volume in hand and the one read
    ahead.

    Args:
        out: the ``.nii.gz``; parent folders are made.
        facts: what the header says; ``facts.n_volumes`` volumes must come.
        volumes: arrays of ``facts.shape`` and ``facts.numpy_dtype``; no copies are made of those in Fortran order.
        level: of zlib-ng, 1 to 9.
        durable: fsync before the file takes its name.

    Raises:
        RecordingError: a volume has another shape or type, or there are more or fewer than the facts say.
        ReleaseKitError: the disk is full or the folder cannot be written.
    """
    with open_atomic(out, durable=durable) as stream:
        with _Writer(stream, facts, level) as writer:
            writer.add(build_header(facts))
            n = 0
            for volume in volumes:
                n += 1
                if n <= facts.n_volumes:
                    writer.add(_buffer(volume, facts, n, out))
            if n != facts.n_volumes:
                raise RecordingError(f"{n} volumes came, expected {facts.n_volumes}", where=str(out))
        return WrittenImage(
            sha256=writer.sha256.hexdigest(),
            size_bytes=writer.size_bytes,
            n_volumes=n,
            content_sha256=writer.content.hexdigest(),
            n_nonfinite=writer.n_nonfinite,
        )


def content_sha256(path: Path) -> str:
    """Return the sha256 of a file's content, decompressed if it is gzip: equal for files that any zlib wrote.

    Raises:
        RecordingError: the gzip stream is damaged.
    """
    source, digest, block = Source(path), hashlib.sha256(), memoryview(bytearray(1 << 20))
    try:
        while got := source.fill(block):
            digest.update(block[:got])
    except Damage as damage:
        raise RecordingError(damage.reason, where=str(path), next_step="fetch the file again") from damage
    finally:
        source.close()
    return digest.hexdigest()


class _Writer:
    """One gzip stream; content is hashed in a second thread while this one compresses."""

    def __init__(self, stream: BinaryIO, facts: ImageFacts, level: int):
        self._stream, self._pending = stream, None
        self._deflate = deflater(level)
        self._floats = facts.numpy_dtype if facts.numpy_dtype.kind in "fc" else None
        self.sha256, self.content = hashlib.sha256(), hashlib.sha256()
        self._crc = self._length = self.size_bytes = self.n_nonfinite = 0
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="hash") if facts.volume_bytes >= THREAD_BYTES else None

    def __enter__(self) -> "_Writer":
        self._put(_GZIP_HEADER)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._settle()
            self._put(self._deflate.flush())
            self._put(struct.pack("<LL", self._crc, self._length % 2**32))
        if self._hasher:
            self._hasher.shutdown()

    def add(self, data: "bytes | np.ndarray") -> None:
        """Compress ``data`` and hash it beside that."""
        self._settle()
        if self._hasher:
            self._pending: Future | None = self._hasher.submit(self._look, data)
        else:
            self._look(data)
        self._put(self._deflate.compress(data))

    def _settle(self) -> None:
        if self._pending:
            self._pending.result()
            self._pending = None

    def _look(self, data: "bytes | np.ndarray") -> None:
        self.content.update(data)
        self._crc = zlib.crc32(data, self._crc)
        self._length += len(data)
        if self._floats is not None and not isinstance(data, bytes):
            self.n_nonfinite += _count_nonfinite(data.view(self._floats))

    def _put(self, data: bytes) -> None:
        self._stream.write(data)
        self.sha256.update(data)
        self.size_bytes += len(data)


def _count_nonfinite(values: "np.ndarray") -> int:
    import numpy as np

    return int(values.size - np.count_nonzero(np.isfinite(values)))


def _buffer(volume: "np.ndarray", facts: ImageFacts, number: int, out: Path) -> "np.ndarray":
    """Return the volume's bytes, x fastest, without a copy where it lies like that."""
    import numpy as np

    if volume.shape != facts.shape or volume.dtype != facts.numpy_dtype:
        what = f"volume {number} is {volume.dtype.str} {volume.shape}, expected {facts.numpy_dtype.str} {facts.shape}"
        raise RecordingError(what, where=str(out))
    return volume.reshape(-1, order="F").view(np.uint8)
