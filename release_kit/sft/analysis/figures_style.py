"""How the pictures of an analysis name scores and conditions. How pictures look is ``core/pictures.py``'s; what is
drawn is decided in the ``figures_*.py`` beside this one.
"""

import re
from collections.abc import Sequence

from release_kit.core.pictures import number_text
from release_kit.sft.analysis.estimate import Estimate, Metric

WORSE_TO_BETTER = "RdBu"
"""Red below zero, white at zero, blue above."""

MAX_PANELS = 15
HEADLINES = ("total", "score", "acc_norm", "acc", "exact_match", "pass@1", "f1")
"""Of several metrics of one benchmark, pictures show the first of these; tables hold all."""


def within_text(text: str) -> str:
    """Return ``full, 1,000 examples`` for ``method=full data_size=1000`` or ``full, 1000``."""
    parts = [part.rpartition("=")[2] for part in re.split(r"[,\s]+", text) if part]
    return ", ".join(level_text(part) for part in parts)


def level_text(level: str) -> str:
    """Return how a level of a condition is named: a plain number is a number of examples."""
    return f"{int(level):,} examples" if level.isdecimal() else level


def headline_metrics(metrics: Sequence[Metric], *, limit: int = MAX_PANELS) -> list[Metric]:
    """Return one metric for each benchmark, in their order: the lowest number of shots, the metric best known."""
    best: dict[str, Metric] = {}
    for metric in sorted(set(metrics), key=lambda each: each.key):
        kept = best.get(metric.benchmark)
        if kept is None or _rank(metric) < _rank(kept):
            best[metric.benchmark] = metric
    return sorted(best.values(), key=lambda each: each.key)[:limit]


def metric_name(metric: Metric, metrics: Sequence[Metric]) -> str:
    """Return the short name of a metric: the metric itself only where its benchmark has several among ``metrics``."""
    several = sum(other.benchmark == metric.benchmark and other.n_shot == metric.n_shot for other in metrics) > 1
    shots = "" if metric.n_shot is None else f" {metric.n_shot}-shot"
    return f"{metric.benchmark}{shots}" + (f" {metric.metric}" if several else "")


def interval_text(estimate: Estimate, decimals: int = 2) -> str:
    """Return ``0.31 [0.12, 0.47]``; without an interval only the number."""
    text = number_text(estimate.value, decimals)
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} [{number_text(estimate.low, decimals)}, {number_text(estimate.high, decimals)}]"


def _rank(metric: Metric) -> tuple[int, int, str]:
    known = metric.metric.split(",")[0]
    place = HEADLINES.index(known) if known in HEADLINES else len(HEADLINES)
    return (0 if metric.n_shot is None else metric.n_shot, place, metric.metric)
