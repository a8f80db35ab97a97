"""NIfTI-1 and NIfTI-2 headers: bytes to ``ImageFacts`` and back.

Owns units, the kinds of stored numbers and which fields may hold free text. The formats are those of
nifti.nimh.nih.gov; layout of the fields and spatial forms are ``nifti_layout.py``, reading files is ``nifti_read.py``.
"""

import math
from typing import TYPE_CHECKING, Any

from release_kit.bids.recordings.header import Affine, ImageFacts, RecordingError
from release_kit.bids.recordings.nifti_layout import (
    affine_of,
    empty_header,
    header_record,
    orientation_of,
    quaternion_rest,
)
from release_kit.core.errors import MissingExtraError

if TYPE_CHECKING:
    import numpy as np

SIZES = {348: 1, 540: 2}
"""Length of a header in bytes → version of NIfTI."""

TYPE_CODES = {
    2: "uint8", 256: "int8", 4: "int16", 512: "uint16", 8: "int32", 768: "uint32", 1024: "int64", 1280: "uint64",
    16: "float32", 64: "float64", 32: "complex64", 1792: "complex128", 128: "rgb24", 2304: "rgba32",
}  # fmt: skip
"""NIfTI ``datatype`` → name. 128-bit floats differ between machines and are refused with everything else."""

MAX_VOXELS = 2**31
"""Of one volume; a damaged header must not ask for more memory than any image needs."""

_TO_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_TO_S = {8: 1.0, 16: 0.001, 24: 1e-6}
_TEXT = ("descrip", "aux_file", "intent_name", "data_type", "db_name", "unused_str")
_UNUSED = ("extents", "session_error", "regular", "glmax", "glmin", "dim_info_unused")


def numpy_dtype(name: str, byte_order: str) -> "np.dtype":
    """Return the numpy type of a stored number; colours are records of bytes."""
    import numpy as np

    if name.startswith("rgb"):
        return np.dtype([(channel, "u1") for channel in name[: 3 + (name == "rgba32")]])
    return np.dtype(name).newbyteorder("<" if byte_order == "little" else ">")


def byte_order_of(raw: bytes) -> tuple[str, int] | None:
    """Return byte order and NIfTI version by the first number of a header, which is its own length; else None."""
    for order in ("little", "big"):
        if (version := SIZES.get(int.from_bytes(raw[:4], order))) is not None:
            return order, version
    return None


def header_length(start: bytes, where: str) -> int:
    """Return how long a header is by its first 4 bytes: 348 (NIfTI-1) or 540 (NIfTI-2).

    Raises:
        RecordingError: this is no NIfTI header.
    """
    found = byte_order_of(start)
    if not start:
        raise RecordingError("this is not NIfTI: the file is empty", where=where, next_step="fetch it again")
    if found is None:
        what = f"this is not NIfTI: a header starts with its length (348 or 540), this file with {start[:4].hex(' ')}"
        raise RecordingError(what, where=where, next_step="name the right file, or convert it to NIfTI first")
    return next(length for length, version in SIZES.items() if version == found[1])


def parse_header(raw: bytes, where: str) -> tuple[ImageFacts, int]:
    """Return the facts of a header and the offset of the voxels (0 for the ``.hdr`` of a pair).

    Raises:
        RecordingError: not NIfTI, or dimensions, type or scaling that no image can have; all problems in one message.
    """
    header, order, version = _read_header(raw)
    _check_magic(bytes(header["magic"]), version, where)
    if problems := _problems(header):
        raise RecordingError(f"the header is damaged: {'; '.join(problems)}", where=where, next_step="repair the file")
    return _facts(header, raw, order), int(header["vox_offset"])


