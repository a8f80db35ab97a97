"""Features that were planted are given the classes that they have."""

import numpy as np
import pytest

from release_kit.sae.classify.counts import FeatureCounter, FeatureCounts
from release_kit.sae.classify.languages import entropy_rule, rate_rule, selectivity
from release_kit.sae.classify.planted import Planted, plant


def _count(planted: Planted, k: int, parts: int = 4) -> FeatureCounts:
    sae = planted.sae(k)
    counter = FeatureCounter(len(planted.truth), language=planted.language, document=planted.document)
    for documents in np.array_split(np.unique(planted.document), parts):
        index = np.flatnonzero(np.isin(planted.document, documents))
        counter.add(sae.encode(planted.x[index]), index)
    return counter.counts


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("by", ["count", "mass"])
def test_planted_classes_are_found_with_precision_and_recall_of_95_percent(seed, by):
    planted = plant(seed)
    classes = rate_rule(_count(planted, k=5).languages, by=by).classes
    for name in ("en", "ja", "bilingual"):
        found, true = classes == name, planted.truth == name
        assert (found & true).sum() >= 0.95 * true.sum(), f"recall of {name}"
        assert (found & true).sum() >= 0.95 * found.sum(), f"precision of {name}"
    assert not np.isin(classes[planted.truth == "dead"], ["en", "ja", "bilingual"]).any()


def test_the_entropy_rule_agrees_with_the_share_it_follows_from():
    tally = _count(plant(3), k=5).languages
    rates, entropy = rate_rule(tally), entropy_rule(tally)
    assert (rates.classes == entropy.classes).all()
    assert (selectivity(tally).entropy[rates.mask("bilingual")] > 0.4).all()


def test_shares_of_features_do_not_depend_on_how_many_tokens_a_language_has():
    # Japanese documents have 5 tokens for every 3 English ones; features of both languages still lie around a half.
    planted = plant(4)
    shares = rate_rule(_count(planted, k=5).languages).share[planted.truth == "bilingual"]
    assert abs(shares.mean() - 0.5) < 0.03


def test_intervals_hold_the_true_share_as_often_as_they_say():
    # Firings come in documents: an interval over tokens would hold the truth far less often.
    held = []
    for seed in range(4):
        planted = plant(100 + seed)
        found = rate_rule(_count(planted, k=5).languages)
        both = planted.truth == "bilingual"
        held.append((found.low[both] <= 0.5) & (found.high[both] >= 0.5))
    assert 0.9 <= np.mean(held) <= 1.0


def test_parts_of_documents_change_nothing():
    planted = plant(5, n_documents=60)
    whole, parts = _count(planted, k=5, parts=1), _count(planted, k=5, parts=7)
    assert (whole.languages.fired == parts.languages.fired).all()
    assert np.allclose(whole.languages.mass, parts.languages.mass, rtol=1e-12)
    assert (whole.languages.fired_squares == parts.languages.fired_squares).all()
    assert (whole.top.tokens == parts.top.tokens).all()
