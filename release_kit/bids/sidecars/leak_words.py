"""Finds words that must appear nowhere, in any of the encodings that labs use, in streams of any size.

Owns what counts as an occurrence: spelling, encodings and word borders. Which files are searched and how they are
opened is ``leaks.py`` and ``leak_files.py``.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

from release_kit.bids.sidecars.leak_parts import NamePart, PartFinder, folded, wide

CHUNK_BYTES = 1 << 20
_ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "cp932", "euc_jp", "iso2022_jp", "cp1252", "gb18030", "big5", "euc_kr")
_AROUND = 16
"""Bytes on either side of a hit that decide whether it is one."""
_NO_ACCIDENT = 7
"""A pattern of seven bytes stands in a terabyte of noise about once."""
_PRINTABLE = re.compile(rb"[\x20-\x7e]{16,}")
_JIS_ESCAPE = b"\x1b$b"
_HEX = frozenset("0123456789abcdef")
_ACCENTED = frozenset(range(0xC3, 0xCA))


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One occurrence: the word, and its place counted from 0 (``offset``) and from 1 (``line``)."""

    word: str
    offset: int
    line: int
    size_bytes: int = field(default=0, compare=False)
    """How long it is as it stands there; 0 for a part of a name that was found through accents or width."""


@dataclass(frozen=True, kw_only=True)
class _Pattern:
    word: str
    data: bytes
    before: frozenset[int]
    """Bytes that may not stand right before, else it is part of something else."""
    after: frozenset[int]
    needs: bytes = b""
    """Bytes without which the pattern cannot stand in a piece of text: zero bytes of UTF-16, the escape of JIS."""


class WordFinder:
    """Searches bytes for words; case of ASCII letters is ignored, other letters are searched in their usual cases.

    Short words and words that could be hexadecimal (``AB12``) count only where they stand alone, since every digest
    would hold them; a word that ends in a digit is not found inside a longer number. Longer words count anywhere. Parts
    of names (``NamePart``) count where they stand as a word, in other widths and with other accents too.
    """

    def __init__(self, words: Iterable[str]):
        given = list(words)
        cleaned = {unicodedata.normalize("NFC", word.strip()) for word in given if not isinstance(word, NamePart)}
        once = {frozenset(_lowered(spelling) for spelling in _spellings(word)): word for word in sorted(cleaned)}
        parts = sorted({folded(word): word for word in given if isinstance(word, NamePart)}.values())
        self.words = (*sorted(word for word in once.values() if searchable(word)), *parts)
        self.too_short = tuple(sorted(word for word in once.values() if word and not searchable(word)))
        """Words that stand in every dataset by chance, so that nothing can be said about them."""
        self._patterns = tuple(pattern for word in self.words for pattern in _patterns(word))
        self._parts = PartFinder(parts)
        self._reach = max((len(pattern.data) for pattern in self._patterns), default=0) + 2 * _AROUND

    def search(self, chunks: Iterable[bytes], *, binary: bool = False) -> list[Hit]:
        """Return the first occurrence of each word in a stream that comes in pieces, in the order of ``words``.

        Memory: one piece and the longest pattern.

        Args:
            chunks: the stream.
            binary: sound or film: in a gigabyte of it every word of four letters stands by chance, so short ones count
                only inside of readable text.
        """
        found: dict[tuple[str, bool], Hit] = {}
        kept, base, lines = b"", 0, 0
        for chunk, last in _with_last(chunks):
            window = kept + chunk.lower()
            # A hit is judged by what stands around it, so what is near the end is left to the next window.
            limit = len(window) if last else max(len(window) - _AROUND, 0)
            for hit in self._search_window(window, limit, binary, base, lines, found):
                found[_name(hit.word)] = hit
            for part, at in self._parts.search(window, last) if not binary else ():
                line = 1 + lines + window.count(b"\n", 0, at)
                found.setdefault(_name(part), Hit(word=part, offset=base + at, line=line))
            kept = window[-self._reach :] if not last else b""
            gone = len(window) - len(kept)
            base, lines = base + gone, lines + window.count(b"\n", 0, gone)
        whole = [hit for hit in found.values() if not isinstance(hit.word, NamePart)]
        hits = (found[_name(word)] for word in self.words if _name(word) in found)
        return [hit for hit in hits if not isinstance(hit.word, NamePart) or not any(_holds(one, hit) for one in whole)]

    def search_text(self, text: str) -> list[Hit]:
        """Return the first occurrence of each word in a text (a file name, a header field)."""
        return self.search([text.encode("utf-8", "surrogateescape")]) if self._patterns and text else []

    def _search_window(
        self, window: bytes, limit: int, binary: bool, base: int, lines: int, found: dict[tuple[str, bool], Hit]
    ) -> Iterator[Hit]:
        ascii_only = window.isascii()
        absent = {needs for needs in (b"\x00", _JIS_ESCAPE) if needs not in window}
        for pattern in self._patterns:
            if _name(pattern.word) in found or pattern.needs in absent or (ascii_only and not pattern.data.isascii()):
                continue
            at = window.find(pattern.data, 0, limit)
            while at >= 0 and not (
                _stands_free(window, at, pattern) and (not binary or _readable(window, at, pattern))
            ):
                at = window.find(pattern.data, at + 1, limit)
            if at >= 0:
                line = 1 + lines + window.count(b"\n", 0, at)
                yield Hit(word=pattern.word, offset=base + at, line=line, size_bytes=len(pattern.data))


