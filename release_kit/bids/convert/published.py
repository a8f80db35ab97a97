"""The recipe as the dataset carries it: everything that was decided, nothing that leads back to a person.

Names of subjects in the lab, the secret of the date shift and the list of words that must not appear are left out.
Annotation files are named as their copies under ``sourcedata/`` are, so that the dataset's own recipe reads them there.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml

from release_kit.bids.recipe.model import Recipe, Recording, Run

HEADER = """\
# How this dataset was made. Names of people in the lab are not here: with them (--pseudonyms) and the recordings
# (--sources), `release-kit bids convert code/release_kit/recipe.yaml .` makes the same bytes again. Annotations alone:
# `release-kit bids convert code/release_kit/recipe.yaml . --only annotations`.
"""
COPIES = "annotations"
"""Folder of the copies of annotation files, inside ``sourcedata/``."""


def published_pattern(pattern: str) -> str:
    """Return where the copy of an annotation file lies inside ``sourcedata/``; a fixed point of itself."""
    parts = [part for part in PurePosixPath(pattern).parts if part not in ("/", ".", "..")]
    return str(PurePosixPath(COPIES, *(parts[1:] if parts[0] == COPIES else parts)))


def published_recipe(recipe: Recipe) -> bytes:
    """Return the bytes of ``code/release_kit/recipe.yaml``."""
    value: dict[str, Any] = {
        "schema_version": 1,
        "dataset": _record(recipe.dataset),
        "subjects": {one.label: {"source": one.label, **one.columns} for one in recipe.subjects},
        "tasks": {label: _record(task, leave="label") for label, task in recipe.tasks.items()},
        "stimuli": {label: _record(stimulus, leave="label") for label, stimulus in recipe.stimuli.items()},
        "runs": [_run(run) for run in recipe.runs],
        "anatomy": [_recorded(anatomy) for anatomy in recipe.anatomy],
        "levels": {name: _record(level, leave="name") for name, level in recipe.levels.items()},
        "annotations": [_annotation(source) for source in recipe.annotations],
        "derivatives": [_recorded(derivative) for derivative in recipe.derivatives],
        "sidecars": _plain(recipe.sidecars),
        "allow": _plain(recipe.allow),
        "privacy": _record(recipe.privacy, leave=("shift_key", "words", "ordinary")),
    }
    kept = {key: item for key, item in value.items() if item not in ([], {})}
    text = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=120, default_flow_style=False)
    return (HEADER + text).encode("utf-8")


def _run(run: Run) -> dict[str, Any]:
    value = _recorded(run)
    if run.shows is not None:
        value["shows"] = _record(run.shows)
    return value


def _recorded(item: Any) -> dict[str, Any]:
    """A record with its recording's fields beside its own, as recipes are written."""
    value = _record(item, leave=("recording", "subjects"))
    if others := getattr(item, "subjects", {}):
        value["subjects"] = {label: _recording(other) for label, other in others.items()}
    return {**value, **_recording(item.recording)}


def _recording(recording: Recording) -> dict[str, Any]:
    return {**_record(recording), "kind": recording.kind}


def _annotation(source: Any) -> dict[str, Any]:
    return {**_record(source), "pattern": published_pattern(source.pattern)}


def _record(item: Any, leave: str | tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the fields of a record that differ from their defaults; a field that must be given is always there."""
    skipped = (leave,) if isinstance(leave, str) else leave
    found: dict[str, Any] = {}
    for field in fields(item):
        value = getattr(item, field.name)
        if field.name in skipped or is_dataclass(value) or _is_default(field, value):
            continue
        found[field.name] = _plain(value)
    return found


def _is_default(field: Any, value: Any) -> bool:
    if field.default is not MISSING:
        return value == field.default
    return field.default_factory is not MISSING and not value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
