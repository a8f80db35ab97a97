"""Scores far below what random answers give: almost surely failed extraction of answers, counted as wrong.

Judged are metrics whose ``chance`` the study declares. Knowing nothing gives chance, and always giving one answer gives
at least three quarters of it on balanced benchmarks, so neither is reported. For a baseline it is an error, because
every gain over it is wrong; for other cells a warning, and cells with the same metric are named together.
"""

from collections import defaultdict
from collections.abc import Iterator

from release_kit.core.chance import is_below_chance
from release_kit.core.grid import matches
from release_kit.core.results import Result
from release_kit.core.study import MetricRule
from release_kit.release.check.codes import problem
from release_kit.release.check.problem import ERROR, Problem
from release_kit.release.check.results import Metric, metric_name, place_of
from release_kit.release.check.views import Survey

_Judged = tuple[Result, MetricRule]


def check_results_chance(survey: Survey) -> Iterator[Problem]:
    """Yield baseline cells with scores far below chance, then the other cells by metric."""
    judged = list(_judged(survey))
    low = [(row, rule) for row, rule in judged if is_below_chance(row.value, row.n, rule, n_judged=len(judged))]
    baseline = survey.study.baseline
    by_cell: dict[str, list[_Judged]] = defaultdict(list)
    by_metric: dict[Metric, list[_Judged]] = defaultdict(list)
    for row, rule in low:
        if baseline is not None and matches(survey.levels(row.cell_id), baseline):
            by_cell[row.cell_id].append((row, rule))
        else:
            by_metric[row.key[1:]].append((row, rule))
    for cell_id, found in by_cell.items():
        yield _baseline_problem(survey, cell_id, found)
    for metric, found in by_metric.items():
        yield _metric_problem(survey, metric, found)


def _judged(survey: Survey) -> Iterator[_Judged]:
    for row in survey.results:
        rule = survey.study.benchmarks.get(row.benchmark, {}).get(row.metric)
        if rule is not None and rule.chance is not None and rule.higher_is_better and row.value is not None:
            yield row, rule


def _baseline_problem(survey: Survey, cell_id: str, found: list[_Judged]) -> Problem:
    said = ", ".join(
        f"{metric_name(row.key[1:])} {row.value:.3g} (chance {rule.chance:g})"
        for row, rule in sorted(found, key=lambda each: each[0].value / each[1].chance)
    )
    scores = "1 score" if len(found) == 1 else f"{len(found)} scores"
    what = f"{scores} of the baseline far below chance, almost surely failed answer extraction: {said}"
    return problem("result-below-chance", survey.name(cell_id), what, severity=ERROR, **place_of(survey, found[0][0]))


def _metric_problem(survey: Survey, metric: Metric, found: list[_Judged]) -> Problem:
    worst, rule = min(found, key=lambda each: each[0].value)
    values = f"{worst.value:.3g}, where random answers give {rule.chance:g}"
    if len(found) == 1:
        where = f"{metric_name(metric)}, {survey.name(worst.cell_id)}"
        return problem("result-below-chance", where, values, **place_of(survey, worst))
    cells = survey.place([row.cell_id for row, _ in found])
    what = f"{cells} far below chance, down to {values} ({survey.name(worst.cell_id)})"
    return problem("result-below-chance", metric_name(metric), what)
