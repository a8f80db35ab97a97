"""Gains: each score of a fine-tuned cell against the untouched base on the same benchmark, metric and shots.

Owns the matching of cells with their base and the columns that the statistics work on (``GainFrame``). A base that has
no such score gives no gain, and is said; a doubtful base score marks its gains (``doubtful.py``), and only the caller
decides which frame to use.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from release_kit.core.results import Result
from release_kit.core.study import Study
from release_kit.sft.analysis.cells import CellFacts, metric_of
from release_kit.sft.analysis.estimate import Metric
from release_kit.sft.analysis.intervals import rounded
from release_kit.sft.analysis.records import Doubt, Gain


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseScore:
    """What an untouched base scores on one metric; the mean when it was evaluated more than once."""

    cell_id: str
    value: float
    stderr: float | None
    n: int | None


Bases = Mapping[str, Mapping[Metric, BaseScore]]
"""Base model → metric → score."""


def base_scores(rows: Iterable[Result], facts: Mapping[str, CellFacts]) -> dict[str, dict[Metric, BaseScore]]:
    """Return the scores of the untouched bases."""
    found: dict[tuple[str, Metric], list[Result]] = defaultdict(list)
    for row in rows:
        cell = facts.get(row.cell_id)
        if cell is not None and cell.untouched:
            found[cell.base_model, metric_of(row)].append(row)
    bases: dict[str, dict[Metric, BaseScore]] = defaultdict(dict)
    for (base, metric), scores in sorted(found.items(), key=lambda item: (item[0][0], item[0][1].key)):
        errors = [row.stderr for row in scores if row.stderr is not None]
        bases[base][metric] = BaseScore(
            cell_id=min(row.cell_id for row in scores),
            value=sum(row.value for row in scores) / len(scores),
            stderr=sum(errors) / len(errors) if len(errors) == len(scores) else None,
            n=scores[0].n,
        )
    return dict(bases)


def make_gains(
    study: Study, rows: Sequence[Result], facts: Mapping[str, CellFacts], bases: Bases, doubts: Sequence[Doubt]
) -> tuple[tuple[Gain, ...], tuple[str, ...]]:
    """Return every gain, sorted by metric and cell, and what had no base to be compared with.

    Args:
        study: says which metrics are better when they are lower.
        rows: results with a value.
        facts: of every declared cell.
        bases: scores of the untouched bases.
        doubts: their scores that no gain should rest on.
    """
    doubtful = {(doubt.base_model, metric) for doubt in doubts for metric in doubt.metrics}
    tuned = [(facts[row.cell_id], row) for row in rows if row.cell_id in facts and not facts[row.cell_id].untouched]
    last: dict[str, int] = {}
    for cell, _ in tuned:
        last[cell.run] = max(last.get(cell.run, -1), -1 if cell.epoch is None else cell.epoch)
    gains, without = [], defaultdict(int)
    for cell, row in tuned:
        metric = metric_of(row)
        base = bases.get(cell.base_model, {}).get(metric)
        if base is None:
            without[cell.base_model, metric.label] += 1
            continue
        marked = (cell.base_model, metric) in doubtful
        final = last[cell.run] == (-1 if cell.epoch is None else cell.epoch)
        gains.append(_gain(cell, row, metric, base, _sign(study, row), marked, final))
    gains.sort(key=lambda gain: (gain.metric.key, gain.base_model, gain.run, gain.epoch or 0, gain.cell_id))
    return tuple(gains), tuple(_without_notes(without))


def _sign(study: Study, row: Result) -> int:
    rule = study.benchmarks.get(row.benchmark, {}).get(row.metric)
    better = row.higher_is_better if row.higher_is_better is not None else rule is None or rule.higher_is_better
    return 1 if better else -1


def _gain(cell: CellFacts, row: Result, metric: Metric, base: BaseScore, sign: int, doubtful: bool, last: bool) -> Gain:
    known = row.stderr is not None and base.stderr is not None
    return Gain(
        cell_id=cell.cell_id,
        base_cell_id=base.cell_id,
        base_model=cell.base_model,
        dataset=cell.dataset,
        method=cell.method,
        data_size=cell.data_size,
        schedule=cell.schedule,
        seed=cell.seed,
        epoch=cell.epoch,
        run=cell.run,
        metric=metric,
        value=row.value,
        base_value=base.value,
        gain=rounded(sign * (row.value - base.value)),
        stderr=rounded(math.hypot(row.stderr, base.stderr)) if known else None,
        doubtful=doubtful,
        last=last,
        others=", ".join(f"{name}={level}" for name, level in cell.others),
    )


def _without_notes(without: Mapping[tuple[str, str], int]) -> Iterable[str]:
    by_base: dict[str, list[str]] = defaultdict(list)
    for base, label in sorted(without):
        by_base[base].append(label)
    for base, labels in by_base.items():
        n = sum(without[base, label] for label in labels)
        shown = ", ".join(labels[:4]) + (" …" if len(labels) > 4 else "")
        yield f"{base}: the untouched base has no score on {len(labels)} metrics ({shown}); {n} scores give no gain"


def stratum_text(others: str = "", **levels) -> str:
    """Return ``method=full, data_size=1000``: what rows have in common; levels that are None are left out."""
    named = [f"{name}={level}" for name, level in levels.items() if level is not None]
    return ", ".join([*named, *([others] if others else [])])


class GainFrame:
    """Gains as columns; every array is (n_rows,). Selecting gives a frame of the same kind.

    Args:
        gains: rows in the order of the columns.
    """

    def __init__(self, gains: Sequence[Gain]):
        self.gains = tuple(gains)

    def __len__(self) -> int:
        return len(self.gains)

    def labels(self, name: str) -> np.ndarray:
        """Return one field of the gains as objects (``base_model``, ``run``, ``metric`` …)."""
        column = np.empty(len(self.gains), dtype=object)
        column[:] = [getattr(gain, name) for gain in self.gains]
        return column

    def numbers(self, name: str) -> np.ndarray:
        """Return one numeric field as float64; None as NaN."""
        column = [getattr(gain, name) for gain in self.gains]
        return np.array([math.nan if value is None else value for value in column], dtype=np.float64)

    def where(self, keep: Iterable[bool]) -> "GainFrame":
        """Return the rows for which ``keep`` is true."""
        return GainFrame([gain for gain, wanted in zip(self.gains, keep, strict=True) if wanted])

    def having(self, **wanted) -> "GainFrame":
        """Return the rows whose fields have these values."""
        items = tuple(wanted.items())
        return GainFrame([gain for gain in self.gains if all(getattr(gain, name) == value for name, value in items)])

    def among(self, metrics: Iterable[Metric]) -> "GainFrame":
        """Return the rows of these metrics."""
        wanted = set(metrics)
        return GainFrame([gain for gain in self.gains if gain.metric in wanted])

    def by(self, *names: str) -> dict[tuple, "GainFrame"]:
        """Return sub-frames by the values of ``names``, in order of first appearance."""
        groups: dict[tuple, list[Gain]] = {}
        for gain in self.gains:
            groups.setdefault(tuple(getattr(gain, name) for name in names), []).append(gain)
        return {key: GainFrame(rows) for key, rows in groups.items()}

    def metrics(self) -> tuple[Metric, ...]:
        """Return the metrics that occur, sorted."""
        return tuple(sorted({gain.metric for gain in self.gains}, key=lambda metric: metric.key))

    def sound(self) -> "GainFrame":
        """Return the rows whose base score is not in doubt."""
        return GainFrame([gain for gain in self.gains if not gain.doubtful])
