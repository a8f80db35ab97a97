"""Cards held against the results: which numbers no longer follow, and what was changed by hand.

Every card is made anew in memory; a card with the same bytes is right. For any other card, each number that a reader
sees is compared with the new one and with what the card's own record says, so that a stale number is told apart from
an edited one.
"""

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from release_kit.core.errors import RecordError
from release_kit.release.cards.card_file import (
    FrontMatter,
    IndexedNumber,
    indexed_numbers,
    read_front_matter,
    split_front_matter,
)
from release_kit.release.cards.handwritten import generated_lines
from release_kit.release.cards.inputs import CARD_FILE, CardInputs
from release_kit.release.cards.problems import CardProblem
from release_kit.release.cards.render import Cards, kept, read_text
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

_REGENERATE = "run: release-kit cards STUDY, then release-kit build STUDY"
_REMOVE = "move your words into a hand-written section, then run: release-kit cards STUDY"


@dataclass(frozen=True, kw_only=True)
class CardsReport:
    """What a check of cards found."""

    problems: tuple[CardProblem, ...]
    n_cards: int
    n_files: int
    n_numbers: int
    """Numbers of tables that were compared."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong (warnings aside)."""
        return not any(problem.severity == "error" for problem in self.problems)


def check_cards(inputs: CardInputs) -> CardsReport:
    """Hold every card of a built release against the current results; nothing is written.

    Returns:
        All problems, sorted by card and line.
    """
    problems: list[CardProblem] = []
    expected: set[str] = set()
    cards, n_cards = Cards(inputs), 0
    for path, text in cards.texts():
        expected.add(path)
        is_card = path.endswith("/" + CARD_FILE)
        n_cards += is_card
        problems += _check_file(inputs, path, text, is_card)
    problems += _extra_cards(inputs, expected)
    ordered = tuple(sorted(problems, key=lambda problem: problem.order))
    return CardsReport(problems=ordered, n_cards=n_cards, n_files=len(expected), n_numbers=cards.n_numbers)


def changed_cards(inputs: CardInputs) -> Iterator[tuple[str, str, str]]:
    """Yield ``(path, old text, new text)`` of every generated file that regenerating would change.

    Raises:
        RecordError: cards whose hand-written sections cannot be told apart; all of them are named.
    """
    for path, old, new in Cards(inputs).merged():
        if new != old or (inputs.release_folder / path).stat().st_size != len(new.encode()):
            yield path, old or "", new


def diff_text(path: str, old: str, new: str) -> str:
    """Return what regenerating one file would change, as a unified diff; the long record is left out."""
    before, after = (split_trace(text)[0].splitlines() for text in (old, new))
    lines = list(difflib.unified_diff(before, after, f"a/{path}", f"b/{path}", lineterm="", n=2))
    if not lines:
        return f"--- a/{path}\n+++ b/{path}\n(only the record at the end changes)"
    return "\n".join(lines)


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
        return [_broken(path, error)]
    if new == old:
        return []
    if recorded is None:
        what = "holds no record of its numbers: it was not made by release_kit, or the record was removed"
        return [CardProblem(code="card-foreign", path=path, line=1, what=what, next_step=_REGENERATE)]
    comparison = _Comparison(path, old, new, recorded, numbers)
    return comparison.problems()


