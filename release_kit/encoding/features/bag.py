"""Counts of words as features: the plainest baseline. Its vocabulary comes from training texts alone."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from release_kit.encoding.arrays import FloatArray
from release_kit.encoding.errors import FeatureError
from release_kit.encoding.features.items import Item, Prepared
from release_kit.encoding.features.spec import FeatureSpec
from release_kit.encoding.features.texts import BinnedTexts
from release_kit.encoding.features.words import check_cut_into_words, words_of

_BATCH = 1024


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Words in alphabetical order, and the weight of one count of each."""

    words: tuple[str, ...]
    weights: tuple[float, ...]


def fit_vocabulary(spec: FeatureSpec, texts: Sequence[str], language: str | None = None) -> Vocabulary:
    """Return the words of training texts that stand in at least ``min_count`` of them, the most frequent ones.

    The weight of a word is 1 (``count``), or ``ln((1 + n) / (1 + d)) + 1`` of ``n`` different texts of which ``d`` hold
    it (``tf-idf``; the smoothed form that scikit-learn uses).

    Args:
        spec: ``min_count``, ``max_words``, ``weighting``.
        texts: different training texts.
        language: of the texts.

    Raises:
        FeatureError: no word is frequent enough, or the texts are not cut into words.
    """
    where = f"features.{spec.name}, level {spec.level}"
    check_cut_into_words(texts, language, where)
    holding = Counter(word for text in set(texts) for word in set(_folded(text, language)))
    frequent = sorted((-n, word) for word, n in holding.items() if n >= spec.min_count)[: spec.max_words]
    if not frequent:
        what = f"none of {len(holding)} words stands in {spec.min_count} of {len(set(texts))} different training texts"
        raise FeatureError(what, where=where, next_step="lower min_count, or train on more texts")
    words = sorted(word for _, word in frequent)
    n_texts = len(set(texts))
    rarity = [math.log((1 + n_texts) / (1 + holding[word])) + 1 for word in words]
    weights = rarity if spec.weighting == "tf-idf" else [1.0] * len(words)
    return Vocabulary(words=tuple(words), weights=tuple(weights))


class BagOfWords:
    """Counts of the words of a vocabulary; with ``tf-idf`` each text is a vector of length 1.

    Args:
        spec: the feature space.
        vocabulary: of training texts.
    """

    layers = (0,)

    def __init__(self, spec: FeatureSpec, vocabulary: Vocabulary):
        self._spec = spec
        self._place = {word: k for k, word in enumerate(vocabulary.words)}
        self._weights = np.array(vocabulary.weights, np.float64)

    def widths(self) -> tuple[int, ...]:
        """Return the number of words."""
        return (len(self._place),)

    def prepare(self, binned: BinnedTexts, items: Sequence[Item]) -> Prepared:
        """Return the known words of every item; a text without any has a row of zeros, it is not missing."""
        found = [_folded(item.text, binned.language) for item in items]
        known = [[self._place[word] for word in words if word in self._place] for words in found]
        n_words = sum(map(len, found))
        counts = {"words": n_words, "words_unknown": n_words - sum(map(len, known))}
        return Prepared(usable=np.ones(len(items), bool), counts=counts, inputs=known)

    def vectors(self, prepared: Prepared) -> Iterator[tuple[npt.NDArray[np.int64], list[FloatArray]]]:
        """Yield places of items and their weighted counts ``(n, n_words)``."""
        for start in range(0, len(prepared.inputs), _BATCH):
            places = np.arange(start, min(start + _BATCH, len(prepared.inputs)))
            counts = np.zeros((len(places), len(self._weights)))
            for row, place in enumerate(places):
                np.add.at(counts[row], prepared.inputs[place], 1.0)
            counts *= self._weights
            if self._spec.weighting == "tf-idf":
                counts /= np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-12)
            yield places, [counts.astype(np.float32)]


def _folded(text: str, language: str | None) -> list[str]:
    return [word.casefold().replace("\u2019", "'") for word in words_of(text, language)]
