"""The whole table as one file: CSV and TSV, and Parquet read back. Each holds every column and every text.

CSV is quoted as spreadsheets expect it, a missing text is an empty cell; TSV has the escapes of the dataset's own
tables (``tsv.py``). Parquet is written by ``stimuli.py``.
"""

import csv
import io

import pyarrow as pa
import pyarrow.parquet as parquet

from release_kit.bids.annotations.table import COLUMNS, SCHEMA, Row, annotation_table, table_rows
from release_kit.bids.annotations.tsv import number, parse_tsv, tsv_bytes
from release_kit.core.errors import RecordError

_TIMES = ("onset_s", "duration_s")
_MAY_BE_MISSING = ("text", "speaker")


def csv_bytes(table: pa.Table) -> bytes:
    """Return the table as CSV (UTF-8, LF, header line)."""
    lines = [",".join(COLUMNS)]
    for row in table_rows(table):
        values = (getattr(row, name) for name in COLUMNS)
        lines.append(",".join(number(value) if isinstance(value, float) else _cell(value) for value in values))
    return ("\n".join(lines) + "\n").encode()


def parse_csv(data: bytes, where: str) -> pa.Table:
    """Return the table of ``csv_bytes``.

    Raises:
        RecordError: other columns, a time that is no number, a name that is missing.
    """
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise RecordError(f"is no CSV file in UTF-8 ({error})", where=where) from error
    if not rows:
        raise RecordError("has no header line", where=where)
    return _table(rows[0], [[cell or None for cell in row] for row in rows[1:]], where)


def table_tsv_bytes(table: pa.Table) -> bytes:
    """Return the table as TSV with the escapes of BIDS tables made here."""
    return tsv_bytes(COLUMNS, [[getattr(row, name) for name in COLUMNS] for row in table_rows(table)])


def parse_table_tsv(data: bytes, where: str) -> pa.Table:
    """Return the table of ``table_tsv_bytes``.

    Raises:
        RecordError: other columns, a time that is no number, a name that is missing, a broken escape.
    """
    header, rows = parse_tsv(data, where)
    return _table(header, rows, where)


def parse_parquet(data: bytes, where: str) -> pa.Table:
    """Return the table of a Parquet file; columns beyond the table's are left out.

    Raises:
        RecordError: not Parquet, or other columns.
    """
    try:
        return parquet.read_table(pa.BufferReader(data)).select(list(COLUMNS)).cast(SCHEMA)
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise RecordError(f"is no table of annotations ({error})", where=where) from error


def _cell(text: str | None) -> str:
    """Quoted where a reader may need it; Python's writer leaves a lone carriage return bare, which ends the row."""
    if not text:
        return ""
    plain = text == text.strip() and not any(character in text for character in '",\r\n')
    return text if plain else '"' + text.replace('"', '""') + '"'


def _table(header: list[str], rows: list[list[str | None]], where: str) -> pa.Table:
    if sorted(header) != sorted(COLUMNS):
        missing = [name for name in COLUMNS if name not in header]
        what = f"lacks the columns {missing}" if missing else f"has columns beyond {list(COLUMNS)}"
        raise RecordError(what, where=where, next_step="read it with the `intervals` reader of a recipe instead")
    return annotation_table(_row(header, row, f"{where}, row {n}") for n, row in enumerate(rows, start=1))


def _row(header: list[str], cells: list[str | None], where: str) -> Row:
    if len(cells) != len(header):
        raise RecordError(f"expected {len(header)} cells, got {len(cells)}", where=where)
    values = dict(zip(header, cells, strict=True))
    absent = [name for name in COLUMNS if values[name] is None and name not in _MAY_BE_MISSING]
    if absent:
        raise RecordError(f"has no {absent[0]}", where=where)
    try:
        return Row(**{name: float(value) if name in _TIMES else value for name, value in values.items()})
    except ValueError as error:
        raise RecordError(str(error), where=where) from error
