"""Which script a token is written in: Latin, Japanese, another one, or none at all.

Digits, punctuation, blanks and pieces of bytes are of no script. The script says what a token looks like, the language
of its document what it is part of; features can follow either.
"""

import unicodedata
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.sae.prepare.scripts import JAPANESE

SCRIPTS = ("", "latin", "japanese", "other")
"""Names of the codes of ``token_scripts``; the first stands for none."""


def script_of(text: str) -> str:
    """Return the script of most letters of ``text``, one of ``SCRIPTS``; of equally many the earlier one there."""
    found = [_letter_script(character) for character in text]
    counts = [found.count(script) for script in SCRIPTS[1:]]
    return SCRIPTS[1 + int(np.argmax(counts))] if any(counts) else ""


def token_scripts(tokenizer: Any) -> npt.NDArray[np.int8]:
    """Return (n_ids,) the script of every id of a tokenizer of transformers, as places in ``SCRIPTS``.

    Special tokens have none, nor have bytes that are no character alone.
    """
    special = set(tokenizer.all_special_ids)
    codes = np.zeros(len(tokenizer), np.int8)
    for number in range(len(tokenizer)):
        if number not in special:
            codes[number] = SCRIPTS.index(script_of(tokenizer.decode([number])))
    return codes


def _letter_script(character: str) -> str:
    if JAPANESE.match(character):
        return "japanese"
    if not unicodedata.category(character).startswith("L"):
        return ""
    return "latin" if unicodedata.name(character, "").startswith(("LATIN", "FULLWIDTH LATIN")) else "other"
