"""Tokens that are words: found in real tokenizers, planted synonyms are called so and shuffled ones are not."""

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from release_kit.sae.classify.granularity import granularity
from release_kit.sae.classify.token_meanings import TokenMeanings, token_meanings
from release_kit.sae.prepare.tokenizer import learn_tokenizer

WORDS = {
    ("en", "dog"): frozenset({1}), ("en", "og"): frozenset({2}), ("ja", "犬"): frozenset({1}),
    ("ja", "の"): frozenset({3}), ("ja", "いぬ"): frozenset({1}), ("en", "water"): frozenset({4}),
    ("ja", "水"): frozenset({4}),
}  # fmt: skip
TEXTS = ["The dog sees water.", "A Dog barks at the dog.", "いぬが水をのむ。", "犬の水", "犬 いぬ 水 いぬ"] * 40


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=learn_tokenizer(TEXTS, 560), unk_token="<unk>", bos_token="<s>")


def _said(tokenizer: PreTrainedTokenizerFast, found: TokenMeanings) -> dict[str, set[int]]:
    return {tokenizer.convert_ids_to_tokens(token): set(those) for token, those in found.of.items()}


def test_tokens_that_are_whole_words_have_their_meanings_and_pieces_have_none(tokenizer):
    said = _said(tokenizer, token_meanings(tokenizer, WORDS))
    assert said["\u2581dog"] == said["\u2581Dog"] == said["犬"] == said["\u2581いぬ"] == {1}
    assert said["\u2581water"] == said["水"] == {4}
    assert not {"og", "の", "dog"} & said.keys()


def test_meanings_go_to_tokens_of_their_language_when_they_are_shuffled(tokenizer):
    found = token_meanings(tokenizer, WORDS)
    shuffled = found.shuffled(np.random.default_rng(3))
    for known in found.by_language.values():
        assert sorted(map(sorted, known.values())) == sorted(sorted(shuffled[token]) for token in known)


def test_planted_synonyms_are_found_and_chance_makes_none_of_them():
    rng = np.random.default_rng(0)
    n_meanings, n_features = 200, 300
    by_language = {
        name: {first + place: frozenset({place % n_meanings}) for place in range(2 * n_meanings)}
        for name, first in (("en", 0), ("ja", 1000))
    }
    meanings = TokenMeanings(by_language=by_language, words={})
    words = np.array([[m, m + n_meanings, 1000 + m, 1000 + m + n_meanings] for m in range(n_meanings)])
    planted = words[rng.integers(0, n_meanings, n_features)]
    noise = rng.integers(2000, 3000, (n_features, 4))
    synonyms = rng.permuted(np.concatenate([planted, planted, noise], 1), axis=1)
    assert (granularity(synonyms, meanings=meanings.of) == "synonym").mean() >= 0.95
    assert (granularity(synonyms, meanings=meanings.shuffled(rng)) == "synonym").mean() <= 0.01
    assert not (granularity(noise.repeat(2, 1), meanings=meanings.of) == "synonym").any()


def test_spellings_of_one_word_are_no_synonyms(tokenizer):
    found = token_meanings(tokenizer, WORDS)
    ids = tokenizer.convert_tokens_to_ids
    dog, also, inu = ids("\u2581dog"), ids("\u2581Dog"), ids("犬")
    assert found.words[dog] == found.words[also] != found.words[inu]
    peaks = np.array([[dog, dog, dog, also, also, also, 900], [dog, dog, also, inu, inu, 900, 901]])
    assert granularity(peaks, meanings=found.of, words=found.words).tolist() == ["concept", "synonym"]


def test_the_share_of_a_meaning_is_counted_over_contexts_as_a_plain_loop_counts():
    rng = np.random.default_rng(1)
    meanings = {token: frozenset(rng.integers(0, 6, rng.integers(1, 4)).tolist()) for token in range(0, 40, 2)}
    peaks = rng.integers(-1, 40, (400, 12))
    found = granularity(peaks, meanings=meanings, min_contexts=1)
    plain = granularity(peaks, min_contexts=1)
    for row, one, other in zip(peaks.tolist(), found.tolist(), plain.tolist(), strict=True):
        there = [token for token in row if token >= 0]
        most = max((sum(m in meanings.get(token, ()) for token in there) for m in range(6)), default=0)
        expected = "synonym" if other in ("concept", "none") and most >= 0.5 * len(there) else other
        assert one == expected
