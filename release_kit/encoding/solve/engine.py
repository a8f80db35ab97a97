"""The machine under the solvers: device, precision of products, tiles of voxels read into tensors.

What is fitted and how stands in the other files; PyTorch is imported when something is calculated.
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from release_kit.encoding.errors import FitError
from release_kit.encoding.solve.settings import RidgeSettings

if TYPE_CHECKING:
    import torch

FLOAT32_EPS = float(np.finfo(np.float32).eps)
BEST_TILE = 2048
"""Voxels at once where memory allows more: products run at full speed, and what they leave stays in the last cache."""
MIN_TILE = 16
MAP_BYTES = 16 * 2**20
"""How much of a memory map is read before its pages are given back."""
MACHINE_BYTES = 40 * 2**20
"""What libraries take for themselves: buffers of products, freed memory that is not given back."""
Columns = slice | npt.NDArray[np.int64]


def device_of(settings: RidgeSettings) -> "torch.device":
    """Return where a fit calculates; a GPU that is asked for and absent is refused."""
    import torch

    found = torch.cuda.is_available()
    if settings.device == "cuda" and not found:
        raise FitError("PyTorch finds no CUDA device", where="device", next_step="use `device: cpu` or `auto`")
    return torch.device("cuda" if found and settings.device != "cpu" else "cpu")


@cache
def has_bfloat16(kind: str) -> bool:
    """Say whether products of bfloat16 are faster than those of float32 on this kind of device (AMX on CPUs)."""
    import torch

    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    asked = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(asked and asked())


@contextmanager
def full_precision() -> Iterator[None]:
    """Multiply float32 as float32, whatever the program around has set."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def float_type(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Return float32 where it holds every number of this type, otherwise float64; both as this machine has them."""
    found = np.result_type(dtype, np.float32)
    return found if found.itemsize <= 8 else np.dtype(np.float64)


def rounding_of(values: npt.NDArray[Any]) -> float:
    """Return below what share of its size the spread of a column is what rounding leaves of a constant.

    Stored values round to their type, their mean to float64.
    """
    return 8 * float(np.finfo(float_type(values.dtype)).eps) + len(values) * float(np.finfo(np.float64).eps)


def to_tensor(values: npt.NDArray[Any], device: "torch.device", dtype: "torch.dtype | None" = None) -> "torch.Tensor":
    """Return an array as a tensor that does not share memory with a read-only array."""
    import torch

    values = np.ascontiguousarray(values)
    if not values.flags.writeable:
        values = values.copy()
    return torch.from_numpy(values).to(device=device, dtype=dtype or torch.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Responses:
    """Responses that are read by tiles of voxels, less the mean of each voxel.

    Attributes:
        y: (n_samples, n_voxels), an array or a memory map.
        mean: (n_voxels,) float64, what is taken off.
        device: where tiles go.
    """

    y: npt.NDArray[Any]
    mean: npt.NDArray[np.float64]
    device: "torch.device"

    def read(self, columns: Columns, rows: "Rows | None" = None) -> "torch.Tensor":
        """Return the centred responses (n_rows, n_columns) float32 of all or some rows."""
        tile = rows.of(self.y, columns) if rows is not None else take(self.y, columns)
        dtype = float_type(tile.dtype)
        centred = np.subtract(tile, self.mean[columns].astype(dtype)[None], dtype=dtype)
        return to_tensor(centred.astype(np.float32, copy=False), self.device)

    def rounded_off(self, columns: Columns) -> "torch.Tensor":
        """Return (n_columns,) float32: what `read` leaves of the mean, because float32 does not hold all of it."""
        mean = self.mean[columns]
        return to_tensor(mean - mean.astype(float_type(self.y.dtype)), self.device)


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Some rows, as the slices that they are where they are few: reading slices copies nothing twice."""

    index: npt.NDArray[np.int64]

    @property
    def n(self) -> int:
        """The number of rows."""
        return len(self.index)

    def of(self, values: npt.NDArray[Any], columns: Columns = slice(None)) -> npt.NDArray[Any]:
        """Return ``values[rows, columns]``."""
        parts = [take(values, columns, start, stop) for start, stop in self.stretches()]
        return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else values[:0, columns]

    def stretches(self) -> list[tuple[int, int]]:
        """Return the first and the last-plus-one row of every unbroken stretch."""
        breaks = np.flatnonzero(np.diff(self.index) != 1) + 1
        starts, stops = np.r_[0, breaks], np.r_[breaks, len(self.index)]
        return [(int(self.index[a]), int(self.index[b - 1]) + 1) for a, b in zip(starts, stops, strict=True) if b > a]


def take(values: npt.NDArray[Any], columns: Columns, start: int = 0, stop: int | None = None) -> npt.NDArray[Any]:
    """Return ``values[start:stop, columns]``; of a memory map a copy, read by blocks of rows that are given back.

    Pages of a map that were read, and their neighbours, count as memory of this process until they are given back.
    """
    stop = len(values) if stop is None else stop
    mapped = _map_of(values)
    if mapped is None:
        return values[start:stop, columns]
    block = max(1, MAP_BYTES // (values.shape[1] * values.itemsize))
    width = len(range(*columns.indices(values.shape[1]))) if isinstance(columns, slice) else len(columns)
    out = np.empty((stop - start, width), values.dtype)
    for first in range(start, stop, block):
        last = min(first + block, stop)
        out[first - start : last - start] = values[first:last, columns]
        mapped.madvise(mmap.MADV_DONTNEED)
    return out


def unchanging(x: "torch.Tensor", index: npt.NDArray[np.int64], block: int = 64) -> bool:
    """Say whether these rows of ``x`` are all the same; where they are not, few are looked at."""
    import torch

    first = x[int(index[0])]
    for start in range(0, len(index), block):
        if bool((x[torch.from_numpy(index[start : start + block]).to(x.device)] != first).any()):
            return False
    return True


def _map_of(values: npt.NDArray[Any]) -> mmap.mmap | None:
    """Return the map of a file behind an array, if there is one whose pages may be given back."""
    base: Any = values
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    # A copy-on-write map would lose what was written to it.
    return base if base is not None and getattr(values, "mode", None) in ("r", "r+") else None


def tiles(n_voxels: int, size: int) -> Iterator[slice]:
    """Yield the slices of at most ``size`` voxels, in order."""
    for start in range(0, n_voxels, size):
        yield slice(start, min(start + size, n_voxels))


def tile_size(settings: RidgeSettings, *, fixed_bytes: float, voxel_bytes: float) -> int:
    """Return how many voxels are worked on at once.

    Args:
        settings: with ``tile`` and ``memory_bytes``.
        fixed_bytes: what is held whatever the tile.
        voxel_bytes: what each voxel of a tile adds.

    Raises:
        FitError: not even a small tile fits in the memory.
    """
    fixed_bytes += MACHINE_BYTES
    room = (settings.memory_bytes - fixed_bytes) / voxel_bytes
    if room < MIN_TILE:
        need = fixed_bytes + MIN_TILE * voxel_bytes
        raise FitError(
            f"a fit of this size needs {need / 1e9:.2f} GB, and memory_bytes is {settings.memory_bytes / 1e9:.2f} GB",
            where="memory",
            next_step="give more memory, fewer features (principal components) or fewer voxels at a time",
        )
    return min(settings.tile or BEST_TILE, int(room))
