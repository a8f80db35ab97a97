"""Small images with known contents."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

DATA = Path(nibabel.__file__).parent / "tests" / "data"
AFFINE = np.array([[-2.0, 0, 0, 9], [0, 2.5, 0.125, -4], [0, -0.125, 3, 7], [0, 0, 0, 1]])


@pytest.fixture
def real() -> Callable[[str], Path]:
    """Return a function that gives the path of a real image inside nibabel's own tests."""
    return lambda name: DATA / name


@pytest.fixture
def make_nifti(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a NIfTI file byte by byte, with any header fields, into ``tmp_path``."""

    def make(
        name: str = "run.nii",
        shape: tuple[int, ...] = (5, 4, 3, 6),
        dtype: str = "int16",
        *,
        version: int = 1,
        big: bool = False,
        values: np.ndarray | None = None,
        extension: bytes = b"",
        seed: int = 1,
        **fields: Any,
    ) -> Path:
        kind = nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header
        header = kind(endianness=">" if big else "<")
        header.set_data_dtype(dtype)
        header.set_data_shape(shape)
        header.set_sform(AFFINE, 1)
        header.set_qform(AFFINE, 1)
        header["xyzt_units"] = 2 | 8
        header["pixdim"][4] = 2.0
        pair = name.endswith(".img")
        header["magic"] = (b"ni" if pair else b"n+") + str(version).encode()
        length = int(header["sizeof_hdr"])
        header["vox_offset"] = 0 if pair else length + 4 + len(extension)
        for field, value in fields.items():
            header[field] = value
        values = np.random.default_rng(seed).integers(0, 100, shape) if values is None else values
        data = values.astype(np.dtype(dtype).newbyteorder(">" if big else "<")).tobytes(order="F")
        start = header.binaryblock + (b"\1\0\0\0" if extension else b"\0\0\0\0") + extension
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if pair:
            path.with_suffix(".hdr").write_bytes(start)
            path.write_bytes(data)
        else:
            path.write_bytes(gzip.compress(start + data, 1) if name.endswith(".gz") else start + data)
        return path

    return make
