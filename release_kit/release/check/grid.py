"""Does what is on disk fill the declared grid: missing, undeclared, duplicate, unfinished and broken cells."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

from release_kit.core.cell import CELL_FILE, CELLS_FOLDER
from release_kit.core.errors import StudyError
from release_kit.core.grid import Levels, describe, is_declared, level_text
from release_kit.core.study import STUDY_FILE
from release_kit.release.check.codes import problem
from release_kit.release.check.problem import ERROR, Problem
from release_kit.release.check.views import CellView, Survey
from release_kit.release.contents import is_results_only
from release_kit.release.naming import cell_names


def check_grid(survey: Survey) -> Iterator[Problem]:
    """Yield every way in which the cells on disk are not the cells that the study declares."""
    if not survey.declared:
        yield problem("grid-empty", STUDY_FILE, "`exclude` leaves nothing of the grid")
    yield from _missing(survey)
    for view in survey.cells.values():
        yield from _foreign_to_grid(survey, view)
    yield from _duplicates(survey)
    for error in survey.broken_cells:
        path = survey.relative(error.where)
        yield problem("cell-broken", path, error.what, path=path)
    yield from _incomplete(survey)
    yield from _names(survey)


def _missing(survey: Survey) -> Iterator[Problem]:
    """Cells with rows but without weights belong to the results family; the rest is reported here."""
    missing = {cell_id: levels for cell_id, levels in survey.missing.items() if cell_id not in survey.explained}
    if len(missing) == len(survey.declared) > 1:
        yield problem("cell-missing", "the whole grid", f"not one of its {len(missing):,} cells is there")
        return
    for where, what, cell_ids in (*_absent_levels(survey, missing), *_absent_lines(survey, missing)):
        if any(cell_id not in missing for cell_id in cell_ids):
            continue
        yield problem("cell-missing", where, what)
        for cell_id in cell_ids:
            del missing[cell_id]
    for cell_id, levels in missing.items():
        only = is_results_only(survey.study, levels)
        what = "declared as results-only, but no results" if only else f"no {CELLS_FOLDER}/{cell_id}/{CELL_FILE}"
        yield problem("cell-missing", describe(levels), what, cell_id=cell_id)


def _absent_levels(survey: Survey, missing: Mapping[str, Levels]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield ``(place, what, cell ids)`` of levels that have no cell at all, so that such a hole is named once."""
    for factor in survey.study.factors if missing else ():
        if len(factor.levels) < 2:
            continue
        absent = _absent(survey, missing, lambda levels, name=factor.name: level_text(levels[name]))
        for text, cell_ids in absent.items():
            yield f"{factor.name}={text}", f"not one of its {len(cell_ids):,} cells is there", cell_ids


def _absent_lines(survey: Survey, missing: Mapping[str, Levels]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield lines of the grid (all levels fixed but one factor's) of which no cell is there."""
    for factor in survey.study.factors if missing else ():
        if len(factor.levels) < 3:
            continue
        absent = _absent(
            survey, missing, lambda levels, name=factor.name: describe({k: v for k, v in levels.items() if k != name})
        )
        for where, cell_ids in absent.items():
            if len(cell_ids) > 2:
                named = ", ".join(level_text(survey.declared[cell_id][factor.name]) for cell_id in cell_ids)
                yield where, f"not one of its {len(cell_ids):,} cells is there ({factor.name} {named})", cell_ids


def _absent(survey: Survey, missing: Mapping[str, Levels], key: Callable[[Levels], str]) -> dict[str, list[str]]:
    """Group the missing cells by ``key`` and keep the groups, of two cells at least, that are missing as a whole."""
    groups: dict[str, list[str]] = defaultdict(list)
    for cell_id, levels in missing.items():
        groups[key(levels)].append(cell_id)
    declared = Counter(key(levels) for levels in survey.declared.values())
    return {text: cell_ids for text, cell_ids in groups.items() if len(cell_ids) == declared[text] > 1}


def _foreign_to_grid(survey: Survey, view: CellView) -> Iterator[Problem]:
    cell = view.cell
    if cell.cell_id in survey.declared:
        return
    path = f"{CELLS_FOLDER}/{cell.cell_id}/{CELL_FILE}"
    if is_declared(survey.study, cell.levels):
        yield problem("cell-settings", view.where, _settings_difference(survey, view), cell_id=cell.cell_id, path=path)
    else:
        yield problem(
            "cell-undeclared", view.where, _why_undeclared(survey, cell.levels), cell_id=cell.cell_id, path=path
        )


def _settings_difference(survey: Survey, view: CellView) -> str:
    """Say which settings of the cell differ from the study's, key by key."""
    made_with = view.cell.config.get("settings")
    wanted = dict(survey.study.settings)
    if not isinstance(made_with, dict) or made_with == wanted:
        name = view.cell.config.get("study")
        return f"made for the study {name!r}, not for {survey.study.name!r}"
    keys = sorted({*made_with, *wanted}, key=str)
    changed = [
        f"{key}: {made_with.get(key, 'absent')!r} then, {wanted.get(key, 'absent')!r} now"
        for key in keys
        if made_with.get(key) != wanted.get(key)
    ]
    return "made with other settings: " + "; ".join(changed[:6])


def _why_undeclared(survey: Survey, levels: Levels) -> str:
    known = {factor.name: factor.levels for factor in survey.study.factors}
    if set(levels) != set(known):
        return f"has the factors {sorted(levels)}; the study declares {sorted(known)}"
    strange = [name for name, level in levels.items() if level_text(level) not in map(level_text, known[name])]
    if strange:
        named = ", ".join(f"{name}={level_text(levels[name])}" for name in strange)
        return f"the study does not declare {named}"
    wrong_type = [name for name, level in levels.items() if not any(type(level) is type(k) for k in known[name])]
    if wrong_type:
        return f"the level of {wrong_type[0]} has another type ({type(levels[wrong_type[0]]).__name__}) than declared"
    return "the study leaves this combination out (`include`, `exclude`)"


def _duplicates(survey: Survey) -> Iterator[Problem]:
    """Two cells cannot have one folder of weights; two with the same levels differ in settings, which is said there."""
    for first, *others in survey.shared_folders:
        for cell_id in others:
            view = survey.cells[cell_id]
            what = f"takes its weights from {view.cell.artifact_path}, as {survey.other(first, cell_id)} does"
            path = f"{CELLS_FOLDER}/{cell_id}/{CELL_FILE}"
            yield problem("cell-duplicate", view.where, what, cell_id=cell_id, path=path)


def _incomplete(survey: Survey) -> Iterator[Problem]:
    for name in survey.unfinished:
        path = f"{CELLS_FOLDER}/{name}"
        levels = survey.declared.get(name)
        where, severity, cell_id = (describe(levels), ERROR, name) if levels else (path, None, None)
        what = f"{path} holds files, but no {CELL_FILE}"
        yield problem("cell-incomplete", where, what, severity=severity, cell_id=cell_id, path=path)


def _names(survey: Survey) -> Iterator[Problem]:
    present: Iterable[str] = [i for i in survey.declared if i in survey.cells or i in survey.results_by_cell]
    try:
        cell_names(survey.study, {cell_id: survey.declared[cell_id] for cell_id in present})
    except StudyError as error:
        yield problem("cell-names", "study.yaml: names", error.what, next_step=error.next_step, path="study.yaml")
