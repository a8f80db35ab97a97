"""Maps on nilearn's fsaverage5 (which comes with it: no network), and glass brains. The one place that imports nilearn.

Which face of the mesh lies under each pixel of a view is found once; every map is then painted by looking its faces up.
"""

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.encoding.maps.shown import Scale

SPACES = ("fsaverage5", "fsaverage6", "fsaverage")
"""Their first 10,242 vertices are those of fsaverage5: the finer meshes divide its faces."""
N_VERTICES = 10_242
VIEWS = (("left", "lateral"), ("left", "medial"), ("right", "medial"), ("right", "lateral"))
WIDTH, HEIGHT, FINE = 300, 216, 2
_NO_FACE = -1
_GREY = (0.62, 0.80)


def can_draw(space: str | None, shapes: tuple[int, ...]) -> bool:
    """Return whether a surface of that space and number of vertices has a mesh here."""
    return space in SPACES and all(n >= N_VERTICES for n in shapes)


def paint(halves: tuple[npt.NDArray, ...], view: tuple[str, str], scale: Scale) -> npt.NDArray[np.float64]:
    """Return one view as (height, width, 3) colours: values over grey folds, white outside.

    Args:
        halves: values of left and right vertices, NaN where nothing is shown.
        view: one of ``VIEWS``.
        scale: colours.
    """
    import matplotlib

    faces, grounds, at = _view(view)
    values = halves[0 if view[0] == "left" else 1][:N_VERTICES][faces]
    known = np.isfinite(values)
    mean = np.where(known, values, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    share = (mean - scale.low) / (scale.high - scale.low)
    colours = matplotlib.colormaps[scale.name](np.clip(share, 0, 1))[:, :3]
    colours = np.where((known.sum(axis=1) >= 2)[:, None], colours, grounds[:, None])
    picture = np.vstack([colours, np.ones((1, 3))])[at]
    return picture.reshape(HEIGHT, FINE, WIDTH, FINE, 3).mean(axis=(1, 3))


def glass_brain(volume: npt.NDArray, affine: npt.NDArray, scale: Scale, axes: Any) -> None:
    """Draw the largest value along each line of sight into ``axes``: sides, back, top; the volume is in MNI space."""
    from nibabel import Nifti1Image
    from nilearn import plotting

    image = Nifti1Image(np.nan_to_num(volume).astype(np.float32), affine)
    plotting.plot_glass_brain(
        image, display_mode="lyrz", colorbar=False, axes=axes, figure=axes.figure, threshold=1e-6,
        cmap=scale.name, vmin=scale.low, vmax=scale.high, plot_abs=False, annotate=True,
    )  # fmt: skip


@functools.cache
def _view(view: tuple[str, str]) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray]:
    """Return (n_faces, 3) vertices, (n_faces,) grey of each face, and the face at each fine pixel (-1 outside)."""
    side, direction = view
    points, faces, depth_of_folds = _mesh(side)
    to_right = (side == "right") == (direction == "lateral")
    ahead = points[:, 0] if to_right else -points[:, 0]
    flat = np.column_stack([points[:, 1] if to_right else -points[:, 1], points[:, 2]])
    corners = points[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = (normal[:, 0] if to_right else -normal[:, 0]) / np.maximum(np.linalg.norm(normal, axis=1), 1e-12)
    folds = np.where(depth_of_folds[faces].mean(axis=1) > 0, *_GREY)
    greys = folds * (0.72 + 0.28 * np.clip(facing, 0, 1))
    seen = np.flatnonzero(facing > 0)
    order = seen[np.argsort(ahead[faces[seen]].mean(axis=1), kind="stable")]
    return faces, greys, _faces_under_pixels(flat[faces[order]], order)


def _faces_under_pixels(triangles: npt.NDArray, numbers: npt.NDArray) -> npt.NDArray[np.int64]:
    """Return which triangle lies on top at each pixel: each is drawn in the colour that is its number."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure

    across, up = WIDTH * FINE, HEIGHT * FINE
    figure = Figure(figsize=(across / 100, up / 100), dpi=100, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    ink = (numbers + 1)[:, None] // np.array([65536, 256, 1]) % 256 / 255
    axes.add_collection(PolyCollection(triangles, facecolors=ink, edgecolors="none", antialiaseds=False))
    low, high = triangles.min(axis=(0, 1)), triangles.max(axis=(0, 1))
    middle, half = (low + high) / 2, max((high - low) / (across, up)) * np.array([across, up]) / 2 * 1.02
    axes.set_xlim(middle[0] - half[0], middle[0] + half[0])
    axes.set_ylim(middle[1] - half[1], middle[1] + half[1])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = np.asarray(canvas.buffer_rgba())[..., :3].astype(np.int64) @ (65536, 256, 1)
    return np.where(drawn == 0xFFFFFF, _NO_FACE, drawn - 1)


@functools.cache
def _mesh(side: str) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray]:
    """Return (10242, 3) inflated points, (20480, 3) faces and (10242,) depth of folds of one hemisphere."""
    from nilearn.datasets import load_fsaverage, load_fsaverage_data

    inflated = load_fsaverage("fsaverage5")["inflated"].parts[side]
    folds = load_fsaverage_data(mesh="fsaverage5", data_type="sulcal").data.parts[side]
    return np.asarray(inflated.coordinates, np.float64), np.asarray(inflated.faces, np.int64), np.asarray(folds)
