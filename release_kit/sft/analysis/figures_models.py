"""Pictures of models and datasets as points: the map of models, and how few components dataset effects have."""

from collections.abc import Iterator, Sequence
from typing import Any

from release_kit.core.pictures import (
    COLOURS,
    FAINT,
    Picture,
    finished,
    label_edges,
    marks,
    new_figure,
    number_text,
    panels,
    shortened,
)
from release_kit.sft.analysis.estimate import Estimate
from release_kit.sft.analysis.figures_style import interval_text, within_text
from release_kit.sft.analysis.records import Analysis, Components, MapPoint, ModelMap

MAX_COMPONENTS = 12


def model_pictures(analysis: Analysis) -> Iterator[Picture]:
    """Yield the map of models and the components of dataset effects."""
    if analysis.map is not None and analysis.map.points:
        yield _model_map(analysis.map)
    if analysis.findings.components:
        yield _shares(analysis.findings.components)
        yield from (_plane(each, index) for index, each in enumerate(analysis.findings.components))


def _model_map(found: ModelMap) -> Picture:
    figure = new_figure(10.5, 8.6)
    axes = figure.subplots(2, 2)
    by = {"base": [point.base_model for point in found.points], "dataset": [point.dataset for point in found.points]}
    for row, (factor, names) in enumerate(by.items()):
        looks = marks(names)
        for axis, layout in zip(axes[row], ("tsne", "pca"), strict=True):
            _scatter(axis, found.points, names, looks, layout)
            shown = "t-SNE" if layout == "tsne" else _pca_name(found.pca_shares)
            axis.set_title(f"{shown}, coloured by {factor}", loc="left", fontsize=9)
        axes[row][1].legend(
            loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=7.5, handletextpad=0.2, ncols=1 + (len(looks) > 22)
        )
    base = found.purity.get("base_model")
    said = (
        ""
        if base is None
        else (
            f": {_percent(base)} of nearest neighbours have the same base (by chance "
            f"{number_text(100 * found.chance_purity.get('base_model', 0.0), 0)} %)"
        )
    )
    title = f"Map of {len(found.points):,} models by {found.vectors}{said}"
    note = f"A model is its vector of {found.n_documents:,} numbers ({found.vectors}). t-SNE keeps neighbours, not "
    note += "distances; PCA keeps distances. Stability of neighbours when documents are resampled: "
    note += f"{interval_text(found.stability)}."
    return finished(figure, name="model-map", section="map", title=title, note=note)


def _pca_name(shares: Sequence[float]) -> str:
    if len(shares) < 2:
        return "PCA"
    return f"PCA, {number_text(100 * shares[0], 0)} % and {number_text(100 * shares[1], 0)} % of variance"


def _percent(estimate: Estimate) -> str:
    text = f"{number_text(100 * estimate.value, 0)} %"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} [{number_text(100 * estimate.low, 0)}, {number_text(100 * estimate.high, 0)}]"


def _scatter(axis: Any, points: Sequence[MapPoint], names: Sequence[str], looks: dict, layout: str) -> None:
    for name, (colour, marker) in looks.items():
        own = [getattr(point, layout) for point, each in zip(points, names, strict=True) if each == name]
        axis.plot(
            [x for x, _ in own], [y for _, y in own], marker, color=colour, markersize=3.6, alpha=0.75,
            markeredgewidth=0, label=shortened(name, 22),
        )  # fmt: skip
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_aspect("equal", adjustable="datalim")


def _shares(components: Sequence[Components]) -> Picture:
    """Return the cumulative shares of the components, and what shuffled data give."""
    figure, axes = panels(len(components), width=3.3, height=2.4, columns=3, extra=1.2)
    for axis, each in zip(axes, components, strict=True):
        n = min(MAX_COMPONENTS, len(each.shares))
        x = list(range(1, n + 1))
        axis.bar(x, [100 * share for share in each.shares[:n]], color="#c9d8e8", width=0.7, label="one component")
        total = [100 * found.value for found in each.cumulative[:n]]
        axis.plot(x[: len(total)], total, color=COLOURS[0], marker="o", markersize=4, linewidth=1.8, label="together")
        wide = [(i + 1, e) for i, e in enumerate(each.cumulative[:n]) if e.low is not None and e.high is not None]
        for place, found in wide:
            axis.plot([place] * 2, [100 * found.low, 100 * found.high], color=COLOURS[0], linewidth=1)
        null, running = [], 0.0
        for share in each.null_shares[:n]:
            running += 100 * share
            null.append(running)
        axis.plot(x[: len(null)], null, color=COLOURS[1], linestyle=(0, (4, 2)), label="together, shuffled")
        axis.set_title(shortened(within_text(each.within), 48), loc="left", fontsize=8.5)
        axis.set_ylim(0, 104)
        axis.set_xticks(x)
        axis.grid(axis="y")
        axis.tick_params(labelsize=7.5)
    label_edges(axes, 3, "component", "variance explained, %")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    first = components[0]
    n = min(5, len(first.cumulative))
    title = (
        f"{n} components explain {_percent(first.cumulative[n - 1])} of what {len(first.datasets)} datasets do to "
        f"{len(first.metrics)} tasks in {len(first.bases)} bases ({within_text(first.within)})"
    )
    note = "Lines up and down: intervals over bases. Dashed: the same data with datasets shuffled within each variable."
    return finished(figure, name="components", section="components", title=title, note=note)


def _plane(found: Components, index: int) -> Picture:
    """Return the datasets on the first two components."""
    figure = new_figure(8.0, 5.0)
    axis = figure.subplots()
    axis.axhline(0, color=FAINT, linewidth=0.6)
    axis.axvline(0, color=FAINT, linewidth=0.6)
    looks = marks(found.datasets)
    for name, (x, y) in zip(found.datasets, found.scores, strict=True):
        colour, marker = looks[name]
        axis.plot([x], [y], marker, color=colour, markersize=8, label=shortened(name, 26))
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    shares = [number_text(100 * share, 0) for share in found.shares[:2]] + ["0"]
    axis.set_xlabel(f"component 1 ({shares[0]} % of variance)")
    axis.set_ylabel(f"component 2 ({shares[1]} %)")
    axis.margins(0.1)
    title = f"What {len(found.datasets)} datasets do, on their first two components ({within_text(found.within)})"
    note = f"Datasets that lie together change the same tasks alike, over {len(found.bases)} bases."
    return finished(figure, name=f"datasets-{index + 1}", section="components", title=title, note=note)
