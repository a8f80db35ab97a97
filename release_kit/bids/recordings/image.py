"""One way to open every kind of recording: its facts, its volumes one at a time, the digest of its source.

Owns the interface and the choice of the reader. The readers are ``nifti_read.py``, ``series.py``, ``dicom.py`` and
``mat.py``.
"""

import abc
import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from release_kit.bids.recordings.header import ImageFacts, RecordingError

if TYPE_CHECKING:
    import numpy as np

KINDS = ("nifti", "nifti-series", "dicom", "mat")
THREAD_BYTES = 1 << 18
"""From volumes of this size on a second thread pays; below, handing over costs more than it wins."""


class Image(abc.ABC):
    """An opened recording; a context manager.

    ``header`` holds the facts, ``sidecar`` what the source itself says in BIDS terms (dcm2niix's JSON for DICOM, else
    empty). ``volumes()`` may be called again and starts anew.
    """

    header: ImageFacts
    sidecar: Mapping[str, Any] = {}
    _resources: contextlib.ExitStack | None = None

    @abc.abstractmethod
    def volumes(self, start: int = 0) -> "Iterator[np.ndarray]":
        """Yield each volume from index ``start`` on as (x, y, z) in Fortran order, with the stored numbers unscaled.

        One further volume is read ahead; memory does not grow with the number of volumes.

        Raises:
            RecordingError: the source ends too early (the volume is named), is damaged, or holds more volumes than its
                header says. The last is known, and raised, only after the last volume.
        """

    @abc.abstractmethod
    def digest(self) -> str:
        """Return the sha256 of the source: of the one file's bytes, else of the sorted digests of its files.

        Costs nothing after ``volumes()`` came to its end, else reads the files once.
        """

    @abc.abstractmethod
    def check_size(self) -> int:
        """Return how many bytes follow the last volume (0, or less than a volume), without reading voxels.

        Raises:
            RecordingError: the source is shorter than its header says, or longer by at least a volume.
        """

    def keep(self) -> None:  # noqa: B027
        """Leave what opening has cost to whoever opens the recording next, where that can be left; then close it."""

    def close(self) -> None:
        """Free what the reader holds (temporary folders, open files)."""
        if self._resources is not None:
            self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_image(
    path: Path, kind: str = "nifti", options: Mapping[str, Any] | None = None, *, kept: Path | None = None
) -> Image:
    """Open a recording; its header is read and checked, its voxels are not.

    Args:
        path: ``nifti``: a ``.nii``, ``.nii.gz`` or either half of an ``.img``/``.hdr`` pair; ``nifti-series``: a folder
            of 3D files, or a pattern with ``*`` in its name; ``dicom``: a folder, or one file; ``mat``: a file.
        kind: one of ``KINDS``.
        options: for ``dicom``: ``series`` (number or description); for ``mat``: see ``mat.open_mat``.
        kept: folder of DICOM series that were converted before (``kept.py``).

    Raises:
        RecordingError: it cannot be read as this kind; the message names file and reason.
        MissingExtraError: the package that reads this kind is not installed.
    """
    options = dict(options or {})
    if kind == "nifti":
        from release_kit.bids.recordings.nifti_read import NiftiImage

        return NiftiImage(path, **_known(options, (), path))
    if kind == "nifti-series":
        from release_kit.bids.recordings.series import SeriesImage

        return SeriesImage(path, **_known(options, (), path))
    if kind == "dicom":
        from release_kit.bids.recordings.dicom import DicomImage

        return DicomImage(path, **_known(options, ("series",), path), kept=kept)
    if kind == "mat":
        from release_kit.bids.recordings.mat import OPTIONS, open_mat

        return open_mat(path, **_known(options, OPTIONS, path))
    raise RecordingError(f"the kind {kind!r} is not one of {', '.join(KINDS)}", where=str(path))


def read_ahead(read: "Callable[[int], np.ndarray]", n: int, volume_bytes: int) -> "Iterator[np.ndarray]":
    """Yield ``read(0)`` … ``read(n - 1)``; large volumes are read one ahead in a second thread."""
    if volume_bytes < THREAD_BYTES or n < 2:
        yield from (read(index) for index in range(n))
        return
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as reader:
        ahead = reader.submit(read, 0)
        for index in range(n):
            volume = ahead.result()
            ahead = reader.submit(read, index + 1) if index + 1 < n else None
            yield volume


def _known(options: dict[str, Any], names: tuple[str, ...], path: Path) -> dict[str, Any]:
    """Return the options if the kind has all of them."""
    if unknown := sorted(set(options) - set(names)):
        known = f"known: {', '.join(names)}" if names else "this kind has none"
        raise RecordingError(f"unknown options {', '.join(map(repr, unknown))} ({known})", where=str(path))
    return options
