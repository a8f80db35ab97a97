"""Reader of one line a second: ``[time] text/text`` and the speech form ``[time] メイン#Name:words/Name:words``.

Also owns the table form, one line a second with a tab-separated column an annotator. The lines of both are steps of
equal length; joining equal neighbours is ``merge.py``'s. Nothing is guessed: a header line must be declared, a prefix
time must agree with its line, and annotators that are told by position need the same number of parts in every line.
"""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from release_kit.bids.annotations.cues import Cue
from release_kit.bids.annotations.encodings import split_lines
from release_kit.bids.annotations.problems import Problems
from release_kit.bids.annotations.times import decimal_text, exact, parse_clock, parse_number
from release_kit.core.records import Fields

PREFIX = r"\[(?P<time>[^\]]*)\]\s?"
UNKNOWN = ("不明", "..", ".", "n/a")
FORMS = ("plain", "speech")
TIMES = ("line", "prefix")


@dataclass(frozen=True, kw_only=True)
class SecondsOptions:
    """How the lines are to be read; see ``docs/formats/annotations.md`` for each key."""

    step_s: float = 1.0
    start_s: float = 0.0
    header: int = 0
    separator: str | None = "/"
    prefix: re.Pattern | None = re.compile(PREFIX)
    times: str = "line"
    form: str = "plain"
    marker: str = "メイン#"
    colon: str = ":"
    unknown: tuple[str, ...] = UNKNOWN
    keep_missing: bool = False
    merge: bool = False
    split_annotators: bool = False
    annotators: tuple[str, ...] = ()
    ragged: bool = False
    part: int | None = None


def seconds_options(fields: Fields) -> SecondsOptions:
    """Return the options of the ``seconds`` reader.

    Raises:
        RecordError: an unknown key, a value of another type, options that contradict each other.
    """
    common = common_options(fields)
    pattern = fields.take("prefix", str, PREFIX)
    try:
        prefix = re.compile(pattern) if pattern else None
    except re.error as error:
        raise fields.error("prefix", f"is no regular expression: {error}") from error
    options = SecondsOptions(
        **common,
        header=int(fields.take("header", (int, bool), 0)),
        separator=fields.take("separator", str, "/") or None,
        prefix=prefix,
        times=one_of(fields, "times", TIMES, "line"),
        form=one_of(fields, "form", FORMS, "plain"),
        marker=fields.take("marker", str, "メイン#"),
        colon=fields.take("colon", str, ":"),
    )
    fields.done()
    if options.form == "speech" and (options.split_annotators or options.part is not None):
        raise fields.error("form", "`speech` has speakers between its separators, not annotators")
    if options.times == "prefix" and (prefix is None or "time" not in prefix.groupindex):
        raise fields.error("prefix", "needs a group `(?P<time>…)` when `times` is `prefix`")
    if (options.split_annotators or options.part is not None) and not options.separator:
        raise fields.error("separator", "is needed to tell annotators from each other")
    return options


def table_options(fields: Fields) -> SecondsOptions:
    """Return the options of the ``seconds-table`` reader; ``header`` has no default, since a guess loses a line.

    Raises:
        RecordError: ``header`` is not declared, an unknown key, a value of another type.
    """
    common = common_options(fields)
    header = fields.take("header", (int, bool))
    separator = fields.take("separator", str, "\t")
    fields.done()
    return SecondsOptions(**common, header=int(header), separator=separator, prefix=None)


def common_options(fields: Fields) -> dict:
    """Return what both forms share."""
    found = {
        "step_s": float(fields.take("step_s", (int, float), 1.0)),
        "start_s": float(fields.take("start_s", (int, float), 0.0)),
        "unknown": tuple(fields.take_list("unknown", str, list(UNKNOWN))),
        "annotators": tuple(fields.take_list("annotators", str, [])),
    }
    for name in ("keep_missing", "merge", "split_annotators", "ragged"):
        found[name] = fields.take(name, bool, False)
    found["part"] = fields.take("part", int, None)
    bad = [name for name in found["annotators"] if not re.fullmatch(r"[A-Za-z0-9]+", name)]
    if bad or len(set(found["annotators"])) < len(found["annotators"]):
        raise fields.error("annotators", f"must be different labels of letters and digits: {found['annotators']}")
    if found["annotators"] and not found["split_annotators"]:
        raise fields.error("annotators", "goes with `split_annotators: true`")
    if not 0 < found["step_s"] < 1e6:
        raise fields.error("step_s", "must be above 0")
    if found["part"] is not None and (found["part"] < 1 or found["split_annotators"]):
        raise fields.error("part", "counts from 1, and goes without `split_annotators`")
    return found


def one_of(fields: Fields, name: str, known: tuple[str, ...], default: str) -> str:
    """Return the word at ``name``, which must be one of ``known``."""
    word = fields.take(name, str, default)
    if word not in known:
        raise fields.error(name, f"is {word!r}; known: {', '.join(known)}")
    return word


def read_seconds(text: str, options: SecondsOptions, problems: Problems) -> list[Cue]:
    """Return the cues of a file of one line a second, in the order of its lines; problems are noted.

    Args:
        text: the decoded file.
        options: of ``seconds_options`` or ``table_options``.
        problems: takes what is wrong.
    """
    parted = options.split_annotators or options.part is not None
    lines, n_parts, wrong = _lines(text, replace(options, part=1 if options.part is not None else None))
    for what, n in wrong:
        problems.add(what, n)
    if options.part is not None and options.part > n_parts:
        problems.add(f"has at most {n_parts} parts in a line, and `part` asks for number {options.part}")
    if options.form == "speech":
        return [cue for n, onset, (line,) in lines for cue in _utterances(line, onset, n, options, problems)]
    if not parted:
        found = (_cue(onset, line, None, None, options) for _, onset, (line,) in lines)
    elif options.part is not None:
        place = options.part - 1
        found = (_cue(onset, line[place], None, place, options) for _, onset, line in lines if place < len(line))
    else:
        found = (_cue(onset, part, None, place, options) for _, onset, line in lines for place, part in enumerate(line))
    return [cue for cue in found if cue]


