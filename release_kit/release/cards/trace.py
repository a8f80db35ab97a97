"""The tables of numbers in a card, and the record at its end that says where each number comes from.

Owns the Markdown form of such a table, the trace (canonical JSON inside an HTML comment, last in the card) and reading
both back. A number's address is (table, key texts, column). Which numbers a card has is decided elsewhere.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import RecordError
from release_kit.core.records import Fields, check_schema_version
from release_kit.release.cards.handwritten import emptied
from release_kit.release.cards.markdown import NOTHING, escaped, row

SCHEMA_VERSION = 1
TRACE_OPEN = "<!-- release_kit:trace "
TRACE_CLOSE = " -->"

Address = tuple[str, tuple[str, ...], str]
"""(table, texts of the key columns, column)."""

_TABLE = re.compile(r"^<!-- release_kit:numbers ([a-z0-9-]+) keys=(\d+) -->\Z")
_BAR = re.compile(r"(?<!\\)\|")
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


@dataclass(frozen=True, kw_only=True)
class NumberRow:
    """One row: the texts that name it, the texts shown, and where they come from."""

    keys: tuple[str, ...]
    shown: tuple[str, ...]
    origin: Mapping[str, Any] | Sequence[Any] | None = None
    """Where the row comes from; None in tables that have one ``source`` for all rows."""
    identity: tuple[str | int | None, ...] | None = None
    """What the key texts stand for, when that is more than a text (benchmark, number of shots, metric)."""


@dataclass(frozen=True, kw_only=True)
class NumbersTable:
    """One table of numbers in a card; texts are safe Markdown already."""

    name: str
    keys: tuple[str, ...]
    """Headings of the columns that name a row."""
    columns: tuple[str, ...]
    """Headings of the columns that hold numbers."""
    rows: Sequence[NumberRow]
    rules: Mapping[str, str] = field(default_factory=dict)
    """Column → how its number follows from the origin."""
    align: str = "right"
    source: str = ""
    """File and key of all rows at once, for tables of facts; their rows are then left out of the trace."""
    origin_fields: tuple[str, ...] = ()
    """Names of the parts of an origin that is a list."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What all rows share."""

    def markdown(self) -> str:
        """Return the marker and the table, without a final newline."""
        edge = "---:" if self.align == "right" else "---"
        lines = [
            f"<!-- release_kit:numbers {self.name} keys={len(self.keys)} -->",
            row(self.keys + self.columns),
            row(("---",) * len(self.keys) + (edge,) * len(self.columns)),
        ]
        lines += [f"| {' | '.join(entry.keys)} | {' | '.join(entry.shown)} |" for entry in self.rows]
        return "\n".join(lines)

    def record(self) -> dict[str, Any]:
        """Return the part of the trace for this table."""
        if self.source:
            return {"from": self.source}
        record = {
            "columns": self.columns,
            "rules": self.rules,
            "rows": [(entry.identity or entry.keys, entry.shown, entry.origin) for entry in self.rows],
        }
        return record | self.about | ({"origin": self.origin_fields} if self.origin_fields else {})


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What a card says about its own numbers."""

    body_sha256: str
    """sha256 of the generated text: the card without this record and without hand-written content."""
    table: str
    numbers: Mapping[str, Mapping[str, Any]]
    sources: Mapping[str, str | None]


def key_text(part: str | int | None) -> str:
    """Return how one part of an identity is shown: a number as it is, a text safe for Markdown, None as a dash."""
    return NOTHING if part is None else escaped(part) if isinstance(part, str) else str(part)


def trace_comment(body: str, table: str, tables: Sequence[NumbersTable], sources: Mapping[str, str | None]) -> str:
    """Return the comment that ends a card.

    Args:
        body: the generated text, its hand-written sections still empty.
        table: where the results table lies in the release.
        tables: the tables of numbers in the card.
        sources: file → sha256 of what the numbers come from.
    """
    value = {
        "schema_version": SCHEMA_VERSION,
        "body_sha256": hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest(),
        "table": table,
        "numbers": {entry.name: entry.record() for entry in tables},
        "sources": sources,
    }
    # Two hyphens would end an HTML comment; inside JSON texts the second one may be written as an escape.
    return TRACE_OPEN + _encode(value).replace("--", "-\\u002d") + TRACE_CLOSE + "\n"


def body_digest(text: str) -> str:
    """Return the sha256 of the generated part of a card's text (its trace and hand-written content left out)."""
    body, _ = split_trace(emptied(text))
    return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()


