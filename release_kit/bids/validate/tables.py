"""Tables of any dataset, read leniently: what is wrong with them becomes findings, not an exception.

Owns splitting a TSV into columns and reading a number from a cell. The strict reader of our own tables is
``annotations/tsv.py``; that rows follow the specification is the reference validator's to judge.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from release_kit.bids.validate.survey import Survey
from release_kit.core.errors import ReleaseKitError

MISSING = ("n/a", "")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table as it was read."""

    path: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """Cells as written; a row that is too short is filled with empty cells, what is too much is cut."""
    ragged: tuple[int, ...] = ()
    """1-based data rows with another number of cells than there are columns."""

    def column(self, name: str) -> list[str]:
        """Return the cells of a column; empty when there is no such column."""
        if name not in self.columns:
            return []
        index = self.columns.index(name)
        return [row[index] for row in self.rows]

    def records(self) -> Iterator[dict[str, str]]:
        """Yield each row as column → cell."""
        for row in self.rows:
            yield dict(zip(self.columns, row, strict=True))


def read_table(survey: Survey, path: str) -> Table | str:
    """Return the table at ``path``, or the sentence that says why there is none."""
    try:
        text = survey.bytes_of(path).decode("utf-8-sig")
    except ReleaseKitError as error:
        return error.what
    except UnicodeDecodeError as error:
        return f"is not UTF-8 (byte {error.start})"
    lines = text.replace("\r\n", "\n").split("\n")
    while lines and not lines[-1]:
        lines.pop()
    if not lines or not lines[0]:
        return "is empty: there is no line with the names of the columns"
    columns = tuple(lines[0].split("\t"))
    if len(set(columns)) != len(columns):
        return f"has a column twice ({', '.join(sorted({c for c in columns if columns.count(c) > 1}))})"
    rows, ragged = [], []
    for number, line in enumerate(lines[1:], start=1):
        cells = line.split("\t")
        if len(cells) != len(columns):
            ragged.append(number)
            cells = (cells + [""] * len(columns))[: len(columns)]
        rows.append(tuple(cells))
    return Table(path=path, columns=columns, rows=tuple(rows), ragged=tuple(ragged))


def seconds(cell: str | None) -> float | None:
    """Return the finite number in a cell; None when it is missing or no number."""
    try:
        value = float(cell) if cell is not None and cell not in MISSING else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
