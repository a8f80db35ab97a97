"""Texts as words, for vectors of words and counts of words.

Words of languages that write no blanks are not guessed: such texts are taken as their annotators cut them, and refused
where nobody did.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from release_kit.bids.annotations.tokens import is_foreign_script
from release_kit.core.wording import printable
from release_kit.encoding.errors import FeatureError

_JOINERS = "\u200c\u200d"
"""Stand inside words of Persian and of Indian languages."""
_UNSPACED = {
    **{code: code for code in ("ja", "zh", "th", "lo", "km", "my")},
    **{"jpn": "ja", "zho": "zh", "chi": "zh", "cmn": "zh", "yue": "zh", "tha": "th"},
    **{"lao": "lo", "khm": "km", "mya": "my"},
}
"""Languages that are written without blanks between words: their codes → those of two letters."""
_LONGEST_WORD = 12
"""Characters; a longer stretch without a blank is a sentence or a part of one."""
_LONG = re.compile(rf"[^\W\d_]{{{_LONGEST_WORD + 1},}}")
_MOST_UNCUT = 0.05
"""Share of texts that may hold such a stretch (a name, a loan word) before they count as not cut into words."""


def words_of(text: str, language: str | None) -> list[str]:
    """Return the words of a text in their order, without punctuation, written as they are.

    ``words_of("Don't stop, well-known Dr. No!", "en")`` is ``["Don't", "stop", "well-known", "Dr", "No"]``. In
    languages without blanks between words, what stands between blanks is one word. Words are in Unicode's composed form
    (NFC); signs that are written onto letters (accents, vowels of Thai and Hindi) are parts of their words.
    """
    text = unicodedata.normalize("NFC", text)
    word, from_first_to_last = _patterns("".join(sorted(set(filter(_is_mark, text)))))
    if not is_unspaced(language):
        return word.findall(text)
    return [found[0] for part in text.split() if (found := from_first_to_last.search(part))]


def is_unspaced(language: str | None) -> bool:
    """Return whether a language is written without blanks between words."""
    return _unspaced(language) is not None


def check_cut_into_words(texts: Iterable[str], language: str | None, where: str) -> None:
    """Refuse texts of a language without blanks that nobody cut into words.

    Raises:
        FeatureError: more than 5 % of the texts hold a stretch of more than 12 letters without a blank.
    """
    if (known := _unspaced(language)) is None:
        return
    listed = sorted(set(texts))
    uncut = [text for text in listed if _is_long(text) and not is_foreign_script(text, known)]
    if len(uncut) > _MOST_UNCUT * len(listed):
        what = f"{len(uncut)} of {len(listed)} texts in {language} are not cut into words: {printable(uncut[0][:30])!r}"
        step = "put blanks between words (a morphological analyser does it), or use a language model"
        raise FeatureError(what, where=where, next_step=step)


def _unspaced(language: str | None) -> str | None:
    return None if language is None else _UNSPACED.get(re.split("[-_]", language.casefold())[0])


def _is_long(text: str) -> bool:
    return _LONG.search("".join(sign for sign in text if not _is_mark(sign))) is not None


def _is_mark(sign: str) -> bool:
    """Return whether a sign is written onto the one before it; ``re`` counts none of them as part of a word."""
    return not sign.isascii() and unicodedata.category(sign).startswith("M")


@lru_cache(maxsize=1024)
def _patterns(marks: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return what finds a word, and what finds the part between the marks at both ends, for texts with such signs."""
    more = f"[\\w{_JOINERS}{re.escape(marks)}]"
    word = re.compile(rf"\w{more}*(?:['\u2019\-.]\w{more}*)*")
    return word, re.compile(rf"[^\W_](?:.*[^\W_])?[{marks or _JOINERS}]*")
