"""One card that is not what it should be: each number in it, its front matter, its words.

Each number that a reader sees is compared with the new one and with what the card's own record says, so that a stale
number is told apart from an edited one.
"""

import difflib
import functools
from collections.abc import Iterator, Mapping
from typing import Any

from release_kit.core.errors import RecordError
from release_kit.release.cards.card_file import split_front_matter
from release_kit.release.cards.compare_front_matter import Change, front_matter_changes
from release_kit.release.cards.handwritten import generated_lines
from release_kit.release.cards.problems import CardProblem
from release_kit.release.cards.render import kept
from release_kit.release.cards.trace import (
    Address,
    Number,
    Trace,
    body_digest,
    key_text,
    parse_trace,
    split_trace,
    traced_numbers,
    visible_numbers,
)

MAX_TEXT_PROBLEMS = 5
"""Of changed lines of prose, a card names this many."""

REGENERATE = "run: release-kit cards STUDY, then release-kit build STUDY"
_REMOVE = "move your words into a hand-written section, then run: release-kit cards STUDY"


def compare_card(path: str, old: str, fresh: str) -> list[CardProblem]:
    """Return what is wrong with one card.

    Args:
        path: where it lies in the release tree.
        old: the card as it lies there.
        fresh: the card as it would be made now, its hand-written sections empty.
    """
    try:
        new = kept(fresh, old, path)
        recorded = parse_trace(old, path)
        numbers = {} if recorded is None else traced_numbers(recorded, path)
    except RecordError as error:
        return [broken(path, error)]
    if new == old:
        return []
    if recorded is None:
        what = "holds no record of its numbers: it was not made by release_kit, or the record was removed"
        return [CardProblem(code="card-foreign", path=path, line=1, what=what, next_step=REGENERATE)]
    return _Comparison(path, old, new, recorded, numbers).problems()


def broken(path: str, error: RecordError) -> CardProblem:
    """Return the problem of a card that cannot be read."""
    place = (error.where or path).rpartition(":")
    line = int(place[2]) if place[2].isdigit() else 1
    code = "markers-broken" if "hand-written" in error.what else "card-unreadable"
    return CardProblem(code=code, path=path, line=line, what=error.what, next_step=error.next_step or REGENERATE)


