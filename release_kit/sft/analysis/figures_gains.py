"""Pictures of gains: a heat map for each condition, curves over epochs, and how gains of tasks go together."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from release_kit.core.pictures import (
    COLOURS,
    FAINT,
    GRID,
    INK,
    Picture,
    finished,
    label_edges,
    new_figure,
    number_text,
    panels,
    shortened,
)
from release_kit.core.wording import counted
from release_kit.sft.analysis.estimate import Metric
from release_kit.sft.analysis.figures_heat import Condition, condition_text, file_name, heat_map, square_of, squares
from release_kit.sft.analysis.figures_style import headline_metrics, metric_name
from release_kit.sft.analysis.records import Analysis, Effect, Findings, TrajectoryPoint

FEWEST_SQUARES = 4
"""Groups with fewer gains than this get no heat map: a table says it better."""

MAX_LINES = 6


def gain_pictures(analysis: Analysis) -> Iterator[Picture]:
    """Yield the heat maps of every condition, the curves over epochs and the correlations between tasks."""
    findings = analysis.findings
    everything = {square_of(effect) for effect in (analysis.beside or findings).effects}
    groups: dict[Condition, list[Effect]] = defaultdict(list)
    for effect in findings.effects:
        groups[effect.method, effect.data_size, effect.schedule, effect.others].append(effect)
    for condition, effects in sorted(groups.items(), key=lambda item: (-len(item[1]), _order(item[0]))):
        if len({effect.dataset for effect in effects}) > 1 and len(effects) >= FEWEST_SQUARES:
            yield heat_map(condition, effects, everything)
    yield from _trajectories(findings)
    yield from _transfers(findings)


def _order(condition: tuple) -> tuple:
    return tuple((part is None, part) if not isinstance(part, str) else (False, part) for part in condition)


def _trajectories(findings: Findings) -> Iterator[Picture]:
    groups: dict[tuple, list[TrajectoryPoint]] = defaultdict(list)
    for point in findings.trajectories:
        groups[point.data_size, point.schedule, point.others].append(point)
    for (size, schedule, others), points in sorted(groups.items(), key=lambda item: _order(item[0])):
        if len({point.epoch for point in points}) > 1:
            yield _trajectory((size, schedule, others), points)


def _trajectory(condition: tuple[int | None, str | None, str], points: Sequence[TrajectoryPoint]) -> Picture:
    metrics = headline_metrics([point.metric for point in points])
    lines: dict[tuple[str, str], dict[Metric, list[TrajectoryPoint]]] = defaultdict(lambda: defaultdict(list))
    for point in points:
        lines[point.dataset, point.method][point.metric].append(point)
    few = len(lines) <= MAX_LINES
    figure, axes = panels(len(metrics), width=2.35, height=1.75, columns=4, extra=1.1)
    for axis, metric in zip(axes, metrics, strict=True):
        axis.axhline(0, color=FAINT, linewidth=0.8)
        for index, ((dataset, method), by_metric) in enumerate(sorted(lines.items())):
            own = sorted(by_metric[metric], key=lambda point: point.epoch)
            colour, label = (COLOURS[index], f"{dataset}, {method}") if few else ("#b6bec7", None)
            _curve(axis, own, colour=colour, label=label, band=few)
        if not few:
            _mean_curves(axis, [point for point in points if point.metric == metric])
        axis.set_title(metric_name(metric, metrics), loc="left", fontsize=8.5)
        axis.xaxis.get_major_locator().set_params(integer=True, nbins=5)
        axis.grid(axis="y")
        axis.tick_params(labelsize=7.5)
    label_edges(axes, 4, "epoch", "gain over the base")
    handles = {text: handle for axis in axes for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(4, len(handles)))
    epochs = sorted({point.epoch for point in points})
    n_rising = sum(_rises([point for point in points if point.metric == metric]) for metric in metrics)
    title = (
        f"{condition_text(None, *condition) or 'All runs'}, epoch {epochs[0]} to {epochs[-1]}: the mean gain ends "
        f"higher than it begins on {n_rising} of {counted(len(metrics), 'task')} ({counted(len(lines), 'curve')} each)"
    )
    note = (
        "Each point is the mean gain over bases and seeds; bands are its interval."
        if few
        else ("Grey: one dataset and method each; coloured: their mean by method.")
    )
    name = file_name("epochs", *condition)
    return finished(figure, name=name, section="epochs", title=title, note=note)


def _rises(points: Sequence[TrajectoryPoint]) -> bool:
    """Return whether the mean gain at the last epoch is above that at the first, over curves that have both."""
    first, last = min(point.epoch for point in points), max(point.epoch for point in points)
    ends: dict[tuple, dict[int, float]] = defaultdict(dict)
    for point in points:
        ends[point.dataset, point.method][point.epoch] = point.gain.value
    return sum(found[last] - found[first] for found in ends.values() if first in found and last in found) > 0


def _curve(axis: Any, points: Sequence[TrajectoryPoint], *, colour: str, label: str | None, band: bool) -> None:
    epochs = [point.epoch for point in points]
    axis.plot(
        epochs, [point.gain.value for point in points], color=colour, label=label,
        linewidth=1.6 if band else 0.7, marker="o" if band else None, markersize=2.6,
    )  # fmt: skip
    known = [point for point in points if point.gain.low is not None and point.gain.high is not None]
    if band and known:
        lows, highs = [point.gain.low for point in known], [point.gain.high for point in known]
        axis.fill_between([point.epoch for point in known], lows, highs, color=colour, alpha=0.13, linewidth=0)


def _mean_curves(axis: Any, points: Sequence[TrajectoryPoint]) -> None:
    for index, method in enumerate(sorted({point.method for point in points})):
        by_epoch: dict[int, list[float]] = defaultdict(list)
        for point in points:
            if point.method == method:
                by_epoch[point.epoch].append(point.gain.value)
        epochs = sorted(by_epoch)
        means = [sum(by_epoch[epoch]) / len(by_epoch[epoch]) for epoch in epochs]
        axis.plot(epochs, means, color=COLOURS[index], linewidth=2, label=f"{method}, mean of datasets")


def _transfers(findings: Findings) -> Iterator[Picture]:
    """Yield the correlations of gains between tasks, as a matrix."""
    if len(findings.transfers) < 2:
        return
    import numpy as np

    every = [metric for each in findings.transfers for metric in (each.first, each.second)]
    metrics = headline_metrics(every)
    place = {metric: index for index, metric in enumerate(metrics)}
    values = np.full((len(metrics), len(metrics)), np.nan)
    shown = [each for each in findings.transfers if each.first in place and each.second in place]
    if not shown:
        return
    for each in shown:
        i, j = sorted((place[each.first], place[each.second]))
        values[j, i] = each.r.value
    side = 0.46 * len(metrics) + 1.8
    figure = new_figure(max(6.5, side), side)
    axis = figure.subplots()
    squares(axis, values, 1.0)
    axis.set_aspect("equal")
    for row, column in zip(*np.nonzero(np.isfinite(values)), strict=True):
        colour = "#ffffff" if abs(values[row, column]) > 0.65 else INK
        text = number_text(values[row, column])
        axis.text(column, row, text, ha="center", va="center", fontsize=7.5, color=colour)
    names = [shortened(metric_name(metric, metrics), 22) for metric in metrics]
    axis.set_xticks(range(len(names)), names, rotation=90)
    axis.set_yticks(range(len(names)), names)
    axis.tick_params(length=0)
    axis.spines[:].set_color(GRID)
    rs = sorted(each.r.value for each in shown)
    title = (
        f"Gains on two tasks correlate between {number_text(rs[0])} and {number_text(rs[-1])} "
        f"(median {number_text(rs[len(rs) // 2])}, {len(rs)} pairs, up to {max(each.r.n for each in shown):,} cells)"
    )
    note = "Pearson r over all cells with both gains. Blue: what helps one task helps the other; red: it costs."
    yield finished(figure, name="transfer", section="transfer", title=title, note=note)
