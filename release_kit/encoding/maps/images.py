"""Values per voxel as NIfTI or GIFTI files whose bytes follow from the values alone: no date, no path, no host.

Owns how a value without a number is stored (NaN, also outside the mask) and which voxel lies where; names of files are
``names.py``'s, sidecars ``derivative.py``'s.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.bids.recordings.header import ImageFacts
from release_kit.bids.recordings.nifti_write import write_nifti_gz
from release_kit.core.files import write_atomic
from release_kit.encoding.data.masks import SURFACE, Mask
from release_kit.encoding.errors import ResponseError

HEMISPHERES = ("L", "R")
_STRUCTURES = {"L": "CortexLeft", "R": "CortexRight"}
_SCANNER, _ALIGNED = 1, 2


def write_volume(values: npt.NDArray, mask: Mask, path: Path) -> None:
    """Write (n_voxels,) as one float32 NIfTI volume; NaN where nothing is known and outside the mask.

    Raises:
        ResponseError: the mask is of a surface, has no affine, or another number of voxels.
    """
    if mask.kind == SURFACE:
        raise ResponseError("values of a surface make no volume", where=path.name, next_step="write GIFTI")
    if mask.affine is None:
        raise ResponseError(
            "nothing says where the voxels of the mask lie in space", where=path.name,
            next_step="give a mask of the subject as NIfTI",
        )  # fmt: skip
    affine = np.asarray(mask.affine, np.float64)
    facts = ImageFacts(
        shape=tuple(mask.shape),
        n_volumes=1,
        n_dims=3,
        voxel_mm=tuple(float(size) for size in np.linalg.norm(affine[:3, :3], axis=0)),
        tr_s=None,
        tr_unit_known=True,
        affine=tuple(tuple(float(cell) for cell in row) for row in affine),
        orientation="".join(_axes(affine)),
        dtype="float32",
        sform_code=_ALIGNED,
        qform_code=0,
    )
    volume = np.asfortranarray(mask.to_volume(np.asarray(values, np.float32)).astype("<f4"))
    write_nifti_gz(path, facts, [volume])


def write_surface(values: npt.NDArray, mask: Mask, paths: dict[str, Path], meaning: str) -> None:
    """Write (n_voxels,) as one GIFTI file a hemisphere; NaN where nothing is known and outside the mask.

    Args:
        values: left vertices, then right ones, of the mask.
        mask: of a surface.
        paths: ``L`` and ``R`` → file.
        meaning: name of the values inside the file.

    Raises:
        ResponseError: the mask is of a volume or has another number of vertices.
    """
    for hemi, half in zip(HEMISPHERES, mask.hemispheres(np.asarray(values, np.float32)), strict=True):
        write_atomic(paths[hemi], gifti_bytes(half, hemi, meaning))


def gifti_bytes(values: npt.NDArray, hemi: str, meaning: str) -> bytes:
    """Return one hemisphere's (n_vertices,) values as a GIFTI file."""
    from nibabel import gifti

    array = gifti.GiftiDataArray(
        np.ascontiguousarray(values, np.float32),
        intent="NIFTI_INTENT_NONE",
        datatype="NIFTI_TYPE_FLOAT32",
        encoding="GIFTI_ENCODING_B64GZ",
        endian="little",
        meta=gifti.GiftiMetaData({"Name": meaning}),
    )
    meta = gifti.GiftiMetaData({"AnatomicalStructurePrimary": _STRUCTURES[hemi]})
    return gifti.GiftiImage(meta=meta, darrays=[array]).to_xml()


def read_image(paths: dict[str, Path]) -> tuple[tuple[npt.NDArray, ...], Any]:
    """Return the float32 arrays of a map as written (one volume, or left and right), and the affine of a volume."""
    import nibabel

    if set(paths) == set(HEMISPHERES):
        halves = (nibabel.load(paths[hemi]).darrays[0].data for hemi in HEMISPHERES)
        return tuple(np.asarray(half, np.float32) for half in halves), None
    image = nibabel.load(paths[""])
    return (np.asarray(image.dataobj, np.float32),), image.affine


def _axes(affine: npt.NDArray) -> tuple[str, ...]:
    import nibabel

    return tuple(axis or "?" for axis in nibabel.aff2axcodes(affine))
