"""A Praat TextGrid of one stimulus, in the long text form: intervals with exact decimal times, moments as points.

Gaps are intervals with an empty label, as Praat has them. Format: Praat manual, "TextGrid file formats".
"""

from collections.abc import Sequence
from decimal import Decimal

from release_kit.bids.annotations.cues import Cue
from release_kit.bids.annotations.problems import Problems
from release_kit.bids.annotations.readers.textgrid import TierOptions, read_textgrid
from release_kit.bids.annotations.table import Row
from release_kit.bids.annotations.times import decimal_text, end_of, exact
from release_kit.bids.annotations.tsv import MISSING
from release_kit.bids.annotations.writers.companion import Placed, Tier
from release_kit.bids.annotations.writers.tiers import laid_out

_OPTIONS = TierOptions(every=True, unknown=())


def write_textgrid(rows: Sequence[Placed]) -> tuple[str, dict[str, Tier], list[Placed]]:
    """Return a TextGrid of rows of one stimulus: its text, its tiers, the rows in the order of the file."""
    tiers, filled = laid_out(rows, _span, lambda row: "" if row.duration_s else "points")
    last = max(end for placed in rows for end in _span(placed.row)[1:])
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {_end(last)}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for n, (name, among) in enumerate(filled.items(), start=1):
        lines += [f"    item [{n}]:", *(f"        {line}" for line in _tier(name, among, last))]
    return "\n".join(lines) + "\n", tiers, [placed for among in filled.values() for placed in among]


def reread_textgrid(text: str) -> list[Cue]:
    """Return the cues of a file of ``write_textgrid``; raises AnnotationError when somebody has broken it."""
    problems = Problems(path="TextGrid")
    cues = read_textgrid(text, _OPTIONS, problems)
    problems.refuse()
    return cues


def _span(row: Row) -> tuple[Decimal, Decimal]:
    return exact(row.onset_s), end_of(row.onset_s, row.duration_s)


def _end(last: Decimal) -> str:
    """Return the end of the file; Praat wants one above 0."""
    return decimal_text(last) if last > 0 else "1"


def _tier(name: str, among: Sequence[Placed], last: Decimal) -> list[str]:
    point = not among[0].row.duration_s
    items = [_point(placed.row) for placed in among] if point else _intervals(among, last)
    kind, each = ("TextTier", "points") if point else ("IntervalTier", "intervals")
    lines = [f'class = "{kind}"', f"name = {_quoted(name)}", "xmin = 0", f"xmax = {_end(last)}"]
    lines.append(f"{each}: size = {len(items)}")
    for n, item in enumerate(items, start=1):
        lines += [f"{each} [{n}]:", *(f"    {line}" for line in item)]
    return lines


def _point(row: Row) -> list[str]:
    return [f"number = {decimal_text(exact(row.onset_s))}", f"mark = {_label(row)}"]


def _intervals(among: Sequence[Placed], last: Decimal) -> list[list[str]]:
    """Return the intervals of a tier from 0 to the end of the file, gaps included."""
    items, at = [], Decimal(0)
    for placed in among:
        onset, end = _span(placed.row)
        if at < onset:
            items.append(_interval(at, onset, '""'))
        items.append(_interval(onset, end, _label(placed.row)))
        at = end
    return [*items, _interval(at, last, '""')] if at < last else items


def _interval(onset: Decimal, end: Decimal, label: str) -> list[str]:
    return [f"xmin = {decimal_text(onset)}", f"xmax = {decimal_text(end)}", f"text = {label}"]


def _label(row: Row) -> str:
    return _quoted(MISSING if row.text is None else row.text)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
