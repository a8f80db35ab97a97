"""``plan``: what a study declares and how much of it is on disk, without reading an artifact.

Owns the counting; a grid of 100,000 cells is counted in under a second. Names of cells belong to ``release/naming.py``.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from release_kit.core.cell import artifact_folder, read_cells
from release_kit.core.checkpoints import read_rules
from release_kit.core.collect import HarnessSource, read_sources
from release_kit.core.errors import ReleaseKitError
from release_kit.core.grid import Levels, cell_id, is_declared, is_results_only, iter_levels
from release_kit.core.path_rule import find_matches
from release_kit.core.study import Level, Study
from release_kit.core.table_source import TableSource

N_SHOWN = 3
"""How many cells a plan names, of the first ones and of the missing ones."""


@dataclass(frozen=True, kw_only=True)
class SourcePlan:
    """One declared source of results or checkpoints; ``n_found`` are files or folders that are there now."""

    key: str
    kind: str
    path: str
    n_found: int


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """What a study declares and what of it is there."""

    n_cells: int
    n_results_only: int
    levels: Mapping[str, Mapping[Level, int]]
    """Factor → level → number of cells."""
    first: tuple[tuple[str, Levels], ...]
    """The first cells of the grid, as (cell_id, levels)."""
    sources: tuple[SourcePlan, ...]
    n_on_disk: int
    """Declared cells with a ``cell.json`` and, unless they are results-only, their artifact folder."""
    n_missing: int
    """Declared cells with weights that are not on disk."""
    missing: tuple[tuple[str, Levels], ...]
    """The first of them, as (cell_id, levels)."""
    n_undeclared: int
    """Cells on disk that are not in the grid as it is declared now."""
    problems: tuple[ReleaseKitError, ...]


def plan_study(study: Study) -> StudyPlan:
    """Count the grid, look for what is there, and read every declared source strictly."""
    sources, problems = _sources(study)
    cells, broken = read_cells(study.folder)
    complete, n_results_only_there = set(), 0
    n_undeclared = 0
    for cell in cells.values():
        if not is_declared(study, cell.levels) or cell_id(study, cell.levels) != cell.cell_id:
            n_undeclared += 1
        elif is_results_only(study, cell.levels):
            n_results_only_there += 1
        elif artifact_folder(study.folder, cell).is_dir():
            complete.add(tuple(cell.levels[factor.name] for factor in study.factors))
    n_cells, n_results_only, levels = count_cells(study)
    n_missing = n_cells - n_results_only - len(complete)
    absent = (
        (cell_id(study, found), found)
        for found in iter_levels(study)
        if not is_results_only(study, found) and tuple(found.values()) not in complete
    )
    return StudyPlan(
        n_cells=n_cells,
        n_results_only=n_results_only,
        levels=levels,
        first=tuple((cell_id(study, found), found) for found in islice(iter_levels(study), N_SHOWN)),
        sources=tuple(sources),
        n_on_disk=len(complete) + n_results_only_there,
        n_missing=n_missing,
        missing=tuple(islice(absent, N_SHOWN)) if n_missing else (),
        n_undeclared=n_undeclared,
        problems=(*problems, *broken),
    )


def count_cells(study: Study) -> tuple[int, int, dict[str, dict[Level, int]]]:
    """Return (cells, those of them that are results-only, {factor: {level: cells}})."""
    full_product = not study.exclude and len(study.include) <= 1
    if full_product and (not study.results_only or study.artifacts == "results-only"):
        return _count_product(study)
    n_results_only = 0
    columns: list[list[Level]] = [[] for _ in study.factors]
    some = bool(study.results_only) or study.artifacts == "results-only"
    for levels in iter_levels(study):
        n_results_only += some and is_results_only(study, levels)
        for column, level in zip(columns, levels.values(), strict=True):
            column.append(level)
    counts = [Counter(zip(map(type, column), column, strict=True)) for column in columns]
    by_level = {
        factor.name: {level: counts[i][_key(level)] for level in factor.levels}
        for i, factor in enumerate(study.factors)
    }
    return len(columns[0]), n_results_only, by_level


def _count_product(study: Study) -> tuple[int, int, dict[str, dict[Level, int]]]:
    block = study.include[0] if study.include else {}
    axes = {factor.name: block.get(factor.name, factor.levels) for factor in study.factors}
    n_cells = math.prod(len(axis) for axis in axes.values())
    kept = {name: {_key(level) for level in axis} for name, axis in axes.items()}
    counts = {
        factor.name: {
            level: n_cells // len(axes[factor.name]) if _key(level) in kept[factor.name] else 0
            for level in factor.levels
        }
        for factor in study.factors
    }
    return n_cells, n_cells if study.artifacts == "results-only" else 0, counts


def _key(level: Level) -> tuple[type, Any]:
    """``1`` and ``True`` are equal in Python and two levels here."""
    return (type(level), level)


def _sources(study: Study) -> tuple[list[SourcePlan], list[ReleaseKitError]]:
    declared, problems = read_sources(study)
    rules, wrong_rules = read_rules(study)
    plans = []
    for source in declared:
        if isinstance(source, TableSource):
            there = (study.folder / source.path).is_file()
            plans.append(SourcePlan(key=source.key, kind=source.format, path=source.path, n_found=int(there)))
        elif isinstance(source, HarnessSource):
            found, _ = find_matches(source.rule, study.folder, folders=False)
            plans.append(SourcePlan(key=source.rule.key, kind="lm-eval", path=source.rule.text, n_found=len(found)))
    for rule in rules:
        found, _ = find_matches(rule.rule, study.folder, folders=True)
        plans.append(SourcePlan(key=rule.rule.key, kind="checkpoints", path=rule.rule.text, n_found=len(found)))
    n_harness = sum(1 for _ in study.folder.glob("cells/*/eval/*.json"))
    if n_harness:
        plans.append(SourcePlan(key="cells", kind="lm-eval", path="cells/*/eval/*.json", n_found=n_harness))
    return plans, [*problems, *wrong_rules]
