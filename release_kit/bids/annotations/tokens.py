"""Texts as sets of tokens, for comparing what annotators wrote: words, or pairs of letters where words have no spaces.

Owns what counts as the same text, which script a text is written in, and what stands for "nothing". No language model.
"""

import re
import unicodedata

_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d"
"""Thai, Hiragana, Katakana and Han: scripts written without spaces between words."""
_HANGUL = "\u1100-\u11ff\uac00-\ud7af"
_RUN = re.compile(f"[{_UNSPACED}]+|[^\\W{_UNSPACED}]+")
_EASTERN = re.compile(f"[{_UNSPACED}{_HANGUL}]")
_LETTER = re.compile(r"[^\W\d_]")

PLACEHOLDERS = frozenset(
    ("", "..", "...", "…", "-", "--", "?", "n/a", "na", "nan", "none", "null", "tbd", "todo", "xxx", "不明")
)
"""Texts that stand for no text; they belong to the reader's list of unknown words."""

EASTERN_LANGUAGES = frozenset({"ja", "zh", "ko", "th"})


def normalised(text: str) -> str:
    """Return ``text`` as it is compared: compatibility forms made one, letters folded, blanks joined."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def tokens(text: str) -> frozenset[str]:
    """Return the tokens of a text: its words, and pairs of neighbouring letters where words have no spaces.

    ``tokens("The train arrives")`` is ``{"the", "train", "arrives"}``; a run of one such letter is a token itself.
    """
    found: set[str] = set()
    for run in _RUN.findall(normalised(text)):
        if len(run) > 1 and re.match(f"[{_UNSPACED}]", run):
            found.update(run[i : i + 2] for i in range(len(run) - 1))
        else:
            found.add(run)
    return frozenset(found)


def has_letters(text: str) -> bool:
    """Return whether a text has a letter of any script: numbers and signs are the same in every language."""
    return _LETTER.search(text) is not None


def is_placeholder(text: str) -> bool:
    """Return whether a text says only that there is none."""
    return normalised(text) in PLACEHOLDERS


def is_foreign_script(text: str, language: str) -> bool:
    """Return whether a text is of another script than ``language`` (``en``, ``ja-JP``) is written in.

    Most of its letters decide. Told apart are the scripts of East Asia and Thailand from all others; a text without
    letters is of any language.
    """
    letters = _LETTER.findall(text)
    if not letters:
        return False
    eastern = len(_EASTERN.findall(text)) / len(letters)
    is_eastern = language.casefold().split("-")[0] in EASTERN_LANGUAGES
    return eastern == 0 and len(letters) > 3 if is_eastern else eastern > 0.5
