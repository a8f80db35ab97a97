"""Where the columns of a response matrix lie in the volume: masks, lists of voxels, and the geometry around them.

Owns the meaning of masks (NIfTI, MATLAB of any version) and what is refused when they do not say enough. Reading the
matrix is ``mat.py``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from release_kit.bids.recordings.header import ImageFacts, RecordingError
from release_kit.bids.recordings.mat5 import is_mat5, read_mat5
from release_kit.bids.recordings.nifti_read import NiftiImage

if TYPE_CHECKING:
    import numpy as np

_MAT = (".mat", ".h5", ".hdf5")


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """The volume that values are put into."""

    template: ImageFacts
    """Shape, size and position of the voxels."""
    voxels: "np.ndarray | None"
    """Position of each column in the volume counted x fastest from 0; None where whole volumes are stored."""
    files: tuple[Path, ...]
    """Files that the geometry was read from."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along x, y and z."""
        return self.template.shape

    @property
    def n_all(self) -> int:
        """Voxels of the whole volume."""
        x, y, z = self.shape
        return x * y * z

    def facts(self, *, n_volumes: int, n_dims: int, dtype: str) -> ImageFacts:
        """Return the facts of the image that is made: new in all but its geometry; the TR is not in MATLAB files."""
        return replace(
            self.template, n_volumes=n_volumes, n_dims=n_dims, dtype=dtype, byte_order="little", slope=1.0, inter=0.0,
            tr_s=None, tr_unit_known=False, n_extensions=0, free_text=(), raw_header=None,
        )  # fmt: skip


def read_geometry(
    *,
    mask: Path | None,
    mask_variable: str | None,
    reference: Path | None,
    order: str,
    shape: Sequence[int] | None,
    voxel_mm: Sequence[float] | None,
    where: str,
    read_hdf5: Callable[[Path], Mapping[str, Any]],
) -> Geometry:
    """Return where values lie, from mask, reference or plain numbers (see ``mat.open_mat``).

    Raises:
        RecordingError: nothing states the shape or the size of the voxels, or two things state it differently; a mask
            that is empty, of another shape, or a list with positions outside the volume or twice.
    """
    template, files, values = None, [], None
    if reference is not None:
        template, files = NiftiImage(reference).header, [reference]
    if mask is not None:
        files.append(mask)
        if mask.name.lower().endswith(_MAT):
            values = _mat_values(mask, mask_variable, read_hdf5)
        else:
            header, values = _nifti_values(mask)
            template = template or header
    template = template or _plain_template(shape, voxel_mm, values, where)
    if shape is not None and tuple(shape) != template.shape:
        raise RecordingError(f"shape is {tuple(shape)}, but {files[0].name} has {template.shape}", where=where)
    voxels = None if values is None else _positions(values, template.shape, order, str(mask))
    return Geometry(template=template, voxels=voxels, files=tuple(files))


def _nifti_values(path: Path) -> "tuple[ImageFacts, np.ndarray]":
    image = NiftiImage(path)
    if image.header.n_volumes != 1:
        raise RecordingError(f"a mask of {image.header.n_volumes} volumes, expected 1", where=str(path))
    (volume,) = image.volumes()
    return image.header, volume * image.header.slope + image.header.inter


def _mat_values(path: Path, variable: str | None, read_hdf5: Callable[[Path], Mapping[str, Any]]) -> "np.ndarray":
    try:
        with open(path, "rb") as stream:
            start = stream.read(128)
    except OSError as error:
        raise RecordingError(f"the mask cannot be read ({error.strerror})", where=str(path)) from error
    found = read_mat5(path) if is_mat5(start) else read_hdf5(path)
    arrays = {name: value for name, value in found.items() if not isinstance(value, str)}
    if variable is None and len(arrays) == 1:
        return next(iter(arrays.values()))
    if variable in arrays:
        return arrays[variable]
    there = ", ".join(f"{n} ({'numbers' if n in arrays else found[n]})" for n in sorted(found)) or "nothing"
    what = f"there is no numeric mask {variable!r}" if variable else "which variable is the mask is not said"
    raise RecordingError(f"{what} (there are: {there})", where=str(path), next_step="set mask_variable")


def _plain_template(
    shape: Sequence[int] | None, voxel_mm: Sequence[float] | None, values: "np.ndarray | None", where: str
) -> ImageFacts:
    """Return a volume of which only shape and voxel size are known; it is centred and says no position."""
    import nibabel

    from release_kit.bids.recordings.nifti_header import affine_rows

    if shape is None and values is not None and values.ndim == 3:
        shape = values.shape
    if shape is None or voxel_mm is None:
        missing = " and ".join(name for name, value in (("shape", shape), ("voxel_mm", voxel_mm)) if value is None)
        step = "name a NIfTI file with the same geometry (reference: …), or set shape and voxel_mm"
        raise RecordingError(f"nothing says the {missing} of the volume", where=where, next_step=step)
    sizes = (tuple(int(n) for n in shape), tuple(float(size) for size in voxel_mm))
    if any(len(three) != 3 or min(three) <= 0 for three in sizes):
        raise RecordingError(f"shape {shape} and voxel_mm {voxel_mm} must be three positive numbers each", where=where)
    affine = nibabel.volumeutils.shape_zoom_affine(*sizes, x_flip=False)
    return ImageFacts(
        shape=sizes[0], n_volumes=1, n_dims=3, voxel_mm=sizes[1], tr_s=None, tr_unit_known=False,
        affine=affine_rows(affine), orientation="RAS", dtype="uint8",
    )  # fmt: skip


def _positions(values: "np.ndarray", shape: tuple[int, int, int], order: str, where: str) -> "np.ndarray":
    """Return positions, x fastest, from a mask or a list of indices that count from 1 in ``order``."""
    import numpy as np

    n_all = int(np.prod(shape))
    if values.ndim == 3 and min(values.shape) > 0 and values.size > max(values.shape):
        if values.shape != shape:
            raise RecordingError(f"the mask is {values.shape}, the reference {shape}", where=where)
        counted = np.flatnonzero(np.nan_to_num(values).ravel(order=order))
    else:
        counted = _indices(values.ravel(), n_all, where)
    if not counted.size:
        raise RecordingError("the mask has no voxels", where=where)
    return counted if order == "F" else np.ravel_multi_index(np.unravel_index(counted, shape, "C"), shape, order="F")


def _indices(listed: "np.ndarray", n_all: int, where: str) -> "np.ndarray":
    import numpy as np

    if listed.size == n_all and np.isin(listed, (0, 1)).all():
        return np.flatnonzero(listed)
    problems = []
    whole = listed.astype(np.int64) if np.isfinite(listed).all() else np.zeros(0, np.int64)
    if whole.size != listed.size or (whole != listed).any():
        problems.append("it holds values that are not whole numbers")
    if outside := int(np.count_nonzero((whole < 1) | (whole > n_all))):
        problems.append(f"{outside} indices lie outside 1 to {n_all}")
    if twice := int(whole.size - np.unique(whole).size):
        problems.append(f"{twice} indices come twice")
    if problems:
        step = "indices count from 1, as in MATLAB; check shape and mask_variable"
        raise RecordingError(f"the list of voxels is wrong: {'; '.join(problems)}", where=where, next_step=step)
    return whole - 1
