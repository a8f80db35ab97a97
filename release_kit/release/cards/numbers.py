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
from release_kit.release.cards.markdown import NOTHING, escaped

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
    def key_texts(self) -> tuple[str, str, str]:
        """Benchmark, shots and metric as they name a row of a table."""
        benchmark, n_shot, metric = self.key
        return escaped(benchmark), NOTHING if n_shot < 0 else str(n_shot), escaped(metric)

    @functools.cached_property
    def label(self) -> str:
        """``mmlu · 5-shot · acc``: how the column is called in figures and lists."""
        return " · ".join(part for part in (self.key[0], shots(self.key[1]), self.key[2]) if part)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One result of a cell beside its base model and its grid, with the texts that table and figure share."""

    row: Result
    population: Population
    base: float | None
    """Value of the base cell; None when there is none."""
    value_text: str
    base_text: str
    difference_text: str


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
        self.others = tuple(cell for cell in cells if cell.cell_id not in self.baseline_ids)
        """Cells that are not baselines."""
        rows: dict[str, list[tuple[Key, Result]]] = {cell.cell_id: [] for cell in cells}
        by_key: dict[Key, list[Result]] = defaultdict(list)
        owners: dict[str, str] = {}
        shared: set[str] = set()
        for result in results:
            key = (result.benchmark, -1 if result.n_shot is None else result.n_shot, result.metric)
            rows[result.cell_id].append((key, result))
            by_key[key].append(result)
            if owners.setdefault(result.source, result.cell_id) != result.cell_id:
                shared.add(result.source)
        self.shared_sources = frozenset(shared)
        """Files that hold results of more than one cell."""
        self._rows = {cell_id: sorted(group, key=lambda pair: pair[0]) for cell_id, group in rows.items()}
        self._columns = {key: _column(group) for key, group in by_key.items()}
        self.populations = {key: self._population(key, by_key[key]) for key in sorted(by_key)}
        self._base = _base_cells(study, cells, self.baseline_ids)

    def rows(self, cell_id: str) -> list[Result]:
        """Return the results of a cell, sorted by key."""
        return [row for _, row in self._rows[cell_id]]

    def base_of(self, cell_id: str) -> CardCell | None:
        """Return the cell that holds the untouched base model of a cell; None when there is none, or not just one."""
        return self._base.get(cell_id)

    def value(self, cell_id: str, key: Key) -> float | None:
        """Return the one value of a cell; None when there is none, or two that compete."""
        return self._columns[key].get(cell_id)

    def column(self, key: Key) -> Mapping[str, float | None]:
        """Return cell_id → value of one benchmark, number of shots and metric."""
        return self._columns[key]

    def compare(self, cell_id: str) -> list[Comparison]:
        """Return every result of a cell beside its base model, sorted by key."""
        base = self._base.get(cell_id)
        base_id = None if base is None else base.cell_id
        return [self._comparison(key, row, base_id) for key, row in self._rows[cell_id]]

    def _comparison(self, key: Key, row: Result, base_id: str | None) -> Comparison:
        population, value = self.populations[key], row.value
        base = None if base_id is None else self._columns[key].get(base_id)
        both = value is not None and base is not None
        return Comparison(
            row,
            population,
            base,
            NOTHING if value is None else fixed(value, population.decimals),
            NOTHING if base is None else fixed(base, population.decimals),
            signed(value - base, population.decimals) if both else NOTHING,
        )

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
            n_missing=len(self.others) - len(with_value),
        )


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
    shown = f"{value:+.{decimals}f}"
    return shown if shown.strip("+-0.") else shown[1:]


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


def _column(rows: Sequence[Result]) -> dict[str, float | None]:
    """Return cell_id → value; None where two rows compete."""
    values: dict[str, float | None] = {}
    for row in rows:
        values[row.cell_id] = None if row.cell_id in values else row.value
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
