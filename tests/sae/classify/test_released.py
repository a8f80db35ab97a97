"""The released rule decides as the released code does, mistakes included; examples are rows near the maximum."""

import numpy as np
import pytest
import torch

from release_kit.sae.classify.examples import ReleasedCounter
from release_kit.sae.classify.released import Example, released_counts, released_rule, token_language
from release_kit.sae.dictionary import Codes


@pytest.mark.parametrize(
    ("tokens", "place", "language"),
    [
        (["the", " cat"], 1, "en"),
        (["猫", "が"], 0, "ja"),
        (["a", ":"], 1, "ja"),  # no ASCII letter: Japanese, as released
        (["кот"], 0, "ja"),
        (["year", "1999"], 1, "en"),
        (["年", "1999"], 1, "ja"),
        (["1999", "年", "the"], 0, "en"),  # the first place looks at the last token, as released
        (["1", "2", "a"], 1, "en"),  # digits look back until there is another token, around the first place
        (["year", " 7", "5"], 2, "en"),
        (["a", " "], 1, "ja"),
        (["1", "2"], 0, "ja"),
        (["(a),"], 0, "en"),
    ],
)
def test_languages_of_tokens_are_the_released_ones(tokens, place, language):
    assert token_language(tokens, place) == language


def test_only_the_first_50_examples_count_and_the_first_of_equal_peaks():
    english = Example(tokens=["a", "猫"], activations=[2.0, 2.0])
    japanese = Example(tokens=["a", "猫"], activations=[1.0, 2.0])
    assert released_counts([english] * 50 + [japanese] * 50) == {"en": 50, "ja": 0}


@pytest.mark.parametrize(
    ("counts", "name"),
    [({"en": 46, "ja": 4}, "en"), ({"en": 45, "ja": 5}, "bilingual"), ({"en": 0, "ja": 1}, "ja"),
     ({"en": 0, "ja": 0}, "dead")],
)  # fmt: skip
def test_a_language_needs_more_than_nine_tenths(counts, name):
    assert released_rule(counts) == name


def test_examples_are_rows_whose_peak_exceeds_seven_tenths_of_the_maximum():
    # Feature 0 peaks at 1.0 in rows 0 ("a") and 2 ("猫"); row 1 reaches 0.7 only and is left out.
    counter = ReleasedCounter(
        np.array([1.0, 0.0], np.float32), ids=np.array([0, 1, 0, 1, 0, 1], np.int32), text_of=["a", "猫"],
        row_starts=np.array([0, 2, 4, 6]),
    )  # fmt: skip
    values = torch.tensor([[1.0], [0.9], [0.5], [0.7], [0.0], [0.71]])
    counter.add(Codes(indices=torch.zeros(6, 1, dtype=torch.int64), values=values), np.arange(6))
    assert counter.counts.tolist() == [[1, 1], [0, 0]]
    assert counter.classified().classes.tolist() == ["bilingual", "dead"]