def build_header(facts: ImageFacts) -> bytes:
    """Return the header of a ``.nii`` for these facts, without free text, with mm and seconds as its units.

    Everything in ``facts.raw_header`` that ``ImageFacts`` has no field for (slice timing codes, cal_min …) is kept.
    An image that has a TR is a series (4D), also with one volume. The four bytes that say "no extensions" follow.
    """
    if facts.raw_header is None:
        header = _new_header(facts)
    else:
        header, _, _ = _read_header(facts.raw_header)
        _to_mm_and_s(header)
    _clean(header)
    header["magic"] = b"n+1" if int(header["sizeof_hdr"]) == 348 else b"n+2"
    if "eol_check" in header.dtype.names:
        header["eol_check"] = (13, 10, 26, 10)
    header["vox_offset"] = int(header["sizeof_hdr"]) + 4
    _set_dimensions(header, facts)
    header["scl_slope"], header["scl_inter"] = facts.slope, facts.inter
    return header.tobytes() + b"\0\0\0\0"


def _read_header(raw: bytes) -> tuple[Any, str, int]:
    """Return the fields of a header, unchecked, with byte order and version."""
    order, version = byte_order_of(raw) or ("little", 1)
    return header_record(raw, version, order), order, version


def _check_magic(magic: bytes, version: int, where: str) -> None:
    known = (b"n+1", b"ni1") if version == 1 else (b"n+2", b"ni2")
    if magic.rstrip(b"\0")[:3] in known:
        return
    what = "this is an ANALYZE 7.5 header, which does not say which side is left"
    if version == 2 or magic.strip(b"\0"):
        what = f"this is not NIfTI: its magic is {magic!r}, expected {known[0].decode()!r} or {known[1].decode()!r}"
    raise RecordingError(what, where=where, next_step="convert it to NIfTI with the program that wrote it")


def _problems(header) -> list[str]:
    """Return what no image can have."""
    problems = []
    dim = [int(n) for n in header["dim"]]
    n_dims = dim[0]
    if not 3 <= n_dims <= 7:
        problems.append(f"dim[0] is {n_dims}, expected 3 or 4 dimensions")
    elif min(dim[1 : n_dims + 1]) < 1:
        problems.append(f"dim is {dim[1 : n_dims + 1]}, every dimension must be at least 1")
    elif any(n != 1 for n in dim[5 : n_dims + 1]):
        problems.append(f"dim is {dim[1 : n_dims + 1]}, only x, y, z and time are understood")
    elif (size := math.prod(dim[1:4])) > MAX_VOXELS:
        problems.append(f"dim is {dim[1 : n_dims + 1]}: no scanner makes volumes of {size} voxels")
    code = int(header["datatype"])
    if code not in TYPE_CODES:
        problems.append(f"datatype {code} is not one of {', '.join(f'{c} ({n})' for c, n in TYPE_CODES.items())}")
    if not all(math.isfinite(size) for size in map(float, header["pixdim"][1:4])):
        problems.append("pixdim holds sizes that are no numbers")
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if math.isfinite(slope) and slope != 0 and not math.isfinite(inter):
        problems.append(f"scl_slope is {slope} but scl_inter is {inter}")
    if not 0 <= float(header["vox_offset"]) < 2**40:
        problems.append(f"vox_offset is {float(header['vox_offset'])}")
    return problems + _problems_of_space(header)


def _problems_of_space(header) -> list[str]:
    if not header["sform_code"] and header["qform_code"] and quaternion_rest(header) < 0:
        return ["the quaternion of its q-form is longer than 1"]
    if not all(math.isfinite(value) for row in affine_of(header).tolist() for value in row):
        return ["the affine holds values that are no numbers"]
    return []


def _facts(header, raw: bytes, order: str) -> ImageFacts:
    dim = [int(n) for n in header["dim"]]
    units = int(header["xyzt_units"])
    to_mm, to_s = _TO_MM.get(units & 7, 1.0), _TO_S.get(units & 56)
    n_dims = 3 if dim[0] == 3 else 4
    tr = float(header["pixdim"][4]) * (to_s or 1.0)
    slope = float(header["scl_slope"])
    scaled = math.isfinite(slope) and slope != 0
    affine = affine_of(header)
    affine[:3] *= to_mm
    return ImageFacts(
        shape=(dim[1], dim[2], dim[3]),
        n_volumes=dim[4] if n_dims == 4 else 1,
        n_dims=n_dims,
        voxel_mm=tuple(_plain(abs(float(size))) * to_mm for size in header["pixdim"][1:4]),
        tr_s=_plain(tr) if n_dims == 4 and tr > 0 and math.isfinite(tr) else None,
        tr_unit_known=to_s is not None,
        affine=affine_rows(affine),
        orientation=orientation_of(affine),
        dtype=TYPE_CODES[int(header["datatype"])],
        byte_order=order,
        slope=slope if scaled else 1.0,
        inter=float(header["scl_inter"]) if scaled else 0.0,
        qform_code=int(header["qform_code"]),
        sform_code=int(header["sform_code"]),
        free_text=tuple(name for name in _TEXT if name in header.dtype.names and bytes(header[name]).strip(b"\0 ")),
        raw_header=bytes(raw),
    )


