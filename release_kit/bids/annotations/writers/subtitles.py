"""Subtitles of one source: SRT (``Name: words``) and WebVTT (``<v Name>words``).

Times are rounded to milliseconds, and what would break a cue in two is written another way; the companion carries
what was meant. Formats: SubRip's manual; WebVTT, W3C, section 4.
"""

import re
from collections.abc import Callable, Sequence

from release_kit.bids.annotations.cues import Cue
from release_kit.bids.annotations.problems import Problems
from release_kit.bids.annotations.readers.subtitles import SubtitleOptions, read_srt, read_vtt
from release_kit.bids.annotations.times import clock_text, end_of, exact, milliseconds
from release_kit.bids.annotations.tsv import MISSING
from release_kit.bids.annotations.writers.companion import Placed, Tier

_SRT = SubtitleOptions(speakers="colon", tags=True, unknown=())
_VTT = SubtitleOptions(unknown=())
_VTT_SPECIAL = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def write_srt(rows: Sequence[Placed]) -> tuple[str, dict[str, Tier], list[Placed]]:
    """Return an SRT file of rows of one source: its text, its one tier, the rows in the order of the cues."""
    blocks = []
    for counter, placed in enumerate(rows, start=1):
        words = _lines(placed.row.text).replace("-->", "->")
        name = placed.row.speaker
        said = f"{name}: {words}" if name and _is_plain_name(name) else words
        blocks.append(f"{counter}\n{_span(placed, ',')}\n{said}\n")
    return "\n".join(blocks), _tier(rows), list(rows)


def reread_srt(text: str) -> list[Cue]:
    """Return the cues of a file of ``write_srt``; raises AnnotationError when somebody has broken it."""
    return _reread(read_srt, text, _SRT)


def write_vtt(rows: Sequence[Placed]) -> tuple[str, dict[str, Tier], list[Placed]]:
    """Return a WebVTT file of rows of one source: its text, its one tier, the rows in the order of the cues."""
    blocks = ["WEBVTT\n"]
    for placed in rows:
        words, name = _escaped(_lines(placed.row.text)), placed.row.speaker
        said = f"<v {_escaped(_one_line(name))}>{words}" if name else words
        blocks.append(f"{_span(placed, '.')}\n{said}\n")
    return "\n".join(blocks), _tier(rows), list(rows)


def reread_vtt(text: str) -> list[Cue]:
    """Return the cues of a file of ``write_vtt``; raises AnnotationError when somebody has broken it."""
    return _reread(read_vtt, text, _VTT)


def _reread(read: Callable, text: str, options: SubtitleOptions) -> list[Cue]:
    problems = Problems(path="subtitles")
    cues = read(text, options, problems)
    problems.refuse()
    return cues


def _tier(rows: Sequence[Placed]) -> dict[str, Tier]:
    return {"": Tier(annot_id=rows[0].row.annot_id)}


def _span(placed: Placed, point: str) -> str:
    onset, end = exact(placed.row.onset_s), end_of(placed.row.onset_s, placed.row.duration_s)
    return f"{clock_text(milliseconds(onset), point)} --> {clock_text(milliseconds(end), point)}"


def _lines(text: str | None) -> str:
    """Return text whose lines all hold something: a blank line would end the cue."""
    lines = re.split(r"\r\n|\r|\n", MISSING if text is None else text)
    return "\n".join(line if line.strip() else "\u00a0" for line in lines)


def _one_line(name: str) -> str:
    return " ".join(name.split())


def _is_plain_name(name: str) -> bool:
    return len(name) <= 60 and not re.search(r"[:\r\n]|-->", name) and name == name.strip()


def _escaped(text: str) -> str:
    return "".join(_VTT_SPECIAL.get(character, character) for character in text)
