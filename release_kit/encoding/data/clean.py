"""What is taken out of responses run by run: the mean and slow drifts; and which voxels cannot be scored.

Cleaning is done on whole runs, before any volume is dropped. Values are never filled in: a voxel with a value that is
no number is NaN throughout its run, and a voxel that does not change is exactly 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from release_kit.core.errors import UsageError
from release_kit.core.records import nearest
from release_kit.core.wording import counted

DETRENDS = ("median", "cosine", "none")
_TILE = 2048


@dataclass(frozen=True, kw_only=True)
class CleanSettings:
    """What is taken out of each run."""

    center: bool = True
    """The mean of the run."""
    detrend: str = "median"
    """``median``: a running median of ``window_s``, as the seed's study did; ``cosine``: every cosine that is slower
    than ``window_s``; ``none``."""
    window_s: float = 120.0

    def __post_init__(self) -> None:
        if self.detrend not in DETRENDS:
            raise UsageError(f"detrend {self.detrend!r} is not known{nearest(self.detrend, DETRENDS)}")
        if not 0 < self.window_s < 1e6:
            raise UsageError(f"window_s is {self.window_s}, expected seconds above 0")


@dataclass(frozen=True, kw_only=True, eq=False)
class VoxelReport:
    """Which voxels of a matrix cannot be scored.

    Attributes:
        constant: (n_voxels,) bool, one value throughout.
        nonfinite: (n_voxels,) bool, at least one value that is no finite number.
        constant_in_run: (n_voxels,) int, runs in which the voxel has one value; 0 where runs were not given.
        text: all of it in a sentence; empty where there is nothing to say.
    """

    constant: npt.NDArray[np.bool_]
    nonfinite: npt.NDArray[np.bool_]
    constant_in_run: npt.NDArray[np.int32]
    text: str

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """(n_voxels,) bool: neither constant nor with values that are no numbers."""
        return ~(self.constant | self.nonfinite)


def clean(y: npt.NDArray, tr_s: float, settings: CleanSettings) -> npt.NDArray[np.float32]:
    """Return the responses of one run without mean and drift.

    ``median``: ``y - mean(y) - running_median(y - mean(y))`` over an odd number of volumes nearest above
    ``window_s / tr_s`` (at most the run), the run mirrored at its ends. ``cosine``: ``y`` minus its projection on
    ``cos(pi k (v + 1/2) / n)`` for ``1 <= k <= 2 n tr_s / window_s``.

    Args:
        y: (n_volumes, n_voxels) of one whole run; not changed.
        tr_s: seconds from volume to volume.
        settings: what to take out.

    Returns:
        (n_volumes, n_voxels) float32; NaN throughout where a value is no finite number, 0 where all are equal.
    """
    n_volumes, n_voxels = y.shape
    found = np.empty((n_volumes, n_voxels), np.float32)
    basis = _cosines(n_volumes, tr_s, settings.window_s) if settings.detrend == "cosine" else None
    width = _width(n_volumes, tr_s, settings.window_s)
    for begin in range(0, n_voxels, _TILE):
        tile = np.ascontiguousarray(y[:, begin : begin + _TILE].T, np.float64)
        finite = np.isfinite(tile).all(axis=1)
        tile[~finite] = 0.0
        still = tile.max(axis=1, initial=-np.inf) == tile.min(axis=1, initial=np.inf)
        if settings.center:
            tile -= tile.mean(axis=1, keepdims=True)
        if basis is not None:
            tile -= (tile @ basis) @ basis.T
        elif settings.detrend == "median":
            _subtract_median(tile, width)
        tile[still] = 0.0 if settings.center or settings.detrend == "median" else tile[still]
        tile[~finite] = np.nan
        found[:, begin : begin + _TILE] = tile.T
    return found


def inspect(y: npt.NDArray, borders: Sequence[slice] = ()) -> VoxelReport:
    """Return which voxels cannot be scored.

    Args:
        y: (n_samples, n_voxels).
        borders: the rows of each run, to find voxels that are still in some runs only.
    """
    highest, lowest = y.max(axis=0), y.min(axis=0)
    nonfinite = ~(np.isfinite(highest) & np.isfinite(lowest))
    constant = (highest == lowest) & ~nonfinite
    in_run = np.zeros(y.shape[1], np.int32)
    for part in borders:
        in_run += y[part].max(axis=0) == y[part].min(axis=0)
    said = []
    if constant.any():
        said.append(f"{counted(int(constant.sum()), 'voxel')} never change")
    if nonfinite.any():
        said.append(f"{counted(int(nonfinite.sum()), 'voxel')} hold values that are no numbers")
    if (some := (in_run > 0) & ~constant & ~nonfinite).any():
        said.append(f"{counted(int(some.sum()), 'voxel')} do not change in some of {counted(len(borders), 'run')}")
    text = f"of {counted(y.shape[1], 'voxel')}, {'; '.join(said)}" if said else ""
    return VoxelReport(constant=constant, nonfinite=nonfinite, constant_in_run=in_run, text=text)


def _width(n_volumes: int, tr_s: float, window_s: float) -> int:
    """Return the volumes of a window: odd, at least 1, at most the run."""
    longest = n_volumes if n_volumes % 2 else n_volumes - 1
    return max(1, min(2 * int(window_s / tr_s / 2) + 1, longest))


def _subtract_median(tile: npt.NDArray[np.float64], width: int) -> None:
    """Subtract the running median of each row, in place."""
    from scipy.ndimage import median_filter

    for row in tile:  # one row at a time: only then does scipy keep the window sorted instead of sorting it anew
        row -= median_filter(row, size=width, mode="reflect")


def _cosines(n_volumes: int, tr_s: float, window_s: float) -> npt.NDArray[np.float64]:
    """Return (n_volumes, k) orthonormal cosines slower than the window."""
    n = min(int(2 * n_volumes * tr_s / window_s), n_volumes - 1)
    angles = np.pi * np.outer(np.arange(n_volumes) + 0.5, np.arange(1, n + 1)) / n_volumes
    return np.sqrt(2.0 / n_volumes) * np.cos(angles)
