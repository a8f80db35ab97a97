"""Cards held against the results: which numbers no longer follow, and what was changed by hand.

Every card is made anew in memory; a card with the same bytes is right. What is wrong with any other one is found in
``compare_card.py``. Owns the report, and cards that are missing or belong to nobody.
"""

import difflib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from release_kit.core.errors import RecordError
from release_kit.release.cards.compare_card import REGENERATE, broken, compare_card
from release_kit.release.cards.inputs import CARD_FILE, CardInputs
from release_kit.release.cards.problems import CardProblem
from release_kit.release.cards.render import Cards, read_text
from release_kit.release.cards.trace import split_trace


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


def _check_file(inputs: CardInputs, path: str, text: str, is_card: bool) -> list[CardProblem]:
    try:
        with open(f"{inputs.release_folder}/{path}", "rb") as stream:
            data = stream.read()
    except FileNotFoundError:
        return [CardProblem(code="card-missing", path=path, line=1, what="is not there", next_step=REGENERATE)]
    except OSError as error:
        what = f"cannot be read ({error.strerror})"
        return [CardProblem(code="card-unreadable", path=path, line=1, what=what, next_step="make it readable")]
    if data == text.encode():
        return []
    if is_card:
        try:
            old = read_text(inputs.release_folder / path)
        except RecordError as error:
            return [broken(path, error)]
        return compare_card(path, old or "", text)
    code = "figure-stale" if path.endswith(".svg") else "file-stale"
    what = "does not show the current numbers" if code == "figure-stale" else "no longer follows from the results"
    return [CardProblem(code=code, path=path, line=1, what=what, next_step=REGENERATE)]


def _extra_cards(inputs: CardInputs, expected: set[str]) -> Iterator[CardProblem]:
    folder = inputs.release_folder / "cells"
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    for name in names:
        path = f"cells/{name}/{CARD_FILE}"
        if path not in expected and (folder / name / CARD_FILE).is_file():
            what = "belongs to no cell of the release"
            step = "run: release-kit build STUDY (it keeps hand-written text aside)"
            yield CardProblem(code="card-extra", path=path, line=1, what=what, next_step=step)
