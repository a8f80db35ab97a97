"""Pictures of the maps of a derivative: one a kind of map and model, subjects below each other, one scale for all that
are compared. Each says statistic, subject, level, model, threshold, how many voxels are shown and the ends of its
colours. Subjects whose flat cortex pycortex knows have a second picture, on the same scale.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from release_kit.core.pictures import FAINT, INK, Picture, new_figure, shortened, styled
from release_kit.core.wording import counted
from release_kit.encoding.data.masks import SURFACE
from release_kit.encoding.maps.derivative import WrittenMap, read_derivative
from release_kit.encoding.maps.flatmap import Flat, can_flatten, paint_flat
from release_kit.encoding.maps.montage import slices
from release_kit.encoding.maps.names import label
from release_kit.encoding.maps.shown import WORDS, Scale, Shown, key_of, scale_of, show
from release_kit.encoding.maps.surface import VIEWS, can_draw, glass_brain, paint

COMPARED = (("rmean", "r"), ("rdiff",), ("uniquer2",), ("uniquer",))
"""Statistics whose pictures share a scale."""
MAX_ROWS, MAX_MODELS = 3, 12
SECTION = "maps"
_ROW, _FLAT_ROW, _EMPTY_ROW, _WIDTH, _HEAD, _DPI = 1.72, 3.9, 0.25, 9.2, 0.66, 130
_GREYS = 96
_NO_FLATS: Mapping[str, Flat] = {}


def draw_maps(derivative: Path, mode: str, flats: Mapping[str, Flat] = _NO_FLATS) -> list[Picture]:
    """Return a picture for each model, comparison and unique part of one mode; PNG only, none without a derivative.

    Args:
        derivative: folder that ``write_maps`` made.
        mode: ``corrected`` or ``paper``.
        flats: subject → flat cortex; they are drawn where pycortex is installed.

    Raises:
        AnalysisError: pycortex does not know a flat cortex, or it has another shape than the maps.
    """
    maps = {key_of(each): each for each in read_derivative(derivative)}
    flats = flats if can_flatten() else {}
    pictures = []
    for statistics in COMPARED:
        models = _models(maps, statistics, mode)
        rows = {desc: [show(each, maps) for each in found[:MAX_ROWS]] for desc, found in models.items()}
        if not rows:
            continue
        scale = scale_of([each for found in rows.values() for each in found])
        for desc, found in rows.items():
            pictures.append(draw(found, scale, more=len(models[desc]) - len(found)))
            flat = [each for each in models[desc] if each.about["Subject"] in flats]
            if flat:
                shown = [show(each, maps) for each in flat[:MAX_ROWS]]
                if any(each.n_shown for each in shown):
                    pictures.append(draw(shown, scale, more=len(flat) - len(shown), flats=flats))
    return pictures


def _models(maps: Mapping[tuple, WrittenMap], statistics: Sequence[str], mode: str) -> dict[str, list[WrittenMap]]:
    """Return what a map is of → its maps, those over subjects first; by level, so that its models are neighbours."""
    models: dict[str, list[WrittenMap]] = {}
    for statistic in statistics:
        for each in maps.values():
            about = each.about
            of_union = statistic == "r" and "BandedModel" in about
            if (about["Statistic"], about.get("Mode")) == (statistic, mode) and not of_union:
                models.setdefault(about["Desc"], []).append(each)
    ordered = sorted(models.items(), key=lambda each: (each[1][0].about.get("Level") or "", each[0]))
    return dict(ordered[:MAX_MODELS])


def draw(rows: Sequence[Shown], scale: Scale, *, more: int = 0, flats: Mapping[str, Flat] = _NO_FLATS) -> Picture:
    """Return the picture of one model's maps, a subject a row.

    Args:
        rows: maps of the same model.
        scale: colours.
        more: subjects that have no row.
        flats: subject → flat cortex: rows are drawn there, and on surface, glass brain or slices without them.
            Where no row has a voxel to show, the captions stand alone.
    """
    about = rows[0].source.about
    words = WORDS.get(rows[-1].source.about["Statistic"], about["Statistic"])
    title = f"{words[0].upper()}{words[1:]}{', flat cortex' if flats else ''}: {_model(about)}"
    empty = not any(each.n_shown for each in rows)
    tall = _EMPTY_ROW if empty else _FLAT_ROW if flats else _ROW
    with styled():
        figure = new_figure(_WIDTH, _HEAD + tall * len(rows))
        figure.set_layout_engine("none")
        height = figure.get_size_inches()[1]
        figure.text(0.012, 1 - 0.10 / height, title, fontsize=11, fontweight="bold", color=INK, va="top")
        for index, each in enumerate(rows):
            top = 1 - (_HEAD - 0.24 + index * tall) / height
            figure.text(0.012, top, each.caption, fontsize=9, color=FAINT, va="top")
            if empty:
                continue
            box = (0.01, top - (tall - 0.05) / height, 0.885, (tall - 0.22) / height)
            _row(figure, each, scale, box, flats.get(each.source.about["Subject"]))
        if not empty:
            _labels(figure, rows[0], height, bool(flats))
            _colours(figure, scale, words, height)
        png = _png(figure, scale)
    note = "No voxel passes the threshold, so that no brain is drawn." if empty else _colours_note(words, scale)
    if more:
        note += f" {counted(more, 'more subject')} in the files."
    name = ("flat-" if flats else "map-") + "-".join(label(part) for part in (about["Statistic"], about["Desc"]))
    said = "; ".join(each.caption for each in rows)
    return Picture(name=name.lower(), section=SECTION, title=f"{title}. {said}", note=note, svg=b"", png=png)


def _row(figure: Any, shown: Shown, scale: Scale, box: tuple[float, float, float, float], flat: Flat | None) -> None:
    about = shown.source.about
    if flat:
        axes = figure.add_axes(box)
        axes.set_axis_off()
        axes.imshow(paint_flat(shown.values, flat, scale), interpolation="antialiased")
        return
    if about["Kind"] != SURFACE:
        axes = figure.add_axes(box)
        axes.set_axis_off()
        if str(about["Space"] or "").startswith("MNI"):
            glass_brain(shown.values[0], shown.affine, scale, axes)
        else:
            axes.imshow(slices(shown.values[0], shown.known[0], scale), interpolation="nearest")
        return
    if not can_draw(about["Space"], tuple(len(half) for half in shown.values)):
        text = f"no mesh of {about['Space'] or 'this surface'} is at hand: the values stand in the GIFTI files"
        figure.text(box[0] + 0.01, box[1] + box[3] / 2, text, fontsize=9, color=FAINT)
        return
    x, y, width, height = box
    for index, view in enumerate(VIEWS):
        axes = figure.add_axes((x + width * index / len(VIEWS), y, width / len(VIEWS), height))
        axes.set_axis_off()
        axes.imshow(paint(shown.values, view, scale), interpolation="antialiased")


def _labels(figure: Any, shown: Shown, height: float, flat: bool) -> None:
    about, y = shown.source.about, 0.05 / height
    if flat:
        text = "left hemisphere, right hemisphere; sulci dark"
        if about["Kind"] != SURFACE:
            text += "; a pixel is the mean through the thickness of cortex"
        figure.text(0.012, y, text, fontsize=8, color=FAINT, va="bottom")
    elif about["Kind"] == SURFACE:
        for index, (side, direction) in enumerate(VIEWS):
            x = 0.01 + 0.885 * (index + 0.5) / len(VIEWS)
            figure.text(x, y, f"{side}, {direction}", fontsize=8, color=FAINT, ha="center", va="bottom")
    elif not str(about["Space"] or "").startswith("MNI"):
        text = "slices along the third axis, low to high; the first axis grows to the right"
        figure.text(0.012, y, text, fontsize=8, color=FAINT, va="bottom")


def _colours(figure: Any, scale: Scale, words: str, height: float) -> None:
    import matplotlib
    from matplotlib.cm import ScalarMappable

    size = min(1.25, height - _HEAD - 0.2) / height
    axes = figure.add_axes((0.915, (1 - _HEAD / height) / 2 - size / 2, 0.016, size))
    norm = matplotlib.colors.Normalize(scale.low, scale.high)
    bar = figure.colorbar(ScalarMappable(norm, matplotlib.colormaps[scale.name]), cax=axes)
    bar.set_ticks([scale.low, (scale.low + scale.high) / 2, scale.high])
    bar.ax.set_yticklabels([_tick(tick) for tick in bar.get_ticks()])
    bar.ax.set_title(words.split(",")[0].replace("difference of", "Δ"), fontsize=8, color=FAINT, pad=7)
    bar.outline.set_visible(False)


def _model(about: Mapping[str, Any]) -> str:
    if "BandedModel" in about:
        return f"{about['Part'].partition(':')[2] or about['Part']} in {about['BandedModel']}"
    parts = [f"level {about['Level']}" if about.get("Level") else "", about.get("Model", "")]
    parts.append(f"layer {about['Layer']}" if about.get("Layer") is not None else "")
    return shortened(", ".join(part for part in (about["Desc"], *parts) if part), 90)


def _tick(value: float) -> str:
    return f"{value:.3g}".replace("-", "\u2212")


def _colours_note(words: str, scale: Scale) -> str:
    beyond = "values beyond have the colour of the end"
    if scale.low == 0:
        beyond = "larger values have the colour of the end, values below 0 that of 0"
    ends = f"colours from {_tick(scale.low)} to {_tick(scale.high)}"
    return f"{words[0].upper()}{words[1:]}, {ends}; {beyond}. The same colours in all pictures of this kind."


def _png(figure: Any, scale: Scale) -> bytes:
    """Return the picture in the greys and colours that it is made of: a third of the bytes, no tint in greys."""
    import io

    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image
    from scipy.spatial import cKDTree

    figure.set_dpi(_DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = np.asarray(canvas.buffer_rgba())[..., :3]
    found, at = np.unique(drawn.reshape(-1, 3).astype(np.int64) @ (65536, 256, 1), return_inverse=True)
    greys = np.repeat(np.linspace(0, 255, _GREYS)[:, None], 3, axis=1)
    colours = matplotlib.colormaps[scale.name](np.linspace(0, 1, 256 - _GREYS))[:, :3] * 255
    palette = np.vstack([greys, colours]).round()
    nearest = cKDTree(palette).query(np.column_stack([found >> 16, found >> 8 & 255, found & 255]))[1]
    image = Image.fromarray(nearest.astype(np.uint8)[at].reshape(drawn.shape[:2]), "P")
    image.putpalette(palette.astype(int).ravel().tolist())
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()
