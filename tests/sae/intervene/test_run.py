"""Interventions do what they say: parts come out and go in exactly, controls match, nothing else changes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sae.intervene.small_models import LAYERS, D, N, make_pairs, make_sae, write_model

from release_kit.sae.config import SaeConfig
from release_kit.sae.dictionary import Sae
from release_kit.sae.errors import ActivationError, SaeError
from release_kit.sae.intervene.contributions import Decomposed, random_sets, with_length_of
from release_kit.sae.intervene.plan import Classes, Intervention, plan_interventions
from release_kit.sae.intervene.run import BASE, Side, intervene, loss_rows
from release_kit.sae.intervene.sentences import batches, make_sentences, negative_log_likelihoods
from release_kit.sae.models.hooks import residuals
from release_kit.sae.models.load import LanguageModel


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[LanguageModel, LanguageModel]:
    folder = tmp_path_factory.mktemp("models")
    return write_model(folder / "middle", 1), write_model(folder / "final", 2)


def classes(seed: int = 0) -> Classes:
    rng = torch.Generator().manual_seed(seed)
    label = torch.randint(0, 3, (N,), generator=rng)
    alive = torch.ones(N, dtype=torch.bool)
    alive[:4] = False
    return Classes(sets={name: label == k for k, name in enumerate(("en", "ja", "bilingual"))}, alive=alive)


def plan(
    n_random: int = 2, strengths: tuple[float, ...] = (1.0,), names=("en", "bilingual", "all")
) -> list[Intervention]:
    variants = ("add", "replace", "ablate")
    return list(
        plan_interventions(
            classes(), classes(1), variants=variants, names=names, strengths=strengths, n_random=n_random, seed=0
        )
    )


def sentences_of(lm: LanguageModel, n: int = 6) -> list:
    return make_sentences(lm, make_pairs(n), ("en", "ja"), separator=" | ")


@pytest.mark.parametrize("normalise", ["unit-norm", "none"])
def test_replacing_everything_by_itself_changes_nothing_to_the_bit(models: tuple, normalise: str):
    side = Side(lm=models[0], sae=make_sae(normalise=normalise))
    own = classes()
    same = list(
        plan_interventions(
            own, own, variants=("replace",), names=("en", "ja", "all"), strengths=(0.3, 1.0), n_random=0, seed=0
        )
    )
    found = intervene(side, side, 1, sentences_of(models[0]), same)
    assert len(found.keys) == 7
    for losses in found.nll[1:]:
        assert np.array_equal(losses, found.nll[0])


def test_adding_and_ablating_are_what_their_formulas_say(models: tuple):
    middle, donor = Side(lm=models[0], sae=make_sae(1)), Side(lm=models[1], sae=make_sae(2))
    sentences = sentences_of(models[0], 3)
    found = intervene(middle, donor, 1, sentences, plan(n_random=0, strengths=(0.5,), names=("en",)))
    (batch,) = batches(sentences, n_tokens=10_000, pad=1)
    own, other = (residuals(lm, batch.input_ids, batch.mask, [1])[1] for lm in models)
    masks = classes().of("en"), classes(1).of("en")

    def dense(sae: Sae, x: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        return (sae.features(x.flatten(0, 1)) * chosen) @ sae.w_dec

    lengths = own.flatten(0, 1).norm(dim=1, keepdim=True)
    given, taken = dense(donor.sae, other, masks[0]) * lengths, dense(middle.sae, own, masks[1]) * lengths
    for variant, added in (("add", given), ("replace", given - taken), ("ablate", -taken)):
        h = own + 0.5 * added.view_as(own)
        expected = _loss_from(models[0], h, batch)
        place = found.keys.index((variant, "en", 0.5, "", 0))
        np.testing.assert_allclose(found.nll[place][batch.rows], expected, rtol=1e-5)
        assert not np.allclose(found.nll[place], found.nll[0], rtol=1e-3)


def _loss_from(lm: LanguageModel, h: torch.Tensor, batch) -> np.ndarray:
    """Run the rest of the model from layer 1 by hand."""
    from release_kit.sae.models.hooks import replaced

    with replaced(lm, 1, lambda _: h):
        return negative_log_likelihoods(lm, batch)


def test_losses_are_those_of_the_model_and_translations_score_their_second_half(models: tuple):
    lm = models[0]
    sentences = sentences_of(lm)
    found = intervene(Side(lm=lm, sae=make_sae()), Side(lm=models[1], sae=make_sae(1)), 2, sentences, [], n_tokens=40)
    assert found.keys == (BASE,) and set(found.kinds) == {"en", "ja", "en>ja", "ja>en"}
    for place, sentence in enumerate(sentences):
        ids = torch.tensor([sentence.ids])
        with torch.inference_mode():
            logp = lm.model(input_ids=ids).logits[0].log_softmax(-1)
        expected = -sum(float(logp[t - 1, ids[0, t]]) for t in range(sentence.first, len(sentence.ids)))
        assert found.nll[0, place] == pytest.approx(expected, rel=1e-4)
    english, translation = (next(one for one in sentences if one.kind == kind) for kind in ("en", "ja>en"))
    assert found.n_tokens[sentences.index(translation)] == found.n_tokens[sentences.index(english)]


def test_batches_do_not_change_losses(models: tuple):
    middle, donor = Side(lm=models[0], sae=make_sae(1)), Side(lm=models[1], sae=make_sae(2))
    wide, narrow = (intervene(middle, donor, 1, sentences_of(models[0]), plan(), n_tokens=n).nll for n in (10_000, 16))
    np.testing.assert_allclose(wide, narrow, rtol=1e-5)


def test_random_sets_are_as_many_living_features_and_other_ones_each_time():
    chosen = classes().of("en")
    sets = random_sets(chosen, classes().alive, 30, seed=3)
    assert all(int(one.sum()) == int(chosen.sum()) for one in sets)
    assert not any(one[:4].any() for one in sets)
    assert len({tuple(one.tolist()) for one in sets}) > 25
    again = random_sets(chosen, classes().alive, 30, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(sets, again, strict=True))


def test_a_control_of_length_adds_as_much_as_the_class_at_every_token():
    x = torch.randn(20, D, generator=torch.Generator().manual_seed(1))
    found = Decomposed.of(make_sae(), x)
    mine, other = found.contribution(classes().of("en")), found.contribution(classes().of("ja"))
    matched = with_length_of(other, mine)
    there = other.norm(dim=1) > 0
    torch.testing.assert_close(matched.norm(dim=1)[there], mine.norm(dim=1)[there])
    assert torch.equal(with_length_of(torch.zeros(2, D), mine[:2]), torch.zeros(2, D))


def test_parts_and_error_add_up_to_the_residual():
    sae = make_sae()
    x = torch.randn(20, D, generator=torch.Generator().manual_seed(1))
    found = Decomposed.of(sae, x)
    one, rest = classes().sets["en"], ~classes().sets["en"]
    bias = sae.b_dec * found.codes.scale.unsqueeze(1)
    whole = found.contribution(one) + found.contribution(rest) + bias
    torch.testing.assert_close(whole, sae.decode(found.codes), atol=1e-5, rtol=1e-5)


def test_rows_name_every_intervention_and_sentence(models: tuple):
    side = Side(lm=models[0], sae=make_sae())
    found = intervene(side, side, 1, sentences_of(models[0], 2), plan(n_random=1, names=("bilingual",)))
    rows = list(loss_rows(found))
    assert len(rows) == len(found.keys) * 8 and len(found.keys) == 10
    assert {row["control"] for row in rows} == {"", "count", "norm"}


def test_what_does_not_fit_is_named(models: tuple, tmp_path: Path):
    lm = models[0]
    good = Side(lm=lm, sae=make_sae())
    wide = Sae(
        config=SaeConfig(architecture="topk", d_in=D + 1, n_features=N, k=2),
        w_enc=torch.zeros(N, D + 1),
        b_enc=torch.zeros(N),
        w_dec=torch.zeros(N, D + 1),
        b_dec=torch.zeros(D + 1),
    )
    with pytest.raises(SaeError, match="its width is 16, its autoencoder's 17"):
        intervene(Side(lm=lm, sae=wide), good, 1, sentences_of(lm, 1), [])
    with pytest.raises(ActivationError, match=f"there is no layer 9: its layers are 0 to {LAYERS}"):
        intervene(good, good, 9, sentences_of(lm, 1), [])
    with pytest.raises(SaeError, match="no class 'de'; there are en, ja, bilingual, all"):
        plan(names=("de",))
    with pytest.raises(SaeError, match=r"sentence p0 \(en\): has no token"):
        make_sentences(lm, [("p0", "", "猫")], ("en", "ja"))
