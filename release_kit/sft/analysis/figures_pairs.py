"""Pictures of comparisons: LoRA against full, many examples against few, and the verdicts on claims."""

import re
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
    marks,
    new_figure,
    number_text,
    panels,
    words,
    wrapped,
)
from release_kit.sft.analysis.estimate import Estimate, Metric
from release_kit.sft.analysis.figures_style import headline_metrics, interval_text, level_text, metric_name, within_text
from release_kit.sft.analysis.records import FAILS, HOLDS, Analysis, Comparison, Gain, Verdict

VERDICT_LOOKS = {HOLDS: ("#0072b2", "o"), FAILS: ("#d55e00", "X")}
"""Verdict → colour and marker; what cannot be told is a grey ring."""

_NUMBER = re.compile(r"(?<![\w.])[-\u2212]?\d+(?:\.\d+)?")
_FEWEST_PAIRS = 6


def pair_pictures(analysis: Analysis) -> Iterator[Picture]:
    """Yield shares of pairs for every contrast, and full against LoRA score by score."""
    groups: dict[tuple, list[Comparison]] = defaultdict(list)
    for each in analysis.findings.comparisons:
        groups[each.contrast, each.first, each.second, each.within].append(each)
    names: dict[str, int] = {}
    for (contrast, first, second, _within), found in sorted(groups.items()):
        base = f"compare-{contrast}-{first}-{second}".replace("_", "-")
        names[base] = names.get(base, 0) + 1
        yield _shares(found, base if names[base] == 1 else f"{base}-{names[base]}")
    yield from _scatter(analysis.gains)


def verdict_picture(analysis: Analysis) -> Picture | None:
    """Return the estimates of all claims with their intervals; None when no claim has one."""
    told = [each for each in analysis.findings.verdicts if each.estimate is not None]
    return _forest(told, len(analysis.findings.verdicts)) if told else None


def _shares(found: Sequence[Comparison], name: str) -> Picture:
    ordered = sorted(found, key=lambda each: (each.wins.value, each.metric.key))
    every = [each.metric for each in ordered]
    figure = new_figure(9.0, 0.27 * len(ordered) + 1.9)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    rows = range(len(ordered))
    left.axvline(50, color=FAINT, linewidth=0.9)
    for row, each in zip(rows, ordered, strict=True):
        colour = _side(each.wins, 0.5)
        _whisker(left, each.wins, row, colour, scale=100)
        p = each.difference.p_adjusted if each.difference.p_adjusted is not None else each.difference.p
        right.text(0.0, row, interval_text(each.difference), fontsize=8, va="center", color=INK)
        right.text(0.62, row, "" if p is None else _p_text(p), fontsize=8, va="center", color=INK)
        right.text(0.98, row, f"{each.wins.n:,}", fontsize=8, va="center", ha="right", color=FAINT)
    top = len(ordered) - 0.2
    for x, text, side in ((0.0, "mean difference", "left"), (0.62, "p, corrected", "left"), (0.98, "pairs", "right")):
        right.text(x, top, text, fontsize=8, va="bottom", ha=side, color=FAINT)
    left.set_yticks(list(rows), [metric_name(each.metric, every) for each in ordered], fontsize=8)
    left.set_xlim(0, 100)
    left.set_ylim(-0.6, top + 0.5)
    first = ordered[0]
    one, other = level_text(first.first), level_text(first.second)
    left.set_xlabel(f"% of pairs in which {one} is better than {other}")
    left.grid(axis="x")
    right.set_xlim(0, 1)
    right.axis("off")
    ahead = sum(each.wins.value > 0.5 for each in ordered)
    pairs = sorted({each.wins.n for each in ordered})
    n = f"{pairs[0]:,}" if len(pairs) == 1 else f"{pairs[0]:,} to {pairs[-1]:,}"
    within = f", {within_text(first.within)}" if first.within else ""
    title = f"{one} against {other}{within}: ahead on {ahead} of {len(ordered)} scores ({n} pairs each)"
    note = f"A pair differs in {words(first.contrast)} only. Whiskers: intervals over {words(first.wins.over)}; "
    note += "blue: wholly above one half; orange: wholly below; grey: neither. Difference: improvement positive."
    return finished(figure, name=name, section="comparisons", title=title, note=note)


def _side(estimate: Estimate, middle: float) -> str:
    if estimate.low is not None and estimate.low > middle:
        return COLOURS[0]
    if estimate.high is not None and estimate.high < middle:
        return COLOURS[1]
    return "#6e7781"


def _whisker(axis: Any, estimate: Estimate, row: float, colour: str, *, scale: float = 1.0) -> None:
    if estimate.low is not None and estimate.high is not None:
        axis.plot([scale * estimate.low, scale * estimate.high], [row, row], color=colour, linewidth=1.8)
    axis.plot([scale * estimate.value], [row], "o", color=colour, markersize=5.5)


