"""Tables that people already have — CSV, TSV, JSON Lines, Parquet — read as rows of text, strictly.

Owns turning a file into a header, rows and the file's digest. What columns mean is up to ``results_csv.py``. A field
that holds nothing is the empty text; numbers of Parquet and JSON Lines are written in their shortest exact form.
"""

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core.canonical import parse_json
from release_kit.core.errors import RecordError

FORMATS = {"csv": ",", "tsv": "\t", "jsonl": None, "parquet": None}
"""Format → default delimiter, where it has one."""

MAX_SHOWN_ROWS = 5


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table as text; ``rows`` are ``(1-based data row, fields)`` with as many fields as ``header`` has names."""

    header: tuple[str, ...]
    rows: list[tuple[int, list[str]]]
    sha256: str
    problems: tuple[RecordError, ...]
    """Rows that are not in ``rows`` because they do not fit the header."""


def read_text_table(path: Path, kind: str, *, where: str, delimiter: str | None = None) -> TextTable:
    """Read one table.

    Args:
        path: the file.
        kind: ``csv``, ``tsv``, ``jsonl`` or ``parquet``.
        where: how messages name the file.
        delimiter: of a CSV or TSV file; None takes the format's own.

    Raises:
        RecordError: the file cannot be read as this format at all (missing, broken UTF-8, no header, two columns of
            one name). Single rows that do not fit are in ``problems``.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(f"cannot be read ({error.strerror})", where=where) from error
    if kind == "parquet":
        header, rows, problems = _parquet_rows(data, where)
    elif kind == "jsonl":
        header, rows, problems = _jsonl_rows(data, where)
    else:
        header, rows, problems = _delimited_rows(data, delimiter or FORMATS[kind], where)
    if not header and not problems:
        raise RecordError("is empty: it has no header", where=where)
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise RecordError(f"has several columns called {', '.join(map(repr, twice))}", where=f"{where}, header")
    return TextTable(header=tuple(header), rows=rows, sha256=hashlib.sha256(data).hexdigest(), problems=tuple(problems))


def row_place(where: str, rows: Iterable[int]) -> str:
    """Return ``file.csv, row 4`` or ``file.csv, 82 rows (4, 9, 13, 20, 21, …)``."""
    numbers = list(rows)
    if len(numbers) == 1:
        return f"{where}, row {numbers[0]}"
    shown = ", ".join(map(str, numbers[:MAX_SHOWN_ROWS])) + (", …" if len(numbers) > MAX_SHOWN_ROWS else "")
    return f"{where}, {len(numbers)} rows ({shown})"


_Read = tuple[list[str], list[tuple[int, list[str]]], list[RecordError]]


def _delimited_rows(data: bytes, delimiter: str, where: str) -> _Read:
    text = _decoded(data, where)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    lines = _numbered(reader, where)
    header = next(lines, (0, []))[1]
    rows, wrong = [], {}
    for number, fields in lines:
        if len(fields) == len(header):
            rows.append((number, fields))
        elif fields:
            wrong.setdefault(len(fields), []).append(number)
    problems = [
        RecordError(f"expected {len(header)} fields, got {n}", where=row_place(where, numbers),
                    next_step="is a delimiter inside a field not quoted?")
        for n, numbers in sorted(wrong.items())
    ]  # fmt: skip
    return header, rows, problems


def _numbered(reader: Any, where: str) -> Iterator[tuple[int, list[str]]]:
    try:
        yield from enumerate(reader)
    except csv.Error as error:
        raise RecordError(f"is not valid CSV ({error})", where=f"{where}, line {reader.line_num}") from error


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}"
        step = "save the table as UTF-8"
        raise RecordError(what, where=f"{where}, line {line}", next_step=step) from error


def _jsonl_rows(data: bytes, where: str) -> _Read:
    records, problems = [], []
    for number, line in enumerate(_decoded(data, where).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = parse_json(line, row_place(where, [number]))
            if not isinstance(value, dict):
                raise RecordError("is not a JSON object", where=row_place(where, [number]))
            records.append((number, value))
        except RecordError as problem:
            problems.append(problem)
    header = list(dict.fromkeys(name for _, value in records for name in value))
    return header, [(number, [_text(value.get(name)) for name in header]) for number, value in records], problems


def _parquet_rows(data: bytes, where: str) -> _Read:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(data))
    except (OSError, pa.ArrowException) as error:
        raise RecordError(f"is not Parquet ({' '.join(str(error).split())[:120]})", where=where) from error
    columns = [map(_text, column.to_pylist()) for column in table.columns]
    rows = [(number, list(fields)) for number, fields in enumerate(zip(*columns, strict=True), start=1)]
    return table.column_names, rows, []


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
