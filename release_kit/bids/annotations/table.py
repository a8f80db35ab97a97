"""The one table of timed annotations: what every reader gives and every writer takes.

Owns the schema, the row record and the order of rows. Text is kept as it was read (tabs and newlines included); a
missing text is null, never an empty string. Format: ``docs/formats/annotations.md``.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

COLUMNS = ("stim_id", "onset_s", "duration_s", "level", "annotator", "language", "text", "speaker", "annot_id")

SCHEMA = pa.schema(
    [
        pa.field("stim_id", pa.string(), nullable=False),
        pa.field("onset_s", pa.float64(), nullable=False),
        pa.field("duration_s", pa.float64(), nullable=False),
        pa.field("level", pa.string(), nullable=False),
        pa.field("annotator", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("speaker", pa.string()),
        pa.field("annot_id", pa.string(), nullable=False),
    ],
    metadata={"schema_version": "1", "time_unit": "s"},
)
"""``onset_s``, ``duration_s``: time of the stimulus; ``annot_id``: the source (one annotator, level and language)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One annotation. An unordered or overlapping row is kept as it is: judging is the quality report's."""

    stim_id: str
    onset_s: float
    duration_s: float
    level: str
    annotator: str
    language: str
    annot_id: str
    text: str | None = None
    speaker: str | None = None


def annotation_table(rows: Iterable[Row]) -> pa.Table:
    """Return the table of ``rows`` in their canonical order: stimulus, source, onset, duration, then as they came."""
    ordered = sorted(rows, key=lambda row: (row.stim_id, row.annot_id, row.onset_s, row.duration_s))
    if not ordered:
        return pa.Table.from_batches([], SCHEMA)  # converting a list, even an empty one, makes pyarrow import pandas
    return pa.table({name: [getattr(row, name) for row in ordered] for name in COLUMNS}, schema=SCHEMA)


def table_rows(table: pa.Table) -> list[Row]:
    """Return the rows of a table with this schema; the inverse of ``annotation_table``."""
    return [Row(**values) for values in table.select(list(COLUMNS)).to_pylist()]