class _Comparison:
    """One card that differs from what it should be."""

    def __init__(self, path: str, old: str, new: str, recorded: Trace, numbers: Mapping[Address, Number]):
        self._path, self._old, self._new = path, old, new
        self._recorded, self._numbers = recorded, numbers
        self._intact = recorded.body_sha256 == body_digest(old)
        fresh = parse_trace(new, path)
        self._fresh: Mapping[Address, Number] = {} if fresh is None else traced_numbers(fresh, path)
        self._about = {} if fresh is None else fresh.numbers

    def problems(self) -> list[CardProblem]:
        found = [*self._table_problems(), *self._front_matter_problems(), *self._text_problems()]
        if not found:
            what = "the record of where the numbers come from is out of date; the numbers themselves hold"
            line = self._old.count("\n", 0, len(split_trace(self._old)[0])) + 1
            found.append(CardProblem(code="source-changed", path=self._path, line=line, what=what,
                                     next_step=_REGENERATE))  # fmt: skip
        return found

    def _table_problems(self) -> Iterator[CardProblem]:
        seen, wanted = visible_numbers(self._old), visible_numbers(self._new)
        for address, (shown, line) in seen.items():
            if address not in wanted:
                yield self._problem("number-without-source", address, line, shown, None)
            elif shown != wanted[address][0]:
                yield self._problem(self._code(address, shown), address, line, shown, wanted[address][0])
        for address, (now, line) in wanted.items():
            if address not in seen:
                yield self._problem("number-missing", address, line, None, now)

    def _code(self, address: Address, shown: str) -> str:
        if address in self._numbers:
            return "number-stale" if self._numbers[address].shown == shown else "number-edited"
        return "number-stale" if self._intact else "number-edited"

    def _problem(self, code: str, address: Address, line: int, shown: str | None, now: str | None) -> CardProblem:
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
        row = self._row(address)
        step = _REGENERATE
        return CardProblem(code=code, path=self._path, line=line, what=what, next_step=step, shown=shown, now=now,
                           row=row)  # fmt: skip

    def _row(self, address: Address) -> dict[str, Any] | None:
        """Return where a number comes from, in words that a program can follow."""
        table = self._about.get(address[0]) or self._recorded.numbers.get(address[0])
        number = self._fresh.get(address) or self._numbers.get(address)
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
        if split_front_matter(self._old)[0] == split_front_matter(self._new)[0]:
            return
        try:
            old, new = read_front_matter(self._old, self._path), read_front_matter(self._new, self._path)
        except RecordError as error:
            yield _broken(self._path, error)
            return
        if old is None or new is None:
            yield CardProblem(code="front-matter-missing", path=self._path, line=1,
                              what="the front matter is gone", next_step=_REGENERATE)  # fmt: skip
            return
        named = [*self._index_problems(old, new), *self._key_problems(old, new)]
        yield from named
        yield from self._other_lines({problem.line for problem in named})

    def _key_problems(self, old: FrontMatter, new: FrontMatter) -> Iterator[CardProblem]:
        code = "metadata-stale" if self._intact else "text-edited"
        for key in sorted({*old.values, *new.values} - {"model-index"}):
            before, after = old.values.get(key), new.values.get(key)
            if before != after:
                what = f"`{key}` is {before!r}, but the study now gives {after!r}"
                yield CardProblem(code=code, path=self._path, line=old.line(key), what=what, next_step=_REGENERATE)

    def _other_lines(self, named: set[int]) -> Iterator[CardProblem]:
        """Yield lines of the front matter that changed and that no named key or number accounts for."""
        before, after = (split_front_matter(text)[0].split("\n") for text in (self._old, self._new))
        code = "metadata-stale" if self._intact else "text-edited"
        for kind, i1, i2, j1, j2 in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
            lines = range(i1 + 2, max(i2, i1 + 1) + 2)
            if kind != "equal" and not named & {*lines, i1 + 1}:
                what = f"the line {_short(before[i1:i2])!r} would now be {_short(after[j1:j2])!r}"
                yield CardProblem(code=code, path=self._path, line=i1 + 2, what=what, next_step=_REGENERATE)

    def _index_problems(self, old: FrontMatter, new: FrontMatter) -> Iterator[CardProblem]:
        seen = {number.key: number for number in indexed_numbers(old)}
        wanted = {number.key: number for number in indexed_numbers(new)}
        for key in [*wanted, *(key for key in seen if key not in wanted)]:
            before, after = seen.get(key), wanted.get(key)
            if before is not None and after is not None and before.value == after.value:
                continue
            known = before or after
            shown, now = (None if number is None else str(number.value) for number in (before, after))
            yield CardProblem(
                code=self._index_code(before, after), path=self._path, line=known.line, next_step=_REGENERATE,
                what=f"model-index: {known.label} is {shown or 'missing'}, but the results now give {now or 'nothing'}",
                shown=shown, now=now, row={"dataset": known.dataset_name, "metric": known.metric},
            )  # fmt: skip

    def _index_code(self, before: IndexedNumber | None, after: IndexedNumber | None) -> str:
        if before is None:
            return "number-missing"
        if after is None:
            return "number-without-source"
        return "number-stale" if self._intact else "number-edited"

    def _text_problems(self) -> Iterator[CardProblem]:
        old, new = _prose(self._old), _prose(self._new)
        before, after = [line for _, line in old], [line for _, line in new]
        if before == after:
            return
        changes = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        changed = [change for change in changes if change[0] != "equal"]
        code, step = ("text-stale", _REGENERATE) if self._intact else ("text-edited", _REMOVE)
        for _, i1, i2, j1, j2 in changed[:MAX_TEXT_PROBLEMS]:
            line = old[min(i1, len(old) - 1)][0]
            shown, now = _short(before[i1:i2]), _short(after[j1:j2])
            what = f"the text {shown!r} would now be {now!r}" if shown else f"the text {now!r} is missing"
            yield CardProblem(code=code, path=self._path, line=line, what=what, next_step=step, shown=shown, now=now)


