"""Results of cells held against each other: copied rows, mixed scales, scores that collapse.

How much an agreement proves is measured in bits. A value that only two cells have counts with what its resolution
allows: ½·log2(n) for a share of n answers (the spread of such a share is about 1/√n), else log2(spread / last digit).
A value that more cells have counts log2(cells / holders). Zero and the ends of a range prove nothing. Metrics of one
benchmark and shot count depend on each other, so only the strongest of them counts.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from release_kit.core.results import Result
from release_kit.release.check.codes import problem
from release_kit.release.check.problem import NOTE, WARNING, Problem
from release_kit.release.check.results import Metric, list_metrics, metric_name, place_of, value_range
from release_kit.release.check.views import Survey

IDENTICAL_BENCHMARKS = 3
SUSPICIOUS_BITS, CERTAIN_BITS = 10.0, 20.0
"""Least evidence, beyond log2 of the number of pairs of cells, for a warning and for an error about two cells that are
the same in all metrics that they share. Barely trained siblings agree on a few small benchmarks; that stays silent."""

PARTLY_BITS, PARTLY_BENCHMARKS = 60.0, 6
"""Least evidence for "the same in many metrics". In a table of 1,027 fine-tuned models the 30 pairs that share copied
scores have 78 bits and more; neighbouring checkpoints of one run stay far below."""

RARE, FEWEST_RARE = 3, 3
"""Two cells are worth comparing when they share so many values that no more cells than ``RARE`` have."""

COLLAPSE, COLLAPSE_FROM = 0.05, 0.2
"""A score collapses when it falls below 5 % of the other shot count's, which is above 20 % of the range."""

Vector = Mapping[Metric, float]


def check_results_compared(survey: Survey) -> Iterator[Problem]:
    """Yield what only the comparison of cells, or of metrics, shows."""
    table = _Table.of(survey)
    yield from _copied(survey, table)
    yield from _scales_of_metrics(survey, table)
    yield from _scales_of_cells(survey, table)
    yield from _collapses(survey, table)


@dataclass(frozen=True, kw_only=True)
class _Table:
    """The finite values, by cell and by metric."""

    rows: Mapping[str, Mapping[Metric, Result]]
    vectors: Mapping[str, Vector]
    columns: Mapping[Metric, list[float]]
    holders: Mapping[tuple[Metric, float], list[str]]

    @classmethod
    def of(cls, survey: Survey) -> "_Table":
        rows: dict[str, dict[Metric, Result]] = defaultdict(dict)
        for cell_id, own in survey.results_by_cell.items():
            for row in own:
                if row.value is not None and math.isfinite(row.value):
                    rows[cell_id].setdefault(row.key[1:], row)
        columns, holders = defaultdict(list), defaultdict(list)
        for cell_id, by_metric in rows.items():
            for metric, row in by_metric.items():
                columns[metric].append(row.value)
                holders[metric, row.value].append(cell_id)
        vectors = {cell_id: {m: row.value for m, row in by_metric.items()} for cell_id, by_metric in rows.items()}
        return cls(rows=rows, vectors=vectors, columns=columns, holders=holders)


