"""Small matters of wording that every room shares: counted nouns, and foreign text that is safe to print."""


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """Return ``1 card`` or ``1,027 cards``; ``plural`` for nouns that take no s (``stimuli``)."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {plural or f'{noun}s'}"


def printable(text: str) -> str:
    """Return ``text`` on one line, with what a terminal would obey (line ends, escapes, stray bytes) written out.

    Blanks of every width stay; ``printable(printable(x)) == printable(x)``.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or (c.isspace() and c not in _OBEYED) else _written(c) for c in text)


_OBEYED = frozenset("\t\n\r\v\f\x1c\x1d\x1e\x1f\x85\u2028\u2029")


def _written(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
