"""What the cells of a study mean to an analysis: base, dataset, method, run, epoch, and their results.

Owns the way from a study's factors to these words, and where results are taken from (``tables/results.parquet``, or
the declared sources when there is no such table). Gains over the base are ``gains.py``.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from release_kit.core.collect import collect_results
from release_kit.core.errors import StudyError
from release_kit.core.grid import cell_id, describe, iter_levels, matches
from release_kit.core.results import RESULTS_FILE, Result, read_results
from release_kit.core.study import STUDY_FILE, Factor, Study
from release_kit.sft.analysis.estimate import Metric
from release_kit.sft.analysis.records import Source

UNTOUCHED = "none"
ONE_BASE = "base"
"""Name of the base model of a study that has no such factor."""

_PREFERRED = ("acc", "exact_match", "pass@1", "score", "total", "f1", "em", "acc_norm", "bleu_acc", "bits_per_byte")
"""Metrics that speak for a benchmark, the first that it has."""
_ASIDE = ("extraction", "failure", "invalid", "stderr")
"""Metrics about the scoring, never the score."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CellFacts:
    """One declared cell in the words of the analysis."""

    cell_id: str
    base_model: str
    dataset: str
    method: str
    data_size: int | None
    schedule: str | None
    seed: int | None
    epoch: int | None
    run: str
    """Levels of all factors but the epoch: cells of one run share it."""
    others: tuple[tuple[str, str], ...]
    """Levels of the factors that have no role here."""
    untouched: bool
    """The base model as it is."""


def cell_facts(study: Study) -> dict[str, CellFacts]:
    """Return the facts of every declared cell.

    Raises:
        StudyError: neither ``baseline`` nor a method ``none`` says which cells are the untouched bases.
    """
    roles = _roles(study)
    baseline = study.baseline
    if baseline is None:
        method = study.factor_with_role("method")
        if method is None or UNTOUCHED not in method.levels:
            step = "add `baseline:` with the levels of the untouched base models, for example {method: none}"
            raise StudyError("nothing says which cells are the bases", where=_where(study), next_step=step)
        baseline = {method.name: (UNTOUCHED,)}
    facts = {}
    for levels in iter_levels(study):
        identity = cell_id(study, levels)
        facts[identity] = _facts(identity, levels, roles, matches(levels, baseline))
    return facts


def read_rows(study: Study) -> tuple[list[Result], tuple[Source, ...], tuple[str, ...]]:
    """Return ``(results with a value, files they came from, notes)`` of a study.

    Raises:
        StudyError: there is no result at all.
        RecordError: ``tables/results.parquet`` cannot be read.
    """
    path = study.folder / RESULTS_FILE
    notes: list[str] = []
    if path.is_file():
        rows = read_results(path)
        sources = [Source(path=RESULTS_FILE, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), n_rows=len(rows))]
    else:
        collected = collect_results(study)
        rows = collected.rows
        notes += [problem.sentence() for problem in (*collected.problems, *collected.notes)]
        notes += [undeclared.to_error().sentence() for undeclared in collected.undeclared]
        counts = Counter((row.source, row.source_sha256) for row in rows)
        sources = [Source(path=name, sha256=sha, n_rows=n) for (name, sha), n in sorted(counts.items())]
    if not rows:
        step = "evaluate the cells, or declare where their results are, then run `release-kit results`"
        raise StudyError("there is no result to analyse", where=str(study.folder), next_step=step)
    empty = sum(row.value is None for row in rows)
    if empty:
        notes.append(f"{empty} results have no value and are left out")
    return [row for row in rows if row.value is not None], tuple(sources), tuple(notes)


def metric_of(row: Result) -> Metric:
    """Return which metric a result is of."""
    return Metric(benchmark=row.benchmark, metric=row.metric, n_shot=row.n_shot)


def primary_metrics(metrics: Sequence[Metric]) -> tuple[Metric, ...]:
    """Return one metric a benchmark, sorted: its fewest shots, and there the score that speaks for it."""
    chosen: dict[str, Metric] = {}
    for metric in sorted(set(metrics), key=_preference):
        if not any(word in metric.metric.lower() for word in _ASIDE):
            chosen.setdefault(metric.benchmark, metric)
    return tuple(sorted(chosen.values(), key=lambda metric: metric.key))


def _preference(metric: Metric) -> tuple:
    name = metric.metric.partition(",")[0]
    rank = _PREFERRED.index(name) if name in _PREFERRED else len(_PREFERRED)
    return (-1 if metric.n_shot is None else metric.n_shot, rank, metric.key)


def _roles(study: Study) -> dict[str, Factor]:
    """Return role → factor; a factor without a role that is called ``…schedule`` is the schedule."""
    roles: dict[str, Factor] = {}
    for factor in study.factors:
        role = factor.role
        if role == "step":
            role = "epoch"
        if role == "other" and factor.name.endswith("schedule"):
            role = "schedule"
        if role not in ("other", "layer", "size"):
            roles.setdefault(role, factor)
    return roles


def _facts(identity: str, levels: Mapping[str, Any], roles: Mapping[str, Factor], untouched: bool) -> CellFacts:
    def level(role: str) -> Any:
        return levels[roles[role].name] if role in roles else None

    def number(role: str) -> int | None:
        value = level(role)
        return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    known = {factor.name for factor in roles.values()}
    epoch = roles["epoch"].name if "epoch" in roles else None
    return CellFacts(
        cell_id=identity,
        base_model=str(level("base_model")) if "base_model" in roles else ONE_BASE,
        dataset=str(level("dataset")),
        method=str(level("method")) if "method" in roles else "full",
        data_size=number("data_size"),
        schedule=None if level("schedule") is None else str(level("schedule")),
        seed=number("seed"),
        epoch=number("epoch"),
        run=describe({name: value for name, value in levels.items() if name != epoch}),
        others=tuple((name, str(value)) for name, value in levels.items() if name not in known),
        untouched=untouched,
    )


def _where(study: Study) -> str:
    return str(study.folder / STUDY_FILE)
