"""Compressed bytes are those of one pinned library, wherever they are made; anybody's gzip can be read."""

import gzip
import hashlib
import struct
from pathlib import Path

import pytest

from release_kit.bids.recordings import packing
from release_kit.bids.recordings.header import RecordingError
from release_kit.bids.recordings.image import open_image
from release_kit.bids.recordings.nifti_write import LEVEL, write_nifti_gz
from release_kit.bids.recordings.packing import deflater, packer_version
from release_kit.core.errors import MissingExtraError

PACKED = "9ebd96b97fef0fef97f3789fcc432f2d31ed5b731d80b9b59f11fa5b8602b094"
"""sha256 of ``recording_like(200_000)`` deflated; equal on x86-64 from SSE2 to AVX2 and on aarch64."""


def packed_copy(source: Path, out: Path) -> Path:
    """Convert a recording."""
    with open_image(source) as image:
        write_nifti_gz(out, image.header, image.volumes(), durable=False)
    return out


def recording_like(n: int) -> bytes:
    """Return ``n`` 16-bit numbers that rise slowly under noise of four bits; the same everywhere."""
    noise = hashlib.shake_128(b"noise of a scanner").digest(n)
    return struct.pack(f"<{n}H", *(300 + index // 500 + (value & 15) for index, value in enumerate(noise)))


def test_compressed_bytes_are_those_of_the_pinned_library_at_a_fixed_level(make_nifti, tmp_path: Path):
    assert packer_version() == "zlib-ng 2.3.3"
    pack = deflater(LEVEL)
    packed = b"".join([pack.compress(recording_like(200_000)), pack.flush()])
    assert hashlib.sha256(packed).hexdigest() == PACKED, "another processor or another build writes other bytes"
    data, pack = packed_copy(make_nifti(), tmp_path / "out.nii.gz").read_bytes(), deflater(3)
    assert data[10:-8] == pack.compress(gzip.decompress(data)) + pack.flush()


def test_how_content_comes_in_pieces_does_not_change_compressed_bytes():
    content, packed = recording_like(100_000), []
    for step in (len(content), 65_536, 4_096, 777):
        pack = deflater(LEVEL)
        pieces = [pack.compress(content[at : at + step]) for at in range(0, len(content), step)]
        packed.append(b"".join([*pieces, pack.flush()]))
    assert len(set(packed)) == 1


def test_reading_does_without_the_compressor_and_writing_names_it(
    make_nifti, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = packed_copy(make_nifti(), tmp_path / "out.nii.gz")
    monkeypatch.setattr(packing, "_zlib_ng", lambda: None)
    with open_image(path) as image:
        assert len(list(image.volumes())) == image.header.n_volumes
    with pytest.raises(MissingExtraError, match=r"'zlib-ng'.*release-kit\[bids\]"):
        packed_copy(path, tmp_path / "again.nii.gz")
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    with pytest.raises(RecordingError, match="gzip stream is damaged"), open_image(path) as image:
        list(image.volumes())
