"""Recordings as matrices: volumes inside a mask and vertices of a hemisphere, read a volume at a time.

Owns reading (NIfTI through ``bids.recordings``, GIFTI through nibabel, both float32) and the cheap look at a header.
Which file belongs to which run is the layouts'.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.bids.recordings.image import Image, open_image
from release_kit.core.errors import MissingExtraError
from release_kit.encoding.data.masks import VOLUME, Mask
from release_kit.encoding.errors import ResponseError

_HEAD_BYTES = 1 << 16
_AGAIN = "copy the file again from where it was made"


@dataclass(frozen=True, kw_only=True)
class Head:
    """What can be said about a recording before its values are read.

    ``shape`` is (x, y, z), or (vertices,) of one hemisphere; ``tr_s`` is None where the file does not say it.
    ``placed`` is whether the file says where its voxels lie; without that the affine is no more than their sizes.
    """

    shape: tuple[int, ...]
    n_volumes: int
    tr_s: float | None
    affine: npt.NDArray[np.float64] | None = None
    placed: bool = False


def volume_head(path: Path) -> Head:
    """Return what the header of a NIfTI file says, held against the length of the file.

    Raises:
        RecordingError: it is missing, truncated, or no such image.
    """
    with open_image(path) as image:
        image.check_size()
        facts = image.header
    return Head(
        shape=facts.shape,
        n_volumes=facts.n_volumes,
        tr_s=facts.tr_s if facts.tr_unit_known else None,
        affine=np.array(facts.affine, np.float64),
        placed=bool(facts.qform_code or facts.sform_code),
    )


def voxels_apart(one: Head, other: Head) -> float:
    """Return how far two grids of one shape lie apart, in voxels, where that is most (at a corner).

    0 where one of them does not say where it lies. A mirrored or turned grid, or one of another scan, is voxels away.
    """
    if not (one.placed and other.placed) or one.affine is None or other.affine is None or one.shape != other.shape:
        return 0.0
    corners = np.array([(*corner, 1) for corner in np.ndindex(2, 2, 2)], np.float64)
    corners[:, :3] *= np.array(one.shape) - 1
    moved = np.linalg.norm(((one.affine - other.affine) @ corners.T)[:3], axis=0).max()
    return float(moved / np.linalg.norm(one.affine[:3, :3], axis=0).min())


def volume_mask(path: Path) -> Mask:
    """Return the voxels of a NIfTI file that are neither 0 nor NaN.

    Raises:
        RecordingError: it cannot be read.
        ResponseError: it has several volumes, or no voxel.
    """
    with open_image(path) as image:
        if image.header.n_volumes != 1:
            raise ResponseError(f"a mask of {image.header.n_volumes} volumes, expected 1", where=str(path))
        (volume,) = image.volumes()
        values = volume * image.header.slope + image.header.inter
        affine = np.array(image.header.affine, np.float64)
    selected = np.ascontiguousarray(np.nan_to_num(values) != 0)
    if not selected.any():
        raise ResponseError("the mask has no voxels", where=str(path))
    return Mask(kind=VOLUME, shape=selected.shape, affine=affine, selected=selected)


def masked_volumes(image: Image, mask: Mask, n: int | None = None) -> npt.NDArray[np.float32]:
    """Return (n_volumes, n_voxels) of an opened recording, or of its first ``n`` volumes.

    Memory is that of the result and two volumes.

    Raises:
        RecordingError: it ends too early or is damaged.
        ResponseError: its volumes have another shape than the mask.
    """
    facts = image.header
    if facts.shape != mask.shape:
        raise ResponseError(f"volumes of {_by(facts.shape)}, but the mask is {_by(mask.shape)}", where="mask")
    n_volumes = facts.n_volumes if n is None else min(n, facts.n_volumes)
    found = np.empty((n_volumes, mask.n_voxels), np.float32)
    places = np.ravel_multi_index(np.nonzero(mask.selected), mask.shape, order="F")  # volumes lie x fastest in memory
    # Only who asks for all is told of volumes beyond those that the header names.
    volumes = image.volumes() if n is None else islice(image.volumes(), n_volumes)
    for row, volume in zip(found, volumes, strict=True):
        picked = volume.reshape(-1, order="F")[places]
        row[:] = picked if (facts.slope, facts.inter) == (1.0, 0.0) else picked * facts.slope + facts.inter
    return found


def surface_head(path: Path) -> Head:
    """Return vertices and volumes of a functional GIFTI file from its first lines; values are not read.

    Raises:
        ResponseError: it is missing, empty, or no GIFTI file of such data.
    """
    try:
        with open(path, "rb") as stream:
            start = stream.read(_HEAD_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise ResponseError(f"cannot be read ({error.strerror or error})", where=str(path)) from error
    root, first = re.search(r"<GIFTI\b[^>]*>", start), re.search(r"<DataArray\b[^>]*>", start)
    if not root or not first:
        raise ResponseError("is no GIFTI file of values", where=str(path), next_step=_AGAIN)
    arrays, sizes = _number(root[0], "NumberOfDataArrays"), [_number(first[0], f"Dim{k}") for k in (0, 1)]
    if arrays is None or sizes[0] is None:
        raise ResponseError("its header does not say how many values it holds", where=str(path))
    n_volumes = arrays if arrays > 1 or sizes[1] is None else sizes[1]
    return Head(shape=(sizes[0],), n_volumes=n_volumes, tr_s=None)


def surface_values(path: Path) -> npt.NDArray[np.float32]:
    """Return (n_volumes, n_vertices) of a GIFTI file: an array a volume, or one array of vertices by volumes.

    Raises:
        ResponseError: it is truncated, no GIFTI file, or its arrays have different lengths.
        MissingExtraError: nibabel is not installed.
    """
    arrays = _gifti_arrays(path)
    if len(arrays) == 1 and arrays[0].ndim == 2:
        return np.ascontiguousarray(arrays[0].T, np.float32)
    lengths = sorted({array.shape for array in arrays})
    if len(lengths) != 1 or len(lengths[0]) != 1:
        raise ResponseError(f"its arrays have the shapes {lengths}, expected one length", where=str(path))
    return np.stack(arrays).astype(np.float32, copy=False)


def surface_selected(path: Path) -> npt.NDArray[np.bool_]:
    """Return (n_vertices,) bool: where the first array of a GIFTI file is neither 0 nor NaN.

    Raises:
        ResponseError: it cannot be read as such a file.
    """
    return np.nan_to_num(_gifti_arrays(path)[0].reshape(-1)) != 0


def _gifti_arrays(path: Path) -> list[npt.NDArray[Any]]:
    from xml.parsers.expat import ExpatError

    try:
        import nibabel
    except ImportError as error:
        raise MissingExtraError("nibabel", "bids") from error
    declared = surface_head(path)
    try:
        image = nibabel.gifti.GiftiImage.from_filename(str(path))
    except (ExpatError, OSError, ValueError, KeyError, TypeError, nibabel.filebasedimages.ImageFileError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ResponseError(f"cannot be read as GIFTI ({reason})", where=str(path), next_step=_AGAIN) from error
    arrays = [array.data for array in image.darrays]
    if not arrays or (len(arrays) != declared.n_volumes and len(arrays) != 1):
        what = f"holds {len(arrays)} arrays where its header names {declared.n_volumes}"
        raise ResponseError(what, where=str(path), next_step=_AGAIN)
    return arrays


def _number(tag: str, name: str) -> int | None:
    found = re.search(rf'\b{name}\s*=\s*["\'](\d+)["\']', tag)
    return int(found[1]) if found else None


def _by(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))
