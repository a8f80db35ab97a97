"""Which writing a text holds: the few questions about characters that preparation and its checks ask."""

import re

JAPANESE = re.compile(
    "[\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f]"
)
"""Kana of both widths, the mark of long vowels, and the ideographs of the Basic Multilingual Plane."""
LATIN = re.compile("[A-Za-z\u00c0-\u024f]")


def has_japanese(text: str) -> bool:
    """Return whether ``text`` holds a kana or an ideograph."""
    return JAPANESE.search(text) is not None


def has_latin(text: str) -> bool:
    """Return whether ``text`` holds a Latin letter, accented ones included."""
    return LATIN.search(text) is not None


def is_mostly(pattern: re.Pattern[str], text: str) -> bool:
    """Return whether at least half of the letters of ``text`` match ``pattern``; False without a letter."""
    letters = [character for character in text if character.isalpha() or JAPANESE.match(character)]
    return bool(letters) and 2 * sum(pattern.match(each) is not None for each in letters) >= len(letters)
