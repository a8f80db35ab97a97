"""Benchmark documents whose words stand in a dataset: n-grams of 13 words, found exactly.

A document is hit when one of its n-grams stands in one example (Brown et al. 2020, arXiv 2005.14165, appendix C, count
13-grams in the same way). A document of fewer words is hit when all of it stands in an example; one of fewer than 5
words says too little and is not counted.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from release_kit.sft.measure.words import word_hash, words_of

N_WORDS = 13
MIN_WORDS = 5

_FACTOR = 0x9E3779B97F4A7C15
"""Odd, so that no word's bits are lost when positions are mixed modulo 2^64."""


class Hit(NamedTuple):
    """One document that stands, in part, in a dataset."""

    document: int
    """0-based, in the order of the benchmark's data."""
    example: int
    """The first such example, 0-based."""
    n_words: int
    ngram: str
    """The first such words of the document."""


class WordTexts(NamedTuple):
    """Texts as words, laid one after the other."""

    words: list[str]
    hashes: Any
    """``(n_words,) uint64``."""
    text: Any
    """``(n_words,) int64``: the text that each word belongs to."""
    starts: Any
    """``(n_texts + 1,) int64``: where each text begins; the last is the end."""

    def lengths(self) -> Any:
        """Return the words of each text: ``(n_texts,) int64``."""
        import numpy as np

        return np.diff(self.starts)


def split_texts(texts: Sequence[str]) -> WordTexts:
    """Split texts into words."""
    import numpy as np

    lists = list(map(words_of, texts))
    words = [word for words in lists for word in words]
    lengths = np.array([len(words) for words in lists], np.int64)
    return WordTexts(
        words=words,
        hashes=np.array([word_hash(word) for word in words], np.uint64),
        text=np.repeat(np.arange(len(lists)), lengths),
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )


def n_checkable(documents: WordTexts) -> int:
    """Return how many documents have enough words to be looked for."""
    return int((documents.lengths() >= MIN_WORDS).sum())


def find_hits(examples: WordTexts, documents: WordTexts, n_words: int = N_WORDS) -> list[Hit]:
    """Return the first hit of every document that stands in an example, by document.

    Args:
        examples: all examples of a dataset.
        documents: all documents of a benchmark.
        n_words: length of the n-grams; shorter documents are looked for whole.
    """
    import numpy as np

    lengths = documents.lengths()
    sizes = sorted({min(int(n), n_words) for n in lengths if n >= MIN_WORDS})
    hits: list[Hit] = []
    for size in sizes:
        of_size = (lengths >= size) if size == n_words else (lengths == size)
        hits += _hits_of_size(examples, documents, np.flatnonzero(of_size), size)
    return sorted(hits)


def _hits_of_size(examples: WordTexts, documents: WordTexts, wanted: Any, size: int) -> Iterator[Hit]:
    import numpy as np

    grams, places = _ngrams(examples, size)
    order = np.argsort(grams, kind="stable")
    grams, places = grams[order], places[order]
    asked, positions = _ngrams(documents, size)
    keep = np.isin(documents.text[positions], wanted) & np.isin(asked, grams)
    done = -1
    for gram, position in zip(asked[keep], positions[keep], strict=True):
        document = int(documents.text[position])
        if document == done:
            continue
        words = documents.words[position : position + size]
        same = range(*np.searchsorted(grams, [gram, gram + 1 if gram < 2**64 - 1 else gram]))
        found = next((int(places[i]) for i in same if examples.words[places[i] : places[i] + size] == words), None)
        if found is not None:
            done = document
            yield Hit(document, int(examples.text[found]), size, " ".join(words))


def _ngrams(texts: WordTexts, size: int) -> tuple[Any, Any]:
    """Return hash and first word's position of every n-gram that lies inside one text."""
    import numpy as np

    n = len(texts.words) - size + 1
    if n <= 0:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    total = np.zeros(n, np.uint64)
    for offset in range(size):
        total = total * np.uint64(_FACTOR) + texts.hashes[offset : offset + n]
    inside = texts.text[:n] == texts.text[size - 1 :]
    return total[inside], np.flatnonzero(inside)
