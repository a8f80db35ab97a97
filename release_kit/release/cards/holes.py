"""What a study declares and its release does not have: whole cells, and results without a value.

Owns the table of holes in the release's card. Judging them is left to ``release_kit.release.check``.
"""

from collections.abc import Sequence

from release_kit.core.grid import describe, iter_levels
from release_kit.core.study import Study
from release_kit.release.cards.inputs import CardCell, CardInputs
from release_kit.release.cards.markdown import code, escaped
from release_kit.release.cards.numbers import Grid
from release_kit.release.cards.trace import NumberRow, NumbersTable

MAX_EXAMPLES, MAX_LABELS = 3, 4


def n_declared(study: Study) -> int:
    """Return how many cells the study declares."""
    return sum(1 for _ in iter_levels(study))


def holes_table(inputs: CardInputs, grid: Grid) -> NumbersTable:
    """Return the holes: declared cells that are absent, and results that the same cells lack, summed up."""
    rows = _absent_cells(inputs)
    lacking: dict[tuple[str, ...], list[str]] = {}
    for population in grid.populations.values():
        column = grid.column(population.key)
        ids = tuple(cell.cell_id for cell in grid.others if column.get(cell.cell_id) is None)
        if ids:
            lacking.setdefault(ids, []).append(population.label)
    names = {cell.cell_id: cell.name for cell in grid.others}
    rows += [_lacking_row(labels, [names[cell_id] for cell_id in ids]) for ids, labels in lacking.items()]
    return NumbersTable(
        name="holes",
        keys=("What is missing",),
        columns=("Cells without it", "For example"),
        rows=rows,
        align="left",
    )


def _absent_cells(inputs: CardInputs) -> list[NumberRow]:
    here = {_key(cell) for cell in inputs.cells}
    absent = [levels for levels in iter_levels(inputs.study) if tuple(levels.values()) not in here]
    if not absent:
        return []
    examples = [code(describe(levels)) for levels in absent]
    return [_row("the whole cell", len(absent), examples)]


def _lacking_row(labels: Sequence[str], names: Sequence[str]) -> NumberRow:
    shown = ", ".join(escaped(label) for label in labels[:MAX_LABELS])
    more = f" and {len(labels) - MAX_LABELS} more" if len(labels) > MAX_LABELS else ""
    return _row(shown + more, len(names), [code(name) for name in names])


def _row(what: str, count: int, examples: Sequence[str]) -> NumberRow:
    more = ", …" if len(examples) > MAX_EXAMPLES else ""
    shown = (f"{count:,}", ", ".join(examples[:MAX_EXAMPLES]) + more)
    return NumberRow(keys=(what,), shown=shown, origin={"count": "cells without it"})


def _key(cell: CardCell) -> tuple:
    return tuple(cell.levels.values())
