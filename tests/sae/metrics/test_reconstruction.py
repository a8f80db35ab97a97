"""Figures by language are those of the language's tokens alone; what cannot be measured is refused."""

import numpy as np
import pytest
import torch

from release_kit.sae.errors import ActivationError, SaeError
from release_kit.sae.metrics.reconstruction import reconstruction
from release_kit.sae.metrics.recovered import recovered
from release_kit.sae.metrics.stability import stability
from release_kit.sae.models.hooks import replaced


@pytest.fixture
def activations() -> tuple[torch.Tensor, np.ndarray]:
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((300, 16)).astype(np.float32)) + 1
    return x, np.array([1, 2, 2] * 100, np.int8)


def test_a_language_has_the_figures_of_its_tokens_alone(sae, activations):
    x, language = activations
    both = reconstruction(sae, [(x, np.arange(300))], language).by_language
    for code, name in ((1, "en"), (2, "ja")):
        chosen = np.flatnonzero(language == code)
        alone = reconstruction(sae, [(x[chosen], np.arange(len(chosen)))]).by_language["all"]
        assert both[name].to_dict() == pytest.approx(alone.to_dict(), rel=1e-6)
    assert both["all"].n_tokens == both["en"].n_tokens + both["ja"].n_tokens


def test_batches_change_nothing_but_the_legacy_figure(sae, activations):
    x, _ = activations
    index = np.arange(300)
    whole = reconstruction(sae, [(x, index)]).by_language["all"].to_dict()
    parts = reconstruction(sae, [(x[k : k + 70], index[k : k + 70]) for k in range(0, 300, 70)])
    cut = parts.by_language["all"].to_dict()
    for name in ("explained_variance_legacy",):
        whole.pop(name), cut.pop(name)
    assert cut == pytest.approx(whole, rel=1e-9)
    assert sum(parts.histogram()) == (parts.density["all"] > 0).sum()


def test_figures_of_dense_arithmetic_are_the_same(sae, activations):
    x, _ = activations
    found = reconstruction(sae, [(x, np.arange(300))]).by_language["all"]
    z = sae.features(x).double()
    y = z @ sae.w_dec.double() + sae.b_dec.double()
    variance = (x.double() - x.double().mean(0)).square().sum()
    assert found.fvu == pytest.approx(float((x - y).square().sum() / variance), rel=1e-5)
    assert found.l0 == pytest.approx(float((z > 0).sum(1).double().mean()))
    assert found.dead_share == pytest.approx(float((z == 0).all(0).double().mean()))


def test_activations_that_are_no_numbers_are_refused(sae, activations):
    x = activations[0].clone()
    x[3, 2] = float("nan")
    with pytest.raises(ActivationError, match="not finite"):
        reconstruction(sae, [(x, np.arange(300))])
    with pytest.raises(SaeError, match="no activation"):
        reconstruction(sae, [])


def test_languages_add_up_to_all_and_nothing_stays_replaced(sae, lm, tokens):
    before = lm.model(input_ids=torch.arange(8)[None]).logits
    found = recovered(sae, lm, 2, tokens)
    n = {name: one.n_tokens for name, one in found.items()}
    assert n["all"] == n["en"] + n["ja"] == tokens.n_tokens - tokens.n_rows
    mean = sum(found[name].ce_sae * n[name] for name in ("en", "ja")) / n["all"]
    assert found["all"].ce_sae == pytest.approx(mean)
    assert torch.equal(before, lm.model(input_ids=torch.arange(8)[None]).logits)


def test_zeros_are_what_a_hook_of_zeros_gives(sae, lm, tokens):
    ids = tokens.batch(np.arange(tokens.n_rows)).input_ids
    with replaced(lm, 1, torch.zeros_like), torch.no_grad():
        logs = lm.model(input_ids=ids).logits.log_softmax(-1)
    ce = -logs[:, 1:-1].gather(2, ids[:, 2:, None]).mean()
    assert recovered(sae, lm, 1, tokens)["all"].ce_zero == pytest.approx(float(ce), rel=1e-6)


def test_the_same_autoencoder_is_stable_and_random_directions_are_not(sae):
    one, *_ = stability({0: sae, 1: sae})
    assert one.share == 1.0
    assert one.mean_cosine == pytest.approx(1.0)
    assert one.null_share < 0.5
    with pytest.raises(SaeError, match="two seeds"):
        stability({0: sae})
