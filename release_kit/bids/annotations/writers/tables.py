"""The whole table as one file: CSV and TSV, and Parquet read back. Each holds every column and every text.

CSV is quoted as spreadsheets expect it, a missing text is an empty cell; TSV has the escapes of the dataset's own
tables (``tsv.py``). Parquet is written by ``stimuli.py``.
"""

import csv
import io
import math

import pyarrow as pa
import pyarrow.parquet as parquet

from release_kit.bids.annotations.csv_limit import csv_fault, longest_cell
from release_kit.bids.annotations.problems import Problems
from release_kit.bids.annotations.table import COLUMNS, SCHEMA, Row, annotation_table, table_rows
from release_kit.bids.annotations.times import parse_span
from release_kit.bids.annotations.tsv import number, parse_tsv, tsv_bytes
from release_kit.core.errors import RecordError, ReleaseKitError
from release_kit.core.wording import counted

_MAY_BE_MISSING = ("text", "speaker")


def csv_bytes(table: pa.Table) -> bytes:
    """Return the table as CSV (UTF-8, LF, header line).

    Raises:
        ReleaseKitError: a text that is longer than readers of CSV take.
    """
    lines = [",".join(COLUMNS)]
    rows = table_rows(table)
    _refuse_long(rows)
    for row in rows:
        values = (getattr(row, name) for name in COLUMNS)
        lines.append(",".join(number(value) if isinstance(value, float) else _cell(value) for value in values))
    return ("\n".join(lines) + "\n").encode()


def parse_csv(data: bytes, where: str) -> pa.Table:
    """Return the table of ``csv_bytes``.

    Raises:
        RecordError: no CSV file, or other columns.
        AnnotationError: every row with a time that is no number or a name that is missing.
    """
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except UnicodeDecodeError as error:
        raise RecordError(f"is no CSV file in UTF-8 ({error})", where=where) from error
    except csv.Error as error:
        raise RecordError(csv_fault(error), where=where) from error
    if not rows:
        raise RecordError("has no header line", where=where)
    return _table(rows[0], [[cell or None for cell in row] for row in rows[1:]], where)


def table_tsv_bytes(table: pa.Table) -> bytes:
    """Return the table as TSV with the escapes of BIDS tables made here."""
    return tsv_bytes(COLUMNS, [[getattr(row, name) for name in COLUMNS] for row in table_rows(table)])


def parse_table_tsv(data: bytes, where: str) -> pa.Table:
    """Return the table of ``table_tsv_bytes``.

    Raises:
        RecordError: other columns, or a broken escape.
        AnnotationError: every row with a time that is no number or a name that is missing.
    """
    header, rows = parse_tsv(data, where)
    return _table(header, rows, where)


def parse_parquet(data: bytes, where: str) -> pa.Table:
    """Return the table of a Parquet file; columns beyond the table's are left out.

    Raises:
        RecordError: not Parquet, other columns, a time that is missing, negative or not finite.
    """
    try:
        table = parquet.read_table(pa.BufferReader(data)).select(list(COLUMNS)).cast(SCHEMA)
        table.validate(full=True)
        times = (time for name in ("onset_s", "duration_s") for time in table[name].to_pylist())
        if not all(time is not None and 0 <= time < math.inf for time in times):
            raise ValueError("a time is missing, negative or not finite")
        return table
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:  # OSError: pyarrow's word for damage
        raise RecordError(f"is no table of annotations ({error})", where=where) from error


def _refuse_long(rows: list[Row]) -> None:
    most = longest_cell()
    long = [row for row in rows if max(len(row.text or ""), len(row.speaker or "")) > most]
    if long:
        first = long[0]
        raise ReleaseKitError(
            f"{counted(len(long), 'annotation')} of more than {most:,} characters (the first at {first.onset_s:g} s of "
            f"stim-{first.stim_id}, {first.annot_id}): no reader of CSV takes them",
            next_step="export as tsv or parquet",
        )


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
    problems, found = Problems(path=where), []
    for n, cells in enumerate(rows, start=1):
        try:
            found.append(_row(header, cells))
        except ValueError as error:
            problems.add(f"row {n} below the header: {error}")
    problems.refuse()
    return annotation_table(found)


def _row(header: list[str], cells: list[str | None]) -> Row:
    if len(cells) != len(header):
        raise ValueError(f"expected {len(header)} cells, got {len(cells)}")
    values = dict(zip(header, cells, strict=True))
    onset_s, duration_s = parse_span(values.pop("onset_s"), values.pop("duration_s"))
    absent = [name for name, value in values.items() if value is None and name not in _MAY_BE_MISSING]
    if absent:
        raise ValueError(f"has no {absent[0]}")
    return Row(onset_s=onset_s, duration_s=duration_s, **values)