def _p_text(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"


def _scatter(gains: Sequence[Gain]) -> Iterator[Picture]:
    """Yield full against LoRA: one point for each pair of cells that differ in the method only."""
    scores: dict[tuple, dict[str, Gain]] = defaultdict(dict)
    for gain in gains:
        if gain.last:
            place = (gain.metric, gain.base_model, gain.dataset, gain.data_size, gain.schedule, gain.seed, gain.others)
            scores[place][gain.method] = gain
    pairs: dict[Metric, list[tuple[Gain, Gain]]] = defaultdict(list)
    for place, by_method in scores.items():
        if "full" in by_method and "lora" in by_method:
            pairs[place[0]].append((by_method["full"], by_method["lora"]))
    metrics = headline_metrics([metric for metric, found in pairs.items() if len(found) >= _FEWEST_PAIRS], limit=12)
    if not metrics:
        return
    looks = marks([full.base_model for metric in metrics for full, _ in pairs[metric]])
    figure, axes = panels(len(metrics), width=2.3, height=2.25, columns=4, extra=1.2)
    for axis, metric in zip(axes, metrics, strict=True):
        for base, (colour, marker) in looks.items():
            own = [(full.value, lora.value) for full, lora in pairs[metric] if full.base_model == base]
            x, y = [a for a, _ in own], [b for _, b in own]
            axis.plot(x, y, marker, color=colour, markersize=3.8, alpha=0.75, markeredgewidth=0, label=base)
        ends = [value for pair in pairs[metric] for value in (pair[0].value, pair[1].value)]
        low, high = min(ends), max(ends)
        pad = 0.06 * (high - low) or 0.05
        axis.plot([low - pad, high + pad], [low - pad, high + pad], color=FAINT, linewidth=0.8, zorder=1)
        axis.set_xlim(low - pad, high + pad)
        axis.set_ylim(low - pad, high + pad)
        axis.set_aspect("equal")
        axis.set_title(f"{metric_name(metric, metrics)}  n={len(pairs[metric])}", loc="left", fontsize=8.5)
        axis.tick_params(labelsize=7)
    label_edges(axes, 4, "score of full fine-tuning", "score of LoRA")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(5, len(looks)))
    every = [pair for metric in metrics for pair in pairs[metric]]
    above = sum(lora.gain > full.gain for full, lora in every) / len(every)
    title = f"LoRA is better than full in {number_text(100 * above, 0)} % of {len(every):,} pairs of scores"
    note = "One point: two cells that differ in the method only, at their last epoch. Above the line LoRA is higher."
    yield finished(figure, name="lora-full", section="comparisons", title=title, note=note)


def _forest(told: Sequence[Verdict], n_claims: int) -> Picture:
    """Return one row for each claim, on its own scale, with the limits that its criterion names."""
    figure = new_figure(10.5, 0.52 * len(told) + 1.2)
    axis = figure.subplots()
    axis.axis("off")
    for row, verdict in enumerate(told):
        _forest_row(axis, verdict, len(told) - 1 - row)
    axis.set_xlim(0, 1)
    axis.set_ylim(-0.7, len(told) - 0.3)
    _forest_legend(figure)
    counts = {name: sum(each.verdict == name for each in told) for name in (HOLDS, FAILS)}
    rest = n_claims - sum(counts.values())
    title = f"{n_claims} claims: {counts[HOLDS]} hold, {counts[FAILS]} do not, {rest} cannot be told from these data"
    note = "Dot: estimate; line: its interval; dashed: limits that the claim must keep to. Each row has its own scale."
    return finished(figure, name="verdicts", section="verdicts", title=title, note=note)


def _forest_row(axis: Any, verdict: Verdict, y: int) -> None:
    estimate = verdict.estimate
    colour, marker = VERDICT_LOOKS.get(verdict.verdict, ("#6e7781", "o"))
    limits = [float(text.replace("\u2212", "-")) for text in _NUMBER.findall(verdict.criterion)][:2]
    ends = [estimate.value, *limits, *(end for end in (estimate.low, estimate.high) if end is not None)]
    low, high = min(ends), max(ends)
    pad = 0.08 * (high - low) or 0.1
    left, right = 0.47, 0.80

    def place(value: float) -> float:
        return left + (value - low + pad) / (high - low + 2 * pad) * (right - left)

    axis.text(0.0, y, wrapped(verdict.statement, 68), fontsize=8, va="center", color=INK, linespacing=1.1)
    axis.plot([left, right], [y, y], color=GRID, linewidth=5, solid_capstyle="round", zorder=1)
    for limit in limits:
        axis.plot([place(limit)] * 2, [y - 0.3, y + 0.3], color=FAINT, linewidth=1, linestyle=(0, (2, 1.5)))
        axis.text(place(limit), y - 0.32, number_text(limit), fontsize=6.5, color=FAINT, ha="center", va="top")
    if estimate.low is not None and estimate.high is not None:
        axis.plot([place(estimate.low), place(estimate.high)], [y, y], color=colour, linewidth=2, zorder=2)
    hollow = verdict.verdict not in VERDICT_LOOKS
    axis.plot(
        [place(estimate.value)], [y], marker, color=colour, markersize=7, zorder=3,
        markerfacecolor="#ffffff" if hollow else colour, markeredgewidth=1.4,
    )  # fmt: skip
    axis.text(0.82, y, interval_text(estimate), fontsize=8, va="center", color=INK)
    axis.text(1.0, y, f"n={estimate.n:,}", fontsize=8, va="center", ha="right", color=FAINT)


def _forest_legend(figure: Any) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, marker=marker, linewidth=0, label=name)
        for name, (colour, marker) in VERDICT_LOOKS.items()
    ]
    ring = {"color": "#6e7781", "markerfacecolor": "#ffffff", "linewidth": 0}
    handles.append(Line2D([], [], marker="o", label="cannot be told", **ring))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
