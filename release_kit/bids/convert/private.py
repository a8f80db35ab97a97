"""Gives a recipe back what the published form leaves out: names in the lab, and the secret of the date shift."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from release_kit.bids.recipe.model import Recipe
from release_kit.bids.recipe.pseudonyms import SOURCE_COLUMN, read_pseudonyms
from release_kit.core.errors import RecordError
from release_kit.core.grammar.values import Findings


def with_private(recipe: Recipe, *, pseudonyms: Path | None = None, shift_key: Path | None = None) -> Recipe:
    """Return the recipe with the names of ``pseudonyms`` and the secret in ``shift_key``; None changes nothing.

    Args:
        recipe: any recipe, that of a dataset for example.
        pseudonyms: TSV with the columns ``participant_id`` (``01`` or ``sub-01``) and ``source``; others are ignored.
        shift_key: file with the secret of the date shift.

    Raises:
        RecordError: the table lacks a column, or a participant of the recipe; a participant or a name stands twice.
    """
    if pseudonyms is not None:
        names = _names(pseudonyms)
        if lacking := [subject.label for subject in recipe.subjects if subject.label not in names]:
            raise RecordError(f"no line for participant {', '.join(lacking)}", where=str(pseudonyms))
        recipe = replace(recipe, subjects=tuple(replace(one, source=names[one.label]) for one in recipe.subjects))
    if shift_key is not None:
        recipe = replace(recipe, privacy=replace(recipe.privacy, shift_key=str(shift_key.resolve())))
    return recipe


def _names(path: Path) -> dict[str, str]:
    found = Findings()
    rows = read_pseudonyms({"from": path.name}, path.parent, found)
    problems = [what for _, _, what, _ in found.problems]
    names = {label: str(row[SOURCE_COLUMN]) for label, row in rows.items() if row.get(SOURCE_COLUMN)}
    for name, n in sorted(Counter(names.values()).items()):
        if n > 1:
            problems.append(f"{name!r} stands for {n} participants")
    if problems:
        raise RecordError("; ".join(problems), where=str(path), next_step="one line and one name for each participant")
    return names
