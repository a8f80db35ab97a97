"""Results: do they belong to weights, are they complete, is each number possible.

What only shows when cells are compared with each other is ``results_compared.py``.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator

from release_kit.core.cell import CELLS_FOLDER
from release_kit.core.results import Result
from release_kit.core.wording import counted
from release_kit.release.check.codes import problem
from release_kit.release.check.problem import Problem
from release_kit.release.check.views import Survey
from release_kit.release.contents import is_results_only

Metric = tuple[str, int, str]
"""(benchmark, n_shot or -1, metric)"""


def check_results(survey: Survey) -> Iterator[Problem]:
    """Yield everything that is wrong with the sources of results, their cells, and single numbers."""
    for error in survey.result_problems:
        where = survey.relative(error.where) or "results"
        yield problem("results-source", where, error.what, next_step=error.next_step)
    for error in survey.result_notes:
        yield problem("results-spelling", survey.relative(error.where) or "results", error.what)
    for undeclared in survey.undeclared_results:
        parts = undeclared.source.split("/")
        if parts[0] == CELLS_FOLDER and parts[1] in survey.cells:
            continue  # the grid family has said that this cell is not declared
        error = undeclared.to_error()
        yield problem(
            "results-undeclared", error.where or "", error.what, next_step=error.next_step,
            path=undeclared.source, row=undeclared.source_row,
        )  # fmt: skip
    yield from _without_weights(survey)
    yield from _without_results(survey)
    yield from _incomplete(survey)
    yield from _empty(survey)
    yield from _impossible(survey)
    yield from _duplicates(survey)


def metric_name(metric: Metric) -> str:
    """Return how a metric is named in messages: ``BoolQ 5-shot score``."""
    benchmark, n_shot, name = metric
    return f"{benchmark} {name}" if n_shot < 0 else f"{benchmark} {n_shot}-shot {name}"


def list_metrics(metrics: Iterable[Metric], shown: int = 6) -> str:
    """Return the names of metrics, the last ones only counted when there are many."""
    names = [metric_name(metric) for metric in metrics]
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def place_of(survey: Survey, row: Result) -> dict:
    """Return the keyword arguments that lead from a problem to the source of a row."""
    return {"cell_id": row.cell_id, "path": row.source or None, "row": row.source_row}


def _without_weights(survey: Survey) -> Iterator[Problem]:
    for cell_id, rows in survey.results_by_cell.items():
        levels = survey.declared.get(cell_id)
        absent = cell_id not in survey.cells and cell_id not in survey.explained
        if levels is not None and absent and not is_results_only(survey.study, levels):
            what = f"{counted(len(rows), 'result')}, but no cell on disk"
            yield problem("results-without-weights", survey.name(cell_id), what, cell_id=cell_id)


def _without_results(survey: Survey) -> Iterator[Problem]:
    if not survey.results and not survey.study.benchmarks:
        return
    for cell_id, view in survey.cells.items():
        if cell_id in survey.declared and cell_id not in survey.results_by_cell and view.weights:
            yield problem("weights-without-results", view.where, "not one result", cell_id=cell_id)


def _incomplete(survey: Survey) -> Iterator[Problem]:
    """Expected are metrics that most cells have, and every declared benchmark that any cell has."""
    by_cell = {cell_id: {row.key[1:] for row in rows} for cell_id, rows in survey.results_by_cell.items()}
    n_with: dict[Metric, int] = defaultdict(int)
    for metrics in by_cell.values():
        for metric in metrics:
            n_with[metric] += 1
    expected = {m for m, n in n_with.items() if n > len(by_cell) / 2 or m[0] in survey.study.benchmarks}
    lacking: dict[tuple[Metric, ...], list[str]] = defaultdict(list)
    for cell_id, metrics in by_cell.items():
        if absent := tuple(sorted(expected - metrics)):
            lacking[absent].append(cell_id)
    for absent, cell_ids in lacking.items():
        what = f"no result for {list_metrics(absent)}"
        if len(absent) == 1:
            what += f", which {n_with[absent[0]]} cells have"
        cell_id = cell_ids[0] if len(cell_ids) == 1 else None
        yield problem("results-incomplete", survey.place(cell_ids), what, cell_id=cell_id)


def _empty(survey: Survey) -> Iterator[Problem]:
    """Cells with the same holes are named together."""
    holes: dict[tuple[Metric, ...], list[str]] = defaultdict(list)
    for cell_id, rows in survey.results_by_cell.items():
        if empty := tuple(sorted({row.key[1:] for row in rows if row.value is None})):
            holes[empty].append(cell_id)
    for empty, cell_ids in holes.items():
        cell_id = cell_ids[0] if len(cell_ids) == 1 else None
        what = f"no value for {list_metrics(empty)}"
        if len(empty) > 1:
            what = f"{counted(len(empty), 'empty value')}: {list_metrics(empty)}"
        yield problem("result-empty", survey.place(cell_ids), what, cell_id=cell_id)


def _impossible(survey: Survey) -> Iterator[Problem]:
    for row in survey.results:
        if row.value is None:
            continue
        name = metric_name(row.key[1:])
        if not math.isfinite(row.value):
            yield problem(
                "result-nonfinite", survey.name(row.cell_id), f"{name} is {row.value}", **place_of(survey, row)
            )
            continue
        low, high = value_range(survey, row)
        if (low is not None and row.value < low) or (high is not None and row.value > high):
            bounds = f"{_bound(low)} to {_bound(high)}"
            what = f"{name} is {row.value:g}, outside {bounds}"
            yield problem("result-range", survey.name(row.cell_id), what, **place_of(survey, row))


def value_range(survey: Survey, row: Result) -> tuple[float | None, float | None]:
    """Return the declared range of a metric; shares (accuracy, exact match, F1, pass@k) lie in 0 to 100 at most."""
    rule = survey.study.benchmarks.get(row.benchmark, {}).get(row.metric)
    if rule is not None and (rule.low is not None or rule.high is not None):
        return rule.low, rule.high
    share = row.metric.split(",")[0].startswith(("acc", "exact_match", "f1", "pass@", "em"))
    return (0.0, 100.0) if share else (None, None)


def _bound(value: float | None) -> str:
    return "any" if value is None else f"{value:g}"


def _duplicates(survey: Survey) -> Iterator[Problem]:
    rows: dict[tuple, list[Result]] = defaultdict(list)
    for row in survey.results:
        rows[row.key].append(row)
    for key, several in rows.items():
        if len(several) < 2:
            continue
        said = "; ".join(f"{_value(row)} from {_source(row)}" for row in several[:4])
        what = f"{metric_name(key[1:])} is given {len(several)} times: {said}"
        last = several[-1]
        yield problem("result-duplicate", survey.name(last.cell_id), what, **place_of(survey, last))


def _value(row: Result) -> str:
    return "nothing" if row.value is None else f"{row.value:g}"


def _source(row: Result) -> str:
    return f"{row.source} row {row.source_row}" if row.source_row is not None else row.source