def _check_file(inputs: CardInputs, path: str, text: str, is_card: bool) -> list[CardProblem]:
    try:
        with open(f"{inputs.release_folder}/{path}", "rb") as stream:
            data = stream.read()
    except FileNotFoundError:
        return [CardProblem(code="card-missing", path=path, line=1, what="is not there", next_step=_REGENERATE)]
    except OSError as error:
        what = f"cannot be read ({error.strerror})"
        return [CardProblem(code="card-unreadable", path=path, line=1, what=what, next_step="make it readable")]
    if data == text.encode():
        return []
    if is_card:
        try:
            old = read_text(inputs.release_folder / path)
        except RecordError as error:
            return [_broken(path, error)]
        return compare_card(path, old or "", text)
    code = "figure-stale" if path.endswith(".svg") else "file-stale"
    what = "does not show the current numbers" if code == "figure-stale" else "no longer follows from the results"
    return [CardProblem(code=code, path=path, line=1, what=what, next_step=_REGENERATE)]


def _extra_cards(inputs: CardInputs, expected: set[str]) -> Iterator[CardProblem]:
    folder = inputs.release_folder / "cells"
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    for name in names:
        path = f"cells/{name}/{CARD_FILE}"
        if path not in expected and (folder / name / CARD_FILE).is_file():
            what = "belongs to no cell of the release"
            step = "run: release-kit build STUDY (it keeps hand-written text aside)"
            yield CardProblem(code="card-extra", path=path, line=1, what=what, next_step=step)


def _broken(path: str, error: RecordError) -> CardProblem:
    place = (error.where or path).rpartition(":")
    line = int(place[2]) if place[2].isdigit() else 1
    code = "markers-broken" if "hand-written" in error.what else "card-unreadable"
    return CardProblem(code=code, path=path, line=line, what=error.what, next_step=error.next_step or _REGENERATE)


def _prose(text: str) -> list[tuple[int, str]]:
    """Return the generated lines that are neither front matter, nor rows of numbers, nor the record."""
    body = split_trace(text)[0]
    block, _ = split_front_matter(body)
    skipped = 0 if block is None else block.count("\n") + 2
    rows = {line for _, line in visible_numbers(body).values()}
    lines = generated_lines(body)
    return [(number, line) for number, line in lines if number > skipped and number not in rows and line.strip()]


def _identity(table: Mapping[str, Any], address: Address) -> list:
    for identity, _, _ in table["rows"]:
        if tuple(map(key_text, identity)) == address[1]:
            return identity
    return []


def _bare(text: str) -> str:
    return text.strip("*`").replace("\\", "")


def _short(lines: list[str]) -> str:
    text = " ".join(line.strip() for line in lines)
    return text if len(text) <= 120 else text[:119] + "…"
