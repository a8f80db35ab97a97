"""Parts of variance of two or three bands as circles that overlap, one panel a region: numbers, never areas."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.core.pictures import FAINT, INK, Picture, finished, number_text, panels
from release_kit.core.wording import counted
from release_kit.encoding.pipeline.regions import ALL
from release_kit.encoding.report.tables import in_order

MAX_PANELS = 6
_CENTRES = {2: np.pi * np.array([1.0, 0.0]), 3: np.pi * np.array([0.5, 7 / 6, 11 / 6])}
_LEFT, _RIGHT, _LOW, _HIGH = -1.85, 1.85, -1.65, 1.75
Means = Mapping[frozenset[str], float]


def draw_circles(rows: Sequence[Mapping[str, Any]], name: str) -> Picture | None:
    """Return the picture of one banded model; None unless it has two or three bands and all their parts.

    Args:
        rows: of ``tables/partition.parquet``, one mode.
        name: of the banded model.
    """
    mine = [row for row in rows if row["name"] == name and row["value"] is not None]
    regions = in_order(row["region"] for row in mine)
    if len(regions) > 1:
        regions = [region for region in regions if region != ALL]
    means = {region: found for region in regions if (found := _means(mine, region))}
    bands = list(dict.fromkeys(row["part"].partition(":")[2] for row in mine if row["part"].startswith("unique:")))
    if len(bands) not in _CENTRES or not means:
        return None
    shown = dict(list(means.items())[:MAX_PANELS])
    top = max(max(abs(value) for found in shown.values() for value in found.values()), 1e-9)
    figure, axes = panels(len(shown), width=3.3, height=3.05, columns=3, extra=0.5)
    for axis, (region, found) in zip(axes, shown.items(), strict=True):
        _draw(axis, bands, found, top)
        axis.set_title(region, loc="center", pad=2, fontweight="bold")
    n = len({row["subject"] for row in mine})
    metric = "R²" if mine[0]["metric"] == "r2" else "r"
    note = (
        f"Mean {metric} over the voxels of each region and over subjects, by inclusion and exclusion of the scores of "
        "all unions: the numbers of a panel sum to the score of all bands. Below 0 (orange): the bands predict worse "
        "together than set algebra expects. Areas say nothing; darker is farther from 0."
    )
    title = f"Shared and unique {metric} of the bands of {name}, n = {counted(n, 'subject')}"
    slug = "".join(each if each.isalnum() else "-" for each in name.lower())
    return finished(figure, name=f"circles-{slug}", section="parts", title=title, note=note)


def _means(rows: Sequence[Mapping[str, Any]], region: str) -> Means | None:
    """Return bands of a part → mean over subjects; None where a part is missing."""
    values: dict[frozenset[str], list[float]] = {}
    for row in rows:
        kind, _, bands = row["part"].partition(":")
        if row["region"] == region and kind in ("unique", "shared"):
            values.setdefault(frozenset(bands.split("+")), []).append(row["value"])
    n_bands = len(frozenset().union(*values))
    if not values or len(values) != 2**n_bands - 1:
        return None
    return {part: float(np.mean(each)) for part, each in values.items()}


def _draw(axis: Any, bands: Sequence[str], means: Means, top: float) -> None:
    import matplotlib

    angles = _CENTRES[len(bands)]
    centres = 0.58 * np.column_stack([np.cos(angles), np.sin(angles)])
    x, y = np.meshgrid(np.linspace(_LEFT, _RIGHT, 444), np.linspace(_LOW, _HIGH, 408))
    inside = np.stack([np.hypot(x - cx, y - cy) < 1 for cx, cy in centres])
    rim = np.min([np.abs(np.hypot(x - cx, y - cy) - 1) for cx, cy in centres], axis=0)
    whole = np.ones((*x.shape, 4))
    for part, value in means.items():
        where = np.all(inside == np.array([band in part for band in bands])[:, None, None], axis=0)
        whole[where] = _colour(value / top)
        at = _thickest(where, rim)
        ink = "white" if abs(value) / top > 0.75 else INK
        axis.text(x[at], y[at], number_text(value, 3), ha="center", va="center", fontsize=8.5, color=ink)
    axis.imshow(whole, extent=(_LEFT, _RIGHT, _LOW, _HIGH), origin="lower", interpolation="nearest")
    for (cx, cy), band in zip(centres, bands, strict=True):
        axis.add_patch(matplotlib.patches.Circle((cx, cy), 1, fill=False, ec=FAINT, lw=0.9))
        below = len(bands) == 3 and cy < 0
        side = "center" if abs(cx) < 0.1 else "right" if cx < 0 else "left"
        # Names begin at the middle of the picture and go outwards, so that long ones do not meet.
        place = cx if side == "center" else np.sign(cx) * 0.06
        axis.text(place, cy - 1.08 if below else cy + 1.06, band, ha=side, va="top" if below else "bottom", fontsize=8)
    axis.set_axis_off()
    axis.set_xlim(_LEFT, _RIGHT)
    axis.set_ylim(_LOW, _HIGH + 0.1)
    axis.set_aspect("equal")


def _thickest(where: npt.NDArray[np.bool_], rim: npt.NDArray) -> tuple[int, int]:
    """Return the pixel of a part that is farthest from every circle's line."""
    row, column = np.unravel_index(np.argmax(np.where(where, rim, -1)), where.shape)
    return int(row), int(column)


def _colour(share: float) -> tuple[float, ...]:
    import matplotlib

    return matplotlib.colormaps["Blues" if share >= 0 else "Oranges"](0.05 + 0.7 * min(abs(share), 1.0))
