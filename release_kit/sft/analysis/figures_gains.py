"""Pictures of gains: heat maps of base x dataset x task, curves over epochs, and how gains of tasks go together."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from release_kit.sft.analysis.estimate import Metric
from release_kit.sft.analysis.figures_style import (
    COLOURS,
    FAINT,
    GRID,
    INK,
    WORSE_TO_BETTER,
    Picture,
    finished,
    headline_metrics,
    label_edges,
    metric_name,
    n_across,
    new_figure,
    number_text,
    panels,
    shortened,
)
from release_kit.sft.analysis.records import Analysis, Effect, Findings, TrajectoryPoint

FEWEST_SQUARES = 4
"""Groups with fewer gains than this get no heat map: a table says it better."""

MAX_LINES = 6
_Condition = tuple[str, int | None, str | None]


def gain_pictures(analysis: Analysis) -> Iterator[Picture]:
    """Yield the heat maps of every condition, the curves over epochs and the correlations between tasks."""
    findings = analysis.findings
    everything = {_square(effect) for effect in (analysis.beside or findings).effects}
    groups: dict[_Condition, list[Effect]] = defaultdict(list)
    for effect in findings.effects:
        groups[effect.method, effect.data_size, effect.schedule].append(effect)
    for condition, effects in sorted(groups.items(), key=lambda item: _order(item[0])):
        if len({effect.dataset for effect in effects}) > 1 and len(effects) >= FEWEST_SQUARES:
            yield _heat_map(condition, effects, everything)
    yield from _trajectories(findings)
    yield from _transfers(findings)


def condition_text(method: str | None, data_size: int | None, schedule: str | None) -> str:
    """Return ``full, 1,000 examples, cosine``; what is not known is left out."""
    size = None if not data_size else f"{data_size:,} examples"
    return ", ".join(part for part in (method, size, schedule) if part and part != "none")


def _order(condition: tuple) -> tuple:
    return tuple((part is None, part) if not isinstance(part, str) else (False, part) for part in condition)


def _square(effect: Effect) -> tuple:
    return (effect.base_model, effect.dataset, effect.method, effect.data_size, effect.schedule, effect.metric)


def _file_name(*parts: Any) -> str:
    words = "-".join(str(part) for part in parts if part not in (None, "", "none"))
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in words)


def _heat_map(condition: _Condition, effects: Sequence[Effect], everything: set[tuple]) -> Picture:
    import numpy as np

    every = [effect.metric for effect in effects]
    metrics = headline_metrics(every)
    bases = sorted({each[0] for each in everything if each[2:5] == condition})
    datasets = sorted({effect.dataset for effect in effects})
    by_square = {_square(effect): effect.gain.value for effect in effects}
    longest = max(len(shortened(name, 20)) for name in bases)
    width, height = 0.30 * len(datasets) + 0.35, 0.24 * len(bases) + 0.5
    figure, axes = panels(len(metrics), width=max(1.9, width), height=height, columns=5, extra=1.9)
    figure.set_size_inches(figure.get_size_inches()[0] + 0.08 * longest, figure.get_size_inches()[1])
    across = n_across(len(metrics), 5)
    n_shown = n_missing = n_doubtful = 0
    for index, (axis, metric) in enumerate(zip(axes, metrics, strict=True)):
        keys = [[(base, dataset, *condition, metric) for dataset in datasets] for base in bases]
        values = np.array([[by_square.get(key, np.nan) for key in row] for row in keys], dtype=float)
        limit = _limit(values)
        axis.imshow(values, cmap=WORSE_TO_BETTER, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
        for row, column in zip(*np.nonzero(np.isnan(values)), strict=True):
            doubtful = keys[row][column] in everything
            n_doubtful += doubtful
            n_missing += not doubtful
            _hatch(axis, column, row, "..." if doubtful else "////")
        n_shown += int(np.isfinite(values).sum())
        _numbers(axis, values, limit)
        axis.set_title(f"{metric_name(metric, metrics)}  ±{_limit_text(limit)}", fontsize=8.5, loc="left")
        first, last = index % across == 0, index + across >= len(metrics)
        axis.set_yticks(range(len(bases)), [shortened(b, 20) for b in bases] if first else [], fontsize=7.5)
        names = [shortened(name, 18) for name in datasets] if last else []
        axis.set_xticks(range(len(datasets)), names, fontsize=7.5, rotation=90)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    shown = list(by_square.values())
    title = (
        f"Gain over the base, {condition_text(*condition)}: {number_text(100 * _share(shown), 0)} % of "
        f"{len(shown):,} gains are improvements ({len(bases)} bases, {len(datasets)} datasets)"
    )
    note = (
        "Blue: better than the untouched base; red: worse; white: no change. Each panel has its own scale, the range "
    )
    note += "beside its name. Hatched: no score"
    note += "; dotted: the base's own score is in doubt, so that no gain can be told." if n_doubtful else "."
    if len(metrics) < len(set(every)):
        note += f" One metric a benchmark is shown; the table has all {len(set(every))}."
    _hatch_legend(figure, n_missing, n_doubtful)
    return finished(figure, name=_file_name("gains", *condition), section="gains", title=title, note=note)


def _share(values: Sequence[float]) -> float:
    return sum(value > 0 for value in values) / len(values)


def _limit(values: Any) -> float:
    """Return the end of a symmetric scale: the 98th percentile of |gain|, so that one outlier does not bleach all."""
    import numpy as np

    known = np.abs(values[np.isfinite(values)])
    return float(np.percentile(known, 98)) if known.size and known.max() > 0 else 1.0


def _limit_text(limit: float) -> str:
    return f"{limit:.2g}" if limit < 10 else f"{limit:.0f}"


def _numbers(axis: Any, values: Any, limit: float) -> None:
    """Write the numbers into the squares where there is room for them."""
    import numpy as np

    if values.shape[1] > 6 or values.size > 60:
        return
    decimals = 2 if limit < 1 else 1
    for row, column in zip(*np.nonzero(np.isfinite(values)), strict=True):
        value = values[row, column]
        colour = "#ffffff" if abs(value) > 0.7 * limit else INK
        axis.text(column, row, number_text(value, decimals), ha="center", va="center", fontsize=6.5, color=colour)


def _hatch(axis: Any, column: int, row: int, pattern: str) -> None:
    from matplotlib.patches import Rectangle

    place = (column - 0.5, row - 0.5)
    axis.add_patch(Rectangle(place, 1, 1, facecolor="#f6f8fa", edgecolor="#8b949e", hatch=pattern, linewidth=0))


def _hatch_legend(figure: Any, n_missing: int, n_doubtful: int) -> None:
    from matplotlib.patches import Patch

    handles = []
    for n, label, pattern in ((n_missing, "no score", "////"), (n_doubtful, "base score in doubt", "...")):
        if n:
            handles.append(Patch(facecolor="#f6f8fa", edgecolor="#8b949e", hatch=pattern, linewidth=0, label=label))
    if handles:
        figure.legend(handles=handles, loc="outside lower left", ncols=2, handlelength=2.2, handleheight=1.2)


def _trajectories(findings: Findings) -> Iterator[Picture]:
    groups: dict[tuple, list[TrajectoryPoint]] = defaultdict(list)
    for point in findings.trajectories:
        groups[point.data_size, point.schedule].append(point)
    for (size, schedule), points in sorted(groups.items(), key=lambda item: _order(item[0])):
        if len({point.epoch for point in points}) > 1:
            yield _trajectory(size, schedule, points)


def _trajectory(size: int | None, schedule: str | None, points: Sequence[TrajectoryPoint]) -> Picture:
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
    what = condition_text(None, size, schedule) or "all runs"
    title = f"Gain by epoch {epochs[0]} to {epochs[-1]}, {what}: {len(lines)} curves of dataset and method"
    note = (
        "Each point is the mean gain over bases and seeds; bands are its interval."
        if few
        else ("Grey: one dataset and method each; coloured: their mean by method.")
    )
    name = _file_name("epochs", size, schedule)
    return finished(figure, name=name, section="epochs", title=title, note=note)


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
    figure = new_figure(max(6.5, side + 0.6), side)
    axis = figure.subplots()
    image = axis.imshow(values, cmap=WORSE_TO_BETTER, vmin=-1, vmax=1, interpolation="nearest")
    for row, column in zip(*np.nonzero(np.isfinite(values)), strict=True):
        colour = "#ffffff" if abs(values[row, column]) > 0.65 else INK
        text = number_text(values[row, column])
        axis.text(column, row, text, ha="center", va="center", fontsize=7.5, color=colour)
    names = [shortened(metric_name(metric, metrics), 22) for metric in metrics]
    axis.set_xticks(range(len(names)), names, rotation=90)
    axis.set_yticks(range(len(names)), names)
    axis.tick_params(length=0)
    axis.spines[:].set_color(GRID)
    figure.colorbar(image, ax=axis, shrink=0.6, label="correlation of gains")
    rs = sorted(each.r.value for each in shown)
    title = (
        f"Gains on two tasks correlate between {number_text(rs[0])} and {number_text(rs[-1])} "
        f"(median {number_text(rs[len(rs) // 2])}, {len(rs)} pairs, up to {max(each.r.n for each in shown):,} cells)"
    )
    note = "Pearson r over all cells with both gains. Blue: what helps one task helps the other; red: it costs."
    yield finished(figure, name="transfer", section="transfer", title=title, note=note)
