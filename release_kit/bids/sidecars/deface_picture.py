"""The picture by which a person decides whether a defaced image may leave the lab.

Three views, before and after: the middle from the side, the level of the eyes from above, and the surface of the head
from the front, shaded by depth, which is what a rendering of the face would show. Draws nothing else.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from release_kit.bids.recordings.header import ImageFacts
from release_kit.core.files import write_atomic

if TYPE_CHECKING:
    import numpy as np


def draw_review(path: Path, before: "np.ndarray", after: "np.ndarray", facts: ImageFacts) -> None:
    """Write the PNG: two rows (before, after) of three views; the same images give the same bytes.

    Args:
        path: the file.
        before: (x, y, z) intensities as read.
        after: the same without the face.
        facts: the header of both, for the directions of the axes.
    """
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.6), dpi=90, facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    top = float(np.percentile(before, 99.5)) or 1.0
    for row, (name, values) in enumerate((("before", before), ("after", after))):
        upright, mm = _upright(values, facts)
        for column, (view, picture, aspect) in enumerate(_views(upright, mm, top)):
            axes = figure.add_subplot(2, 3, row * 3 + column + 1)
            axes.imshow(picture.T, origin="lower", cmap="gray", vmin=0, vmax=1, aspect=aspect, interpolation="nearest")
            axes.set_axis_off()
            axes.set_title(f"{name}: {view}", color="white", fontsize=9)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    write_atomic(path, stream.getvalue())


def _upright(values: "np.ndarray", facts: ImageFacts) -> "tuple[np.ndarray, tuple[float, ...]]":
    """Return the image with axes to the right, to the front and up, and its voxel sizes in mm."""
    import nibabel
    import numpy as np

    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(values, np.array(facts.affine)))
    return np.asarray(image.dataobj), tuple(float(size) for size in image.header.get_zooms())


def _views(values: "np.ndarray", mm: tuple[float, ...], top: float) -> "list[tuple[str, np.ndarray, float]]":
    import numpy as np

    shown = np.clip(values / top, 0, 1)
    middle, level = values.shape[0] // 2, values.shape[2] // 3
    head = shown > 0.12
    # From the front: how far behind the picture's plane the head begins, nearer is brighter.
    first = np.argmax(head[:, ::-1, :], axis=1) * mm[1]
    depth = np.where(head.any(axis=1), np.clip(1 - first / (values.shape[1] * mm[1] * 0.6), 0.05, 1), 0)
    slope = np.gradient(depth, axis=1) if depth.shape[1] > 1 else np.zeros_like(depth)
    surface = np.where(depth > 0, np.clip(depth + 4 * slope, 0.05, 1), 0)
    return [
        ("from the side", shown[middle], mm[2] / mm[1]),
        ("from above", shown[:, :, level], mm[1] / mm[0]),
        ("from the front", surface, mm[2] / mm[0]),
    ]
