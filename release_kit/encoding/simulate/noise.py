"""Noise of simulated responses: white, autoregressive, or columns of recordings of people who were shown nothing.

Owns the drawing and the reading of real recordings out of packages. A column of a recording is turned in a circle by a
random lag, so that it keeps its spectrum and nothing in it is locked to what is shown. Each voxel has a lag of its own
(``noise_lag="voxel"``: voxels are independent but for their spectra), or all voxels of a run have one (``"run"``: they
are as alike as they were in the head).
"""

import gzip
import struct
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from release_kit.core.packages import PackageFiles, open_package
from release_kit.encoding.arrays import FloatArray, Samples
from release_kit.encoding.errors import AnalysisError
from release_kit.encoding.partition.sets import FloatMap
from release_kit.encoding.simulate.plan import SimulationSpec

RESTS = ("brainspace", "nitime")
"""Packages that hold a recording at rest: 652 volumes of both hemispheres on fsaverage5, band-passed; 250 volumes of 28
regions."""
_HEMISPHERE = "brainspace/datasets/preprocessing/sub-010188_ses-02_task-rest_acq-AP_run-01.fsa5.{side}.mgz"
_REGIONS = "nitime/data/fmri_timeseries.csv"
_WHOLE_HEAD = ("WM", "Vent", "Brain")
_MGH_DATA, _MGH_FLOAT = 284, 3


def noise_of(
    spec: SimulationSpec, samples: Samples, recording: npt.NDArray[np.floating] | None
) -> Callable[[int], FloatMap]:
    """Return a function: number of the subject → noise ``(n_samples, n_voxels)`` of unit variance.

    Args:
        spec: what noise, and the seed.
        samples: the rows.
        recording: (n_volumes, n_columns), for ``noise="real"``.

    Raises:
        AnalysisError: a recording that is missing, shorter than a run, or constant everywhere.
    """
    if spec.noise == "real":
        usable = _usable(spec, recording)
        return lambda k: _turned(spec, samples, usable, np.random.default_rng([spec.seed, 3, k]))
    carry = spec.noise_carry if spec.noise == "ar1" else 0.0

    def made(k: int) -> FloatMap:
        white = np.random.default_rng([spec.seed, 3, k]).standard_normal((samples.n, spec.n_voxels))
        return smoothed(white, samples, carry) if carry else white

    return made


def smoothed(white: FloatMap, samples: Samples, carry: float) -> FloatMap:
    """Make AR(1) series of unit variance out of white ones, each run by itself and stationary from its start."""
    values = white.copy()
    step = np.sqrt(1 - carry**2)
    for part in samples.borders:
        for row in range(part.start + 1, part.stop):
            values[row] = carry * values[row - 1] + step * white[row]
    return values


def read_rest(name: str, package: PackageFiles | None = None) -> FloatArray:
    """Return a real recording at rest as ``(n_volumes, n_columns) float32``; columns may be constant.

    Args:
        name: one of ``RESTS``.
        package: its files; fetched, or taken from the cache of packages, if None.

    Raises:
        AnalysisError: another name, or a file that is not what it was.
        ReleaseKitError: the package is not to be had.
    """
    if name not in RESTS:
        raise AnalysisError(f"{name!r} holds no recording that is known, expected one of {', '.join(RESTS)}")
    package = package or open_package(name)
    if name == "nitime":
        header, *lines = package.read(_REGIONS).decode().splitlines()
        kept = [k for k, column in enumerate(header.split(",")) if column.strip('"') not in _WHOLE_HEAD]
        return np.array([line.split(",") for line in lines], np.float32)[:, kept]
    sides = [_read_mgh(gzip.decompress(package.read(_HEMISPHERE.format(side=side))), side) for side in ("lh", "rh")]
    return np.concatenate(sides, axis=1)


def _read_mgh(data: bytes, where: str) -> FloatArray:
    """Return (n_volumes, n_vertices) of FreeSurfer's MGH format: a header of 284 bytes, then big-endian numbers."""
    version, n_vertices, height, depth, n_volumes, kind = struct.unpack_from(">6i", data)
    size = n_vertices * n_volumes
    if (version, height, depth, kind) != (1, 1, 1, _MGH_FLOAT) or len(data) < _MGH_DATA + 4 * size:
        raise AnalysisError("is no MGH file of float32 values of vertices", where=f"hemisphere {where}")
    return np.frombuffer(data, ">f4", size, _MGH_DATA).reshape(n_volumes, n_vertices).astype(np.float32)


def _turned(spec: SimulationSpec, samples: Samples, recorded: FloatArray, rng: np.random.Generator) -> FloatMap:
    """Give each voxel a column of the recording, turned in each run by a lag; see the module."""
    replaced = spec.n_voxels > recorded.shape[1]
    column = rng.choice(recorded.shape[1], size=spec.n_voxels, replace=replaced)
    noise = np.empty((samples.n, spec.n_voxels))
    n_lags = spec.n_voxels if spec.noise_lag == "voxel" else 1
    for part in samples.borders:
        rows = np.arange(part.stop - part.start)[:, None] + rng.integers(len(recorded), size=n_lags)
        noise[part] = recorded[rows % len(recorded), column]
    return noise


def _usable(spec: SimulationSpec, recording: npt.NDArray[np.floating] | None) -> FloatArray:
    """Return the columns that change, of mean 0 and variance 1."""
    if recording is None or recording.ndim != 2 or len(recording) < spec.n_volumes:
        shape = "nothing" if recording is None else str(recording.shape)
        raise AnalysisError(
            f"real noise needs a recording of at least {spec.n_volumes} volumes, got {shape}",
            where="simulation",
            next_step="give a longer recording, or simulate shorter runs",
        )
    mean, spread = recording.mean(axis=0, dtype=np.float64), recording.std(axis=0, dtype=np.float64)
    usable = np.isfinite(spread) & (spread > 1e-6 * np.abs(recording).max(axis=0, initial=0))
    if not usable.any():
        raise AnalysisError("every column of the real noise is constant or no number", where="simulation")
    return ((recording[:, usable] - mean[usable]) / spread[usable]).astype(np.float32)