def _copied(survey: Survey, table: _Table) -> Iterator[Problem]:
    weigh = _Evidence(survey, table)
    n_cells = len(table.vectors)
    suspicious = SUSPICIOUS_BITS + math.log2(max(1, n_cells * (n_cells - 1) // 2))
    told: set[frozenset[str]] = set()
    for one, other in _candidates(table):
        first, second = table.vectors[one], table.vectors[other]
        shared = [metric for metric in second if metric in first]
        equal = sorted(metric for metric in shared if first[metric] == second[metric])
        bits, n_benchmarks = weigh.of(other, equal)
        pair = frozenset((one, other))
        if pair in told or survey.one_baseline(one, other):
            continue
        severity = None
        if len(equal) == len(shared) and bits >= suspicious and n_benchmarks >= IDENTICAL_BENCHMARKS:
            what = f"all {len(shared)} metrics that it shares with {survey.other(one, other)} have the same value"
            code = "results-identical"
            severity = None if bits >= suspicious - SUSPICIOUS_BITS + CERTAIN_BITS else WARNING
        elif bits >= PARTLY_BITS and n_benchmarks >= PARTLY_BENCHMARKS:
            values = ", ".join(f"{metric_name(m)} {second[m]:g}" for m in weigh.strongest(other, equal)[:4])
            what = f"{len(equal)} of {len(shared)} metrics have the same value as in {survey.other(one, other)}: "
            what += f"{values} …"
            code = "results-partly-identical"
        else:
            continue
        told.add(pair)
        row = table.rows[other][equal[0]]
        yield problem(code, survey.name(other), what, severity=severity, **place_of(survey, row))


def _candidates(table: _Table) -> Iterator[tuple[str, str]]:
    """Yield pairs worth comparing, without comparing all: equal rows, then pairs that share rare values."""
    groups: dict[frozenset, list[str]] = defaultdict(list)
    for cell_id, vector in table.vectors.items():
        groups[frozenset(vector.items())].append(cell_id)
    for cell_ids in groups.values():
        for other in cell_ids[1:]:
            yield cell_ids[0], other
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for (_, value), cell_ids in table.holders.items():
        if value != 0 and 2 <= len(cell_ids) <= RARE:
            for pair in combinations(cell_ids, 2):
                counts[pair] += 1
    yield from (pair for pair, n in counts.items() if n >= FEWEST_RARE)


class _Evidence:
    """How unlikely it is that cells agree on values by chance, in bits."""

    def __init__(self, survey: Survey, table: _Table):
        self._survey, self._table = survey, table
        self._spread = {metric: _spread(values) for metric, values in table.columns.items()}

    def of(self, cell_id: str, metrics: list[Metric]) -> tuple[float, int]:
        """Return (bits, benchmarks with any evidence) of agreeing on ``metrics``."""
        best: dict[tuple[str, int], float] = {}
        for metric in metrics:
            bits = self._bits(cell_id, metric)
            if bits > 0:
                best[metric[:2]] = max(bits, best.get(metric[:2], 0.0))
        return sum(best.values()), len(best)

    def strongest(self, cell_id: str, metrics: list[Metric]) -> list[Metric]:
        """Return ``metrics``, those that prove most first."""
        return sorted(metrics, key=lambda metric: (-self._bits(cell_id, metric), metric))

    def _bits(self, cell_id: str, metric: Metric) -> float:
        row = self._table.rows[cell_id][metric]
        if row.value == 0 or row.value in value_range(self._survey, row) or row.value in (1.0, 100.0):
            return 0.0
        bits = self._resolution_bits(row, metric)
        holders = len(self._table.holders[metric, row.value])
        if holders > 2:
            bits = min(bits, math.log2(len(self._table.columns[metric]) / holders))
        return bits

    def _resolution_bits(self, row: Result, metric: Metric) -> float:
        if row.n:
            return 0.5 * math.log2(row.n)
        spread = self._spread[metric]
        return max(0.0, math.log2(spread / _last_digit(row.value))) if spread > 0 else 0.0


def _last_digit(value: float) -> float:
    """Return the size of the last written digit: 0.01 for 62.02."""
    text = repr(value)
    if "e" in text or "." not in text:
        return max(1e-9, abs(value) * 1e-6) if "e" in text else 1.0
    decimals = len(text.split(".")[1])
    return 10.0 ** -min(decimals, 6) if text.split(".")[1] != "0" else 1.0


def _spread(values: list[float]) -> float:
    """Return the standard deviation; for a few values at least a tenth of the largest."""
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
    return max(deviation, 0.1 * max(abs(value) for value in values)) if len(values) < 10 else deviation


def _scales_of_metrics(survey: Survey, table: _Table) -> Iterator[Problem]:
    """One metric name, some benchmarks in 0 to 1 and others far above: the column cannot be averaged."""
    tops: dict[str, dict[Metric, float]] = defaultdict(dict)
    for metric, values in table.columns.items():
        tops[metric[2]][metric] = max(values)
    for name, by_metric in tops.items():
        small = [metric for metric, top in by_metric.items() if 0 < top <= 1]
        large = [metric for metric, top in by_metric.items() if top > 5]
        if not small or not large:
            continue
        for metric in sorted(small if len(small) <= len(large) else large):
            declared = all(_has_range(survey, m) for m in (metric, *small, *large))
            other = "0 to 100" if metric in small else "0 to 1"
            what = f"values reach {by_metric[metric]:g}, while {name!r} of other benchmarks is given in {other}"
            what += "; both ranges are declared" if declared else ""
            yield problem("result-scale", metric_name(metric), what, severity=NOTE if declared else None)


def _has_range(survey: Survey, metric: Metric) -> bool:
    rule = survey.study.benchmarks.get(metric[0], {}).get(metric[2])
    return rule is not None and rule.high is not None


def _scales_of_cells(survey: Survey, table: _Table) -> Iterator[Problem]:
    """A cell whose every value is a fraction where the others have percentages was written on another scale."""
    medians = {metric: sorted(values)[len(values) // 2] for metric, values in table.columns.items()}
    for cell_id, vector in table.vectors.items():
        compared = [metric for metric in vector if medians[metric] > 5 and len(table.columns[metric]) >= 3]
        nonzero = [metric for metric in compared if vector[metric] != 0]
        if len(nonzero) >= 3 and all(0 < vector[metric] <= 1 for metric in nonzero):
            what = f"{len(nonzero)} values lie in 0 to 1 where other cells have 0 to 100: {list_metrics(nonzero, 3)}"
            row = table.rows[cell_id][nonzero[0]]
            yield problem("result-scale", survey.name(cell_id), what, **place_of(survey, row))


def _collapses(survey: Survey, table: _Table) -> Iterator[Problem]:
    fallen: dict[tuple[Metric, Metric], list[str]] = defaultdict(list)
    for cell_id, vector in table.vectors.items():
        by_benchmark: dict[tuple[str, str], list[Metric]] = defaultdict(list)
        for metric in (metric for metric in vector if metric[1] >= 0):
            by_benchmark[metric[0], metric[2]].append(metric)
        for metrics in by_benchmark.values():
            high = max(metrics, key=lambda metric: vector[metric])
            for low in metrics:
                if _collapsed(survey, table.rows[cell_id][high], table.rows[cell_id][low], table.columns[high]):
                    fallen[low, high].append(cell_id)
    for (low, high), cell_ids in fallen.items():
        worst = min(cell_ids, key=lambda cell_id: table.vectors[cell_id][low])
        values = f"{table.vectors[worst][low]:g}, where {high[1]} examples give {table.vectors[worst][high]:g}"
        many = len(cell_ids) > 1
        what = f"{survey.place(cell_ids)} fall, down to {values} ({survey.name(worst)})" if many else values
        where = metric_name(low) if many else f"{metric_name(low)}, {survey.name(worst)}"
        yield problem("result-collapse", where, what, cell_id=None if many else worst)


def _collapsed(survey: Survey, high: Result, low: Result, column: list[float]) -> bool:
    rule = survey.study.benchmarks.get(high.benchmark, {}).get(high.metric)
    if rule is not None and not rule.higher_is_better:
        return False
    top = value_range(survey, high)[1] or max(column)
    return high.value >= COLLAPSE_FROM * top and low.value < COLLAPSE * high.value
