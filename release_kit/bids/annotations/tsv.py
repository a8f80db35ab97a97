"""Tables of a BIDS dataset as bytes, and back: fields that hold any text, numbers without loss, ``n/a`` for missing.

A tab, line end, backslash or other control character inside a text is written out (``\\t``, ``\\n``, ``\\r``,
``\\\\``, ``\\u2028``), and so are the letters that a reader would take for something else: the text ``n/a`` itself, and
a double quote that begins a field. ``parse_tsv(tsv_bytes(header, rows)) == (header, rows)`` for text and None. What
columns mean is up to the callers. Format: ``docs/formats/annotations.md``.
"""

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal

from release_kit.core.errors import RecordError

MISSING = "n/a"

_EMPTY = "\\e"
"""A text without a letter: a table of annotations has none, a foreign one may."""
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\"}
_LONG = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\", "e": ""}
_SPECIAL = re.compile("[\x00-\x1f\x7f-\x9f\\\\\u2028\u2029\ufeff]")
_ESCAPE = re.compile(r"\\(?:u([0-9a-f]{4})|([^u]?)|u)", re.DOTALL)


def escape_field(text: str | None) -> str:
    """Return ``text`` as a field of one line without tabs; None is ``n/a``."""
    if text is None:
        return MISSING
    if not text:
        return _EMPTY
    field = _SPECIAL.sub(lambda found: _SHORT.get(found[0]) or _written(found[0]), text)
    if field[-1].isspace():
        field = field[:-1] + _written(field[-1])
    if field == MISSING or field[0] == '"' or field[0].isspace():
        field = _written(field[0]) + field[1:]
    return field


def unescape_field(field: str) -> str | None:
    """Return the text of a field; the inverse of ``escape_field``.

    Raises:
        ValueError: a backslash that begins no known escape.
    """
    return None if field == MISSING else _ESCAPE.sub(_character, field)


def number(value: float) -> str:
    """Return ``value`` in its shortest exact decimal form, without an exponent: ``12``, ``0.5``, ``0.0000001``."""
    if value == int(value):
        return str(int(value))
    return format(Decimal(repr(float(value))), "f")


def tsv_bytes(header: Sequence[str], rows: Iterable[Sequence[str | float | bool | None]]) -> bytes:
    """Return a table with a header line: text escaped, numbers exact, true and false in small letters, None ``n/a``."""
    lines = ["\t".join(header)]
    lines += ["\t".join(_field(value) for value in row) for row in rows]
    return ("\n".join(lines) + "\n").encode("utf-8")


def parse_tsv(data: bytes, where: str, *, escapes: bool = True) -> tuple[list[str], list[list[str | None]]]:
    """Return header and rows of a table; ``n/a`` is None, escapes are undone.

    Args:
        data: the file.
        where: how errors name it.
        escapes: False takes a backslash for a letter, as tables of others mean it.

    Raises:
        RecordError: not UTF-8, no header, a row with another number of fields, a broken escape; the line is named.
    """
    try:
        lines = data.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise RecordError(f"is not UTF-8 ({error.reason})", where=where, next_step="save it as UTF-8") from error
    header = lines[0].split("\t")
    if not lines[0]:
        raise RecordError("has no header line", where=where)
    numbered = [(n, line) for n, line in enumerate(lines[1:], start=2) if line or (len(header) == 1 and n < len(lines))]
    return header, [_parsed(line, len(header), f"{where}, line {n}", escapes) for n, line in numbered]


def _parsed(line: str, n_fields: int, where: str, escapes: bool) -> list[str | None]:
    fields = line.split("\t")
    if len(fields) != n_fields:
        raise RecordError(f"expected {n_fields} fields, got {len(fields)}", where=where)
    if not escapes:
        return [None if field == MISSING else field for field in fields]
    try:
        return [unescape_field(field) for field in fields]
    except ValueError as error:
        raise RecordError(str(error), where=where) from error


def _field(value: str | float | bool | None) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return number(value) if isinstance(value, (int, float)) else escape_field(value)


def _written(character: str) -> str:
    return f"\\u{ord(character):04x}"


def _character(found: re.Match) -> str:
    if found[1] and not 0xD800 <= int(found[1], 16) <= 0xDFFF:  # halves of a pair are no text
        return chr(int(found[1], 16))
    if found[2] in _LONG and found[2]:
        return _LONG[found[2]]
    raise ValueError(f"{found[0]!r} is no escape; a backslash in a text is written twice")
