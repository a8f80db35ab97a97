"""Maps on the flattened cortex of a subject that pycortex knows. The one place that imports pycortex.

Owns how values of a volume (through a transform) or of vertices come to lie on the flat picture; which values are shown
and on which colours is ``shown.py``'s. pycortex is optional: without it an analysis has no flat pictures, and says so.
It keeps what it finds out about a surface in its own database, so that only the first picture of a surface is slow.
"""

import contextlib
import functools
import importlib.util
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.encoding.errors import AnalysisError
from release_kit.encoding.maps.shown import Scale

HEIGHT = 640
_GREY = (0.62, 0.80)
_STEP = "correct flatmaps in encoding.yaml"


@dataclass(frozen=True, kw_only=True)
class Flat:
    """Where the values of a subject lie in pycortex's database.

    Attributes:
        surface: pycortex's name of the subject, for example ``S1``.
        transform: from the space of a volume to the surface; None for values of the surface's own vertices.
    """

    surface: str
    transform: str | None = None


def can_flatten() -> bool:
    """Return whether pycortex is installed."""
    return importlib.util.find_spec("cortex") is not None


def flats_of(record: Mapping[str, Any]) -> dict[str, Flat]:
    """Return subject → its flat surface, of ``analysis.json``; empty where the analysis names none."""
    return {subject: Flat(**facts) for subject, facts in (record.get("flatmaps") or {}).items()}


def paint_flat(values: tuple[npt.NDArray, ...], flat: Flat, scale: Scale) -> npt.NDArray[np.float64]:
    """Return the flat cortex as (height, width, 3) colours: values over grey folds (sulci dark), white outside.

    A pixel is the mean through the thickness of cortex over voxels that have a value, and has a colour where at least
    half of the thickness has.

    Args:
        values: one volume, or left and right vertices; NaN where nothing is shown.
        flat: whose cortex.
        scale: colours.

    Raises:
        AnalysisError: pycortex does not know the surface or transform, or they have another shape than the values.
    """
    import matplotlib

    with _pycortex() as cortex:
        inside, gyri = _ground(flat.surface)
        _check(cortex, values, flat)
        shown = [np.isfinite(array) for array in values]
        share = _image(cortex, [each.astype(np.float64) for each in shown], flat)
        total = _image(cortex, [np.nan_to_num(array).astype(np.float64) for array in values], flat)
    coloured = inside & (np.nan_to_num(share) >= 0.5 - 1e-9)
    mean = np.where(coloured, total, 0) / np.where(coloured, share, 1)
    colours = matplotlib.colormaps[scale.name](np.clip((mean - scale.low) / (scale.high - scale.low), 0, 1))[..., :3]
    ground = np.where(inside, np.where(gyri, _GREY[1], _GREY[0]), 1.0)[..., None]
    return np.where(coloured[..., None], colours, ground)


@functools.cache
def _ground(surface: str) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return (height, width) which pixels are cortex, and which of them are gyri."""
    with _pycortex() as cortex:
        if surface not in cortex.db.subjects:
            known = ", ".join(sorted(cortex.db.subjects)) or "none"
            what = f"pycortex knows no surface {surface!r}; in {cortex.db.filestore}: {known}"
            raise AnalysisError(what, where="flatmaps", next_step=_STEP)
        curvature, _ = cortex.quickflat.utils.make_flatmap_image(
            cortex.db.get_surfinfo(surface, "curvature"), height=HEIGHT, nanmean=True
        )
    return np.isfinite(curvature), np.nan_to_num(curvature) > 0


def _check(cortex: Any, values: tuple[npt.NDArray, ...], flat: Flat) -> None:
    if len(values) > 1 or flat.transform is None:
        expected = tuple(len(points) for points, _ in cortex.db.get_surf(flat.surface, "fiducial"))
        what = f"vertices of pycortex's {flat.surface}"
    else:
        transforms = sorted(cortex.db.get_paths(flat.surface)["xfms"])
        if flat.transform not in transforms:
            what = f"pycortex's {flat.surface} has no transform {flat.transform!r}; it has {', '.join(transforms)}"
            raise AnalysisError(what, where="flatmaps", next_step=_STEP)
        expected = tuple(cortex.db.get_xfm(flat.surface, flat.transform).shape)[::-1]
        what = f"voxels of pycortex's {flat.surface}, {flat.transform}"
    got = tuple(len(half) for half in values) if len(values) > 1 else values[0].shape
    if got != expected:
        raise AnalysisError(f"values of {got}, {what} are {expected}", where="flatmaps", next_step=_STEP)


def _image(cortex: Any, values: list[npt.NDArray[np.float64]], flat: Flat) -> npt.NDArray[np.float64]:
    if len(values) > 1:
        data = cortex.Vertex(np.concatenate(values), flat.surface)
    else:
        data = cortex.Volume(np.ascontiguousarray(values[0].T), flat.surface, flat.transform)  # pycortex counts z, y, x
    return np.asarray(cortex.quickflat.utils.make_flatmap_image(data, height=HEIGHT, nanmean=False)[0], np.float64)


@contextlib.contextmanager
def _pycortex() -> Iterator[Any]:
    """Give pycortex with a database that exists; what it prints goes to stderr, its warnings nowhere."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        import cortex
        import cortex.quickflat

        # A wheel built in a temporary folder may name a database that went with that folder.
        own = Path(sys.prefix) / "share/pycortex/db"
        if not Path(cortex.db.filestore).is_dir() and own.is_dir():
            cortex.db.filestore = str(own)
            cortex.db.reload_subjects()
        yield cortex
