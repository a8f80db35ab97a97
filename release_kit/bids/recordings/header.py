"""What the header of a recording says: the record every other room works with.

Owns ``ImageFacts``, the errors of recordings and the cheap look at a file. How NIfTI lays a header out is
``nifti_header.py``; voxels are ``image.py``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from release_kit.core.errors import ReleaseKitError

if TYPE_CHECKING:
    import numpy as np

Affine = tuple[tuple[float, float, float, float], ...]


class RecordingError(ReleaseKitError):
    """A recording cannot be read as what it claims to be, or cannot be written without losing something."""


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """The facts of one image; lengths in mm and times in seconds, whatever units the file used.

    ``data_value = stored_number * slope + inter``. The stored numbers are never touched.
    """

    shape: tuple[int, int, int]
    """Voxels along x, y and z."""
    n_volumes: int
    n_dims: int
    """3 for one volume (an anatomical image), 4 for a series, also for a series of one."""
    voxel_mm: tuple[float, float, float]
    tr_s: float | None
    """Seconds from volume to volume; None for ``n_dims`` 3 and where the header holds no positive number."""
    tr_unit_known: bool
    """Whether the header says which unit the TR has; where not, ``tr_s`` is its bare number."""
    affine: Affine
    """4 x 4, from voxel indices to mm (RAS+): the s-form, else the q-form, else voxel sizes about the centre."""
    orientation: str
    """The directions in which x, y and z grow: ``RAS``, ``LAS`` …; ``?`` where an axis has none."""
    dtype: str
    """Type of the stored numbers: ``int16``, ``float32``, ``rgb24`` …"""
    byte_order: str = "little"
    slope: float = 1.0
    inter: float = 0.0
    qform_code: int = 0
    sform_code: int = 0
    n_extensions: int = 0
    """Header extensions of the source (private notes of other programs); they are not written."""
    free_text: tuple[str, ...] = ()
    """Names of header fields of the source that hold free text (``descrip`` …); they are written empty."""
    n_surplus_bytes: int = 0
    """Bytes of the source behind its last volume, less than a volume; they are not written."""
    slice_times_s: tuple[float, ...] | None = None
    """Slice times as the source itself says them (DICOM); not what a NIfTI header implies."""
    raw_header: bytes | None = field(default=None, repr=False)
    """The header of the source (348 bytes NIfTI-1, 540 NIfTI-2): everything that has no field of its own."""

    @property
    def duration_s(self) -> float | None:
        """Seconds that the series lasts: ``n_volumes * tr_s``."""
        return None if self.tr_s is None else self.n_volumes * self.tr_s

    @property
    def numpy_dtype(self) -> "np.dtype":
        """Type of the stored numbers as numpy reads them, byte order included."""
        from release_kit.bids.recordings.nifti_header import numpy_dtype

        return numpy_dtype(self.dtype, self.byte_order)

    @property
    def volume_bytes(self) -> int:
        """Bytes of the stored numbers of one volume."""
        x, y, z = self.shape
        return x * y * z * self.numpy_dtype.itemsize

    def without_dummies(self, n: int) -> "ImageFacts":
        """Return the facts of the same series without its first ``n`` volumes.

        Raises:
            RecordingError: nothing would be left.
        """
        if not 0 <= n < self.n_volumes:
            raise RecordingError(f"{n} volumes cannot be dropped from {self.n_volumes}")
        return replace(self, n_volumes=self.n_volumes - n)

    def to_dict(self) -> dict[str, Any]:
        """Return the facts for reports; without the raw header."""
        return {
            "shape": list(self.shape),
            "n_volumes": self.n_volumes,
            "n_dims": self.n_dims,
            "voxel_mm": list(self.voxel_mm),
            "tr_s": self.tr_s,
            "tr_unit_known": self.tr_unit_known,
            "affine": [list(row) for row in self.affine],
            "orientation": self.orientation,
            "dtype": self.dtype,
            "byte_order": self.byte_order,
            "slope": self.slope,
            "inter": self.inter,
            "qform_code": self.qform_code,
            "sform_code": self.sform_code,
            "n_extensions": self.n_extensions,
            "free_text": list(self.free_text),
            "n_surplus_bytes": self.n_surplus_bytes,
        }


def read_facts(
    path: Path, kind: str = "nifti", options: Mapping[str, Any] | None = None, *, kept: Path | None = None
) -> ImageFacts:
    """Return what the header of a recording says, after holding it against the size of the file.

    Voxels are not read where the size can be told without: of a ``.nii`` from the file's length, of a ``.nii.gz`` from
    the length that gzip notes at its end (only where that disagrees is the file read through and counted). DICOM is
    converted aside, which reads it.

    Args:
        path: a file; for ``nifti-series`` a folder or a pattern with ``*``; for ``dicom`` a folder.
        kind: ``nifti``, ``nifti-series``, ``dicom`` or ``mat``.
        options: as for ``image.open_image``.
        kept: folder in which the conversion of DICOM is kept for the next who opens it.

    Raises:
        RecordingError: the file is missing, truncated, longer than its header says by a volume, or no such image.
    """
    from release_kit.bids.recordings.image import open_image

    with open_image(path, kind, options, kept=kept) as image:
        times = image.sidecar.get("SliceTiming")
        facts = replace(
            image.header, n_surplus_bytes=image.check_size(), slice_times_s=None if times is None else tuple(times)
        )
        image.keep()
        return facts
