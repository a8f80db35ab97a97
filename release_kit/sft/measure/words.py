"""Text as words: one normal form for similarity and contamination, in any script."""

import re
import unicodedata
from functools import lru_cache
from hashlib import blake2b

_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af"
"""Kana, Han and Hangul: scripts without spaces between words, or with few; each character is a word."""
_WORD = re.compile(rf"[{_ALONE}]|[^\W{_ALONE}]+")


def words_of(text: str) -> list[str]:
    """Return the words of a text: NFKC, case-folded, letters, digits and underscores only."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


@lru_cache(maxsize=1 << 18)
def word_hash(term: str) -> int:
    """Return 64 bits that stand for a term, the same in every process."""
    return int.from_bytes(blake2b(term.encode(), digest_size=8).digest(), "little")
