"""Contamination finds every planted document and no other."""

import random

import hypothesis
import hypothesis.strategies as st

from release_kit.sft.measure.contamination import N_WORDS, find_hits, n_checkable, split_texts
from release_kit.sft.measure.words import words_of

VOCABULARY = [f"w{i}" for i in range(5000)]


def _sentence(rng: random.Random, n: int) -> str:
    return " ".join(rng.choices(VOCABULARY, k=n))


def test_every_planted_document_is_found_and_no_other():
    rng = random.Random(0)
    documents = [_sentence(rng, rng.randint(5, 60)) for _ in range(200)]
    examples = [_sentence(rng, rng.randint(20, 200)) for _ in range(400)]
    planted = {}
    for number in rng.sample(range(200), 70):
        words = documents[number].split()
        n = min(N_WORDS, len(words))
        start = rng.randrange(len(words) - n + 1)
        example = rng.randrange(400)
        before, after = examples[example].split()[:7], examples[example].split()[7:]
        copied = [word.upper() + rng.choice(["", ",", ".", " -"]) for word in words[start : start + n]]
        examples[example] = " ".join([*before, *copied, *after])
        planted[number] = example
    # A later copy may cut an earlier one in two; only those that are still whole can be found.
    whole = {d for d, e in planted.items() if _stands_in(documents[d], examples[e])}
    hits = find_hits(split_texts(examples), split_texts(documents))
    assert {hit.document for hit in hits} == whole
    assert len(whole) > 60


def _stands_in(document: str, example: str) -> bool:
    """The definition, by plain comparison of lists."""
    words, others = words_of(document), words_of(example)
    n = min(N_WORDS, len(words))
    grams = {tuple(others[i : i + n]) for i in range(len(others) - n + 1)}
    return any(tuple(words[i : i + n]) in grams for i in range(len(words) - n + 1))


def test_a_copy_across_two_examples_or_of_twelve_words_is_no_hit():
    rng = random.Random(1)
    document = _sentence(rng, 30)
    words = document.split()
    halves = [" ".join(words[:12]), " ".join(words[12:24])]
    assert find_hits(split_texts(halves), split_texts([document])) == []
    (hit,) = find_hits(split_texts([halves[0] + " " + words[12]]), split_texts([document]))
    assert (hit.n_words, hit.ngram) == (13, " ".join(words[:13]))


def test_short_documents_are_looked_for_whole_and_shorter_ones_are_not_counted():
    documents = split_texts(["What is two plus two?", "Yes or no", "", "What is two plus five?"])
    assert n_checkable(documents) == 2
    (hit,) = find_hits(split_texts(["Say: what is TWO plus two!", "yes or no"]), documents)
    assert (hit.document, hit.example, hit.n_words, hit.ngram) == (0, 0, 5, "what is two plus two")


@hypothesis.given(
    examples=st.lists(st.lists(st.sampled_from("ab"), max_size=20), max_size=5),
    documents=st.lists(st.lists(st.sampled_from("ab"), max_size=18), max_size=5),
)
def test_hit_documents_are_those_of_the_definition(examples: list[list[str]], documents: list[list[str]]):
    """Two words only, so that n-grams repeat and first places matter."""
    texts, asked = ([" ".join(words) for words in lists] for lists in (examples, documents))
    hits = find_hits(split_texts(texts), split_texts(asked))
    expected = {
        number
        for number, words in enumerate(documents)
        if len(words) >= 5 and any(_stands_in(" ".join(words), text) for text in texts)
    }
    assert {hit.document for hit in hits} == expected
    for hit in hits:
        joined = f" {texts[hit.example]} "
        assert f" {hit.ngram} " in joined
        assert not any(f" {hit.ngram} " in f" {text} " for text in texts[: hit.example]), "the first example"
