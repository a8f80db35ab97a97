"""The kinds of value that the keys of a declared file hold: one record for reading and for schemas.

A grammar names its keys with these, ``values.py`` reads with them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LABEL = r"[A-Za-z0-9]+"
LABEL_WORDS = "letters and digits only, as BIDS has them in file names"


@dataclass(frozen=True, kw_only=True)
class Text:
    """Text; ``pattern`` must match all of it, ``words`` say what that means."""

    pattern: str | None = None
    words: str = ""
    choices: tuple[str, ...] = ()
    placeholders: tuple[str, ...] = ()
    """The names that a file pattern may hold in braces; empty for text that is no file pattern."""
    one_line: bool = False
    stand_in: str | None = None
    """Legal text that stands in while a draft is not filled in, so that the rest of it can be checked."""


@dataclass(frozen=True, kw_only=True)
class Number:
    """A finite number; ``above`` is a bound that it must exceed, ``least`` one that it may reach."""

    above: float | None = None
    least: float | None = None
    whole: bool = False


@dataclass(frozen=True, kw_only=True)
class Flag:
    """true or false."""


@dataclass(frozen=True, kw_only=True)
class Texts:
    """A list of texts."""

    least: int = 0


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """A list of finite numbers; bounds and ``whole`` as in ``Number``."""

    number: Number
    least: int = 0


@dataclass(frozen=True, kw_only=True)
class Free:
    """A mapping whose values are not ours to judge (options of a reader, facts of a sidecar)."""

    scalars: bool = False
    """Values are text or numbers (columns of a table)."""
    texts: bool = False
    """Values are text (reasons)."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A mapping of known keys; ``others`` is the kind of further keys, which are refused when it is None."""

    keys: Mapping[str, "Key"]
    others: "Free | None" = None


@dataclass(frozen=True, kw_only=True)
class Many:
    """A list of records."""

    record: Record
    least: int = 0


@dataclass(frozen=True, kw_only=True)
class Named:
    """A mapping from a label to a record or to a free mapping."""

    value: "Record | Free"
    pattern: str = LABEL
    words: str = LABEL_WORDS
    least: int = 0


Kind = Text | Number | Flag | Texts | Numbers | Free | Record | Many | Named


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key: its kind, whether it must be there, what it means, and what holds without it."""

    kind: Kind
    doc: str
    required: bool = False
    default: Any = None
    """Value of an absent key; None is "not said"."""
    filled: bool = False
    """An absent record is read as an empty one, so that its keys have their defaults."""
