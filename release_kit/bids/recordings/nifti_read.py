"""NIfTI files as streams of volumes: ``.nii``, ``.nii.gz`` and ``.hdr``/``.img`` pairs, versions 1 and 2.

Owns where header, extensions and voxels lie and what is said when a file holds too little or too much. Bytes come from
``source.py``, the meaning of the header from ``nifti_header.py``.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from release_kit.bids.recordings.header import RecordingError
from release_kit.bids.recordings.image import Image, read_ahead
from release_kit.bids.recordings.nifti_header import header_length, parse_header
from release_kit.bids.recordings.source import Damage, Source

if TYPE_CHECKING:
    import numpy as np

_AGAIN = "copy it again from where it was recorded"
_MAX_EXTENSIONS = 1 << 27


class NiftiImage(Image):
    """A NIfTI file, or a pair of them."""

    def __init__(self, path: Path):
        self.header_path, self.data_path = _pair(Path(path))
        self._digest: str | None = None
        source = Source(self.header_path)
        try:
            start = self._start(source)
            self.header, self._offset = parse_header(start, str(self.header_path))
            self._check_offset(len(start))
            self.header = replace(self.header, n_extensions=self._count_extensions(source, len(start)))
        finally:
            source.close()

    def volumes(self, start: int = 0) -> "Iterator[np.ndarray]":
        """Yield volumes as ``Image.volumes`` promises."""
        import numpy as np

        if not 0 <= start <= self.header.n_volumes:
            what = f"there is no volume {start} among {self.header.n_volumes}"
            raise RecordingError(what, where=str(self.data_path))
        source, dtype, facts = Source(self.data_path), self.header.numpy_dtype, self.header
        before = self._offset + start * facts.volume_bytes

        def read(_: int) -> "np.ndarray":
            volume = np.empty(facts.shape, dtype, order="F")
            self._fill(source, memoryview(volume.reshape(-1, order="F").view(np.uint8)))
            return volume

        try:
            self._skip(source, before)
            yield from read_ahead(read, facts.n_volumes - start, facts.volume_bytes)
            self._check_end(source)
            self._digest = self._digest or self._digest_of(source)
        finally:
            source.close()

    def digest(self) -> str:
        """Return the sha256 of the file, of a pair that of ``<sha256 of .hdr>\\n<sha256 of .img>\\n``."""
        if self._digest is None:
            source = Source(self.data_path)
            try:
                self._digest = self._digest_of(source)
            finally:
                source.close()
        return self._digest

    def check_size(self) -> int:
        """Hold the size of the file against its header; a gzip file that disagrees is read through and counted."""
        source = Source(self.data_path)
        try:
            expected = self._offset + self.header.n_volumes * self.header.volume_bytes
            if not source.compressed:
                return self._check_content(source.size_bytes)
            if source.content_size() == expected % 2**32:
                return 0
            self._skip(source, expected)
            return self._check_end(source)
        finally:
            source.close()

    def _start(self, source: Source) -> bytes:
        """Return the header's bytes."""
        try:
            start = bytearray(4)
            got = source.fill(memoryview(start))
            length = header_length(bytes(start[:got]), str(self.header_path))
            start += bytes(length - 4)
            got += source.fill(memoryview(start)[4:])
        except Damage as damage:
            raise self._error(f"the file ends in its header: {damage.reason}") from damage
        if got < length:
            raise self._error(f"the file ends in its header, after {got} of {length} bytes")
        return bytes(start)

    def _check_offset(self, length: int) -> None:
        paired = self.header_path != self.data_path
        if paired or self._offset >= length:
            return
        raise self._error(f"vox_offset {self._offset} lies inside the header of {length} bytes", "repair the file")

    def _count_extensions(self, source: Source, length: int) -> int:
        """Count the header extensions; they end at the voxels, or with the ``.hdr``."""
        end = self._offset if self.header_path == self.data_path else source.size_bytes
        room = min(end - length, _MAX_EXTENSIONS)
        data = bytearray(max(room, 0))
        try:
            data = data[: source.fill(memoryview(data))]
        except Damage:
            return 0  # said with the volume by whoever reads on
        count, at = 0, 4
        while data[:1] > b"\0" and at + 8 <= len(data):
            size = int.from_bytes(data[at : at + 4], self.header.byte_order)
            if size < 8:
                break
            count, at = count + 1, at + size
        return count

    def _fill(self, source: Source, view: memoryview) -> None:
        try:
            got = source.fill(view)
        except Damage as damage:
            raise self._ends_at(source.position, damage.reason) from damage
        if got < len(view):
            raise self._ends_at(source.position, "")

    def _skip(self, source: Source, n_bytes: int) -> None:
        try:
            got = source.skip(n_bytes)
        except Damage as damage:
            raise self._ends_at(source.position, damage.reason) from damage
        if got < n_bytes:
            raise self._ends_at(source.position, "")

    def _check_end(self, source: Source) -> int:
        try:
            position = source.position
            return self._check_content(position + source.count_rest())
        except Damage as damage:
            raise self._error(f"{damage.reason} (after the last volume)") from damage

    def _check_content(self, n_bytes: int) -> int:
        """Return how many bytes follow the last volume: less than a volume, which some programs leave there."""
        n, size = self.header.n_volumes, self.header.volume_bytes
        surplus = n_bytes - self._offset - n * size
        if surplus < 0:
            raise self._ends_at(n_bytes, "")
        if surplus >= size:
            what = f"its header names {n} volumes, but it holds {n + surplus / size:g}"
            raise self._error(what, "find out which is right, and repair the header or the file")
        return surplus

    def _ends_at(self, position: int, reason: str) -> RecordingError:
        """Return the sentence for content that ends at byte ``position``."""
        volume, rest = divmod(max(position - self._offset, 0), self.header.volume_bytes)
        of = f"volume {volume + 1} of {self.header.n_volumes}"
        what = f"it ends in {of}, after {rest} of that volume's {self.header.volume_bytes} bytes"
        return self._error(f"{what}: {reason}" if reason else what)

    def _error(self, what: str, next_step: str = _AGAIN) -> RecordingError:
        return RecordingError(what, where=str(self.data_path), next_step=next_step)

    def _digest_of(self, source: Source) -> str:
        data = source.sha256()
        if self.header_path == self.data_path:
            return data
        header = hashlib.sha256(self.header_path.read_bytes()).hexdigest()
        return hashlib.sha256(f"{header}\n{data}\n".encode()).hexdigest()


def _pair(path: Path) -> tuple[Path, Path]:
    """Return the files that hold header and voxels: the same one, or the halves of a pair."""
    name = path.name
    for ending, other in ((".hdr", ".img"), (".img", ".hdr"), (".hdr.gz", ".img.gz"), (".img.gz", ".hdr.gz")):
        if name.lower().endswith(ending):
            stem = name[: -len(ending)]
            partner = path.with_name(stem + (other.upper() if name.endswith(ending.upper()) else other))
            if path.is_file() and not partner.is_file():
                what = f"its other half {partner.name} is missing"
                raise RecordingError(what, where=str(path), next_step=f"put {partner.name} beside it")
            return (path, partner) if ending.startswith(".hdr") else (partner, path)
    return path, path
