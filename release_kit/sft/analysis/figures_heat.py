"""Heat maps of base x dataset x task: a panel for each task, holes and doubts hatched apart.

Owns one picture and the squares that other pictures use too; which conditions get a heat map is ``figures_gains.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from release_kit.core.pictures import INK, Picture, finished, n_across, number_text, panels, shortened
from release_kit.core.wording import counted
from release_kit.sft.analysis.estimate import Metric
from release_kit.sft.analysis.figures_style import WORSE_TO_BETTER, headline_metrics, metric_name
from release_kit.sft.analysis.records import Effect

FEW_BASES, MAX_ACROSS = 3, 5
Condition = tuple[str, int | None, str | None, str]
"""Method, data size, schedule, levels of other factors."""


def condition_text(method: str | None, data_size: int | None, schedule: str | None, others: str = "") -> str:
    """Return ``full, 1,000 examples, cosine``; what is not known is left out."""
    size = None if not data_size else f"{data_size:,} examples"
    return ", ".join(part for part in (method, size, schedule, others) if part and part != "none")


def file_name(*parts: Any) -> str:
    """Return a file name of the parts that are known."""
    words = "-".join(str(part) for part in parts if part not in (None, "", "none"))
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in words)


def square_of(effect: Effect) -> tuple:
    """Return which square of which heat map an effect is."""
    condition = (effect.method, effect.data_size, effect.schedule, effect.others)
    return (effect.base_model, effect.dataset, *condition, effect.metric)


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """One heat map before it is drawn: what is down, what is across, and the squares of each metric."""

    condition: Condition
    rows: Sequence[str]
    columns: Sequence[str]
    turned: bool
    """Datasets run down: better where there are few bases."""
    gains: dict[tuple, float]
    everything: set[tuple]

    def key(self, row: str, column: str, metric: Metric) -> tuple:
        base, dataset = (column, row) if self.turned else (row, column)
        return (base, dataset, *self.condition, metric)

    def values(self, metric: Metric) -> Any:
        """Return (n_rows, n_columns) gains, NaN where there is none."""
        import numpy as np

        known = [[self.gains.get(self.key(r, c, metric), np.nan) for c in self.columns] for r in self.rows]
        return np.array(known, dtype=float)


def heat_map(condition: Condition, effects: Sequence[Effect], everything: set[tuple]) -> Picture:
    """Draw the gains of one condition: a panel for each metric, bases down, datasets across.

    Args:
        condition: method, data size and schedule.
        effects: those of the condition whose base scores are sound.
        everything: squares that have a gain when doubtful base scores count too; these are dotted, others hatched.
    """
    every = [effect.metric for effect in effects]
    metrics = headline_metrics(every)
    bases = sorted({each[0] for each in everything if each[2:6] == condition})
    datasets = sorted({effect.dataset for effect in effects})
    turned = len(bases) < FEW_BASES < len(datasets)
    grid = _Grid(
        condition=condition, rows=datasets if turned else bases, columns=bases if turned else datasets, turned=turned,
        gains={square_of(effect): effect.gain.value for effect in effects}, everything=everything,
    )  # fmt: skip
    named = max(len(metric_name(metric, metrics)) for metric in metrics) + len("  ±0.00")
    width, height = max(0.075 * named, 0.30 * len(grid.columns) + 0.35), 0.24 * len(grid.rows) + 0.5
    figure, axes = panels(len(metrics), width=width, height=height, columns=MAX_ACROSS, extra=1.9)
    longest = max(len(shortened(name, 20)) for name in grid.rows)
    figure.set_figwidth(figure.get_figwidth() + 0.08 * longest)
    across = n_across(len(metrics), MAX_ACROSS)
    holes = [0, 0]
    for index, (axis, metric) in enumerate(zip(axes, metrics, strict=True)):
        limit, found = _panel(axis, grid, metric)
        holes = [one + other for one, other in zip(holes, found, strict=True)]
        axis.set_title(f"{metric_name(metric, metrics)}  ±{_limit_text(limit)}", fontsize=8.5, loc="left")
        _namesquares(axis, grid, rows=index % across == 0, columns=index + across >= len(metrics))
    _hatch_legend(figure, *holes)
    values, sound = list(grid.gains.values()), {effect.base_model for effect in effects}
    title = (
        f"Gain over the base, {condition_text(*condition)}: {number_text(100 * _share(values), 0)} % of "
        f"{counted(len(values), 'gain')} are improvements ({counted(len(sound), 'base')}, "
        f"{counted(len(datasets), 'dataset')})"
    )
    note = (
        "Blue: better than the untouched base; red: worse; white: no change. Each panel has its own scale, the range "
    )
    note += "beside its name. Hatched: no score"
    note += "; dotted: the base's own score is in doubt, so that no gain can be told." if holes[1] else "."
    if len(metrics) < len(set(every)):
        note += f" One metric a benchmark is shown; the table has all {len(set(every))}."
    return finished(figure, name=file_name("gains", *condition), section="gains", title=title, note=note)


def _panel(axis: Any, grid: _Grid, metric: Metric) -> tuple[float, tuple[int, int]]:
    """Draw the squares of one metric; return the end of its scale and how many are missing and in doubt."""
    import numpy as np

    values = grid.values(metric)
    limit = _limit(values)
    squares(axis, values, limit)
    found = {"////": 0, "...": 0}
    for row, name in enumerate(grid.rows):
        patterns = [
            None if known else "..." if grid.key(name, column, metric) in grid.everything else "////"
            for known, column in zip(np.isfinite(values[row]), grid.columns, strict=True)
        ]
        start = 0
        for pattern, run in groupby(patterns):
            length = len(list(run))
            if pattern is not None:
                found[pattern] += length
                _hatch(axis, start, row, length, pattern)
            start += length
    _numbers(axis, values, limit)
    return limit, (found["////"], found["..."])


def squares(axis: Any, values: Any, limit: float) -> None:
    """Draw a matrix as squares, the first row on top; not as an image, which an SVG would have to carry inside."""
    import numpy as np

    n_rows, n_columns = values.shape
    edges = (np.arange(n_columns + 1) - 0.5, np.arange(n_rows + 1) - 0.5)
    looks = {"cmap": WORSE_TO_BETTER, "vmin": -limit, "vmax": limit, "edgecolors": "face", "linewidth": 0.3}
    axis.pcolormesh(*edges, np.ma.masked_invalid(values), **looks)
    axis.set_ylim(n_rows - 0.5, -0.5)


def _namesquares(axis: Any, grid: _Grid, *, rows: bool, columns: bool) -> None:
    names = [shortened(name, 20) for name in grid.rows] if rows else []
    axis.set_yticks(range(len(grid.rows)), names, fontsize=7.5)
    names = [shortened(name, 18) for name in grid.columns] if columns else []
    axis.set_xticks(range(len(grid.columns)), names, fontsize=7.5, rotation=90)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


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


def _hatch(axis: Any, column: int, row: int, n_columns: int, pattern: str) -> None:
    from matplotlib.patches import Rectangle

    looks = {"facecolor": "#f6f8fa", "edgecolor": "#8b949e", "hatch": pattern, "linewidth": 0}
    patch = axis.add_patch(Rectangle((column - 0.5, row - 0.5), n_columns, 1, **looks))
    patch.set_in_layout(False)


def _hatch_legend(figure: Any, n_missing: int, n_doubtful: int) -> None:
    from matplotlib.patches import Patch

    handles = []
    for n, label, pattern in ((n_missing, "no score", "////"), (n_doubtful, "base score in doubt", "...")):
        if n:
            handles.append(Patch(facecolor="#f6f8fa", edgecolor="#8b949e", hatch=pattern, linewidth=0, label=label))
    if handles:
        figure.legend(handles=handles, loc="outside lower left", ncols=2, handlelength=2.2, handleheight=1.2)
