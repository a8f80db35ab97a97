"""Which voxels of a volume, or vertices of a surface, are analysed, and where their values belong in the whole.

Order of voxels: C order of the True positions of a volume; vertices of the left hemisphere, then of the right. Reading
masks is ``images.py``'s; nothing here opens a file.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from release_kit.encoding.errors import ResponseError

VOLUME, SURFACE = "volume", "surface"


@dataclass(frozen=True, kw_only=True, eq=False)
class Mask:
    """The analysed voxels of one subject.

    Attributes:
        kind: ``volume`` or ``surface``.
        shape: (x, y, z) of a volume; (vertices of the left hemisphere, of the right) of a surface.
        affine: (4, 4) from voxel indices to mm; None for a surface, and where nothing says it.
        selected: bool, of ``shape`` for a volume, (left + right,) for a surface.
    """

    kind: str
    shape: tuple[int, ...]
    affine: npt.NDArray[np.float64] | None
    selected: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        expected = self.shape if self.kind == VOLUME else (sum(self.shape),)
        if self.selected.shape != expected:
            raise ResponseError(f"a mask of {self.selected.shape} for a {self.kind} of {expected}", where="mask")

    @property
    def n_voxels(self) -> int:
        """The number of voxels (vertices) that are analysed."""
        return int(self.selected.sum())

    def to_volume(self, values: npt.NDArray, fill: float = np.nan) -> npt.NDArray:
        """Return values put where they belong, ``fill`` elsewhere; the inverse of ``take``.

        Args:
            values: (n_voxels,) or (n, n_voxels).
            fill: for everything outside the mask.

        Returns:
            (…, x, y, z), or (…, left + right) for a surface.

        Raises:
            ResponseError: another number of values than voxels.
        """
        values = np.asarray(values)
        if values.shape[-1:] != (self.n_voxels,):
            what = f"values of {values.shape} do not fit a mask of {self.n_voxels:,} voxels"
            raise ResponseError(what, where="mask")
        kind = np.result_type(values.dtype, np.float32) if np.isnan(fill) else values.dtype
        whole = np.full((*values.shape[:-1], *self.selected.shape), fill, kind)
        whole[..., self.selected] = values
        return whole

    def take(self, whole: npt.NDArray) -> npt.NDArray:
        """Return (…, n_voxels): the analysed voxels of ``whole``, which is (…, x, y, z) or (…, left + right)."""
        return whole[..., self.selected]

    def hemispheres(self, values: npt.NDArray, fill: float = np.nan) -> tuple[npt.NDArray, npt.NDArray]:
        """Return values of a surface as left and right, each (…, vertices).

        Raises:
            ResponseError: the mask is of a volume.
        """
        if self.kind != SURFACE:
            raise ResponseError("a volume has no hemispheres", where="mask")
        whole = self.to_volume(values, fill)
        return whole[..., : self.shape[0]], whole[..., self.shape[0] :]


def whole_volume(shape: tuple[int, ...], affine: npt.NDArray | None) -> Mask:
    """Return the mask of every voxel of a volume."""
    return Mask(kind=VOLUME, shape=shape, affine=affine, selected=np.ones(shape, bool))


def whole_surface(left: int, right: int) -> Mask:
    """Return the mask of every vertex of two hemispheres."""
    return Mask(kind=SURFACE, shape=(left, right), affine=None, selected=np.ones(left + right, bool))
