"""Counting of a cell: planted classes, sums by document, permuted languages."""

import numpy as np
import pytest

from release_kit.sae.activations.tokens import LANGUAGES
from release_kit.sae.classify.languages import rate_rule
from release_kit.sae.classify.planted import plant
from release_kit.sae.measure.counting import Labels, SaeCounter
from release_kit.sae.measure.documents import document_tokens
from release_kit.sae.measure.nulls import Rule, permuted_rows

RULE = Rule(share=0.9, least_documents=5)


def _counted(planted):
    n = int(planted.document.max()) + 1
    labels = Labels(
        language=planted.language, document=planted.document, script=None, n_documents=n,
        pairs=np.arange(n).reshape(-1, 2),
    )  # fmt: skip
    counter = SaeCounter(planted.sae(5), labels, n_top=8)
    for documents in np.array_split(np.arange(n), 3):
        index = np.flatnonzero(np.isin(planted.document, documents))
        counter.add(planted.x[index], index)
    return counter, labels


def _by_document(planted, labels):
    language = np.zeros(labels.n_documents, np.int64)
    language[planted.document] = planted.language
    return language, document_tokens(planted.document, labels.n_documents)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_classes_are_found_with_precision_and_recall_of_95_percent(seed):
    planted = plant(seed)
    counter, _ = _counted(planted)
    for found in (RULE.rate(counter.counts.languages), RULE.rate_mass(counter.counts.languages)):
        for name in ("en", "ja", "bilingual"):
            there, true = found.classes == name, planted.truth == name
            assert (there & true).sum() >= 0.95 * true.sum(), f"recall of {name}"
            assert (there & true).sum() >= 0.95 * there.sum(), f"precision of {name}"


def test_sums_by_document_give_the_same_tally_as_counting_tokens():
    planted = plant(3, n_documents=80)
    counter, labels = _counted(planted)
    tally, expected = counter.documents.tally(*_by_document(planted, labels)), counter.counts.languages
    for name in ("n_tokens", "n_documents", "fired", "documents", "fired_squares"):
        assert (getattr(tally, name) == getattr(expected, name)).all(), name
    assert np.allclose(tally.mass, expected.mass) and np.allclose(tally.mass_squares, expected.mass_squares)


def test_with_permuted_languages_every_planted_feature_looks_bilingual():
    planted = plant(4)
    counter, labels = _counted(planted)
    rows = list(permuted_rows(counter.documents, *_by_document(planted, labels), RULE, n_permutations=5, seed=0))
    found = {(row["by"], row["class"]): row for row in rows}
    bilingual = found["count", "bilingual"]
    assert bilingual["share"] == pytest.approx(1 / 3, abs=0.02) and bilingual["null_share"] > 0.95
    assert bilingual["verdict"] == "below" and found["mass", "en"]["verdict"] == "above"


def test_permutations_keep_the_number_of_documents_of_each_language():
    planted = plant(5, n_documents=60)
    counter, labels = _counted(planted)
    language, n_tokens = _by_document(planted, labels)
    tally = counter.documents.tally(np.random.default_rng(0).permutation(language), n_tokens)
    assert tally.n_documents.tolist() == [0, 30, 30] and tally.fired.sum() == counter.counts.languages.fired.sum()
    assert LANGUAGES == ("", "en", "ja") and not np.array_equal(tally.fired, counter.counts.languages.fired)


def test_the_rule_of_a_cell_is_the_rule_of_classify():
    counter, _ = _counted(plant(6, n_documents=60))
    tally = counter.counts.languages
    assert (RULE.rate(tally).classes == rate_rule(tally, threshold=0.9, min_documents=5).classes).all()
