"""Gives a recipe back what the published form leaves out: names in the lab, and the secret of the date shift."""

from dataclasses import replace
from pathlib import Path

from release_kit.bids.recipe.model import Recipe
from release_kit.core.errors import RecordError
from release_kit.core.text_table import read_text_table

COLUMNS = ("participant_id", "source")


def with_private(recipe: Recipe, *, pseudonyms: Path | None = None, shift_key: Path | None = None) -> Recipe:
    """Return the recipe with the names of ``pseudonyms`` and the secret in ``shift_key``; None changes nothing.

    Args:
        recipe: any recipe, that of a dataset for example.
        pseudonyms: TSV with the columns ``participant_id`` (``01`` or ``sub-01``) and ``source``; others are ignored.
        shift_key: file with the secret of the date shift.

    Raises:
        RecordError: the table lacks a column, or a participant of the recipe.
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
    table = read_text_table(path, "tsv", where=str(path), delimiter="\t")
    lacking = [name for name in COLUMNS if name not in table.header]
    if lacking:
        raise RecordError(f"has no column {', '.join(lacking)}", where=str(path))
    if table.problems:
        raise table.problems[0]
    label, source = (table.header.index(name) for name in COLUMNS)
    return {row[label].removeprefix("sub-"): row[source] for _, row in table.rows}
