"""Text that is safe inside Markdown and HTML, whatever a level, a file name or a benchmark is called.

Templates do not escape; everything that comes from data passes through here first.
"""

import re
from functools import lru_cache

_SPECIAL = re.compile(r"([\\`*{}\[\]<>#|~$&]|(?<![^\W_])_|_(?![^\W_]))")
NOTHING = "—"
"""Shown where the source says that something was attempted and gave no value, and where nothing is to be said."""

_SPACE = re.compile(r"\s+")
_MARKER = re.compile(r"<!--(\s*/?\s*release_kit:)")


@lru_cache(maxsize=65536)
def escaped(text: str) -> str:
    """Return ``text`` as Markdown that shows exactly this text on one line, in a paragraph or a table."""
    return _SPECIAL.sub(r"\\\1", _SPACE.sub(" ", text).strip())


@lru_cache(maxsize=65536)
def code(text: str) -> str:
    """Return ``text`` as a code span; text that would break out of one, or out of a table, is escaped instead."""
    flat = _SPACE.sub(" ", text).strip()
    if not flat or "`" in flat or "|" in flat or "<!--" in flat:
        return escaped(text)
    return f"`{flat}`"


def prose(text: str) -> str:
    """Return Markdown that the authors of a study wrote, with release_kit's own markers made harmless."""
    return _MARKER.sub(r"&lt;!--\1", text.strip())


@lru_cache(maxsize=65536)
def xml(text: str) -> str:
    """Return ``text`` for the content or an attribute of an XML element; characters XML cannot hold are left out."""
    kept = "".join(c for c in text if c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff")
    return kept.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def row(cells: list[str] | tuple[str, ...]) -> str:
    """Return one line of a Markdown table from cells that are already safe."""
    return f"| {' | '.join(cells)} |"


def bibliography(text: str) -> str:
    """Return a citation: BibTeX in a fenced block, anything else as the prose that it is."""
    stripped = prose(text)
    if stripped.startswith("@") and "```" not in stripped:
        return f"```bibtex\n{stripped}\n```"
    return stripped


def fenced(language: str, text: str) -> str:
    """Return a code block whose fence nothing in ``text`` can close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
