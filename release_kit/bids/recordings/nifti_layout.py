"""Where the fields of NIfTI headers lie, and the affine and orientation that they mean.

Numpy alone: importing nibabel takes longer than reading a hundred headers. Layout and formulas are those of the
standard's ``nifti1.h`` and ``nifti2.h``; tests hold them against nibabel.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_FIELDS = {
    1: "sizeof_hdr i4, data_type S10, db_name S18, extents i4, session_error i2, regular S1, dim_info u1, dim 8i2, "
    "intent_p1 f4, intent_p2 f4, intent_p3 f4, intent_code i2, datatype i2, bitpix i2, slice_start i2, pixdim 8f4, "
    "vox_offset f4, scl_slope f4, scl_inter f4, slice_end i2, slice_code u1, xyzt_units u1, cal_max f4, cal_min f4, "
    "slice_duration f4, toffset f4, glmax i4, glmin i4, descrip S80, aux_file S24, qform_code i2, sform_code i2, "
    "quatern_b f4, quatern_c f4, quatern_d f4, qoffset_x f4, qoffset_y f4, qoffset_z f4, srow_x 4f4, srow_y 4f4, "
    "srow_z 4f4, intent_name S16, magic S4",
    2: "sizeof_hdr i4, magic S4, eol_check 4i1, datatype i2, bitpix i2, dim 8i8, intent_p1 f8, intent_p2 f8, "
    "intent_p3 f8, pixdim 8f8, vox_offset i8, scl_slope f8, scl_inter f8, cal_max f8, cal_min f8, slice_duration f8, "
    "toffset f8, slice_start i8, slice_end i8, descrip S80, aux_file S24, qform_code i4, sform_code i4, "
    "quatern_b f8, quatern_c f8, quatern_d f8, qoffset_x f8, qoffset_y f8, qoffset_z f8, srow_x 4f8, srow_y 4f8, "
    "srow_z 4f8, slice_code i4, xyzt_units i4, intent_code i4, intent_name S16, dim_info u1, unused_str S15",
}
"""Version of NIfTI → its fields in order: name, how many numbers, type and bytes of one."""
_DIRECTIONS = ("LR", "PA", "IS")
"""What x, y and z of the world are called, downwards and upwards."""


@cache
def header_dtype(version: int, byte_order: str) -> "np.dtype":
    """Return the record of a header: 348 bytes of NIfTI-1, 540 of NIfTI-2."""
    import numpy as np

    pairs = [field.split() for field in _FIELDS[version].split(", ")]
    return np.dtype([(name, kind) for name, kind in pairs]).newbyteorder("<" if byte_order == "little" else ">")


def header_record(raw: bytes, version: int, byte_order: str) -> Any:
    """Return the fields of a header as a record that can be changed; ``tobytes()`` gives the header again."""
    import numpy as np

    dtype = header_dtype(version, byte_order)
    return np.frombuffer(bytearray(raw[: dtype.itemsize]), dtype).reshape(())


def empty_header(version: int, byte_order: str) -> Any:
    """Return the record of a header in which nothing is said but its own length and steps of 1."""
    dtype = header_dtype(version, byte_order)
    header = header_record(bytes(dtype.itemsize), version, byte_order)
    header["sizeof_hdr"], header["pixdim"] = dtype.itemsize, 1
    return header


def affine_of(header: Any) -> "np.ndarray":
    """Return the (4, 4) affine in the units of the header: s-form, else q-form, else voxel sizes about the centre."""
    import numpy as np

    affine = np.eye(4)
    if header["sform_code"] != 0:
        affine[:3] = [header["srow_x"], header["srow_y"], header["srow_z"]]
    elif header["qform_code"] != 0:
        sizes = np.abs(header["pixdim"][1:4].astype(np.longdouble))
        sizes[2] *= -1 if header["pixdim"][0] < 0 else 1
        affine[:3, :3] = _rotation(header) * sizes
        affine[:3, 3] = [header["qoffset_x"], header["qoffset_y"], header["qoffset_z"]]
    else:
        steps = header["pixdim"][1:4].astype(float) * (-1, 1, 1)
        affine[:3, :3] = np.diag(steps)
        affine[:3, 3] = -steps * (header["dim"][1:4] - 1) / 2
    return affine


def quaternion_rest(header: Any) -> "np.longdouble":
    """Return ``a**2`` of the q-form, which the header leaves out: ``1 - b**2 - c**2 - d**2``; rounding makes it 0."""
    import numpy as np

    vector = np.array([header[f"quatern_{name}"] for name in "bcd"], np.longdouble)
    rest = 1 - vector @ vector
    rounding = 3 * np.finfo(header["quatern_b"].dtype).eps
    return np.longdouble(0) if abs(rest) < rounding else rest


def _rotation(header: Any) -> "np.ndarray":
    """Return the rotation of the q-form: ``I + s (a [v] + [v]**2)`` with the cross product matrix [v] of (b, c, d)."""
    import numpy as np

    rest = quaternion_rest(header)
    b, c, d = (np.longdouble(header[f"quatern_{name}"]) for name in "bcd")
    cross = np.array([[0, -d, c], [d, 0, -b], [-c, b, 0]], np.longdouble)
    scale = 2 / (rest + b * b + c * c + d * d)
    return np.eye(3) + scale * (np.sqrt(rest) * cross + cross @ cross)


def orientation_of(affine: "np.ndarray") -> str:
    """Return the directions in which x, y and z grow: ``RAS``, ``LAS`` …; ``?`` where an axis has none.

    The affine's nearest rotation decides (its polar decomposition), the axis that is clearest first.
    """
    import numpy as np

    steps = affine[:3, :3]
    lengths = np.sqrt((steps**2).sum(axis=0))
    left, strengths, right = np.linalg.svd(steps / np.where(lengths == 0, 1, lengths), full_matrices=False)
    kept = strengths > strengths.max() * 3 * np.finfo(float).eps
    rotation = left[:, kept] @ right[kept]
    letters = ["?"] * 3
    for axis in np.argsort(-(rotation**2).max(axis=0), kind="stable"):
        column = rotation[:, axis]
        if not np.allclose(column, 0):
            world = int(np.argmax(np.abs(column)))
            letters[axis] = _DIRECTIONS[world][int(column[world] > 0)]
            rotation[world] = 0
    return "".join(letters)
