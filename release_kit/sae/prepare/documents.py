"""Pairs as documents: what a language model is trained on, and texts with their language for everything after it.

Owns how a sentence and its translation stand together in one document. Tokens are ``language_models.py``'s and
``activations/tokens.py``'s.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from release_kit.sae.activations.tokens import Text
from release_kit.sae.prepare.pairs import Pair

BETWEEN = "\n"
"""Stands between a sentence and its translation in a pair document."""


def training_documents(pairs: Sequence[Pair], seed: int) -> list[str]:
    """Return documents in an order that ``seed`` decides: a third Japanese, a third English, a third pairs.

    Every pair gives one document of each kind; which language comes first in its pair document is drawn.
    """
    generator = np.random.default_rng([seed, 1])
    first = generator.integers(0, 2, len(pairs))
    documents = [
        text
        for pair, swap in zip(pairs, first, strict=True)
        for text in (pair.en, pair.ja, translation_document(pair, source="ja" if swap else "en"))
    ]
    return [documents[index] for index in generator.permutation(len(documents))]


def translation_document(pair: Pair, source: str) -> str:
    """Return the document in which the sentence in ``source`` (``en`` or ``ja``) is followed by its translation."""
    given, wanted = (pair.en, pair.ja) if source == "en" else (pair.ja, pair.en)
    return f"{given}{BETWEEN}{wanted}"


def texts_of(pairs: Iterable[Pair]) -> tuple[Text, ...]:
    """Return both sides of every pair as texts, English first, with the ids ``<id>-en`` and ``<id>-ja``."""
    return tuple(
        Text(id=f"{pair.id}-{language}", language=language, text=text, pair=pair.id)
        for pair in pairs
        for language, text in (("en", pair.en), ("ja", pair.ja))
    )
