"""Which tokens of a vocabulary are words that a dictionary knows, and what they mean.

A token has a meaning where it is a word by itself: an English one begins a word, a Japanese one is written as the
dictionary writes it. Pieces of longer words have none.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from release_kit.sae.classify.granularity import Meanings
from release_kit.sae.classify.scripts import script_of
from release_kit.sae.prepare.meanings import Words

_WORD_MARKS = ("\u2581", "Ġ")
"""How SentencePiece and byte-level tokenizers write a blank before a word."""
_INSIDE = "##"
"""How WordPiece writes that a piece goes on with a word."""
_LEAST_KANA = 2
"""Characters of a token that is written in kana alone: one is a syllable or a particle with dozens of meanings."""


@dataclass(frozen=True, kw_only=True)
class TokenMeanings:
    """Tokens with meanings.

    Attributes:
        by_language: language → token id → numbers of meanings; a token stands in one language.
        words: token id → the first token that spells the same word: ``dog``, ``Dog``, with a blank and without.
    """

    by_language: Mapping[str, Meanings]
    words: Mapping[int, int]

    @property
    def of(self) -> dict[int, frozenset[int]]:
        """Token id → meanings, of all languages."""
        return {token: those for known in self.by_language.values() for token, those in known.items()}

    def shuffled(self, rng: np.random.Generator) -> dict[int, frozenset[int]]:
        """Return meanings given to the tokens of the same language at random: how many synonyms chance makes."""
        found: dict[int, frozenset[int]] = {}
        for known in self.by_language.values():
            given = list(known.values())
            found |= dict(zip(known, (given[place] for place in rng.permutation(len(given))), strict=True))
        return found


def token_meanings(tokenizer: Any, words: Words) -> TokenMeanings:
    """Return the tokens of a tokenizer of transformers that are words of a dictionary.

    Args:
        tokenizer: whose ids are looked up; special tokens have no meaning.
        words: (language, word) → meanings.
    """
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    marked = any(piece.startswith(_WORD_MARKS) for piece in pieces)
    special = set(tokenizer.all_special_ids)
    found: dict[str, dict[int, frozenset[int]]] = {"en": {}, "ja": {}}
    first: dict[tuple[str, str], int] = {}
    spelled: dict[int, int] = {}
    for number, piece in enumerate(pieces):
        if number in special:
            continue
        text = tokenizer.decode([number]).strip()
        language = {"latin": "en", "japanese": "ja"}.get(script_of(text), "")
        if language == "en":
            begins = piece.startswith(_WORD_MARKS) if marked else not piece.startswith(_INSIDE)
            word = text.casefold() if begins else ""
        else:
            word = "" if len(text) < _LEAST_KANA and _is_kana(text) else text
        if those := words.get((language, word)):
            found[language][number] = those
            spelled[number] = first.setdefault((language, word), number)
    return TokenMeanings(by_language=found, words=spelled)


def _is_kana(text: str) -> bool:
    return all(unicodedata.name(character, "").startswith(("HIRAGANA", "KATAKANA")) for character in text)
