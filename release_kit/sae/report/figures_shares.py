"""Pictures of shares and figures over training: lines by layer with their null, and maps of layers and steps.

Bands are 95 % t intervals over seeds; where there are fewer than two seeds there is none, and the title says so.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from release_kit.core.pictures import COLOURS, FAINT, GRID, INK, MARKERS, Picture, finished, new_figure, styled
from release_kit.core.wording import counted
from release_kit.sae.claims.curves import MEASURES, Array, Curves
from release_kit.sae.claims.estimate import t_interval
from release_kit.sae.claims.read import StudyTables

NULL_COLOURS = {"random-model": "#4d4d4d", "permuted-languages": "#b07aa1", "romanised": "#8a6d00", "digits": "#8c8c8c"}
NULL_LINES = {"random-model": (0, (1, 1)), "permuted-languages": (0, (5, 2)), "romanised": (0, (3, 1, 1, 1)),
              "digits": (0, (1, 3))}  # fmt: skip
_OF = {"count": "of features", "mass": "of activation mass"}
_LINE_METRICS = {"fvu": "unexplained variance (FVU)", "l0": "features per token (L0)", "dead_share": "dead features",
                 "ce_score": "loss recovered (CE score)"}  # fmt: skip


def draw_shares(by_measure: Mapping[str, Mapping[str, Curves]]) -> list[Picture]:
    """Return bilingual shares over steps, a picture for each size, and maps of layers and steps.

    Args:
        by_measure: count and mass → size → shares.
    """
    with styled():
        sizes = list(by_measure["count"])
        lines = [_share_lines(size, {by: by_measure[by][size] for by in MEASURES if size in by_measure[by]})
                 for size in sizes]  # fmt: skip
        return [*lines, _share_maps(by_measure)] if sizes else []


def _share_lines(size: str, by_measure: Mapping[str, Curves]) -> Picture:
    figure = new_figure(4.6 * len(by_measure) + 0.4, 4.1)
    axes = figure.subplots(1, len(by_measure), squeeze=False, sharey=True)[0]
    own = next(iter(by_measure.values()))
    for axis, (by, curves) in zip(axes, by_measure.items(), strict=True):
        x = np.arange(len(curves.steps))
        for null, shares in curves.nulls.items():
            mean, low, high = _bands(shares.mean(axis=2))
            axis.plot(x, mean, color=NULL_COLOURS[null], lw=1.4, ls=NULL_LINES[null], label=f"null: {null}")
            axis.fill_between(x, low, high, color=NULL_COLOURS[null], alpha=0.14, lw=0)
        for k, layer in enumerate(curves.layers):
            mean, low, high = _bands(curves.real[:, :, k])
            colour, marker = _layer_style(k, len(curves.layers))
            axis.fill_between(x, low, high, color=colour, alpha=0.16, lw=0)
            axis.plot(x, mean, color=colour, marker=marker, ms=4.5, lw=1.7, label=f"layer {layer}")
        axis.set_title(f"share {_OF[by]}", loc="left")
        axis.set_ylim(-0.02, 1.02)
        axis.grid(axis="y")
        _step_axis(axis, curves.steps)
    axes[0].set_ylabel("bilingual")
    handles = {text: handle for handle, text in zip(*axes[0].get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=4, fontsize=8)
    n = len(own.seeds)
    title = f"Bilingual share over training, {size}: by count and by mass, each layer, {_seeds_text(n)}"
    note = (
        "Share of the features that have a language which fire in both (rate rule). Step 0 is a model with random "
        f"weights. Broken lines: the same share in the nulls, mean of layers. {_band_note(n)}"
    )
    return finished(figure, name=f"share-{_slug(size)}", section="shares", title=title, note=note)


def _share_maps(by_measure: Mapping[str, Mapping[str, Curves]]) -> Picture:
    sizes = list(by_measure["count"])
    widest = max(len(own.steps) for own in by_measure["count"].values())
    tallest = max(len(own.layers) for own in by_measure["count"].values())
    width, height = max(3.2, 0.62 * widest + 1.0), max(1.3, 0.36 * tallest + 0.75)
    figure = new_figure(2 * width + 1.0, height * len(sizes) + 0.7)
    axes = figure.subplots(len(sizes), 2, squeeze=False)
    for row, size in enumerate(sizes):
        for column, by in enumerate(MEASURES):
            axis, curves = axes[row][column], by_measure[by].get(size)
            if curves is None:
                axis.set_visible(False)
                continue
            image = _heat(axis, curves)
            axis.set_title(f"{size}, {_OF[by]}", loc="left")
            if row == len(sizes) - 1:
                axis.set_xlabel("training step")
    bar = figure.colorbar(image, ax=axes.ravel().tolist(), shrink=0.8, pad=0.015)
    bar.set_label("bilingual share")
    bar.outline.set_visible(False)
    n = len(next(iter(by_measure["count"].values())).seeds)
    title = f"Bilingual share by layer and training step, mean of {counted(n, 'seed')}"
    note = (
        "In each square: the share, below it the same in the random model of that layer. Colours run over the same "
        "range in all maps. Intervals stand in the pictures above."
    )
    return finished(figure, name="share-maps", section="shares", title=title, note=note)


def _heat(axis: Any, curves: Curves) -> Any:
    """Draw mean shares, layers up and steps across, with figures in the squares."""
    shares = curves.real.mean(axis=0).T
    null = curves.nulls.get("random-model")
    image = axis.imshow(shares, origin="lower", aspect="auto", cmap="viridis", vmin=0, vmax=1)
    for layer in range(shares.shape[0]):
        for step in range(shares.shape[1]):
            value = shares[layer, step]
            if not np.isfinite(value):
                continue
            ink = "#ffffff" if value < 0.55 else INK
            axis.text(step, layer + 0.1, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=8)
            if null is not None and curves.steps[step] > 0:
                below = f"null {null[:, step, layer].mean():.2f}"
                axis.text(step, layer - 0.26, below, ha="center", va="center", color=ink, fontsize=5.6)
    axis.set_xticks(range(len(curves.steps)), [f"{step:,}" for step in curves.steps])
    axis.set_yticks(range(len(curves.layers)), [f"layer {layer}" for layer in curves.layers])
    for side in axis.spines.values():
        side.set_visible(False)
    axis.tick_params(length=0)
    return image


def draw_quality(tables: StudyTables) -> list[Picture]:
    """Return reconstruction, sparsity and dead features over steps: sizes down, figures across, a line a layer."""
    arrays = {name: metric_arrays(tables, name) for name in _LINE_METRICS}
    metrics = [name for name, found in arrays.items() if found]
    sizes = [size for size in tables.sizes if any(size in arrays[name] for name in metrics)]
    if not metrics:
        return []
    with styled():
        figure = new_figure(2.7 * len(metrics) + 0.3, 2.1 * len(sizes) + 1.0)
        axes = figure.subplots(len(sizes), len(metrics), squeeze=False, sharey="col")
        n = 0
        for row, size in enumerate(sizes):
            for column, name in enumerate(metrics):
                if size not in arrays[name]:
                    axes[row][column].set_visible(False)
                    continue
                steps, layers, values = arrays[name][size]
                n = max(n, values.shape[0])
                _metric_panel(axes[row][column], steps, layers, values)
                if row == 0:
                    axes[row][column].set_title(_LINE_METRICS[name], loc="left")
            axes[row][0].set_ylabel(size)
        handles = {text: h for axis in axes.flat for h, text in zip(*axis.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=8, fontsize=8)
        title = f"How well the autoencoders reconstruct, by size, layer and step, {_seeds_text(n)}"
        note = f"On held-out text of both languages. {_band_note(n)}"
        return [finished(figure, name="quality", section="quality", title=title, note=note)]


def _metric_panel(axis: Any, steps: tuple[int, ...], layers: tuple[int, ...], values: Array) -> None:
    for k, layer in enumerate(layers):
        mean, low, high = _bands(values[:, :, k])
        colour, marker = _layer_style(k, len(layers))
        axis.fill_between(np.arange(len(steps)), low, high, color=colour, alpha=0.16, lw=0)
        axis.plot(np.arange(len(steps)), mean, color=colour, marker=marker, ms=3.5, lw=1.4, label=f"layer {layer}")
    axis.grid(axis="y")
    _step_axis(axis, steps)


def metric_arrays(tables: StudyTables, metric: str) -> dict[str, tuple[tuple[int, ...], tuple[int, ...], Array]]:
    """Return size → steps, layers and (n_seeds, n_steps, n_layers) of one figure over both languages.

    Args:
        tables: of the study. metric: its name; one that nobody measured gives an empty mapping.
    """
    found: dict[str, dict[tuple[int, int, int], float]] = {}
    for row in tables.saes:
        if row["metric"] == metric and not row["language"] and row["value"] is not None:
            found.setdefault(row["size"], {})[row["step"], row["layer"], row["seed"]] = row["value"]
    arrays = {}
    for size, values in found.items():
        steps, layers, seeds = (tuple(sorted({place[k] for place in values})) for k in range(3))
        array = np.array([[[values.get((t, x, s), np.nan) for x in layers] for t in steps] for s in seeds])
        arrays[size] = steps, layers, array
    return arrays


def _bands(values: Array) -> tuple[Array, Array, Array]:
    """Return mean, low and high over the first axis; the ends are NaN where there is no interval."""
    ends = [t_interval(column[np.isfinite(column)])[:3] for column in values.T]
    mean, low, high = (np.array(part) for part in zip(*ends, strict=True))
    return mean, low, high


def _layer_style(k: int, n: int) -> tuple[Any, str]:
    """Return colour and mark of a layer: early ones dark, late ones light, none too light for paper."""
    from matplotlib import colormaps

    return (COLOURS[0] if n == 1 else colormaps["viridis"](0.88 * k / (n - 1))), MARKERS[k % len(MARKERS)]


def _step_axis(axis: Any, steps: tuple[int, ...]) -> None:
    axis.set_xticks(range(len(steps)), [f"{step:,}" for step in steps])
    if steps[0] == 0:
        axis.axvspan(-0.5, 0.5, color=GRID, alpha=0.45, lw=0)
    axis.set_xlim(-0.5, len(steps) - 0.5)
    axis.set_xlabel("training step", color=FAINT, fontsize=8)


def _seeds_text(n: int) -> str:
    return f"{counted(n, 'seed')}, 95 % t interval over seeds" if n > 1 else "1 seed, no interval"


def _band_note(n: int) -> str:
    return (
        f"Lines: mean over {counted(n, 'seed')}; bands: 95 % t interval over seeds." if n > 1 else "One seed: no band."
    )


def _slug(name: str) -> str:
    return "".join(each if each.isalnum() else "-" for each in name.lower())
