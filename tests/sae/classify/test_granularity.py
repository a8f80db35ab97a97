"""Granularity: planted contexts, and automatic labels held against human ones."""

import numpy as np
import pytest

from release_kit.sae.classify.contexts import TopContexts
from release_kit.sae.classify.granularity import agreement, cohens_kappa, granularity, peak_ids
from release_kit.sae.errors import SaeError

_NO = -1


def test_planted_contexts_are_called_what_they_are():
    peaks = np.array([
        [7, 7, 7, 7, 1, 2, 3, 4],
        [7, 7, 8, 8, 9, 9, 1, 2],
        [1, 2, 3, 4, 5, 6, 7, 8],
        [1, 1, 1, _NO, _NO, _NO, _NO, _NO],
        [1, 1, 2, 3, _NO, _NO, _NO, _NO],
    ])  # fmt: skip
    assert granularity(peaks).tolist() == ["token", "concept", "none", "", "token"]


def test_words_of_one_meaning_are_synonyms_only_where_a_dictionary_says_so():
    peaks = np.array([[1, 2, 3, 4, 5, 6, 7, 8]])
    meanings = {1: frozenset({50}), 2: frozenset({50, 51}), 3: frozenset({50}), 4: frozenset({50}), 5: frozenset({52})}
    assert granularity(peaks, meanings=meanings).tolist() == ["synonym"]
    assert granularity(peaks, meanings={1: frozenset({50})}).tolist() == ["none"]


def test_peaks_are_the_ids_of_the_tokens_of_the_contexts():
    top = TopContexts.empty(2, 3, 2)
    top.offer(np.array([1, 1, 2]), np.array([1.0, 2.0, 3.0], np.float32), np.array([4, 5, 6]))
    ids = np.array([10, 11, 12, 13, 14, 15, 16], np.int32)
    assert sorted(peak_ids(top, ids)[0].tolist()) == [-1, -1, -1, 14, 15, 16]
    assert (peak_ids(top, ids)[1] == -1).all()


def test_agreement_is_scored_beyond_chance():
    automatic = ["token"] * 50 + ["concept"] * 50 + [""]
    human = ["token"] * 45 + ["concept"] * 5 + ["concept"] * 40 + ["none"] * 10 + ["token"]
    found = agreement(automatic, human)
    assert found.n == 100 and found.accuracy == 0.85
    chance = 0.5 * 0.45 + 0.5 * 0.45
    assert found.kappa == pytest.approx((0.85 - chance) / (1 - chance))
    assert found.token_accuracy == 0.95 and found.token_kappa == pytest.approx((0.95 - 0.5) / 0.5)


def test_labels_that_agree_by_chance_have_no_kappa():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 3, 20000), rng.integers(0, 3, 20000)
    share, kappa = cohens_kappa(one, other)
    assert abs(share - 1 / 3) < 0.02 and abs(kappa) < 0.02


@pytest.mark.parametrize(
    ("automatic", "human", "said"),
    [
        (["token"], ["token", "none"], "stand against"),
        (["word"], ["token"], "'word' is none of"),
        ([""], ["token"], "no feature has both"),
    ],
)
def test_labels_that_cannot_be_compared_are_refused(automatic, human, said):
    with pytest.raises(SaeError, match=said):
        agreement(automatic, human)
