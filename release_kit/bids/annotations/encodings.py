"""The encoding of a text file: said, found out, or refused with the candidates.

A byte order mark decides; else strict UTF-8; else UTF-16 by its zero bytes; else the Japanese encodings, by what share
of the characters Japanese people write often. Single-byte encodings cannot be told from each other and are never
guessed. Knows nothing of formats.
"""

import codecs
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from release_kit.core.errors import RecordError

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WIDE = ("utf-16-le", "utf-16-be")
_JAPANESE = ("cp932", "euc_jp")
_OTHERS = ("gb18030", "big5", "euc_kr", "cp1252")
"""Offered to the user, never chosen: nothing in the bytes tells them from the encodings above for sure."""

COMMON_SHARE = 0.9
"""An encoding is taken when at least this share of the characters beyond ASCII is common in Japanese …"""
RIVAL_SHARE = 0.6
"""… and no other encoding reaches this share."""
KANA_SHARE = 0.05
"""Text with fewer kana than this may be Chinese or Korean: taken only when the recipe says that it is Japanese."""
FEW = 8
"""UTF-8 with fewer characters beyond ASCII may be something else by chance."""

_JAPANESE_SIGNS = "…―—‥→←↑↓○●◎△▲□■☆★\u00d7\u00f7♪\u2032\u2033※〒\u00b0"

