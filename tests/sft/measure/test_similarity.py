"""Likeness of texts is what scikit-learn and the encoder's own recipe give."""

import importlib.metadata
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from release_kit.core.sentence_encoder import PACKAGE
from release_kit.sft.measure.embedding import Encoder, embedding_similarity, encoder_folder
from release_kit.sft.measure.lexical import lexical_similarity, terms_of
from release_kit.sft.measure.words import words_of

EXAMPLES = [
    "The sky is blue and the grass is green.",
    "Add 12 and 30: the answer is 42.",
    "日本の首都は東京です。",
    "blue blue blue",
]
DOCUMENTS = ["What colour is the sky? Blue.", "12 plus 30 is 42", "東京はどこですか", "Quite unlike the others."]


def test_words_do_not_depend_on_case_width_or_punctuation():
    assert words_of("\uff28\uff45\uff4c\uff4c\uff4f, WORLD! it's") == ["hello", "world", "it", "s"]
    assert words_of("東京は20度") == ["東", "京", "は", "20", "度"]


def test_lexical_similarity_is_that_of_scikit_learn():
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer=lambda text: _terms(words_of(text))).fit([*EXAMPLES, *DOCUMENTS])
    left, right = (vectorizer.transform(texts).toarray() for texts in (EXAMPLES, DOCUMENTS))
    found = lexical_similarity(terms_of(EXAMPLES), terms_of(DOCUMENTS))
    centres = left.mean(axis=0), right.mean(axis=0)
    expected = centres[0] @ centres[1] / np.linalg.norm(centres[0]) / np.linalg.norm(centres[1])
    assert found.centroid == pytest.approx(expected, rel=1e-12)
    assert found.nearest == pytest.approx((right @ left.T).max(axis=1).mean(), rel=1e-12)


def _terms(words: list[str]) -> list[str]:
    return [*words, *(f"{a} {b}" for a, b in pairwise(words))]


def test_equal_sets_are_alike_and_sets_without_a_common_word_are_not():
    same = lexical_similarity(terms_of(EXAMPLES), terms_of(EXAMPLES))
    assert (same.centroid, same.nearest) == (pytest.approx(1), pytest.approx(1))
    assert lexical_similarity(terms_of(["one two"]), terms_of(["three", ""])) == (0.0, 0.0)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    try:
        importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{PACKAGE} is not installed")
    return Encoder(encoder_folder())


def test_encoder_finds_meaning_where_no_word_is_shared(encoder: Encoder):
    vectors = encoder.encode(["A dog barks at night.", "The puppy was howling all evening.", "Interest rates rose."])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-6)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_embedding_does_not_depend_on_the_texts_beside_it(encoder: Encoder):
    """Padding of a batch is masked: alone and beside a long text, a text has the same vector."""
    alone = encoder.encode(["short"])[0]
    beside = encoder.encode(["short", "a much longer text that fills the row with many more words than that"])[0]
    assert alone == pytest.approx(beside, abs=1e-5)


def test_embedding_similarity_follows_its_definition():
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((n, 5)) for n in (4, 3))
    left, right = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (left, right))
    found = embedding_similarity(left, right)
    assert found.nearest == pytest.approx(np.mean([max(d @ e for e in left) for d in right]))
    a, b = left.mean(axis=0), right.mean(axis=0)
    assert found.centroid == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_encoder_folder_is_the_installed_package(encoder: Encoder):
    assert (encoder_folder() / "model.safetensors").stat().st_size > 80_000_000
    assert isinstance(encoder_folder(), Path)
