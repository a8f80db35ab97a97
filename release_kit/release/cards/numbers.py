"""Results as cards show them: grouped by cell, compared with the base model and with the rest of the grid.

Owns the statistics and how numbers are written. Everything is worked out once for a whole release and shared by all of
its cards.
"""

import functools
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from release_kit.core.grid import Levels, matches
from release_kit.core.results import Result
from release_kit.core.study import MetricRule, Study
from release_kit.release.cards.inputs import CardCell
from release_kit.release.cards.markdown import NOTHING

Key = tuple[str, int, str]
"""One column of the grid: (benchmark, n_shot or -1, metric)."""

_NO_RULE = MetricRule()


@dataclass(frozen=True, kw_only=True)
class Population:
    """One benchmark, number of shots and metric over the whole release."""

    key: Key
    values: tuple[float, ...]
    """Sorted values of all cells that are not baselines."""
    decimals: int
    higher_is_better: bool | None
    """None when neither the study nor the results say."""
    rule: MetricRule
    n_missing: int
    """Cells that are not baselines and have no value."""

    @functools.cached_property
    def median(self) -> float | None:
        """The median over cells that are not baselines; None without any value."""
        return statistics.median(self.values) if self.values else None

    @functools.cached_property
    def median_text(self) -> str:
        """The median as cards show it."""
        return NOTHING if self.median is None else fixed(self.median, self.decimals)

    @functools.cached_property
    def count_text(self) -> str:
        """How many cells stand behind the median."""
        return str(len(self.values))

    def quantile(self, share: float) -> float:
        """Return the value below which ``share`` of the values lie (linear between neighbours)."""
        position = share * (len(self.values) - 1)
        low = int(position)
        high = min(low + 1, len(self.values) - 1)
        return self.values[low] + (position - low) * (self.values[high] - self.values[low])

    @functools.cached_property
    def label(self) -> str:
        """``mmlu · 5-shot · acc``: how the column is called in figures and lists."""
        return " · ".join(part for part in (self.key[0], shots(self.key[1]), self.key[2]) if part)


class Grid:
    """The results of a release, grouped once.

    Args:
        study: says which cells are baselines and what metrics may be.
        cells: the cells of the release.
        results: their results.
    """

    def __init__(self, study: Study, cells: Sequence[CardCell], results: Sequence[Result]):
        self.study = study
        self.baseline_ids = frozenset(cell.cell_id for cell in cells if is_baseline(study, cell.levels))
        rows: dict[str, list[Result]] = {cell.cell_id: [] for cell in cells}
        by_key: dict[Key, list[Result]] = defaultdict(list)
        for result in results:
            rows[result.cell_id].append(result)
            by_key[key_of(result)].append(result)
        for group in rows.values():
            group.sort(key=key_of)
        self.rows: Mapping[str, list[Result]] = rows
        """cell_id → its results, sorted by key."""
        self._n_others = len(cells) - len(self.baseline_ids)
        self.populations = {key: self._population(key, by_key[key]) for key in sorted(by_key)}
        self._values = _single_values(results)
        self._base = _base_cells(study, cells, self.baseline_ids)

    def base_of(self, cell_id: str) -> CardCell | None:
        """Return the cell that holds the untouched base model of a cell; None when there is none, or not just one."""
        return self._base.get(cell_id)

    def value(self, cell_id: str, key: Key) -> float | None:
        """Return the one value of a cell; None when there is none, or two that compete."""
        return self._values.get((cell_id, key))

    def _population(self, key: Key, rows: Sequence[Result]) -> Population:
        others = [row for row in rows if row.cell_id not in self.baseline_ids]
        values = sorted(row.value for row in others if row.value is not None)
        everything = [row.value for row in rows if row.value is not None]
        rule = self.study.benchmarks.get(key[0], {}).get(key[2], _NO_RULE)
        with_value = {row.cell_id for row in others if row.value is not None}
        return Population(
            key=key,
            values=tuple(values),
            decimals=_decimals(rule, everything),
            higher_is_better=_direction(rule, rows),
            rule=rule,
            n_missing=self._n_others - len(with_value),
        )


def key_of(result: Result) -> Key:
    """Return the column of the grid that a result belongs to."""
    return (result.benchmark, -1 if result.n_shot is None else result.n_shot, result.metric)


def is_baseline(study: Study, levels: Levels) -> bool:
    """Return whether a cell is an untouched base model that others are compared with."""
    return study.baseline is not None and matches(levels, study.baseline)


def shots(n_shot: int) -> str:
    """Return ``5-shot``, or nothing when the number of shots is not known."""
    return "" if n_shot < 0 else f"{n_shot}-shot"


def fixed(value: float, decimals: int) -> str:
    """Return ``value`` with a fixed number of decimals, half to even, never ``-0.00``."""
    shown = f"{value:.{decimals}f}"
    return shown[1:] if shown[0] == "-" and not shown.strip("-0.") else shown


def signed(value: float, decimals: int) -> str:
    """Return ``value`` with its sign and a fixed number of decimals; zero has no sign."""
    shown = fixed(value, decimals)
    return shown if shown[0] == "-" or not shown.strip("0.") else f"+{shown}"


def better(population: Population, value: float, other: float) -> bool | None:
    """Return whether ``value`` is better than ``other``; None when the direction is not known."""
    if population.higher_is_better is None:
        return None
    return value > other if population.higher_is_better else value < other


def _decimals(rule: MetricRule, values: Sequence[float]) -> int:
    """Shares get four decimals, everything else two."""
    top = rule.high if rule.high is not None else max(map(abs, values), default=1.0)
    return 4 if top <= 1 else 2


def _direction(rule: MetricRule, rows: Sequence[Result]) -> bool | None:
    if rule is not _NO_RULE:
        return rule.higher_is_better
    said = {row.higher_is_better for row in rows} - {None}
    return said.pop() if len(said) == 1 else None


def _single_values(results: Sequence[Result]) -> dict[tuple[str, Key], float | None]:
    values: dict[tuple[str, Key], float | None] = {}
    for result in results:
        place = (result.cell_id, key_of(result))
        values[place] = None if place in values else result.value
    return values


def _base_cells(study: Study, cells: Sequence[CardCell], baseline_ids: frozenset[str]) -> dict[str, CardCell]:
    """Return cell_id → its base cell: same base model, and alone in sharing most other levels."""
    factor = study.factor_with_role("base_model")
    groups: dict[object, list[CardCell]] = defaultdict(list)
    for cell in cells:
        if cell.cell_id in baseline_ids:
            groups[cell.levels[factor.name] if factor else None].append(cell)
    found = {}
    for cell in cells:
        candidates = groups.get(cell.levels[factor.name] if factor else None, [])
        if cell.cell_id not in baseline_ids and (base := _nearest(cell, candidates)) is not None:
            found[cell.cell_id] = base
    return found


def _nearest(cell: CardCell, candidates: Sequence[CardCell]) -> CardCell | None:
    if len(candidates) <= 1:
        return candidates[0] if candidates else None
    shared = [sum(cell.levels[name] == level for name, level in base.levels.items()) for base in candidates]
    best = max(shared)
    return candidates[shared.index(best)] if shared.count(best) == 1 else None