@functools.lru_cache(maxsize=1)
def _lines(
    text: str, options: SecondsOptions
) -> tuple[list[tuple[int, Decimal, list[str]]], int, list[tuple[str, int | None]]]:
    """Return (number, onset, parts) of every line, how many parts there are at most, and (what, line) of all problems.

    Remembered for the last file, since several annotators in one file are as many sources that read it.
    """
    problems = Problems(path="")
    parted = options.split_annotators or options.part is not None
    lines = [
        (n, onset, line.split(options.separator) if parted else [line])
        for n, onset, line in _timed_lines(text, options, problems)
    ]
    n_parts = _check_parts(lines, options, problems) if parted else 1
    return lines, n_parts, [(problem.what, problem.line) for problem in problems.found]


def _timed_lines(text: str, options: SecondsOptions, problems: Problems) -> Iterator[tuple[int, Decimal, str]]:
    """Yield (line number, onset, rest of the line)."""
    step, start, lines = exact(options.step_s), exact(options.start_s), split_lines(text)
    if len(lines) < options.header:
        problems.add(f"expected {options.header} header lines, got {len(lines)} lines")
    before: Decimal | None = None
    timed = options.prefix is not None and "time" in options.prefix.groupindex
    for position, line in enumerate(lines[options.header :]):
        n, onset = position + options.header + 1, start + position * step
        if options.prefix is None:
            yield n, onset, line
            continue
        found = options.prefix.match(line)
        if not found:
            problems.add(f"does not begin with a time like `[12]` (`prefix` is {options.prefix.pattern!r})", n)
            continue
        said = _said_time(found["time"], n, problems) if timed else None
        if said is not None:
            _check_time(said, onset, before, step, n, options, problems)
            before = said
        yield n, said if options.times == "prefix" and said is not None else onset, line[found.end() :]


def _said_time(text: str, n: int, problems: Problems) -> Decimal | None:
    text = text.strip().removesuffix("s").strip()
    try:
        return parse_clock(text) if ":" in text else parse_number(text)
    except ValueError as error:
        problems.add(f"the time of the line: {error}", n)
        return None


def _check_time(
    said: Decimal,
    onset: Decimal,
    before: Decimal | None,
    step: Decimal,
    n: int,
    options: SecondsOptions,
    problems: Problems,
) -> None:
    if options.times == "prefix":
        if said < 0:
            problems.add(f"its time is {decimal_text(said)} s, before the clock starts", n)
        return
    if before is None and said not in (onset, onset + step):
        problems.add(
            f"its time is {decimal_text(said)} s where the lines begin at {decimal_text(onset)} s; "
            "set `start_s`, or `times: prefix` if the lines say it right",
            n,
        )
    elif before is not None and said - before != step:
        problems.add(
            f"its time {decimal_text(said)} s follows {decimal_text(before)} s; with one line each "
            f"{decimal_text(step)} s a line is missing or doubled (`times: prefix` takes the times as they are)",
            n,
        )


def _utterances(line: str, onset: Decimal, n: int, options: SecondsOptions, problems: Problems) -> Iterator[Cue]:
    before, marker, rest = line.partition(options.marker)
    if options.marker and not marker:
        if line.strip() and line.strip() not in options.unknown:
            problems.add(f"has no marker {options.marker!r}", n)
        return
    if before.strip():
        problems.add(f"has text before the marker {options.marker!r}", n)
    for part in rest.split(options.separator) if options.separator else [rest]:
        name, colon, words = part.partition(options.colon)
        speaker, words = (name.strip(), words) if colon else ("", part)
        cue = _cue(onset, words, None if speaker in ("", *options.unknown) else speaker, None, options)
        if cue:
            yield cue


def _cue(onset: Decimal, text: str, speaker: str | None, place: int | None, options: SecondsOptions) -> Cue | None:
    """Return the cue of one step, or None where nothing is said about it."""
    text = text.strip()
    known = None if not text or text in options.unknown else text
    if known is None and speaker is None and not options.keep_missing:
        return None
    return Cue(onset_s=onset, duration_s=_step(options.step_s), text=known, speaker=speaker, place=place)


@functools.lru_cache
def _step(step_s: float) -> Decimal:
    return exact(step_s)


def _check_parts(parted: list[tuple[int, Decimal, list[str]]], options: SecondsOptions, problems: Problems) -> int:
    """Return how many parts a line has at most.

    A part that is left out moves every later annotator's words to somebody else: refused unless declared.
    """
    wanted = len(options.annotators) or max((len(parts) for _, _, parts in parted), default=0)
    for n, _, parts in parted:
        nothing = len(parts) == 1 and parts[0].strip() in ("", *options.unknown)
        if len(parts) > wanted or (len(parts) < wanted and not options.ragged and not nothing):
            problems.add(
                f"has {len(parts)} parts where {wanted} annotators are told apart by position"
                + ("" if len(parts) > wanted else "; `ragged: true` takes the missing ones from the end"),
                n,
            )
    return wanted
