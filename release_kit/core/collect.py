"""Collecting results: every declared source, and what a harness left in ``cells/<cell_id>/eval/``.

Owns the order of work and the reading of the ``results:`` entries; the formats themselves are ``results_csv.py`` and
``results_lm_eval.py``. Strict: everything that is wrong is returned at once, and nothing is written.
"""

from dataclasses import dataclass
from pathlib import Path

from release_kit.core.cell import CELL_FILE, CELLS_FOLDER, read_cell
from release_kit.core.collected import Batch, Undeclared
from release_kit.core.errors import RecordError, ReleaseKitError, StudyError, UnsafePathError
from release_kit.core.files import safe_relative_path
from release_kit.core.grid import Levels, cell_id, is_declared, iter_levels
from release_kit.core.path_rule import PathRule, find_matches, path_rule_from
from release_kit.core.records import Fields, nearest
from release_kit.core.results_csv import read_table_results
from release_kit.core.results_lm_eval import read_lm_eval_results
from release_kit.core.study import STUDY_FILE, Study
from release_kit.core.table_source import TableSource, table_source_from
from release_kit.core.text_table import FORMATS

EVAL_FOLDER = "eval"
LM_EVAL = "lm-eval"

Collected = Batch
"""``rows``, ``problems``, ``undeclared`` and ``notes`` of all sources together."""


@dataclass(frozen=True, kw_only=True)
class HarnessSource:
    """One entry of ``results:`` with results files of lm-evaluation-harness."""

    rule: PathRule
    pick: str
    """``all`` files of a cell, or only the ``last`` by name (the harness puts the time into it)."""


Source = TableSource | HarnessSource


def read_sources(study: Study) -> tuple[list[Source], list[ReleaseKitError]]:
    """Read the ``results:`` entries of a study strictly; returns the good ones and what is wrong with the others."""
    sources: list[Source] = []
    problems: list[ReleaseKitError] = []
    for index, entry in enumerate(study.results):
        try:
            sources.append(_source_from(Fields(entry, str(study.folder / STUDY_FILE), f"results[{index}]"), study))
        except RecordError as problem:
            problems.append(problem)
    return sources, problems


def collect_results(study: Study) -> Collected:
    """Collect the results of all sources.

    Returns:
        Rows in the order of the sources, and everything that is wrong. Results of combinations that are not in the
        grid are in ``undeclared``, not in ``rows``.
    """
    sources, problems = read_sources(study)
    collected = Batch(problems=problems)
    for source in sources:
        read = _read_table_source if isinstance(source, TableSource) else _read_harness_source
        collected.extend(read(study, source))
    collected.extend(_read_eval_folders(study))
    return collected


def _source_from(fields: Fields, study: Study) -> Source:
    kind = fields.take("format", str)
    if kind in FORMATS:
        return table_source_from(fields, study)
    if kind != LM_EVAL:
        raise fields.error("format", f"is {kind!r}{nearest(kind, [*FORMATS, LM_EVAL])}")
    source = HarnessSource(rule=path_rule_from(fields, study), pick=fields.take("pick", str, "all"))
    if source.pick not in ("all", "last"):
        raise fields.error("pick", f"is {source.pick!r}; expected 'all' or 'last'")
    fields.done()
    return source


def _read_table_source(study: Study, source: TableSource) -> Batch:
    where = f"{study.folder / STUDY_FILE}: {source.key}.path"
    try:
        relative = safe_relative_path(source.path, where=where)
    except UnsafePathError as error:
        return Batch(problems=[error])
    path = study.folder / relative
    if not path.is_file():
        step = "put the table there, or correct the path (it is relative to the study folder)"
        return Batch(problems=[StudyError(f"there is no table {relative!r}", where=where, next_step=step)])
    return read_table_results(study, source, path, relative)


def _read_harness_source(study: Study, source: HarnessSource) -> Batch:
    matches, problems = find_matches(source.rule, study.folder, folders=False)
    batch = Batch(problems=problems)
    if not matches and not problems:
        where = f"{study.folder / STUDY_FILE}: {source.rule.key}.path"
        batch.problems.append(StudyError(f"no file follows {source.rule.text!r}", where=where))
    if source.pick == "last":
        matches = list({tuple(match.levels.items()): match for match in matches}.values())
    declared = []
    for match in matches:
        if is_declared(study, match.levels):
            declared.append((study.folder / match.path, match.path, cell_id(study, match.levels)))
        else:
            batch.add_undeclared(match.levels, match.path, None, 1)
    for path, relative, cell in declared:
        batch.extend(read_lm_eval_results(path, relative, cell))
    return batch


def _read_eval_folders(study: Study) -> Batch:
    """Read ``cells/<cell_id>/eval/*.json`` of every cell, complete or not."""
    batch = Batch()
    cells = study.folder / CELLS_FOLDER
    found = sorted(folder for folder in cells.glob(f"*/{EVAL_FOLDER}") if folder.is_dir()) if cells.is_dir() else []
    declared: set[str] | None = None
    for folder in found:
        files = sorted(folder.glob("*.json"))
        levels = _levels_on_disk(folder.parent)
        if levels is None:
            declared = declared or {cell_id(study, levels) for levels in iter_levels(study)}
            known = folder.parent.name in declared
        else:
            known = is_declared(study, levels) and cell_id(study, levels) == folder.parent.name
        for file in files:
            _read_eval_file(study, file, folder.parent.name, levels, known, batch)
    return batch


def _read_eval_file(study: Study, file: Path, cell: str, levels: Levels | None, known: bool, batch: Batch) -> None:
    relative = file.relative_to(study.folder).as_posix()
    if known:
        batch.extend(read_lm_eval_results(file, relative, cell))
    elif levels is not None:
        made_so = is_declared(study, levels)
        why = "made with other settings than study.yaml declares now" if made_so else "which is not in the grid"
        batch.undeclared.append(Undeclared(levels=levels, source=relative, source_row=None, n_results=1, why=why))
    else:
        what = f"belongs to no declared cell: {cell!r} is not the id of any combination in the grid"
        batch.problems.append(StudyError(what, where=relative, next_step="move or remove the folder"))


def _levels_on_disk(folder: Path) -> Levels | None:
    """Return the levels that ``cell.json`` names; None without a readable one (``check`` reports broken ones)."""
    try:
        return read_cell(folder / CELL_FILE).levels
    except ReleaseKitError:
        return None
