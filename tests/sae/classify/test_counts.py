"""One pass over a model counts what dense arithmetic counts; parts, labels and files change what they should."""

import numpy as np
import pytest
import torch
from sae.classify.classify_models import make_model, make_sae, make_texts

from release_kit.sae.activations.tokens import LANGUAGES, tokenise
from release_kit.sae.classify.counts import count_features
from release_kit.sae.classify.examples import released_classes
from release_kit.sae.classify.languages import class_shares, rate_rule, script_rule
from release_kit.sae.classify.nulls import (
    beside_null,
    digits_and_punctuation,
    permuted_labels,
    random_init,
    romanised,
)
from release_kit.sae.classify.parallel import parallel_overlap
from release_kit.sae.classify.scripts import SCRIPTS, script_of
from release_kit.sae.classify.table import context_rows, feature_table, write_features
from release_kit.sae.errors import SaeError
from release_kit.sae.models.hooks import residuals


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def tokens(lm):
    return tokenise(make_texts(), lm.tokenizer, 8)


@pytest.fixture(scope="module")
def counts(lm, tokens):
    return count_features(make_sae(), lm, 1, tokens, n_top=3, group_tokens=50)


def _dense(lm, tokens):
    z = np.zeros((tokens.n_tokens, make_sae().config.n_features))
    for batch in tokens.batches():
        h = residuals(lm, batch.input_ids, batch.mask, [1])[1]
        z[batch.index[batch.kept()].numpy()] = make_sae().features(h[batch.kept()]).numpy()
    return z


def test_counts_are_those_of_dense_arithmetic(lm, tokens, counts):
    z = _dense(lm, tokens)
    script = np.array([SCRIPTS.index(script_of(lm.tokenizer.decode([i]))) for i in tokens.ids])
    for tally, code in ((counts.languages, tokens.language), (counts.scripts, script)):
        for place in range(len(tally.groups)):
            mine = z * (code == place)[:, None]
            by_document = np.stack([mine[tokens.document == d].sum(0) for d in range(len(tokens.texts))])
            fired = np.stack([(mine[tokens.document == d] > 0).sum(0) for d in range(len(tokens.texts))])
            assert (tally.fired[:, place] == (mine > 0).sum(0)).all()
            assert (tally.documents[:, place] == (fired > 0).sum(0)).all()
            assert (tally.fired_squares[:, place] == (fired**2).sum(0)).all()
            assert np.allclose(tally.mass[:, place], mine.sum(0), rtol=1e-4)
            assert np.allclose(tally.mass_squares[:, place], (by_document**2).sum(0), rtol=1e-4)
    assert np.allclose(counts.max_activation, z.max(0), rtol=1e-4)
    top = counts.top.tokens[:, LANGUAGES.index("ja"), 0]
    japanese = z * (tokens.language == 2)[:, None]
    live = japanese.max(0) > 0
    assert np.allclose(japanese[top[live], np.flatnonzero(live)], japanese.max(0)[live], rtol=1e-4)


def test_parts_that_are_merged_are_the_whole(lm, tokens, counts):
    n = len(tokens.texts)
    parts = [
        count_features(make_sae(), lm, 1, tokens, documents=part, n_top=3)
        for part in (range(0, n // 3), range(n // 3, n))
    ]
    merged = parts[0].merged(parts[1])
    assert (merged.languages.fired == counts.languages.fired).all()
    assert (merged.top.tokens == counts.top.tokens).all()
    assert merged.sets.keys() == counts.sets.keys()
    assert all((merged.sets[d] == counts.sets[d]).all() for d in counts.sets)
    with pytest.raises(SaeError, match="both parts"):
        merged.merged(parts[0])


def test_translations_overlap_beside_wrong_pairs(counts):
    found = parallel_overlap(counts, seed=1)
    assert found.n_pairs == len(counts.pairs)
    assert 0 <= found.random_low <= found.random <= found.random_high <= 1
    assert (found.together <= found.in_either).all()
    assert found == found and parallel_overlap(counts, seed=1).random == found.random


def test_files_of_the_same_counts_have_the_same_bytes(counts, tmp_path):
    import pyarrow.parquet as pq

    table = feature_table(counts, {"rate_count": rate_rule(counts.languages), "script": script_rule(counts.scripts)})
    for name in ("a", "b"):
        write_features(table, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    read = pq.read_table(tmp_path / "a")
    assert read.schema.equals(table.schema, check_metadata=True)
    assert (np.array(read["fired_en"]) == counts.languages.fired[:, 1]).all()


def test_contexts_lie_in_one_document_and_show_the_other_side(lm, tokens, counts):
    rows = context_rows(counts, tokens, np.arange(counts.n_features), lm.tokenizer, around=2)
    assert rows
    for row in rows:
        number = row["first_token"] + row["peak"]
        text = tokens.texts[tokens.document[number]]
        assert "".join(row["tokens"]).strip() in text.text, "blanks between words are shown"
        assert row["pair_text"] in {t.text for t in tokens.texts if t.pair == text.pair and t.id != text.id}


def test_the_released_rule_runs_on_a_model(lm, tokens, counts):
    found = released_classes(make_sae(), lm, 1, tokens, counts.max_activation)
    assert ((found.classes == "dead") == (counts.max_activation == 0)).all()


def test_permuted_labels_leave_only_bilingual_features_that_are_common(lm, tokens):
    permuted = permuted_labels(tokens, 5)
    assert permuted.n_by_language().keys() == tokens.n_by_language().keys()
    assert (permuted.ids == tokens.ids).all()
    assert sorted(t.language for t in permuted.texts) == sorted(t.language for t in tokens.texts)
    tally = count_features(make_sae(), lm, 1, permuted).languages
    common = rate_rule(tally, min_documents=30)
    assert class_shares(common)["bilingual"] == 1.0


def test_a_random_model_is_another_model_of_the_same_kind(lm):
    drawn, again = random_init(lm, 1), random_init(lm, 1)
    assert drawn.digest != lm.digest and drawn.digest == again.digest
    for (name, one), (_, two), (_, real) in zip(
        drawn.model.named_parameters(), again.model.named_parameters(), lm.model.named_parameters(), strict=True
    ):
        assert torch.equal(one, two), name
        assert one.ndim == 1 or not torch.equal(one, real)


def test_texts_of_nulls_have_no_letters_of_the_kind_they_exclude():
    assert all(script_of(text.text) == "" for text in digits_and_punctuation(20, 0))
    latin = romanised(make_texts(), lambda text: " ".join("neko" for _ in text.split()))
    assert all(script_of(text.text) in ("latin", "") for text in latin)
    with pytest.raises(SaeError, match="Latin letters only"):
        romanised(make_texts(), lambda text: text)


def test_a_share_is_above_its_null_only_if_intervals_do_not_touch(counts):
    real = rate_rule(counts.languages)
    same = beside_null("bilingual", "permuted-labels", real, real)
    assert same.verdict == "not told apart"
    far = rate_rule(counts.languages)
    far.classes[np.isin(far.classes, ("en", "ja"))] = "bilingual"
    one = beside_null("bilingual", "random-init", real, far)
    assert (one.verdict == "below") == (one.high < one.null_low)
    assert beside_null("bilingual", "x", far, real, weights=np.ones(48)).share == 1.0