class _Comparison:
    """One card that differs from what it should be."""

    def __init__(self, path: str, old: str, new: str, recorded: Trace, numbers: Mapping[Address, Number]):
        self._path, self._recorded, self._numbers = path, recorded, numbers
        self._old, self._new = split_trace(old)[0], split_trace(new)[0]
        self._new_text = new
        self._intact = recorded.body_sha256 == body_digest(old)
        self._seen, self._wanted = visible_numbers(self._old), visible_numbers(self._new)

    def problems(self) -> list[CardProblem]:
        found: list[CardProblem] = []
        if self._old != self._new:
            found = [*self._table_problems(), *self._front_matter_problems(), *self._text_problems()]
        if not found:
            what = "the record of where the numbers come from is out of date; the numbers themselves hold"
            line = self._old.count("\n") + 1
            found.append(self._problem("source-changed", line, what))
        return found

    @functools.cached_property
    def _fresh(self) -> tuple[Mapping[str, Mapping[str, Any]], Mapping[Address, Number]]:
        """The tables of the new record, and its numbers; needed only when something is wrong."""
        trace = parse_trace(self._new_text, self._path)
        return ({}, {}) if trace is None else (trace.numbers, traced_numbers(trace, self._path))

    def _table_problems(self) -> Iterator[CardProblem]:
        for address, (shown, line) in self._seen.items():
            if address not in self._wanted:
                yield self._number("number-without-source", address, line, shown, None)
            elif shown != self._wanted[address][0]:
                yield self._number(self._code(address, shown), address, line, shown, self._wanted[address][0])
        for address, (now, line) in self._wanted.items():
            if address not in self._seen:
                yield self._number("number-missing", address, line, None, now)

    def _code(self, address: Address, shown: str) -> str:
        if address in self._numbers:
            return "number-stale" if self._numbers[address].shown == shown else "number-edited"
        return "number-stale" if self._intact else "number-edited"

    def _number(self, code: str, address: Address, line: int, shown: str | None, now: str | None) -> CardProblem:
        table, keys, column = address
        name = f"{table}: {' · '.join(_bare(key) for key in keys)}, {column}"
        shown, now = (None if text is None else _bare(text) for text in (shown, now))
        if code == "number-without-source":
            what = f"{name} shows {shown}, which has no source any more"
        elif code == "number-missing":
            what = f"{name} is {now} in the results and missing here"
        else:
            record = self._numbers.get(address)
            by_hand = f" (written as {_bare(record.shown)})" if code == "number-edited" and record else ""
            what = f"{name} shows {shown}{by_hand}, but the results now give {now}"
        return self._problem(code, line, what, shown=shown, now=now, row=self._row(address))

    def _row(self, address: Address) -> dict[str, Any] | None:
        """Return where a number comes from, in words that a program can follow."""
        tables, numbers = self._fresh
        table = tables.get(address[0]) or self._recorded.numbers.get(address[0])
        number = numbers.get(address) or self._numbers.get(address)
        if table is None:
            return None
        if number is None:
            return {"from": table["from"]} if "from" in table else None
        row: dict[str, Any] = {"table": self._recorded.table, "rule": number.rule}
        row |= {key: table[key] for key in ("cell", "base") if key in table}
        if "origin" in table:
            row |= dict(zip(("benchmark", "n_shot", "metric"), _identity(table, address), strict=False))
            row |= dict(zip(table["origin"], number.origin, strict=False))
            files, index = table.get("files", []), row.get("file")
            row["file"] = files[index] if isinstance(index, int) and index < len(files) else None
        elif isinstance(number.origin, dict):
            row |= number.origin
        return row

    def _front_matter_problems(self) -> Iterator[CardProblem]:
        try:
            for change in front_matter_changes(self._old, self._new, self._path):
                yield self._of_change(change)
        except RecordError as error:
            yield broken(self._path, error)

    def _of_change(self, change: Change) -> CardProblem:
        if change.kind == "gone":
            return self._problem("front-matter-missing", change.line, "the front matter is gone")
        if change.kind != "number":
            what = f"{change.name} is {change.shown}, but the study now gives {change.now}"
            return self._problem("metadata-stale" if self._intact else "text-edited", change.line, what)
        known = "number-stale" if self._intact else "number-edited"
        code = "number-missing" if change.shown is None else "number-without-source" if change.now is None else known
        what = f"model-index: {change.name} is {change.shown or 'missing'}, "
        what += f"but the results now give {change.now or 'nothing'}"
        return self._problem(code, change.line, what, shown=change.shown, now=change.now, row=dict(change.row or {}))

    def _text_problems(self) -> Iterator[CardProblem]:
        old, new = _prose(self._old, self._seen), _prose(self._new, self._wanted)
        before, after = [line for _, line in old], [line for _, line in new]
        if before == after:
            return
        changes = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        changed = [change for change in changes if change[0] != "equal"]
        code, step = ("text-stale", REGENERATE) if self._intact else ("text-edited", _REMOVE)
        for count, (_, i1, i2, j1, j2) in enumerate(changed[:MAX_TEXT_PROBLEMS], 1):
            line = old[min(i1, len(old) - 1)][0]
            shown, now = shortened(before[i1:i2]), shortened(after[j1:j2])
            what = f"the text {shown!r} would now be {now!r}" if shown else f"the text {now!r} is missing"
            if count == MAX_TEXT_PROBLEMS < len(changed):
                what += f" … and {len(changed) - count} more places; see them with --diff"
            yield self._problem(code, line, what, step=step, shown=shown, now=now)

    def _problem(
        self, code: str, line: int, what: str, *, step: str = REGENERATE, shown: str | None = None,
        now: str | None = None, row: dict[str, Any] | None = None,
    ) -> CardProblem:  # fmt: skip
        return CardProblem(
            code=code, path=self._path, line=line, what=what, next_step=step, shown=shown, now=now, row=row
        )


def shortened(lines: list[str]) -> str:
    """Return lines as one short text for a message."""
    text = " ".join(line.strip() for line in lines)
    return text if len(text) <= 120 else text[:119] + "…"


def _prose(body: str, numbers: Mapping[Address, tuple[str, int]]) -> list[tuple[int, str]]:
    """Return the generated lines that are neither front matter nor rows of numbers."""
    block, _ = split_front_matter(body)
    skipped = 0 if block is None else block.count("\n") + 2
    rows = {line for _, line in numbers.values()}
    lines = generated_lines(body)
    return [(number, line) for number, line in lines if number > skipped and number not in rows and line.strip()]


def _identity(table: Mapping[str, Any], address: Address) -> list:
    for identity, _, _ in table["rows"]:
        if tuple(map(key_text, identity)) == address[1]:
            return identity
    return []


def _bare(text: str) -> str:
    return text.strip("*`").replace("\\", "")
