"""Readers of subtitles: SubRip (SRT) and WebVTT, in their strict forms and in what editors make of them.

A cue's text may have several lines. VTT's voice tag ``<v Name>`` is the speaker; in SRT a speaker is found by
``speakers: colon`` (``Name: words``) when the recipe says so. Formats: SubRip's manual; WebVTT, W3C, section 4.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from release_kit.bids.annotations.cues import Cue, checked_span
from release_kit.bids.annotations.encodings import split_lines
from release_kit.bids.annotations.problems import Problems
from release_kit.bids.annotations.readers.seconds import one_of
from release_kit.bids.annotations.times import parse_clock
from release_kit.core.records import Fields

SPEAKERS = ("none", "colon")
_ARROW = re.compile(r"\s*(\S+)\s*-->\s*(\S+)(?:\s+.*)?")
_COLON = re.compile(r"\s*([^:\n]{1,60}?)\s*:[ \t]*(?=\S)")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?[ \t]+([^>]*)>")
_TAG = re.compile(r"</?(?:c|i|b|u|v|ruby|rt|lang)(?:[.\s][^>]*)?>|<\d[\d:.]*>")
_FONT = re.compile(r"</?(?:i|b|u|s|font)(?:\s[^>]*)?>|\{\\an?\d+\}", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class SubtitleOptions:
    """How cues become text; see ``docs/formats/annotations.md`` for each key."""

    speakers: str = "none"
    tags: bool = False
    """Keep formatting tags as they stand in the text."""
    unknown: tuple[str, ...] = ("n/a",)
    keep_missing: bool = True


def subtitle_options(fields: Fields) -> SubtitleOptions:
    """Return the options of the ``srt`` and ``vtt`` readers.

    Raises:
        RecordError: an unknown key, a value of another type.
    """
    options = SubtitleOptions(
        speakers=one_of(fields, "speakers", SPEAKERS, "none"),
        tags=fields.take("tags", bool, False),
        unknown=tuple(fields.take_list("unknown", str, ["n/a"])),
        keep_missing=fields.take("keep_missing", bool, True),
    )
    fields.done()
    return options


@dataclass(frozen=True, kw_only=True)
class _Block:
    line: int
    onset_s: Decimal
    duration_s: Decimal
    text: str


def read_srt(text: str, options: SubtitleOptions, problems: Problems) -> list[Cue]:
    """Return the cues of a SubRip file, in the order of the file; problems are noted.

    The counter above a cue is not needed and not checked; a blank line inside a cue belongs to it when no new cue
    follows.
    """
    cues = []
    for block in _blocks(split_lines(text), problems, counted=True):
        plain = block.text if options.tags else _FONT.sub("", block.text)
        speaker, words = _named(plain, options)
        cues.append(_cue(block, words, speaker, options))
    return [cue for cue in cues if cue]


def read_vtt(text: str, options: SubtitleOptions, problems: Problems) -> list[Cue]:
    """Return the cues of a WebVTT file, in the order of the file; problems are noted.

    Comments, styles and regions are passed over; a cue with several voices becomes one cue a voice.
    """
    lines = split_lines(text)
    if not lines or not re.match(r"WEBVTT(?:[ \t].*)?\Z", lines[0]):
        problems.add("does not begin with the line WEBVTT", 1)
        return []
    cues = []
    for block in _blocks(lines, problems, counted=False):
        for speaker, words in _voices(block.text, options):
            cues.append(_cue(block, words, speaker, options))
    return [cue for cue in cues if cue]


def _cue(block: _Block, words: str, speaker: str | None, options: SubtitleOptions) -> Cue | None:
    known = None if words.strip() in ("", *options.unknown) else words
    if known is None and not options.keep_missing:
        return None
    return Cue(onset_s=block.onset_s, duration_s=block.duration_s, text=known, speaker=speaker)


def _blocks(lines: list[str], problems: Problems, *, counted: bool) -> Iterator[_Block]:
    """Yield every cue: its timing line and the lines up to the next one, less blank lines and that one's head."""
    timed = [i for i, line in enumerate(lines) if "-->" in line]
    if counted and not timed and any(line.strip() for line in lines):
        problems.add("holds no line with `-->`: no cue")
    for at, after in zip(timed, [*timed[1:], None][: len(timed)], strict=True):
        span = _span(lines[at], at + 1, problems)
        body = lines[at + 1 : after]
        if after is not None:
            body = _without_head(body, counted)
        elif not counted:
            body = _paragraph(body)
        while body and not body[-1].strip():
            body.pop()
        if span:
            yield _Block(line=at + 1, onset_s=span[0], duration_s=span[1], text="\n".join(body))


def _without_head(body: list[str], counted: bool) -> list[str]:
    """Cut off what belongs to the next cue: its counter (SRT) or whatever stands after the blank line (VTT)."""
    if not counted:
        return _paragraph(body)
    if body and re.fullmatch(r"\s*\d+\s*", body[-1]) and (len(body) == 1 or not body[-2].strip()):
        return body[:-1]
    return body


def _paragraph(body: list[str]) -> list[str]:
    """A cue of VTT ends at the first empty line."""
    return body[: body.index("")] if "" in body else body


def _span(line: str, n: int, problems: Problems) -> tuple[Decimal, Decimal] | None:
    found = _ARROW.fullmatch(line)
    if not found:
        problems.add("is no line of times like `00:00:01,000 --> 00:00:02,500`", n)
        return None
    try:
        onset, end = parse_clock(found[1]), parse_clock(found[2])
    except ValueError as error:
        problems.add(str(error), n)
        return None
    return checked_span(onset, end, problems, n)


def _named(text: str, options: SubtitleOptions) -> tuple[str | None, str]:
    found = _COLON.match(text) if options.speakers == "colon" else None
    return (found[1], text[found.end() :]) if found else (None, text)


def _voices(text: str, options: SubtitleOptions) -> Iterator[tuple[str | None, str]]:
    """Yield (speaker, words) of every voice of a VTT cue."""
    parts = _VOICE.split(text)
    spans = [(None, parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]
    for position, (name, words) in enumerate(spans):
        if position == 0 and not words.strip() and len(spans) > 1:
            continue
        last = position == len(spans) - 1
        plain = words if options.tags else _TAG.sub("", words)
        spoken = html.unescape(plain if last else plain.rstrip("\n"))
        yield (html.unescape(name).strip() or None, spoken) if name is not None else _named(spoken, options)
