"""Reader of tables of intervals: CSV or TSV with a header line and columns that the recipe maps.

One file may hold several annotators: ``select`` keeps the rows of one. Quoted cells may hold separators and line ends.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from release_kit.bids.annotations.csv_limit import csv_fault
from release_kit.bids.annotations.cues import Cue, checked_span
from release_kit.bids.annotations.problems import Problems
from release_kit.bids.annotations.readers.seconds import one_of
from release_kit.bids.annotations.times import UNITS, decimal_text, minus, parse_time, plus
from release_kit.core.records import Fields, nearest

NAMES: Mapping[str, tuple[str, ...]] = {
    "onset": ("onset", "onset_s", "start", "start_s"),
    "duration": ("duration", "duration_s"),
    "end": ("end", "end_s", "offset", "offset_s"),
    "text": ("text",),
    "speaker": ("speaker",),
}
"""What a column means → the headers it is found by when ``columns`` does not name it."""

UNKNOWN = ("n/a",)
ROUNDING_S = Decimal("0.002")
"""How far an end may be from onset + duration, all three being rounded to milliseconds."""


@dataclass(frozen=True, kw_only=True)
class IntervalOptions:
    """How the table is to be read; see ``docs/formats/annotations.md`` for each key."""

    columns: Mapping[str, str]
    select: Mapping[str, str]
    units: str = "s"
    separator: str | None = None
    quotes: bool = True
    unknown: tuple[str, ...] = UNKNOWN
    keep_missing: bool = True


def interval_options(fields: Fields) -> IntervalOptions:
    """Return the options of the ``intervals`` reader.

    Raises:
        RecordError: an unknown key, a value of another type.
    """
    columns = fields.child("columns", {})
    mapped = {name: columns.take(name, str, None) for name in NAMES}
    columns.done()
    separator = fields.take("separator", str, None)
    if separator is not None and len(separator) != 1:
        raise fields.error("separator", "must be one character")
    options = IntervalOptions(
        columns={name: header for name, header in mapped.items() if header},
        select={str(name): str(value) for name, value in fields.take("select", dict, {}).items()},
        units=one_of(fields, "units", UNITS, "s"),
        separator=separator,
        quotes=fields.take("quotes", bool, True),
        unknown=tuple(fields.take_list("unknown", str, list(UNKNOWN))),
        keep_missing=fields.take("keep_missing", bool, True),
    )
    fields.done()
    return options


def read_intervals(text: str, options: IntervalOptions, problems: Problems) -> list[Cue]:
    """Return the cues of a table, in the order of its lines; problems are noted.

    Args:
        text: the decoded file; the separator is the tab when the first line holds one, else the comma.
        options: of ``interval_options``.
        problems: takes what is wrong.
    """
    rows = _rows(text, options, problems)
    header = next(rows, (1, []))[1]
    if not header:
        problems.add("has no header line")
        return []
    names = [name.strip() for name in header]
    where = _columns(names, options, problems)
    if where is None:
        return []
    select = {names.index(name): value for name, value in options.select.items()}
    cues = []
    for line, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            problems.add(f"expected {len(header)} cells, got {len(cells)}", line)
        elif all(cells[at].strip() == value for at, value in select.items()):
            cue = _cue({name: cells[at] for name, at in where.items()}, line, options, problems)
            cues += [cue] if cue else []
    return cues


def _rows(text: str, options: IntervalOptions, problems: Problems) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of the line the row begins on, its cells)."""
    first = text.lstrip("\r\n").splitlines()[0] if text.strip() else ""
    separator = options.separator or ("\t" if "\t" in first else ",")
    quoting = csv.QUOTE_MINIMAL if options.quotes else csv.QUOTE_NONE
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quoting=quoting, strict=True)
    begins = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problems.add(f"{csv_fault(error)}; `quotes: false` if quotes mean nothing here", begins)
            return
        if cells:
            yield begins, cells
        begins = reader.line_num + 1


def _columns(header: list[str], options: IntervalOptions, problems: Problems) -> dict[str, int] | None:
    """Return meaning → position, or None after noting what is missing or doubled (columns to select by included)."""
    found: dict[str, int] = {}
    n_before = len(problems.found)
    for meaning, names in NAMES.items():
        asked = options.columns.get(meaning)
        hits = [i for i, name in enumerate(header) if name == asked or (asked is None and name.lower() in names)]
        if len(hits) > 1:
            problems.add(f"columns {[header[i] for i in hits]} may all be the {meaning}; map one in `columns`", 1)
        elif hits:
            found[meaning] = hits[0]
        elif asked:
            problems.add(f"has no column {asked!r}{nearest(asked, header)}", 1)
    for name in options.select:
        if name not in header:
            problems.add(f"has no column {name!r} to select by{nearest(name, header)}", 1)
    if "onset" not in found or not ("duration" in found or "end" in found):
        problems.add(f"needs an onset and a duration or an end among its columns {header}; map them in `columns`", 1)
    return found if len(problems.found) == n_before else None


def _cue(cells: dict[str, str], line: int, options: IntervalOptions, problems: Problems) -> Cue | None:
    text = cells.get("text", "")
    known = None if text.strip() in ("", *options.unknown) else text
    speaker = cells.get("speaker", "").strip()
    span = _span(cells, line, options.units, problems)
    if span is None or (known is None and not options.keep_missing):
        return None
    named = None if speaker in ("", *options.unknown) else speaker
    return Cue(onset_s=span[0], duration_s=span[1], text=known, speaker=named)


def _span(cells: dict[str, str], line: int, unit: str, problems: Problems) -> tuple[Decimal, Decimal] | None:
    times = {}
    for name in ("onset", "duration", "end"):
        try:
            if name in cells:
                times[name] = parse_time(cells[name], unit)
        except ValueError as error:
            problems.add(f"{name}: {error}", line)
    if "onset" not in times or any(name in cells and name not in times for name in ("duration", "end")):
        return None
    if "duration" not in times:
        return checked_span(times["onset"], times["end"], problems, line)
    if times["duration"] < 0:
        problems.add(f"has the negative duration {times['duration']}", line)
        return None
    end = plus(times["onset"], times["duration"])
    span = checked_span(times["onset"], end, problems, line)
    if span and "end" in times and abs(minus(end, times["end"])) > ROUNDING_S:
        problems.add(f"ends at {decimal_text(times['end'])} s, but onset and duration say {decimal_text(end)} s", line)
        return None
    return span and (span[0], times["duration"])
