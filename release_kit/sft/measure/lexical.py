"""How many words two sets of texts share: TF-IDF over words and pairs of words.

Weight of term ``t`` in text ``d``: ``tf(t, d) · (1 + ln((1 + N) / (1 + df(t))))``, ``N`` and ``df`` counted over both
sets together, every text scaled to length 1 (Salton & Buckley 1988, with the smoothing that scikit-learn uses). Nothing
but the two sets is looked at, so that a value does not change when the study gets another dataset.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from release_kit.sft.measure.words import word_hash, words_of


class Similarity(NamedTuple):
    """Two views of one likeness, both in [0, 1] for word counts and in [-1, 1] for embeddings."""

    centroid: float
    """Cosine of the mean unit vectors of both sets."""
    nearest: float
    """Mean over the benchmark's documents of the largest cosine with any example."""


class Terms(NamedTuple):
    """Terms of some texts, text after text."""

    hashes: Any
    """``(n_terms,) uint64``: every term once for each text that holds it."""
    counts: Any
    """``(n_terms,) float64``."""
    lengths: Any
    """``(n_texts,) int64``: different terms of each text."""


def terms_of(texts: Sequence[str]) -> Terms:
    """Count the words and pairs of neighbouring words of every text."""
    import numpy as np

    hashes: list[int] = []
    counts: list[int] = []
    lengths = []
    for text in texts:
        words = words_of(text)
        pairs = (f"{first} {second}" for first, second in pairwise(words))
        found = Counter(map(word_hash, (*words, *pairs)))
        hashes += found.keys()
        counts += found.values()
        lengths.append(len(found))
    return Terms(np.array(hashes, np.uint64), np.array(counts, np.float64), np.array(lengths, np.int64))


def lexical_similarity(examples: Terms, documents: Terms) -> Similarity:
    """Return how alike the examples of a dataset and the documents of a benchmark are in their words."""
    import numpy as np
    from scipy.sparse import csr_array

    vocabulary, column = np.unique(np.concatenate([examples.hashes, documents.hashes]), return_inverse=True)
    n_texts = len(examples.lengths) + len(documents.lengths)
    inverse = 1.0 + np.log((1 + n_texts) / (1 + np.bincount(column, minlength=len(vocabulary))))

    def unit(terms: Terms, columns: Any) -> Any:
        weights = terms.counts * inverse[columns]
        row = np.repeat(np.arange(len(terms.lengths)), terms.lengths)
        norms = np.sqrt(np.bincount(row, weights**2, minlength=len(terms.lengths)))
        shape = (len(terms.lengths), len(vocabulary))
        matrix = csr_array((weights / norms[row], (row, columns)), shape=shape)
        matrix.sum_duplicates()
        return matrix

    left = unit(examples, column[: len(examples.hashes)])
    right = unit(documents, column[len(examples.hashes) :])
    centres = [np.asarray(matrix.sum(axis=0)).ravel() for matrix in (left, right)]
    product = (right @ left.T).tocsr()
    nearest = product.max(axis=1).toarray() if product.nnz else np.zeros(1)
    return Similarity(cosine(*centres), float(np.mean(nearest)))


def cosine(first: Any, second: Any) -> float:
    """Return the cosine of two vectors; 0 when one of them is zero."""
    import numpy as np

    norms = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / norms if norms else 0.0
