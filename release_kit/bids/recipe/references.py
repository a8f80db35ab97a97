"""What the keys of a recipe say of one another: labels that must exist, ids and runs that must be single.

Works on plain values after ``values.py``, so that a recipe with other problems is judged too. Whether the declared
spans fit each other and the recordings is ``check.py``'s.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from release_kit.bids.annotations import bep044
from release_kit.bids.recipe.licence import licence_problem
from release_kit.core.grammar.values import BROKEN, FILL_IN, Findings
from release_kit.core.records import nearest

STIMULUS_COLUMNS = frozenset(
    name.lower()
    for name in (*bep044.STIMULUS_COLUMNS, bep044.EVENT_STIMULUS_ID, "title", "duration", "language", "source")
)
"""Columns of ``stimuli.tsv`` that other keys fill; readers of tables do not tell upper from lower case."""


def check_references(values: Mapping[str, Any], levels: Iterable[str], found: Findings) -> None:
    """Note every label that names nothing and everything that stands twice.

    Args:
        values: the recipe as ``values.read_record`` gave it; parts may be ``BROKEN``.
        levels: names of the vocabulary's levels.
        found: takes the problems.
    """
    subjects, tasks, stimuli = (_mapping(values.get(name)) for name in ("subjects", "tasks", "stimuli"))
    licence = _get(values.get("dataset"), "license")
    if isinstance(licence, str) and FILL_IN not in licence and (step := licence_problem(licence)):
        found.refuse("dataset.license", f"is {licence!r}, which is no SPDX identifier", step)
    _single(((f"subjects.{label}", _get(s, "source")) for label, s in subjects.items()), "the source name", found)
    _runs(values, subjects, tasks, stimuli, found)
    _anatomy(values, subjects, found)
    _annotations(values, stimuli, [*levels, *_mapping(values.get("levels"))], found)
    names = ((f"derivatives[{i}].name", _get(d, "name")) for i, d in enumerate(_items(values, "derivatives")))
    _single(names, "the derivative", found)
    _derivatives(values, subjects, found)
    _tsv_columns(subjects, {"participant_id"}, "subjects", found)
    nested = {label: {"columns": _get(s, "columns")} for label, s in stimuli.items()}
    _tsv_columns(nested, STIMULUS_COLUMNS, "stimuli", found)


def _runs(values: Mapping, subjects: Mapping, tasks: Mapping, stimuli: Mapping, found: Findings) -> None:
    defaults = values.get("recordings")
    _other_subjects(defaults, subjects, "recordings", found)
    for index, run in enumerate(_items(values, "runs")):
        key = f"runs[{index}]"
        _known(_get(run, "task"), tasks, f"{key}.task", "task", found)
        _known(_get(_get(run, "shows"), "stimulus"), stimuli, f"{key}.shows.stimulus", "stimulus", found)
        _missing_subjects(run, subjects, key, found)
        _other_subjects(run, subjects, key, found)
        for name in ("pattern", "tr_s"):
            if _get(run, name) is None and _get(defaults, name) is None and isinstance(run, dict):
                step = "write it for the run, or once for all runs in `recordings`"
                if run.get(name) is None and isinstance(defaults, dict) and defaults.get(name) is None:
                    found.refuse(f"{key}.{name}", "is missing", step, code="missing-key")
    runs = ((f"runs[{i}]", _run_key(run, defaults)) for i, run in enumerate(_items(values, "runs")))
    _single(runs, "the run", found)


def _run_key(run: Any, defaults: Any) -> str | None:
    if _get(run, "task") is None or _get(run, "run") is None:
        return None
    session = _get(run, "session") or _get(defaults, "session")
    suffix = _get(run, "suffix") or _get(defaults, "suffix")
    return f"{f'ses-{session} ' if session else ''}task-{run['task']} run-{run['run']} {suffix}"


def _anatomy(values: Mapping, subjects: Mapping, found: Findings) -> None:
    keys = []
    for index, image in enumerate(_items(values, "anatomy")):
        _missing_subjects(image, subjects, f"anatomy[{index}]", found)
        _other_subjects(image, subjects, f"anatomy[{index}]", found)
        session = _get(image, "session")
        keys.append((f"anatomy[{index}]", f"{f'ses-{session} ' if session else ''}{_get(image, 'suffix')}"))
    _single(keys, "the image", found)


def _annotations(values: Mapping, stimuli: Mapping, levels: list[str], found: Findings) -> None:
    sources = _items(values, "annotations")
    ids = [_get(source, "id") for source in sources]
    _single(((f"annotations[{i}].id", ann) for i, ann in enumerate(ids)), "the id", found)
    known_runs = _run_names(values)
    for index, source in enumerate(sources):
        key = f"annotations[{index}]"
        _known(_get(source, "level"), levels, f"{key}.level", "level", found)
        _translation(source, sources, ids, key, found)
        for name in _mapping(_get(source, "missing")):
            _known(name, [*stimuli, *known_runs], f"{key}.missing.{name}", "stimulus or run", found)
        pattern, clock = _get(source, "pattern"), _get(source, "clock")
        of_run = [name for name in ("{run", "{task", "{session", "{name") if name in (pattern or "")]
        if clock == "stimulus" and of_run:
            step = "say `clock: run` if the files' times are of the run, or name the file by {stimulus}"
            found.refuse(f"{key}.pattern", "names a run, but its clock is the stimulus", step)
        if pattern and clock == "run" and not {"{run", "{name"} & {*of_run} and len(_items(values, "runs")) > 1:
            step = "name the file by {task} and {run}, or by {name}"
            found.refuse(f"{key}.pattern", "is the same file for every run", step)
        elif pattern and clock == "stimulus" and "{stimulus" not in pattern and len(stimuli) > 1:
            found.refuse(f"{key}.pattern", "is the same file for every stimulus", "name the file by {stimulus}")


def _run_names(values: Mapping) -> list[str]:
    """Return the names by which ``missing`` may name runs: without session for all sessions, with it for one."""
    found: dict[str, None] = {}
    for run in _items(values, "runs"):
        name = f"{_get(run, 'task')}_run-{_get(run, 'run')}"
        session = _get(run, "session") or _get(values.get("recordings"), "session")
        found |= dict.fromkeys([name, *([f"ses-{session}_{name}"] if session else [])])
    return list(found)


def _derivatives(values: Mapping, subjects: Mapping, found: Findings) -> None:
    runs = _run_names(values)
    of_subjects = [f"sub-{label}_{run}" for label in subjects for run in runs]
    for index, derivative in enumerate(_items(values, "derivatives")):
        for name in _mapping(_get(derivative, "missing")):
            known = [*subjects, *runs, *of_subjects]
            _known(name, known, f"derivatives[{index}].missing.{name}", "subject or run", found)


def _translation(source: Any, sources: list, ids: list, key: str, found: Findings) -> None:
    origin = _get(source, "translated_from")
    if origin is None:
        return
    others = [one for one in ids if one != _get(source, "id")]
    if origin == _get(source, "id"):
        found.refuse(f"{key}.translated_from", "names the annotation itself", "name the one it was made from")
    elif _known(origin, others, f"{key}.translated_from", "annotation", found):
        other = sources[ids.index(origin)]
        if _get(other, "language") == _get(source, "language"):
            what = f"is a translation from {origin!r}, which is in the same language ({source.get('language')})"
            found.refuse(f"{key}.language", what, "correct the language of one of both")
        seen = {_get(source, "id")}
        while other is not None and _get(other, "translated_from") in ids:
            if other["id"] in seen:
                found.refuse(f"{key}.translated_from", "goes round in a circle", "let one be the original")
                return
            seen.add(other["id"])
            other = sources[ids.index(other["translated_from"])]


def _missing_subjects(record: Any, subjects: Mapping, key: str, found: Findings) -> None:
    for label in _mapping(_get(record, "missing")):
        _known(label, subjects, f"{key}.missing.{label}", "subject", found)


def _other_subjects(record: Any, subjects: Mapping, key: str, found: Findings) -> None:
    for label in _mapping(_get(record, "subjects")):
        _known(label, subjects, f"{key}.subjects.{label}", "subject", found)


def _tsv_columns(records: Mapping, taken: set[str], key: str, found: Findings) -> None:
    for label, record in records.items():
        for name in _mapping(_get(record, "columns")):
            place = f"{key}.{label}.{name}" if key == "subjects" else f"{key}.{label}.columns.{name}"
            if str(name).lower() in taken:
                found.refuse(place, "is a column that is written from other keys", "call it otherwise")
            elif not str(name).isidentifier():
                found.refuse(place, "is no column name", "use letters, digits and '_'")


def _known(name: Any, known: Iterable, key: str, what: str, found: Findings) -> bool:
    known = [other for other in known if isinstance(other, str)]
    if name is None or name in known:
        return name is not None
    step = nearest(str(name), known).removeprefix("; ") if known else f"there is no {what} yet"
    found.refuse(key, f"{name!r} is no known {what}", step, code="unknown-label")
    return False


def _single(entries: Iterable[tuple[str, Any]], what: str, found: Findings) -> None:
    first: dict[Any, str] = {}
    for key, value in entries:
        if value is None:
            continue
        if value in first:
            found.refuse(key, f"{what} {value!r} stands twice", f"`{first[value]}` has it too", code="duplicate")
        first.setdefault(value, key)


def _get(record: Any, name: str) -> Any:
    value = record.get(name) if isinstance(record, dict) else None
    return None if value is BROKEN else value


def _mapping(value: Any) -> Mapping:
    return value if isinstance(value, dict) else {}


def _items(values: Mapping, name: str) -> list:
    value = values.get(name)
    return list(value) if isinstance(value, (list, tuple)) else []
