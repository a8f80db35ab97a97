"""What differs between the front matter of a card and what it should be: numbers, keys, other lines.

Nearly always a few numbers of the ``model-index`` differ and nothing else; these are found without reading YAML, which
for a thousand cards would take longer than making them. Anything else goes through the YAML reader.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from release_kit.release.cards.card_file import (
    FrontMatter,
    indexed_numbers,
    read_front_matter,
    split_front_matter,
)

_VALUE = re.compile(r"^      value: (-?[0-9.e+-]+)\Z")
_PLACE = re.compile(r"^(?:      name|    - type): (.*)\Z")


@dataclass(frozen=True, kw_only=True)
class Change:
    """One difference; ``shown`` and ``now`` are None where one side has nothing."""

    kind: str
    """``number``, ``key``, ``line`` or ``gone``."""
    name: str
    line: int
    """1-based line of the old card."""
    shown: str | None = None
    now: str | None = None
    row: Mapping[str, Any] | None = None


def front_matter_changes(old: str, new: str, path: str) -> list[Change]:
    """Return what differs between the front matter of two cards.

    Raises:
        RecordError: the old card's front matter is not valid YAML.
    """
    before, after = split_front_matter(old)[0], split_front_matter(new)[0]
    if before == after:
        return []
    if before is None or after is None:
        return [Change(kind="gone", name="", line=1)]
    lines, fresh = before.split("\n"), after.split("\n")
    quick = _changed_values(lines, fresh)
    if quick is not None:
        return quick
    known, wanted = read_front_matter(old, path), read_front_matter(new, path)
    if known is None or wanted is None:
        return [Change(kind="gone", name="", line=1)]
    named = [*_numbers(known, wanted), *_keys(known, wanted)]
    return [*named, *_other_lines(lines, fresh, {change.line for change in named})]


def _changed_values(old: list[str], new: list[str]) -> list[Change] | None:
    """Return the changed numbers when only lines with values differ, else None."""
    if len(old) != len(new):
        return None
    changes = []
    for index, (before, after) in enumerate(zip(old, new, strict=True)):
        if before == after:
            continue
        shown, now = _VALUE.match(before), _VALUE.match(after)
        place = _place(new, index) if shown and now else None
        if place is None:
            return None
        name, metric = place
        # The block begins on line 2 of the card.
        changes.append(Change(kind="number", name=f"{name} · {metric}", line=index + 2, shown=shown.group(1),
                              now=now.group(1), row={"dataset": name, "metric": metric}))  # fmt: skip
    return changes


def _place(lines: list[str], index: int) -> tuple[str, str] | None:
    """Return dataset and metric of the value on line ``index`` of a block that release_kit wrote."""
    metric = _PLACE.match(lines[index - 1])
    start = next((i for i in range(index, -1, -1) if lines[i] == "    dataset:"), None)
    name = None if start is None else _PLACE.match(lines[start + 1])
    return (_plain(name.group(1)), _plain(metric.group(1))) if name and metric else None


def _plain(scalar: str) -> str:
    return json.loads(scalar) if scalar.startswith('"') else scalar


def _numbers(old: FrontMatter, new: FrontMatter) -> Iterator[Change]:
    seen = {number.key: number for number in indexed_numbers(old)}
    wanted = {number.key: number for number in indexed_numbers(new)}
    for key in [*wanted, *(key for key in seen if key not in wanted)]:
        before, after = seen.get(key), wanted.get(key)
        known = before or after
        if known is None or (before is not None and after is not None and before.value == after.value):
            continue
        shown, now = (None if number is None else str(number.value) for number in (before, after))
        row = {"dataset": known.dataset_name, "metric": known.metric}
        yield Change(kind="number", name=known.label, line=known.line, shown=shown, now=now, row=row)


def _keys(old: FrontMatter, new: FrontMatter) -> Iterator[Change]:
    for key in sorted({*old.values, *new.values} - {"model-index"}):
        before, after = old.values.get(key), new.values.get(key)
        if before != after:
            yield Change(kind="key", name=f"`{key}`", line=old.line(key), shown=repr(before), now=repr(after))


def _other_lines(before: list[str], after: list[str], named: set[int]) -> Iterator[Change]:
    """Yield lines that changed and that no named key or number accounts for."""
    for kind, i1, i2, j1, j2 in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        lines = range(i1 + 1, max(i2, i1 + 1) + 2)
        if kind != "equal" and not named & set(lines):
            shown, now = (" ".join(line.strip() for line in part) for part in (before[i1:i2], after[j1:j2]))
            yield Change(kind="line", name="the line", line=i1 + 2, shown=repr(shown[:120]), now=repr(now[:120]))
