"""The sections of a card that people write: kept word for word through every regeneration.

A section stands between ``<!-- release_kit:hand-written NAME -->`` and ``<!-- /release_kit:hand-written -->``. Owns
finding, keeping and re-inserting them; everything else in a card is generated.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from release_kit.core.errors import RecordError

CLOSE = "<!-- /release_kit:hand-written -->"
_OPEN = re.compile(r"^<!-- release_kit:hand-written ([a-z0-9][a-z0-9-]*) -->[ \t]*\Z")
_MARK = re.compile(r"<!--\s*/?\s*release_kit:hand-written")
_EMPTY = re.compile(r"<!-- release_kit:hand-written [a-z0-9][a-z0-9-]* -->\n<!-- /release_kit:hand-written -->\n")
_HEADING = re.compile(r"^#{1,6} ")


@dataclass(frozen=True, kw_only=True)
class Section:
    """One hand-written section; ``heading`` is the last generated heading above it (empty above the first)."""

    name: str
    content: str
    heading: str
    line: int
    """1-based line of the opening marker."""


def open_marker(name: str) -> str:
    """Return the line that opens the section ``name``."""
    return f"<!-- release_kit:hand-written {name} -->"


def block(name: str, content: str) -> str:
    """Return a whole section, markers included, without a final newline."""
    return f"{open_marker(name)}\n{content}{CLOSE}"


def parse_sections(text: str, where: str) -> list[Section]:
    """Return the hand-written sections of a card in their order.

    Raises:
        RecordError: a marker that is misspelt, not closed, nested or named twice: regenerating could lose words.
    """
    if "release_kit:hand-written" not in text:
        return []
    sections: list[Section] = []
    opened: tuple[str, int] | None = None
    content: list[str] = []
    heading = ""
    for number, line in enumerate(text.split("\n"), 1):
        start = _OPEN.match(line)
        if start and opened is None:
            opened, content = (start.group(1), number), []
        elif line.rstrip() == CLOSE and opened is not None:
            name, first = opened
            sections.append(Section(name=name, content="".join(content), heading=heading, line=first))
            opened = None
        elif _MARK.search(line):
            raise _broken(where, number, "a marker of a hand-written section that is misspelt, nested or not opened")
        elif opened is not None:
            content.append(line + "\n")
        elif _HEADING.match(line):
            heading = line
    if opened is not None:
        raise _broken(where, opened[1], f"the hand-written section {opened[0]!r} is not closed")
    names = [section.name for section in sections]
    if twice := [section for section in sections if names.count(section.name) > 1]:
        raise _broken(where, twice[1].line, f"the hand-written section {twice[1].name!r} stands twice")
    return sections


def is_untouched(text: str) -> bool:
    """Return whether nobody wrote anything: every marker belongs to an empty section."""
    return text.count("release_kit:hand-written") == 2 * len(_EMPTY.findall(text))


def emptied(text: str) -> str:
    """Return ``text`` with the content of every hand-written section taken out: what was generated."""
    return "\n".join(line for _, line in generated_lines(text))


def generated_lines(text: str) -> list[tuple[int, str]]:
    """Return the lines that stand outside the content of hand-written sections, with their 1-based numbers."""
    lines = list(enumerate(text.split("\n"), 1))
    if "release_kit:hand-written" not in text or is_untouched(text):
        return lines
    kept, inside = [], False
    for number, line in lines:
        if line.rstrip() == CLOSE:
            inside = False
        if not inside:
            kept.append((number, line))
        if _OPEN.match(line):
            inside = True
    return kept


def filled(text: str, sections: Iterable[Section]) -> str:
    """Put hand-written content into freshly generated ``text``.

    Content goes into the slot of its name. A section of a name that the template does not have goes to the end of the
    part under the heading it stood under, or to the end of the card when that heading is gone.
    """
    written = [section for section in sections if section.content or open_marker(section.name) not in text]
    for section in written:
        slot = block(section.name, "")
        has_slot = slot in text
        text = text.replace(slot, block(section.name, section.content), 1) if has_slot else _inserted(text, section)
    return text


def contents(sections: Iterable[Section]) -> Mapping[str, str]:
    """Return name → content of sections in which somebody wrote something."""
    return {section.name: section.content for section in sections if section.content.strip()}


def _inserted(text: str, section: Section) -> str:
    lines = text.rstrip("\n").split("\n")
    position = len(lines)
    if section.heading in lines:
        start = lines.index(section.heading) + 1
        ends = (i for i in range(start, len(lines)) if _HEADING.match(lines[i]))
        position = next(ends, len(lines))
        while position > start and not lines[position - 1].strip():
            position -= 1
    added = ["", *block(section.name, section.content).split("\n")]
    return "\n".join([*lines[:position], *added, *lines[position:]]) + "\n"


def _broken(where: str, line: int, what: str) -> RecordError:
    step = f"close it with {CLOSE} on a line of its own, so that nothing of it is lost"
    return RecordError(what, where=f"{where}:{line}", next_step=step)
