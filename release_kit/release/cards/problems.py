"""What can be wrong with cards: one record, and a sentence for every code."""

from dataclasses import dataclass
from typing import Any

CODES = {
    "number-stale": "a number no longer follows from the results",
    "number-edited": "a number was changed by hand; the card's own record says another",
    "number-missing": "a number that the results hold is not in the card",
    "number-without-source": "a number has no row in the results",
    "number-nan": "a number is NaN, infinite or not a number at all",
    "number-duplicate": "one result stands twice",
    "number-disagrees": "a number differs from the results table",
    "shots-merged": "results with different numbers of shots stand under one entry",
    "source-changed": "numbers hold, but the place that they come from is another now",
    "figure-stale": "a figure does not show the current numbers",
    "file-stale": "a generated file no longer follows from the results",
    "text-stale": "generated text no longer follows from the study",
    "text-edited": "generated text was changed by hand outside the hand-written sections",
    "metadata-stale": "a key of the front matter no longer follows from the study",
    "card-missing": "a card that the release needs is not there",
    "card-extra": "a card that belongs to no cell of the release",
    "card-unreadable": "a card cannot be read",
    "card-foreign": "a card without release_kit's record of its numbers",
    "markers-broken": "the markers of hand-written sections cannot be told apart",
    "row-unmatched": "no row of the results table belongs to a card",
    "front-matter-missing": "a card has no front matter",
    "front-matter-broken": "the front matter cannot be read",
    "key-duplicate": "a key stands twice in the front matter",
    "key-unknown": "a key that the Hub does not know",
    "key-type": "a key holds a value of the wrong kind",
    "license-missing": "no licence is named",
    "license-unknown": "the licence is not one of the Hub's ids",
    "language-unknown": "the language is not a language code",
    "base-model-missing": "no base model is named",
    "id-malformed": "an id of a model or dataset that cannot exist on the Hub",
    "task-unknown": "the task is not one of the Hub's ids",
    "relation-unknown": "the relation to the base model is not one that the Hub knows",
    "model-index-broken": "the model-index has another structure than the Hub reads",
    "eval-results-broken": "a file in .eval_results has another structure than the Hub reads",
    "configs-broken": "the configs of a dataset card cannot be loaded",
    "file-missing": "a card names a file that is not there",
    "placeholder": "a part of a template that nobody filled in",
}

WARNINGS = frozenset({"key-unknown", "source-changed", "card-extra", "base-model-missing", "shots-merged"})


@dataclass(frozen=True, kw_only=True)
class CardProblem:
    """One thing that is wrong with one card."""

    code: str
    path: str
    """The card, relative to the folder that was checked."""
    line: int
    what: str
    next_step: str = ""
    shown: str | None = None
    now: str | None = None
    row: dict[str, Any] | None = None
    """Where the number comes from: key, source file and row."""

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"{self.code!r} is no code of a problem with cards")

    @property
    def severity(self) -> str:
        """``error`` or ``warning``."""
        return "warning" if self.code in WARNINGS else "error"

    @property
    def order(self) -> tuple:
        """Problems are reported in this order: by card, then by line."""
        return (self.path, self.line, self.code, self.what)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        result: dict[str, Any] = {
            "code": self.code,
            "severity": self.severity,
            "where": f"{self.path}:{self.line}",
            "what": self.what,
            "next_step": self.next_step,
        }
        if self.shown is not None or self.now is not None:
            result |= {"shown": self.shown, "now": self.now}
        return result | ({"row": self.row} if self.row else {})