def _name(word: str) -> tuple[str, bool]:
    """What a word is told apart by: a name of one part is searched for as itself and as a part."""
    return word, isinstance(word, NamePart)


def _holds(whole: Hit, part: Hit) -> bool:
    """Whether a part of a name stands in the whole name that was found."""
    inside = whole.offset <= part.offset < whole.offset + whole.size_bytes
    return inside or (part.size_bytes == 0 and part.line == whole.line)


def searchable(word: str) -> bool:
    """Return whether finding a word means something: not for one or two letters, nor for numbers of under 5 digits."""
    if not word.isascii():
        return len(word) >= 2
    return len(word) >= (5 if word.isdigit() else 3)


def masked(word: str) -> str:
    """Return a word as reports may show it (reports are kept beside data): first and last letter, and its length."""
    shown = f"{word[0]}…{word[-1]}" if len(word) > 3 else f"{word[0]}…"
    return f"{shown!r} ({len(word)} characters)"


def read_chunks(stream) -> Iterator[bytes]:
    """Yield the rest of a binary stream in pieces."""
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def _with_last(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    waiting: bytes | None = None
    for chunk in chunks:
        if waiting is not None:
            yield waiting, False
        waiting = chunk
    if waiting is not None:
        yield waiting, True


def _stands_free(window: bytes, at: int, pattern: _Pattern) -> bool:
    end = at + len(pattern.data)
    before = at > 0 and window[at - 1] in pattern.before
    return not before and not (end < len(window) and window[end] in pattern.after)


def _readable(window: bytes, at: int, pattern: _Pattern) -> bool:
    """Whether a hit in a binary stream is long enough to be no accident, or lies in a stretch of printable ASCII."""
    if len(pattern.data) >= _NO_ACCIDENT:
        return True
    around = window[max(at - _AROUND, 0) : at + len(pattern.data) + _AROUND]
    return any(at - max(at - _AROUND, 0) in range(*run.span()) for run in _PRINTABLE.finditer(around))


def _patterns(word: str) -> Iterator[_Pattern]:
    """Yield every byte string that spells the word, each once; the strings are in lower case as far as ASCII goes."""
    before, after = _borders(word)
    seen = set()
    spellings = _spellings(word)
    encoded = [one for spelling in spellings for one in _encoded(spelling)]
    if isinstance(word, NamePart):
        encoded += [one for spelling in spellings if spelling.isascii() for one in _encoded_wide(spelling)]
    for data, needs in encoded:
        lowered = data.lower()
        if lowered not in seen:
            seen.add(lowered)
            borders = (before, after) if lowered.isascii() and not needs else (frozenset(), frozenset())
            yield _Pattern(word=word, data=lowered, before=borders[0], after=borders[1], needs=needs)


def _lowered(spelling: str) -> str:
    return "".join(one.lower() if one.isascii() else one for one in spelling)


def _spellings(word: str) -> set[str]:
    words = {word, folded(word)} if isinstance(word, NamePart) else {word}
    cases = {case for one in words for case in (str(one), one.lower(), one.upper(), one.title())}
    return {unicodedata.normalize(form, case) for case in cases for form in ("NFC", "NFD", "NFKC")}


def _encoded(word: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield (how the word is spelled in bytes, what must stand nearby for it to be that)."""
    for encoding in _ENCODINGS:
        try:
            data = word.encode(encoding)
        except UnicodeEncodeError:
            continue
        escaped = data.startswith(b"\x1b$B")
        data = re.sub(rb"^\x1b\$B|\x1b\(B$", b"", data)
        if len(data) >= 2:
            yield data, _JIS_ESCAPE if escaped else b"\x00" if b"\x00" in data else b""
    if not word.isascii():
        yield json.dumps(word)[1:-1].encode(), b""
        yield quote(word).encode(), b""
        yield "".join(f"&#{ord(letter)};" for letter in word).encode(), b""
        yield "".join(f"&#x{ord(letter):x};" for letter in word).encode(), b""


def _encoded_wide(word: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield the word in full-width letters, in encodings that are not read as text here."""
    for encoding in ("utf-16-le", "utf-16-be", "cp932", "euc_jp"):
        data = wide(word).encode(encoding)
        yield data, b"\x00" if b"\x00" in data else b""


def _borders(word: str) -> tuple[frozenset[int], frozenset[int]]:
    """Return the bytes that may not stand before and after the word, written in lower case."""
    lowered = word.lower()
    letters, digits = frozenset(b"abcdefghijklmnopqrstuvwxyz"), frozenset(b"0123456789")
    if isinstance(word, NamePart):
        # what UTF-8 begins a letter with an accent with continues the word: 'ren' does not stand in 'Renée'
        after = digits if lowered[-1].isdigit() else frozenset()
        return letters | (digits if lowered[0].isdigit() else frozenset()), letters | after | _ACCENTED
    if not word.isascii():
        return frozenset(), frozenset()
    if set(lowered) <= _HEX:
        return letters | digits, letters | digits
    before = digits if lowered[0].isdigit() else letters if len(word) < 5 and lowered[0].isalpha() else frozenset()
    after = digits if lowered[-1].isdigit() else letters if len(word) < 5 and lowered[-1].isalpha() else frozenset()
    return before, after
