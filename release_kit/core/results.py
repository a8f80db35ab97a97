"""``tables/results.parquet``: tidy results, one row per (cell, benchmark, n_shot, metric).

Owns the row record, the schema and reading and writing; the adapters that make rows from other people's files are
``results_csv.py`` and ``results_lm_eval.py``. 0-shot and 5-shot of one benchmark are two results. Every row names the
file, the row or key inside it and the digest of the file that it came from. Format: ``docs/formats/results.md``.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core.errors import RecordError
from release_kit.core.files import write_atomic

SCHEMA_VERSION = 1
RESULTS_FILE = "tables/results.parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One measured number."""

    cell_id: str
    benchmark: str
    metric: str
    value: float | None
    """None: the source says that this was attempted and gave nothing (an empty field, ``None``, NaN)."""
    n_shot: int | None = None
    n: int | None = None
    """Number of samples behind the value."""
    stderr: float | None = None
    higher_is_better: bool | None = None
    task_version: str | None = None
    source: str = ""
    """File relative to the study folder."""
    source_row: int | None = None
    """1-based data row in a table (the header is not counted); None for JSON."""
    source_key: str = ""
    """Column name, or JSON pointer, of the value inside the source."""
    source_sha256: str = ""

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What no two rows may share: (cell_id, benchmark, n_shot or -1, metric)."""
        return (self.cell_id, self.benchmark, -1 if self.n_shot is None else self.n_shot, self.metric)


COLUMNS = tuple(Result.__dataclass_fields__)


def results_schema():
    """Return the Arrow schema of the table (without factor columns)."""
    import pyarrow as pa

    text, integer, number = pa.string(), pa.int64(), pa.float64()
    kinds = {"value": number, "stderr": number, "n_shot": integer, "n": integer, "source_row": integer}
    kinds["higher_is_better"] = pa.bool_()
    return pa.schema([pa.field(name, kinds.get(name, text)) for name in COLUMNS])


def results_table(rows: Iterable[Result], levels: Mapping[str, Mapping[str, Any]] | None = None, **metadata: str):
    """Return the Arrow table of ``rows``, sorted by key; ``levels`` adds one column for each factor.

    Args:
        rows: the results.
        levels: cell_id → levels; adds the factor columns people filter by (numbers stay numbers).
        metadata: written into the schema (versions of what made the table).
    """
    import pyarrow as pa

    ordered = sorted(rows, key=lambda row: (row.key, row.source, row.source_row or 0, row.source_key))
    schema = results_schema()
    columns = [pa.array([getattr(row, field.name) for row in ordered], field.type) for field in schema]
    table = pa.Table.from_arrays(columns, schema=schema)
    if levels:
        for offset, name in enumerate(next(iter(levels.values()), {})):
            column = [levels.get(row.cell_id, {}).get(name) for row in ordered]
            table = table.add_column(1 + offset, name, level_array(column))
    marks = {"release_kit.results_schema": str(SCHEMA_VERSION), **metadata}
    return table.replace_schema_metadata({k.encode(): v.encode() for k, v in sorted(marks.items())})


def parquet_bytes(table) -> bytes:
    """Return the Parquet file of ``table``: same table and same pyarrow, same bytes."""
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", version="2.6", store_schema=True)
    return sink.getvalue()


def write_results(path: Path, rows: Sequence[Result], **metadata: str) -> bool:
    """Write the table; returns False when the file already held the same bytes."""
    return write_atomic(path, parquet_bytes(results_table(rows, **metadata)))


def read_results(path: Path) -> list[Result]:
    """Read a results table; extra columns (factors) are ignored.

    Raises:
        RecordError: missing file, not Parquet, or a required column is missing or of another type.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Not read_table: it imports pyarrow.dataset and with it pandas, which takes longer than the reading.
        table = pq.ParquetFile(path).read(columns=list(COLUMNS))
        picked = table.select(list(COLUMNS)).cast(results_schema())
    except (OSError, KeyError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        text = " ".join(str(error).split())[:200]
        raise RecordError(f"is not a results table ({text})", where=str(path)) from error
    columns = [picked.column(name).to_pylist() for name in COLUMNS]
    return [Result(**dict(zip(COLUMNS, row, strict=True))) for row in zip(*columns, strict=True)]


def level_array(column: list):
    """Return the Arrow array of one factor: numbers stay numbers, levels of mixed types become text."""
    import pyarrow as pa

    from release_kit.core.grid import level_text

    kinds = {type(level) for level in column if level is not None}
    if len(kinds) > 1:
        return pa.array([None if level is None else level_text(level) for level in column], pa.string())
    return pa.array(column)