_LINE = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Text of a file and the encoding it was in (Python's name)."""

    text: str
    encoding: str


_BEYOND_ASCII = re.compile("[^\x00-\x7f]")


def split_lines(text: str) -> list[str]:
    """Return the lines of ``text`` whatever ends them (LF, CRLF, CR); a last line end begins no further line."""
    lines = _LINE.split(text)
    return lines[:-1] if lines[-1] == "" else lines


def decode(data: bytes, *, declared: str | None = None, language: str | None = None, where: str) -> Decoded:
    """Return the text of ``data``; a byte order mark is taken off.

    Args:
        data: the whole file.
        declared: the encoding that the recipe names; None to find it out.
        language: language tag of the text; ``ja`` allows Japanese text without kana.
        where: the file, for messages.

    Raises:
        RecordError: the declared encoding is unknown or does not fit, or more than one (or none) is possible.
    """
    if declared is not None:
        return _declared(data, declared, where)
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _declared(data, encoding, where)
    if (text := _strict(data, "utf-8")) is not None and "\0" not in text:
        if b"\x1b$" in data and (japanese := _strict(data, "iso2022_jp")) is not None:
            return Decoded(text=japanese, encoding="iso2022_jp")
        return _sure_utf8(data, text, where)
    return _found_out(data, _is_japanese(language), where)


def _declared(data: bytes, encoding: str, where: str) -> Decoded:
    try:
        codec = codecs.lookup(encoding)
        known = codec._is_text_encoding
    except LookupError:
        known = False
    if not known:
        raise RecordError(f"the encoding {encoding!r} is not known", where=where, next_step="try utf-8 or cp932")
    if codec.name == "utf-16" and not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _wide_without_mark(data, where)
    name = "utf-8-sig" if codec.name == "utf-8" else codec.name
    try:
        return Decoded(text=data.decode(name).removeprefix("\ufeff"), encoding=codec.name)
    except UnicodeDecodeError as error:
        line = len(split_lines(data[: error.start].decode("latin-1"))) or 1
        others = _possible(data)
        raise RecordError(
            f"is not {codec.name}: {error.reason} at byte {error.start} (about line {line})",
            where=where,
            next_step=f"set `encoding` to one that fits ({', '.join(others)})" if others else "save it again as UTF-8",
        ) from error


def _wide_without_mark(data: bytes, where: str) -> Decoded:
    fitting = {name: text for name in _WIDE if (text := _strict(data, name)) is not None}
    best = sorted(fitting, key=lambda name: -_share(fitting[name], _is_usual))
    if not best or (len(best) == 2 and len({_share(fitting[name], _is_usual) for name in best}) == 1):
        raise RecordError(
            "has no byte order mark, and its byte order cannot be told",
            where=where,
            next_step="set `encoding` to utf-16-le or utf-16-be",
        )
    return Decoded(text=fitting[best[0]], encoding=best[0])


def _sure_utf8(data: bytes, text: str, where: str) -> Decoded:
    """A few bytes beyond ASCII can be UTF-8 and Japanese in another encoding at once; many cannot."""
    few = [found[0] for found in islice(_BEYOND_ASCII.finditer(text), FEW)]
    if few and len(few) < FEW and not all(map(_is_usual, few)):
        rivals = [name for name in _JAPANESE if (other := _strict(data, name)) and _share(other, _is_common) == 1]
        if rivals:
            raise _ambiguous(["utf-8", *rivals], where)
    return Decoded(text=text, encoding="utf-8")


def _found_out(data: bytes, japanese: bool, where: str) -> Decoded:
    texts = {name: text for name in (*_WIDE, *_JAPANESE) if (text := _strict(data, name)) is not None}
    shares = {name: _share(text, _is_common) for name, text in texts.items()}
    if b"\0" in data:
        shares = {name: _share(texts[name], _is_usual) for name in _WIDE if name in texts}
    best, *rest = sorted(shares, key=lambda name: -shares[name]) or [None]
    alone = best and shares[best] >= COMMON_SHARE and all(shares[name] <= RIVAL_SHARE for name in rest)
    if alone and (best in _WIDE or japanese or _share(texts[best], _is_kana) >= KANA_SHARE):
        return Decoded(text=texts[best], encoding=best)
    raise _mixed(data, where) or _ambiguous(_possible(data), where)


def _mixed(data: bytes, where: str) -> RecordError | None:
    """A file put together of parts in two encodings, when most of its lines are UTF-8 beyond ASCII."""
    lines = re.split(rb"\r\n|\r|\n", data)
    bad = [n for n, line in enumerate(lines, start=1) if _strict(line, "utf-8") is None]
    good = [line for line in lines if not line.isascii() and _strict(line, "utf-8") is not None]
    if not bad or b"\0" in data or len(good) <= len(bad):
        return None
    named = ", ".join(map(str, bad[:8])) + (" …" if len(bad) > 8 else "")
    what = f"mixes encodings: line {named} is not UTF-8, {len(good)} other lines are"
    return RecordError(what, where=where, next_step="save those lines again as UTF-8")


def _ambiguous(candidates: list[str], where: str) -> RecordError:
    what = "the encoding cannot be told for sure" if candidates else "no known text encoding fits these bytes"
    fitting = f" (fitting: {', '.join(candidates)})" if candidates else ""
    return RecordError(what + fitting, where=where, next_step="set `encoding` of this source in the recipe")


def _possible(data: bytes) -> list[str]:
    names = ("utf-8", *_JAPANESE, *(_WIDE if b"\0" in data else ()), *(() if b"\0" in data else _OTHERS))
    return [name for name in names if _strict(data, name) is not None]


def _strict(data: bytes, encoding: str) -> str | None:
    """Return the text when ``data`` is valid in ``encoding`` and holds no character that texts do not hold."""
    try:
        text = data.decode(encoding)
    except (UnicodeDecodeError, UnicodeError):
        return None
    if encoding != "utf-8" and any(unicodedata.category(c) in ("Cn", "Co", "Cs") or _is_control(c) for c in set(text)):
        return None
    return text


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc" and character not in "\t\n\r\f\x1b"


def _share(text: str, is_such: Callable[[str], bool]) -> float:
    """Return the share of the characters beyond ASCII that are such; of all characters when there are none."""
    counts = Counter(text)
    beyond = {character: n for character, n in counts.items() if character > "\x7f"} or counts
    total = sum(beyond.values())
    return sum(n for character, n in beyond.items() if is_such(character)) / total if total else 0.0


def _is_usual(character: str) -> bool:
    """ASCII, Latin letters with accents, Japanese."""
    return character < "\x80" or "\xc0" <= character <= "\u024f" or _is_common(character)


def _is_common(character: str) -> bool:
    if character < "\x80" or _is_kana(character) or "\u3000" <= character <= "\u303f":
        return True
    if "\uff01" <= character <= "\uff5e" or character in _JAPANESE_SIGNS:
        return True
    return "\u4e00" <= character <= "\u9fff" and _is_first_level(character)


def _is_first_level(character: str) -> bool:
    """The 2,965 everyday characters of JIS X 0208 have rows 16-47 of its table: EUC-JP lead bytes B0-CF."""
    try:
        return 0xB0 <= character.encode("euc_jp")[0] <= 0xCF
    except UnicodeEncodeError:
        return False


def _is_kana(character: str) -> bool:
    return "\u3041" <= character <= "\u30ff"


def _is_japanese(language: str | None) -> bool:
    return (language or "").lower().split("-")[0] in ("ja", "jpn", "jp")