def affine_rows(affine: "np.ndarray") -> Affine:
    """Return a (4, 4) array as nested tuples."""
    return tuple(tuple(float(value) for value in row) for row in affine)


def _plain(value: float) -> float:
    """Return the shortest decimal that the 32-bit number of a header stands for: 0.8, not 0.800000011920929."""
    import numpy as np

    return float(str(np.float32(value))) if math.isfinite(value) else value


def _to_mm_and_s(header) -> None:
    units = int(header["xyzt_units"])
    to_mm, to_s = _TO_MM.get(units & 7, 1.0), _TO_S.get(units & 56)
    if to_mm != 1.0:
        header["pixdim"][1:4] = header["pixdim"][1:4] * to_mm
        for name in ("qoffset_x", "qoffset_y", "qoffset_z"):
            header[name] = float(header[name]) * to_mm
        for name in ("srow_x", "srow_y", "srow_z"):
            header[name] = header[name] * to_mm
    if to_s not in (None, 1.0):
        for name in ("slice_duration", "toffset"):
            header[name] = float(header[name]) * to_s


def _clean(header) -> None:
    """Empty the fields that hold text, and those of ANALYZE that NIfTI-1 does not use but old programs wrote into."""
    for name in _TEXT:
        if name in header.dtype.names:
            header[name] = b""
    for name in _UNUSED:
        if name in header.dtype.names:
            header[name] = b"r" if name == "regular" else 0


def _set_dimensions(header, facts: ImageFacts) -> None:
    limit = 2**15 - 1 if int(header["sizeof_hdr"]) == 348 else 2**63 - 1
    if max(*facts.shape, facts.n_volumes) > limit:
        raise RecordingError(f"an image of {facts.shape} x {facts.n_volumes} does not fit NIfTI-1 (limit {limit})")
    series = facts.n_dims == 4 or facts.n_volumes > 1 or facts.tr_s is not None
    header["dim"] = [3 + series, *facts.shape, facts.n_volumes, 1, 1, 1]
    pixdim = header["pixdim"].copy()
    pixdim[4:] = [facts.tr_s or 0.0 if series else 0.0, 0, 0, 0]
    header["pixdim"] = pixdim
    header["xyzt_units"] = 2 | (8 if series and facts.tr_s and facts.tr_unit_known else 0)


def _new_header(facts: ImageFacts):
    header = empty_header(1 if max(*facts.shape, facts.n_volumes) < 2**15 else 2, facts.byte_order)
    header["datatype"] = {name: code for code, name in TYPE_CODES.items()}[facts.dtype]
    header["bitpix"] = facts.numpy_dtype.itemsize * 8
    header["pixdim"][1:4] = facts.voxel_mm
    if facts.qform_code:
        header = _with_qform(header, facts)
    if facts.sform_code:
        header["sform_code"] = facts.sform_code
        header["srow_x"], header["srow_y"], header["srow_z"] = facts.affine[:3]
    return header


def _with_qform(header, facts: ImageFacts):
    """Return the header with the affine as a q-form too; nibabel knows the quaternion of a matrix."""
    try:
        import nibabel
    except ImportError as error:
        raise MissingExtraError("nibabel", "bids") from error
    version = SIZES[int(header["sizeof_hdr"])]
    kind = nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header
    theirs = kind(header.tobytes(), endianness="<" if facts.byte_order == "little" else ">", check=False)
    theirs.set_qform(facts.affine, facts.qform_code)
    return header_record(theirs.binaryblock, version, facts.byte_order)
