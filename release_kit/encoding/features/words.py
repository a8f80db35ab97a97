"""Texts as words, for vectors of words and counts of words.

Words of languages that write no blanks are not guessed: such texts are taken as their annotators cut them, and refused
where nobody did.
"""

import re
from collections.abc import Iterable

from release_kit.bids.annotations.tokens import is_foreign_script
from release_kit.core.wording import printable
from release_kit.encoding.errors import FeatureError

_WORD = re.compile(r"\w+(?:['\u2019\-.]\w+)*")
_EDGE_MARKS = re.compile(r"^[\W_]+|[\W_]+$")
_UNSPACED = frozenset({"ja", "zh", "th", "lo", "km", "my"})
"""Languages that are written without blanks between words."""
_LONGEST_WORD = 12
"""Characters; a longer stretch without a blank is a sentence or a part of one."""
_LONG = re.compile(rf"[^\W\d_]{{{_LONGEST_WORD + 1},}}")
_MOST_UNCUT = 0.05
"""Share of texts that may hold such a stretch (a name, a loan word) before they count as not cut into words."""


def words_of(text: str, language: str | None) -> list[str]:
    """Return the words of a text in their order, without punctuation, written as they are.

    ``words_of("Don't stop, well-known Dr. No!", "en")`` is ``["Don't", "stop", "well-known", "Dr", "No"]``. In
    languages without blanks between words, what stands between blanks is one word.
    """
    if not is_unspaced(language):
        return _WORD.findall(text)
    return [cut for part in text.split() if (cut := _EDGE_MARKS.sub("", part))]


def is_unspaced(language: str | None) -> bool:
    """Return whether a language is written without blanks between words."""
    return language is not None and language.casefold().split("-")[0] in _UNSPACED


def check_cut_into_words(texts: Iterable[str], language: str | None, where: str) -> None:
    """Refuse texts of a language without blanks that nobody cut into words.

    Raises:
        FeatureError: more than 5 % of the texts hold a stretch of more than 12 letters without a blank.
    """
    if not is_unspaced(language):
        return
    listed = sorted(set(texts))
    uncut = [text for text in listed if _LONG.search(text) and not is_foreign_script(text, language or "")]
    if len(uncut) > _MOST_UNCUT * len(listed):
        what = f"{len(uncut)} of {len(listed)} texts in {language} are not cut into words: {printable(uncut[0][:30])!r}"
        step = "put blanks between words (a morphological analyser does it), or use a language model"
        raise FeatureError(what, where=where, next_step=step)
