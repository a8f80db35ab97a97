"""Pictures of what goes with gain: properties of data (perplexity, length, similarity), and layer changes by depth."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from release_kit.core.pictures import (
    COLOURS,
    FAINT,
    INK,
    Picture,
    finished,
    label_edges,
    marks,
    number_text,
    panels,
    words,
)
from release_kit.sft.analysis.estimate import Estimate, Metric
from release_kit.sft.analysis.figures_style import headline_metrics, interval_text, metric_name
from release_kit.sft.analysis.records import Analysis, Depth, DepthBin, Relation, RelationPoint

PROPERTY_NAMES = {
    "perplexity_completion": "log perplexity of the completions under the base",
    "perplexity_full": "log perplexity of the whole examples under the base",
    "tokens_mean": "log tokens of an example",
    "completion_tokens_mean": "log tokens of a completion",
    "lexical_similarity": "lexical similarity to the benchmark",
    "embedding_similarity": "embedding similarity to the benchmark",
    "contamination": "n-grams shared with the benchmark",
}
_FEWEST_FOR_LINE = 4


def relation_pictures(analysis: Analysis) -> Iterator[Picture]:
    """Yield one picture for each property, then the depth profiles."""
    by_property: dict[str, list[RelationPoint]] = defaultdict(list)
    for point in analysis.findings.points:
        by_property[point.property].append(point)
    for name, points in sorted(by_property.items(), key=lambda item: _order(item[0])):
        yield _relation(name, points, [each for each in analysis.findings.relations if each.property == name])
    profiles = [depth for depth in analysis.findings.depth if depth.bins]
    for depth in profiles:
        if depth.kind == "all":
            yield _depth(depth)
    kinds = [depth for depth in profiles if depth.kind != "all"]
    if kinds:
        yield _kinds(kinds)


def _order(name: str) -> tuple[int, str]:
    names = list(PROPERTY_NAMES)
    return (names.index(name) if name in names else len(names), name)


def _relation(name: str, points: Sequence[RelationPoint], relations: Sequence[Relation]) -> Picture:
    metrics = headline_metrics([point.metric for point in points], limit=12)
    looks = marks([point.base_model for point in points])
    figure, axes = panels(len(metrics), width=2.5, height=2.1, columns=4, extra=1.2)
    for axis, metric in zip(axes, metrics, strict=True):
        own = [point for point in points if point.metric == metric]
        axis.axhline(0, color=FAINT, linewidth=0.7)
        for base, (colour, marker) in looks.items():
            mine = [point for point in own if point.base_model == base]
            x, y = [point.x for point in mine], [point.y for point in mine]
            axis.plot(x, y, marker, color=colour, markersize=4, alpha=0.8, markeredgewidth=0, label=base)
        _regression(axis, [point.x for point in own], [point.y for point in own])
        found = _relation_of(relations, metric)
        axis.set_title(metric_name(metric, metrics), loc="left", fontsize=8.5)
        if found is not None:
            axis.text(
                0.98, 0.97, f"r = {interval_text(found.r)}", transform=axis.transAxes, ha="right", va="top",
                fontsize=7.5, bbox={"facecolor": "#ffffff", "alpha": 0.75, "linewidth": 0, "pad": 1},
            )  # fmt: skip
        axis.tick_params(labelsize=7.5)
        axis.margins(y=0.18)
    shown = PROPERTY_NAMES.get(name, name)
    label_edges(axes, 4, shown, "gain over the base")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(5, len(labels)))
    overall = _relation_of(relations, None)
    said = "" if overall is None else f": partial r {interval_text(overall.r)} over all tasks{_given(overall)}"
    title = f"Gain against {shown}{said} ({len(points):,} points, {len(looks)} bases)"
    note = "One point is one base, dataset and method at its last epoch, mean over seeds. Line and band: straight line "
    note += "through all points of a panel and its 95 % interval; r: partial correlation with its interval"
    note += (_given(overall) if overall else "") + "."
    return finished(figure, name=f"gain-{name.replace('_', '-')}", section="relations", title=title, note=note)


def _relation_of(relations: Sequence[Relation], metric: Metric | None) -> Relation | None:
    """Return the relation of a metric, of several the one with the fewest things taken out."""
    found = [each for each in relations if each.metric == metric]
    return min(found, key=lambda each: (len(each.given), each.given)) if found else None


def _given(relation: Relation) -> str:
    return f", given {', '.join(map(words, relation.given))}" if relation.given else ""


def _regression(axis: Any, x: Sequence[float], y: Sequence[float]) -> None:
    """Draw the least-squares line and the 95 % band of its mean: s √(1/n + (x - x̄)² / Σ(x - x̄)²) t."""
    import numpy as np
    from scipy import stats

    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    spread = float(((a - a.mean()) ** 2).sum()) if a.size else 0.0
    if a.size < _FEWEST_FOR_LINE or spread <= 0:
        return
    slope, offset = np.polyfit(a, b, 1)
    grid = np.linspace(a.min(), a.max(), 40)
    error = np.sqrt(((b - slope * a - offset) ** 2).sum() / (a.size - 2))
    half = stats.t.ppf(0.975, a.size - 2) * error * np.sqrt(1 / a.size + (grid - a.mean()) ** 2 / spread)
    line = slope * grid + offset
    axis.plot(grid, line, color=INK, linewidth=1.1)
    axis.fill_between(grid, line - half, line + half, color=INK, alpha=0.1, linewidth=0)


def _depth(depth: Depth) -> Picture:
    """Return three panels over depth: change by base, its correlation with gain, agreement between bases."""
    with_agreement = any(each.agreement is not None for each in depth.bins)
    n = 3 if with_agreement else 2
    figure, axes = panels(n, width=3.1, height=2.6, columns=3, extra=1.1)
    x = [each.depth for each in depth.bins]
    looks = marks(list(depth.profiles))
    for base, (colour, marker) in looks.items():
        axes[0].plot(
            x,
            [100 * value for value in depth.profiles[base]],
            color=colour,
            marker=marker,
            markersize=3,
            linewidth=1,
            alpha=0.85,
            label=base,
        )
    _band(axes[0], depth.bins, [each.change for each in depth.bins], INK, "mean over bases", scale=100)
    axes[0].set_title("change of the weights, % (relative Frobenius)", loc="left", fontsize=8.5)
    axes[0].set_ylim(bottom=0)
    _peak(axes[0], depth.peak_change)
    _band(axes[1], depth.bins, [each.r_gain for each in depth.bins], COLOURS[0], None)
    axes[1].axhline(0, color=FAINT, linewidth=0.8)
    axes[1].set_title("its correlation with gain", loc="left", fontsize=8.5)
    _peak(axes[1], depth.peak_r)
    if with_agreement:
        _band(axes[2], depth.bins, [each.agreement for each in depth.bins], COLOURS[2], None)
        axes[2].axhline(0, color=FAINT, linewidth=0.8)
        axes[2].set_title("agreement between bases", loc="left", fontsize=8.5)
        if depth.peak_agreement is not None:
            _peak(axes[2], depth.peak_agreement)
    for axis in axes:
        axis.set_xlim(-0.02, 1.02)
        axis.tick_params(labelsize=7.5)
    label_edges(axes, 3, "depth (0 first, 1 last layer)", "")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(5, len(looks) + 1))
    what = "all methods" if depth.method == "all" else depth.method
    title = (
        f"Layer change by depth, {what}: it peaks at {interval_text(depth.peak_change)}, its correlation with gain at "
        f"{interval_text(depth.peak_r)} ({depth.peak_r.n:,} gains, {len(looks)} bases)"
    )
    note = "Bands: intervals over bases. Dashed line and grey band: where the curve peaks, with its interval. "
    note += "Correlations are of the logarithm of the change with gain, given base and task."
    return finished(figure, name=f"depth-{depth.method}", section="depth", title=title, note=note)


def _band(
    axis: Any,
    bins: Sequence[DepthBin],
    estimates: Sequence[Estimate | None],
    colour: str,
    label: str | None,
    *,
    scale: float = 1.0,
) -> None:
    known = [(each.depth, found) for each, found in zip(bins, estimates, strict=True) if found is not None]
    axis.plot(
        [x for x, _ in known],
        [scale * found.value for _, found in known],
        color=colour,
        linewidth=2.2,
        label=label,
        zorder=3,
    )
    wide = [(x, found.low, found.high) for x, found in known if found.low is not None and found.high is not None]
    if wide:
        x = [place for place, _, _ in wide]
        low, high = [scale * end for _, end, _ in wide], [scale * end for _, _, end in wide]
        axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def _peak(axis: Any, peak: Estimate) -> None:
    axis.axvline(peak.value, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    if peak.low is not None and peak.high is not None:
        axis.axvspan(peak.low, peak.high, color="#8b949e", alpha=0.12, linewidth=0)


def _kinds(depths: Sequence[Depth]) -> Picture:
    """Return one panel for each kind of tensor: correlation of its change with gain by depth, a line a method."""
    kinds = sorted({depth.kind for depth in depths})[:12]
    methods = sorted({depth.method for depth in depths})
    figure, axes = panels(len(kinds), width=2.3, height=1.7, columns=4, extra=1.1)
    for axis, kind in zip(axes, kinds, strict=True):
        axis.axhline(0, color=FAINT, linewidth=0.8)
        for index, method in enumerate(methods):
            for depth in depths:
                if (depth.kind, depth.method) == (kind, method):
                    _band(axis, depth.bins, [each.r_gain for each in depth.bins], COLOURS[index], method)
        axis.set_title(kind, loc="left", fontsize=8.5)
        axis.set_xlim(0, 1)
        axis.tick_params(labelsize=7.5)
    label_edges(axes, 4, "depth (0 first, 1 last layer)", "r of change with gain")
    handles = {text: handle for axis in axes for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles))
    strongest = max(depths, key=lambda each: abs(each.peak_r.value) if each.peak_r.n else 0.0)
    peaks = sorted(depth.peak_r.value for depth in depths)
    title = (
        f"Correlation of layer change with gain by kind of tensor: peaks between depth {number_text(peaks[0])} and "
        f"{number_text(peaks[-1])} ({len(kinds)} kinds, {strongest.peak_r.n:,} gains)"
    )
    note = "Partial correlation of the logarithm of the change with gain, given base and task; bands are intervals."
    return finished(figure, name="depth-kinds", section="depth", title=title, note=note)