def split_trace(text: str) -> tuple[str, str | None]:
    """Return the card's text without its trace, and the JSON of the trace (None when it has none)."""
    start = text.rfind(TRACE_OPEN)
    end = text.find(TRACE_CLOSE, start)
    if start < 0 or end < 0:
        return text, None
    return text[:start], text[start + len(TRACE_OPEN) : end]


def parse_trace(text: str, where: str) -> Trace | None:
    """Return the trace of a card, or None for a card that has none.

    Raises:
        RecordError: there is one, and it is damaged.
    """
    _, found = split_trace(text)
    if found is None:
        return None
    fields = Fields(canonical.parse_json(found, where), where)
    check_schema_version(fields, (SCHEMA_VERSION,))
    trace = Trace(
        body_sha256=fields.take("body_sha256", str),
        table=fields.take("table", str),
        numbers=fields.take("numbers", dict),
        sources=fields.take("sources", dict),
    )
    fields.done()
    return trace


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """One number of a trace: what is shown, and what it comes from."""

    shown: str
    origin: Any
    rule: str


def traced_numbers(trace: Trace, where: str) -> dict[Address, Number]:
    """Return every number that the trace speaks of one by one; tables of facts have one source for all rows.

    Raises:
        RecordError: the trace has another shape than this version writes.
    """
    numbers: dict[Address, Number] = {}
    try:
        for name, table in trace.numbers.items():
            if "from" in table:
                continue
            columns, rules = table["columns"], table["rules"]
            for identity, shown, origin in table["rows"]:
                keys = tuple(map(key_text, identity)) if "origin" in table else tuple(identity)
                for column, text in zip(columns, shown, strict=True):
                    address = unused(numbers, (name, keys, column))
                    numbers[address] = Number(shown=text, origin=origin, rule=rules.get(column, ""))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordError(f"its trace has an unknown shape ({error!r})", where=where) from error
    return numbers


def visible_numbers(text: str) -> dict[Address, tuple[str, int]]:
    """Return ``{address: (text shown, 1-based line)}`` of every table of numbers that a reader sees."""
    seen: dict[Address, tuple[str, int]] = {}
    lines = text.split("\n")
    for index, line in enumerate(lines):
        if mark := _TABLE.match(line):
            for address, shown, number in _table_numbers(lines, index, mark):
                seen[unused(seen, address)] = (shown, number)
    return seen


def unused(taken: Mapping[Address, Any], address: Address) -> Address:
    """Return ``address``, or the same with ``#2`` … on its last key when two rows bear one name."""
    table, keys, column = address
    count = 1
    while address in taken:
        count += 1
        address = (table, (*keys[:-1], f"{keys[-1]}#{count}"), column)
    return address


def _table_numbers(lines: list[str], index: int, mark: re.Match) -> Iterator[tuple[Address, str, int]]:
    name, n_keys = mark.group(1), int(mark.group(2))
    if index + 1 >= len(lines):
        return
    heads = _split(lines[index + 1])[n_keys:]
    for number in range(index + 3, len(lines)):
        if not lines[number].startswith("|"):
            return
        cells = _split(lines[number])
        for column, shown in zip(heads, cells[n_keys:], strict=False):
            yield (name, tuple(cells[:n_keys]), column), shown, number + 1


def _split(line: str) -> list[str]:
    return [cell.strip() for cell in _BAR.split(line.strip())[1:-1]]
