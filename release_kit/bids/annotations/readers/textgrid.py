"""Reader of Praat TextGrids: long and short text form, interval and point tiers.

Both forms are one sequence of numbers, flags and quoted strings, of which the long form writes the names as well; so
one tokeniser reads both. ``""`` inside a string is one quote. Format: Praat manual, "TextGrid file formats".
"""

import bisect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from release_kit.bids.annotations.cues import Cue, checked_span
from release_kit.bids.annotations.problems import Problems
from release_kit.bids.annotations.times import parse_number
from release_kit.core.records import Fields, nearest

_TOKEN = re.compile(
    r"""(?P<comment>![^\n]*)|"(?P<text>(?:[^"]|"")*)"|(?P<flag><[a-z]+>)"""
    r"""|(?P<number>(?<![\w.\[])[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?%?(?![\w\]]))|(?P<open>")""",
)


@dataclass(frozen=True, kw_only=True)
class TierOptions:
    """Which tiers are read and how; see ``docs/formats/annotations.md`` for each key."""

    tiers: tuple[str, ...] = ()
    """Names of tiers; empty: the only one, or all of them when ``speakers`` is ``tier``."""
    speakers: str = "none"
    """``tier``: the tier's name is the speaker."""
    unknown: tuple[str, ...] = ("n/a",)
    keep_missing: bool = True
    every: bool = False
    """Read every tier without a choice; for files whose tiers are told apart elsewhere."""


def tier_options(fields: Fields) -> TierOptions:
    """Return the options of the ``textgrid`` and ``elan`` readers.

    Raises:
        RecordError: an unknown key, a value of another type.
    """
    tier = fields.take("tier", (str, list), [])
    speakers = fields.take("speakers", str, "none")
    if speakers not in ("none", "tier", "participant"):
        raise fields.error("speakers", f"is {speakers!r}; known: none, tier, participant")
    options = TierOptions(
        tiers=(tier,) if isinstance(tier, str) else tuple(map(str, tier)),
        speakers=speakers,
        unknown=tuple(fields.take_list("unknown", str, ["n/a"])),
        keep_missing=fields.take("keep_missing", bool, True),
    )
    fields.done()
    return options


@dataclass(frozen=True, kw_only=True)
class _Token:
    kind: str
    value: str
    line: int


class _Refused(Exception):
    """The sequence of tokens is not that of a TextGrid."""

    def __init__(self, what: str, line: int):
        super().__init__(what)
        self.line = line


class _Tokens:
    """The values of a TextGrid one after the other."""

    def __init__(self, text: str):
        self._tokens = _tokens(text)
        self.line = 1

    def take(self, kind: str, meaning: str) -> str:
        """Return the next value, which must be of ``kind``."""
        token = next(self._tokens, None)
        if token is None:
            raise _Refused(f"ends where {meaning} should follow", self.line)
        self.line = token.line
        if token.kind != kind:
            raise _Refused(f"expected {meaning}, got {token.value[:40]!r}", token.line)
        return token.value

    def number(self, meaning: str) -> Decimal:
        """Return the next value as a number."""
        try:
            return parse_number(self.take("number", meaning))
        except ValueError as error:
            raise _Refused(f"{meaning}: {error}", self.line) from error

    def count(self, meaning: str) -> int:
        """Return the next value as a count."""
        number = self.number(meaning)
        if number < 0 or number != int(number):
            raise _Refused(f"{meaning} is {number}", self.line)
        return int(number)


def read_textgrid(text: str, options: TierOptions, problems: Problems) -> list[Cue]:
    """Return the labelled intervals and points of the wanted tiers, tier by tier; problems are noted.

    Intervals with an empty label are the gaps of Praat's tiers and no annotations.
    """
    try:
        tiers = list(_tiers(_Tokens(text), problems))
    except _Refused as refused:
        problems.add(f"is no TextGrid: {refused}", refused.line)
        return []
    wanted = wanted_tiers([name for name, _ in tiers], options, problems)
    found = (with_options(cue, options) for name, cues in tiers if name in wanted for cue in cues)
    return [cue for cue in found if cue]


def wanted_tiers(names: list[str], options: TierOptions, problems: Problems) -> set[str]:
    """Return the names of the tiers to read; a choice that the recipe must make is noted as a problem."""
    if not options.tiers:
        if len(names) > 1 and options.speakers == "none" and not options.every:
            problems.add(f"has the tiers {', '.join(map(repr, names))}; name one (or several) in `tier`")
            return set()
        return set(names)
    for name in options.tiers:
        if name not in names:
            problems.add(f"has no tier {name!r}{nearest(name, names)}")
    return set(options.tiers)


def with_options(cue: Cue, options: TierOptions, participant: str | None = None) -> Cue | None:
    """Return the cue with its speaker and with missing text as the options have it, or None to leave it out."""
    text = None if (cue.text or "").strip() in ("", *options.unknown) else cue.text
    if text is None and not options.keep_missing:
        return None
    speaker = {"tier": cue.tier, "participant": participant or None}.get(options.speakers)
    return Cue(onset_s=cue.onset_s, duration_s=cue.duration_s, text=text, speaker=speaker, tier=cue.tier)


def _tiers(tokens: _Tokens, problems: Problems) -> Iterator[tuple[str, list[Cue]]]:
    for wanted in ("ooTextFile", "TextGrid"):
        if (got := tokens.take("text", f'"{wanted}"')) != wanted:
            raise _Refused(f"expected {wanted!r}, got {got[:40]!r}", tokens.line)
    tokens.number("the start"), tokens.number("the end")
    if tokens.take("flag", "<exists>") != "<exists>":
        return
    for _ in range(tokens.count("the number of tiers")):
        kind, name = tokens.take("text", "the class of a tier"), _unquoted(tokens, "the name of a tier")
        tokens.number("the start of the tier"), tokens.number("the end of the tier")
        read = {"IntervalTier": _interval, "TextTier": _point}.get(kind)
        if read is None:
            raise _Refused(f"the tier {name!r} has the class {kind!r}", tokens.line)
        n = tokens.count("the number of its intervals")
        cues = [read(tokens, name, problems) for _ in range(n)]
        yield name, [cue for cue in cues if cue]


def _interval(tokens: _Tokens, tier: str, problems: Problems) -> Cue | None:
    onset = tokens.number("the start of an interval")
    line = tokens.line
    end = tokens.number("the end of an interval")
    label = _unquoted(tokens, "the label of an interval")
    span = checked_span(onset, end, problems, line) if label else None
    return span and Cue(onset_s=span[0], duration_s=span[1], text=label, tier=tier)


def _point(tokens: _Tokens, tier: str, problems: Problems) -> Cue | None:
    onset = tokens.number("the time of a point")
    span = checked_span(onset, onset, problems, tokens.line)
    label = _unquoted(tokens, "the label of a point")
    return span and Cue(onset_s=span[0], duration_s=span[1], text=label, tier=tier)


def _unquoted(tokens: _Tokens, meaning: str) -> str:
    return tokens.take("text", meaning).replace('""', '"')


def _tokens(text: str) -> Iterator[_Token]:
    """Yield strings, flags and free-standing numbers; words, brackets and what follows a ``!`` are no values."""
    ends = [found.start() for found in re.finditer(r"\r\n|\r|\n", text)]
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup
        line = bisect.bisect_left(ends, found.start()) + 1
        if kind == "open":
            raise _Refused("a quoted text never ends", line)
        if kind != "comment":
            yield _Token(kind=kind, value=found[kind], line=line)
