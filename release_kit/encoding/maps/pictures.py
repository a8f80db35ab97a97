"""Pictures of the maps of a derivative: one a kind of map and model, subjects below each other, one scale for all that
are compared. Each says statistic, subject, level, model, threshold, how many voxels are shown and the ends of its
colours.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from release_kit.core.pictures import FAINT, INK, Picture, new_figure, shortened, styled
from release_kit.core.wording import counted
from release_kit.encoding.data.masks import SURFACE
from release_kit.encoding.maps.derivative import WrittenMap, read_derivative
from release_kit.encoding.maps.montage import slices
from release_kit.encoding.maps.names import label
from release_kit.encoding.maps.shown import WORDS, Scale, Shown, key_of, scale_of, show
from release_kit.encoding.maps.surface import VIEWS, can_draw, glass_brain, paint

COMPARED = (("rmean", "r"), ("rdiff",), ("uniquer2",), ("uniquer",))
"""Statistics whose pictures share a scale."""
MAX_ROWS, MAX_MODELS = 3, 12
SECTION = "maps"
_ROW, _WIDTH, _HEAD, _DPI = 1.72, 9.2, 0.66, 130


def draw_maps(derivative: Path, mode: str) -> list[Picture]:
    """Return a picture for each model, comparison and unique part of one mode; PNG only, none without a derivative.

    Args:
        derivative: folder that ``write_maps`` made.
        mode: ``corrected`` or ``paper``.
    """
    maps = {key_of(each): each for each in read_derivative(derivative)}
    pictures = []
    for statistics in COMPARED:
        models: dict[str, list[WrittenMap]] = {}
        for statistic in statistics:
            for each in maps.values():
                if each.about["Statistic"] == statistic and each.about.get("Mode") == mode and "BandedModel" not in (
                    each.about if statistic == "r" else ()
                ):  # fmt: skip
                    models.setdefault(each.about["Desc"], []).append(each)
        rows = {desc: [show(each, maps) for each in found[:MAX_ROWS]] for desc, found in models.items()}
        rows = dict(list(rows.items())[:MAX_MODELS])
        if rows:
            scale = scale_of([each for found in rows.values() for each in found])
            pictures += [draw(found, scale, more=len(models[desc]) - len(found)) for desc, found in rows.items()]
    return pictures


def draw(rows: Sequence[Shown], scale: Scale, *, more: int = 0) -> Picture:
    """Return the picture of one model's maps, a subject a row.

    Args:
        rows: maps of the same model.
        scale: colours.
        more: subjects that have no row.
    """
    about = rows[0].source.about
    words = WORDS.get(rows[-1].source.about["Statistic"], about["Statistic"])
    title = f"{words[0].upper()}{words[1:]}: {_model(about)}"
    with styled():
        figure = new_figure(_WIDTH, _HEAD + _ROW * len(rows))
        figure.set_layout_engine("none")
        height = figure.get_size_inches()[1]
        figure.text(0.012, 1 - 0.10 / height, title, fontsize=11, fontweight="bold", color=INK, va="top")
        for index, each in enumerate(rows):
            top = 1 - (_HEAD - 0.24 + index * _ROW) / height
            figure.text(0.012, top, each.caption, fontsize=9, color=FAINT, va="top")
            _row(figure, each, scale, (0.01, top - (_ROW - 0.05) / height, 0.885, (_ROW - 0.22) / height))
        _labels(figure, rows[0], height)
        _colours(figure, scale, words, height)
        png = _png(figure)
    note = f"Colours from {scale.low:g} to {scale.high:g}, the same in all pictures of this kind."
    if more:
        note += f" {counted(more, 'more subject')} in the files."
    name = "map-" + "-".join(label(part) for part in (about["Statistic"], about["Desc"]))
    said = "; ".join(each.caption for each in rows)
    return Picture(name=name.lower(), section=SECTION, title=f"{title}. {said}", note=note, svg=b"", png=png)


def _row(figure: Any, shown: Shown, scale: Scale, box: tuple[float, float, float, float]) -> None:
    about = shown.source.about
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


def _labels(figure: Any, shown: Shown, height: float) -> None:
    about, y = shown.source.about, 0.05 / height
    if about["Kind"] == SURFACE:
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
    bar.ax.set_yticklabels([f"{tick:.3g}".replace("-", "\u2212") for tick in bar.get_ticks()])
    bar.ax.set_title(words.split(",")[0].replace("difference of", "Δ"), fontsize=8, color=FAINT, pad=7)
    bar.outline.set_visible(False)


def _model(about: Mapping[str, Any]) -> str:
    if "BandedModel" in about:
        return f"{about['Part'].partition(':')[2] or about['Part']} in {about['BandedModel']}"
    parts = [f"level {about['Level']}" if about.get("Level") else "", about.get("Model", "")]
    parts.append(f"layer {about['Layer']}" if about.get("Layer") is not None else "")
    return shortened(", ".join(part for part in (about["Desc"], *parts) if part), 90)


def _png(figure: Any) -> bytes:
    """Return the picture with at most 256 colours: a third of the bytes, and no difference to the eye."""
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(_DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    stream = io.BytesIO()
    image.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
    return stream.getvalue()
