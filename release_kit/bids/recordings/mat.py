"""Responses in MATLAB files of version 7.3 (HDF5) as NIfTI volumes; the only file that imports h5py.

Owns reading a matrix in blocks and refusing what is no plain matrix: nothing is unpickled, no object is built, no link
out of the file is followed. Where a column of the matrix lies in the volume is ``mat_mask.py``.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from release_kit.bids.recordings.header import RecordingError
from release_kit.bids.recordings.image import Image, read_ahead
from release_kit.bids.recordings.mat5 import is_mat5
from release_kit.bids.recordings.mat_mask import Geometry, read_geometry
from release_kit.bids.recordings.nifti_header import TYPE_CODES
from release_kit.core.errors import MissingExtraError

if TYPE_CHECKING:
    import numpy as np

OPTIONS = ("variable", "mask", "mask_variable", "reference", "order", "layout", "dtype", "shape", "voxel_mm")
LAYOUTS = ("time-voxel", "voxel-time")
BLOCK_BYTES = 1 << 25
"""What is read at once, unless one column of chunks is larger."""
_MAX_BLOCK_BYTES = 1 << 29
_MAX_TEXT_BYTES = 1 << 26
_NUMERIC = ("double", "single", "logical", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))


def open_mat(
    path: Path,
    variable: str,
    mask: Path | str | None = None,
    mask_variable: str | None = None,
    reference: Path | str | None = None,
    order: str = "F",
    layout: str | None = None,
    dtype: str | None = None,
    shape: Sequence[int] | None = None,
    voxel_mm: Sequence[float] | None = None,
) -> "MatImage":
    """Open a variable of a ``.mat`` 7.3 file as a series of volumes; outside the mask they are 0.

    Args:
        path: the file.
        variable: its name: a matrix of volumes and the voxels of ``mask``, or without a mask an array x, y, z[, t].
        mask: a NIfTI file (voxels that are not 0) or a ``.mat`` file of any version with a 3D array or a list of linear
            indices that count from 1.
        mask_variable: which variable of the mask's file; needed where it has several.
        reference: a NIfTI file with the position and size of the voxels; the mask, if it is NIfTI.
        order: in which order voxels are counted: ``F``, x fastest (MATLAB), or ``C``, z fastest (numpy).
        layout: ``time-voxel`` (MATLAB shows a row for each volume) or ``voxel-time``; found out by the mask's size.
        dtype: ``float32`` stores the numbers rounded to 32 bits; default: as they are.
        shape: voxels along x, y, z, where no NIfTI file says it.
        voxel_mm: sizes of the voxels, where no NIfTI file says them; the position in the scanner is then not stated.

    Raises:
        RecordingError: version 5, no such variable (those there are named), not a plain numeric array, a mask of
            another size, geometry that nothing states.
        MissingExtraError: h5py is not installed.
    """
    if order not in ("F", "C"):
        raise RecordingError(f"order is {order!r}, expected 'F' (x fastest) or 'C' (z fastest)", where=str(path))
    if layout not in (None, *LAYOUTS):
        raise RecordingError(f"layout is {layout!r}, expected {' or '.join(LAYOUTS)}", where=str(path))
    if dtype not in (None, "float32", "float64"):
        raise RecordingError(f"dtype is {dtype!r}, expected 'float32' or 'float64'", where=str(path))
    geometry = read_geometry(
        mask=Path(mask) if mask else None, mask_variable=mask_variable,
        reference=Path(reference) if reference else None, order=order, shape=shape, voxel_mm=voxel_mm,
        where=str(path), read_hdf5=read_numeric,
    )  # fmt: skip
    return MatImage(Path(path), variable, geometry, layout, dtype)


class MatImage(Image):
    """A numeric variable of an HDF5 file as volumes."""

    def __init__(self, path: Path, variable: str, geometry: Geometry, layout: str | None, dtype: str | None):
        self._path, self._variable, self._geometry = path, variable, geometry
        self._resources = contextlib.ExitStack()
        try:
            self._data = _numeric(_opened(path, self._resources), variable, path)
            self._time_axis = self._find_time(layout)
            n = self._data.shape[self._time_axis] if self._time_axis is not None else 1
            stored = dtype or self._data.dtype.newbyteorder("=").name
            if stored not in TYPE_CODES.values():
                raise self._error(f"{variable} holds {stored}, which NIfTI has no type for", "save it as single")
            self.header = geometry.facts(n_volumes=n, n_dims=3 if self._time_axis is None else 4, dtype=stored)
        except BaseException:
            self._resources.close()
            raise

    def volumes(self, start: int = 0) -> "Iterator[np.ndarray]":
        """Yield volumes as ``Image.volumes`` promises; memory is that of a block of some volumes."""
        n, step = self.header.n_volumes, self._block()
        loaded: dict[str, Any] = {"begin": 0, "block": None}

        def read(index: int) -> "np.ndarray":
            at = start + index
            begin = at // step * step
            if loaded["block"] is None or loaded["begin"] != begin:
                loaded["block"] = None
                loaded["block"] = self._read(begin, min(begin + step, n))
                loaded["begin"] = begin
            return self._volume(loaded["block"], at - begin)

        return read_ahead(read, n - start, self.header.volume_bytes)

    def digest(self) -> str:
        """Return the sha256 of the sha256 of the file, of the mask and of the reference, a line each."""
        digests = []
        for path in (self._path, *self._geometry.files):
            with open(path, "rb") as stream:
                digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
        return (
            digests[0] if len(digests) == 1 else hashlib.sha256("".join(f"{d}\n" for d in digests).encode()).hexdigest()
        )

    def check_size(self) -> int:
        """Return 0: HDF5 itself refuses a file that is shorter than it says, when it is opened."""
        return 0

    def _find_time(self, layout: str | None) -> int | None:
        """Return the axis of the HDF5 array (MATLAB's axes in reverse) that is time, None for a single volume."""
        shape, shown = self._data.shape, " x ".join(map(str, reversed(self._data.shape)))
        if self._geometry.voxels is None:
            if len(shape) not in (3, 4) or tuple(reversed(shape[-3:])) != self._geometry.shape:
                what = f"{self._variable} is {shown}, expected x, y, z[, t] of {self._geometry.shape}"
                raise self._error(what, "name the mask whose voxels the matrix holds, or the right reference")
            return 0 if len(shape) == 4 else None
        n = len(self._geometry.voxels)
        fits = [axis for axis, size in enumerate(shape) if size == n] if len(shape) == 2 else []
        if not fits:
            what = f"{self._variable} is {shown} (as MATLAB shows it), but the mask has {n} voxels"
            raise self._error(what, "name the mask that this matrix was cut out with")
        if layout is not None and (wanted := 0 if layout == "time-voxel" else 1) not in fits:
            what = f"{self._variable} is {shown} (as MATLAB shows it): with layout {layout} the mask would need "
            raise self._error(f"{what}{shape[wanted]} voxels, it has {n}", "leave layout away, or name the right mask")
        if layout is None and len(fits) == 2:
            what = f"{self._variable} is {shown}: it has as many volumes as voxels"
            raise self._error(what, f"say which is which: layout: {' or '.join(LAYOUTS)}")
        return 1 - (fits[0] if layout is None else wanted)

    def _block(self) -> int:
        """Return how many volumes to read at once: whole chunks of them, about ``BLOCK_BYTES``."""
        if self._time_axis is None:
            return 1
        volume = self._data.dtype.itemsize
        for axis, size in enumerate(self._data.shape):
            volume *= 1 if axis == self._time_axis else size
        chunk = self._data.chunks[self._time_axis] if self._data.chunks else 1
        if chunk * volume > _MAX_BLOCK_BYTES:
            chunk = 1
        return max(BLOCK_BYTES // (chunk * volume), 1) * chunk

    def _read(self, begin: int, end: int) -> "np.ndarray":
        """Return volumes ``begin`` to ``end`` along the first axis."""
        import numpy as np

        try:
            if self._time_axis is None:
                return np.asarray(self._data[()])[None]
            picked = self._data[:, begin:end].T if self._time_axis == 1 else self._data[begin:end]
        except (OSError, RuntimeError) as error:
            what = f"volumes {begin + 1} to {end} of {self.header.n_volumes} cannot be read ({error})"
            raise self._error(what, "copy the file again from where it was made") from error
        return picked

    def _volume(self, block: "np.ndarray", index: int) -> "np.ndarray":
        import numpy as np

        values, voxels, facts = block[index], self._geometry.voxels, self.header
        if voxels is None:
            return np.asarray(values, facts.numpy_dtype).T
        volume = np.zeros(self._geometry.n_all, facts.numpy_dtype)
        volume[voxels] = values
        return volume.reshape(facts.shape, order="F")

    def _error(self, what: str, next_step: str) -> RecordingError:
        return RecordingError(what, where=str(self._path), next_step=next_step)


def read_numeric(path: Path) -> "dict[str, np.ndarray | str]":
    """Return the variables of a small 7.3 file: numeric ones as arrays of their MATLAB shape, others as their class.

    Raises:
        RecordingError: the file is no HDF5 file or is damaged.
    """
    with contextlib.ExitStack() as stack:
        file, found = _opened(path, stack), {}
        for name in file:
            reason = _not_numeric(file, name)
            found[name] = reason or file[name][()].T
        return found


def iter_texts(path: Path) -> Iterator[bytes]:
    """Yield every name, attribute, target of a link and text of an HDF5 file; numbers are not read.

    Raises:
        RecordingError: damaged; or it holds what is neither numbers nor text: MATLAB's objects (also strings, tables
            and dates), opaque types, texts of more than ``_MAX_TEXT_BYTES``, data that lie in other files.
    """
    with contextlib.ExitStack() as stack:
        file = _opened(path, stack)
        try:
            names: list[str] = [""]
            file.visit(names.append)
            for name in names:
                yield from _texts_of(file[name] if name else file, name)
        except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise RecordingError(f"cannot be searched ({error})", where=str(path)) from error


def _texts_of(found: Any, name: str) -> Iterator[bytes]:
    """Yield the texts of one group or dataset; raise ``ValueError`` where there may be some that cannot be told."""
    import h5py
    import numpy as np

    yield name.encode("utf-8", "surrogateescape")
    for key, value in found.attrs.items():
        yield f"{key} {value}".encode("utf-8", "surrogateescape")
    if "#subsystem#" in name or "MATLAB_object_decode" in found.attrs:
        raise ValueError(f"{name} holds objects of MATLAB")
    if isinstance(found, h5py.Group):
        for key in found:
            link = found.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                yield f"{getattr(link, 'filename', '')} {link.path}".encode("utf-8", "surrogateescape")
        return
    if not isinstance(found, h5py.Dataset):
        return
    if found.is_virtual or found.external:
        raise ValueError(f"{name} is stored in other files")
    declared = found.attrs.get("MATLAB_class", b"")
    is_text = h5py.check_string_dtype(found.dtype) is not None or declared in (b"char", "char")
    parts = [found.dtype[field] for field in found.dtype.names] if found.dtype.names else [found.dtype]
    if not is_text:
        for part in parts:
            if part.base.kind not in "iufbc" and h5py.check_ref_dtype(part) is None:
                raise ValueError(f"{name} is of the type {part}")
        return
    if found.nbytes > _MAX_TEXT_BYTES:
        raise ValueError(f"{name} is a text of {found.nbytes} bytes")
    if found.shape is None:
        return
    values = np.asarray(found[()])
    if values.dtype.kind in "iu":
        yield np.ascontiguousarray(values.T).tobytes()  # MATLAB's characters lie column by column
    else:
        for text in values.reshape(-1).tolist():
            yield text if isinstance(text, bytes) else str(text).encode("utf-8", "surrogateescape")


def _opened(path: Path, stack: contextlib.ExitStack) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("h5py", "bids") from error
    try:
        with open(path, "rb") as stream:
            start = stream.read(128)
        if is_mat5(start):
            step = "open it in MATLAB and save it with save(…, '-v7.3')"
            raise RecordingError("this is a MATLAB file of version 5", where=str(path), next_step=step)
        return stack.enter_context(h5py.File(path, "r", locking=False))
    except OSError as error:
        reason = error.strerror or str(error)
        step = "check the pattern in the recipe, or copy the file again"
        raise RecordingError(f"cannot be read as MATLAB 7.3 ({reason})", where=str(path), next_step=step) from error


def _numeric(file: Any, name: str, path: Path) -> Any:
    """Return the dataset of a variable."""
    if name not in file.keys():  # noqa: SIM118 (a name with a slash must not lead into a group)
        there = ", ".join(sorted(key for key in file if not key.startswith("#"))) or "none"
        raise RecordingError(f"there is no variable {name!r} (there are: {there})", where=str(path))
    if reason := _not_numeric(file, name):
        step = "save the responses as a plain numeric matrix"
        raise RecordingError(f"the variable {name!r} is no numeric array but {reason}", where=str(path), next_step=step)
    return file[name]


def _not_numeric(file: Any, name: str) -> str | None:
    """Return what a variable is if it is not a plain array of real numbers inside this very file."""
    import h5py

    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return "a link to somewhere else"
    found = file[name]
    declared = found.attrs.get("MATLAB_class", b"")
    declared = declared.decode("ascii", "replace") if isinstance(declared, bytes) else str(declared)
    if isinstance(found, h5py.Group):
        return "sparse" if "MATLAB_sparse" in found.attrs else declared or "a group"
    if not isinstance(found, h5py.Dataset):
        return "a type"
    if found.is_virtual or found.external:
        return "stored in other files"
    if found.dtype.names:
        return "complex or a record"
    if found.dtype.kind not in "iufb" or found.dtype.hasobject:
        return f"{declared or 'an object'} (references or text)"
    if declared and declared not in _NUMERIC:
        return declared
    return "empty" if "MATLAB_empty" in found.attrs or not found.size else None
