"""Pseudonyms: the table that a recipe names instead of listing its subjects, and the words that they must hide."""

import csv
from pathlib import Path
from typing import Any

from release_kit.bids.recipe.model import Recipe
from release_kit.bids.sidecars.leak_parts import name_parts
from release_kit.core.grammar.values import Findings

LABEL_COLUMN = "participant_id"
SOURCE_COLUMN = "source"


def secret_words(recipe: Recipe) -> tuple[str, ...]:
    """Return the words that must appear nowhere, sorted: names in the lab, what the recipe adds, then parts of names.

    A name that is the published label of its subject (``01``, ``sub-01``) tells nothing, nor does a part of one that is
    a label of the recipe, or that the recipe calls an ordinary word.
    """
    names = {one.source for one in recipe.subjects if not is_published(one.label, one.source)}
    labels = [label for one in recipe.subjects for label in (one.label, f"sub{one.label}")]
    labels += [*recipe.tasks, *recipe.stimuli]
    labels += [str(one.session) for one in (*recipe.runs, *recipe.anatomy) if one.session]
    parts = name_parts(names, (*recipe.privacy.ordinary, *labels))
    return (*sorted(names | set(recipe.privacy.words)), *parts)


def is_published(label: str, source: str) -> bool:
    """Return whether a name in the lab is what the dataset calls the subject, in whatever case."""
    return source.casefold() in (label.casefold(), f"sub-{label}".casefold())


def read_pseudonyms(subjects: Any, folder: Path, found: Findings) -> Any:
    """Return the ``subjects`` of a recipe: the mapping itself, or the rows of the TSV that ``{from: FILE}`` names.

    Columns: ``participant_id`` (``01`` or ``sub-01``), ``source``, and those of ``participants.tsv``; ``n/a`` and an
    empty field are "not known".
    """
    if not isinstance(subjects, dict) or not isinstance(subjects.get("from"), str):
        return subjects
    path = folder / subjects["from"]
    if len(subjects) > 1:
        found.refuse("subjects", "names a table and lists subjects too", "keep one of both")
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        found.refuse("subjects.from", f"names {path}, which cannot be read ({reason})", "make it readable")
        return {}
    header = rows[0] if rows else []
    if lacking := {LABEL_COLUMN, SOURCE_COLUMN} - set(header):
        step = f"its first line must name {LABEL_COLUMN} and {SOURCE_COLUMN}, with tabs between"
        found.refuse("subjects.from", f"{path} has no column {', '.join(sorted(lacking))}", step)
        return {}
    if len(set(header)) < len(header):
        found.refuse("subjects.from", f"{path} has a column twice: {', '.join(header)}", "rename one")
        return {}
    return _subjects(rows, header, path, found)


def _subjects(rows: list[list[str]], header: list[str], path: Path, found: Findings) -> dict[str, dict[str, Any]]:
    result: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not any(row):
            continue
        if len(row) != len(header):
            what = f"{path}, line {number}: {len(row)} fields where the header has {len(header)}"
            found.refuse("subjects.from", what, "correct the line")
            continue
        fields = dict(zip(header, row, strict=True))
        label = fields.pop(LABEL_COLUMN).removeprefix("sub-")
        if label in result:
            found.refuse("subjects.from", f"{path}, line {number}: {label!r} stands twice", "keep one line")
        known = {name: text for name, text in fields.items() if text not in ("", "n/a")}
        result[label] = {name: text if name == SOURCE_COLUMN else _number_or(text) for name, text in known.items()}
    return result


def _number_or(text: str) -> str | int | float:
    """``28`` is a number; ``01`` is a name, since a number would not come back as it was written."""
    for kind in (int, float):
        try:
            if str(kind(text)) == text and text not in ("nan", "inf", "-inf"):
                return kind(text)
        except ValueError:
            continue
    return text
