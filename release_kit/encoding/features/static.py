"""Static vectors of words as features: the mean over the known words of a text.

Vectors are read by ``word_vectors.py``. Words nobody has a vector for are counted, by occurrence and by kind.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from release_kit.encoding.arrays import FloatArray
from release_kit.encoding.features.items import Item, Prepared
from release_kit.encoding.features.spec import FeatureSpec
from release_kit.encoding.features.texts import BinnedTexts
from release_kit.encoding.features.word_vectors import read_word_vectors
from release_kit.encoding.features.words import check_cut_into_words, words_of


class StaticVectors:
    """Vectors of the words that the texts of an analysis hold.

    A word is looked up as it is written, then in lower case, then, where it is joined by an apostrophe or a hyphen, as
    its parts.

    Args:
        spec: file of the vectors.
        binned: all texts; no other word is read.

    Raises:
        FeatureError: the file is damaged, or texts are not cut into words.
    """

    layers = (0,)

    def __init__(self, spec: FeatureSpec, binned: Sequence[BinnedTexts]):
        assert spec.model is not None
        texts = {(text, each.language) for each in binned for rows in each.rows for text in rows}
        for language in sorted({each.language or "" for each in binned}):
            of_language = [text for text, written in texts if (written or "") == language]
            check_cut_into_words(of_language, language, f"features.{spec.name}, level {spec.level}")
        wanted = {form for text, language in texts for word in words_of(text, language) for form in _forms(word)}
        self._table, self._place = read_word_vectors(spec.model, wanted)

    def widths(self) -> tuple[int, ...]:
        """Return the length of a vector."""
        return (self._table.shape[1],)

    def prepare(self, binned: BinnedTexts, items: Sequence[Item]) -> Prepared:
        """Return the known words of every item; a text without any cannot be used."""
        words = [words_of(item.text, binned.language) for item in items]
        known = [[self._known(word) for word in each] for each in words]
        flat = {word: self._known(word) for each in words for word in each}
        counts = {
            "words": sum(map(len, words)),
            "words_unknown": sum(not found for each in known for found in each),
            "kinds": len(flat),
            "kinds_unknown": sum(not found for found in flat.values()),
            "without_words": sum(not any(each) for each in known),
        }
        inputs = [[place for found in each for place in found] for each in known]
        return Prepared(usable=np.array([bool(each) for each in inputs], bool), counts=counts, inputs=inputs)

    def vectors(self, prepared: Prepared) -> Iterator[tuple[npt.NDArray[np.int64], list[FloatArray]]]:
        """Yield places of usable items and the mean of their words' vectors ``(n, width)``."""
        places = np.flatnonzero(prepared.usable)
        if len(places):
            means = [self._table[prepared.inputs[k]].mean(axis=0, dtype=np.float64) for k in places]
            yield places, [np.array(means, np.float32)]

    def _known(self, word: str) -> list[int]:
        """Return the places of a word's vectors: one, those of its parts, or none."""
        for form in _whole_forms(word):
            if form in self._place:
                return [self._place[form]]
        parts = (next((self._place[form] for form in _whole_forms(part) if form in self._place), None)
                 for part in _parts(word))  # fmt: skip
        return [place for place in parts if place is not None]


def _forms(word: str) -> Iterator[str]:
    yield from _whole_forms(word)
    for part in _parts(word):
        yield from _whole_forms(part)


def _whole_forms(word: str) -> tuple[str, ...]:
    plain = word.replace("\u2019", "'")
    return (word, plain, plain.lower())


def _parts(word: str) -> list[str]:
    """Return ``don't`` as ``do`` and ``n't`` (as GloVe's corpus is cut), ``well-known`` as ``well`` and ``known``."""
    plain = word.replace("\u2019", "'")
    if plain.lower().endswith("n't") and len(plain) > 3:
        return [plain[:-3], plain[-3:]]
    if "'" in plain:
        stem, _, rest = plain.partition("'")
        return [stem, "'" + rest]
    return plain.split("-") if "-" in plain else []
