"""Metrics are those of SAELens on the same tensors: beside it where it is installed, else beside what it gave."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from release_kit.sae.metrics.reconstruction import reconstruction
from release_kit.sae.metrics.recovered import recovered
from release_kit.sae.models.hooks import residuals

LAYER = 1
NAMES = {
    "explained_variance": "explained_variance", "explained_variance_legacy": "explained_variance_legacy",
    "mse": "mse", "cossim": "cosine", "l0": "l0", "l1": "l1", "l2_ratio": "l2_ratio",
    "ce_loss_score": "ce_score", "kl_div_score": "kl_score", "ce_loss_with_sae": "ce_sae",
    "ce_loss_without_sae": "ce", "ce_loss_with_ablation": "ce_zero", "kl_div_with_sae": "kl_sae",
    "kl_div_with_ablation": "kl_zero",
}  # fmt: skip
"""Names of SAELens → names here."""
RECORDED: dict[str, float] = {
    "explained_variance": 0.39707937033725604,
    "explained_variance_legacy": 0.3622146546840668,
    "mse": 434.9544677734375,
    "cossim": 0.7401235699653625,
    "l0": 6.0,
    "l1": 40.21427536010742,
    "l2_ratio": 0.806675136089325,
    "ce_loss_score": 1.1138626171463757,
    "kl_div_score": 0.21066596001345908,
    "ce_loss_with_sae": 4.806824684143066,
    "ce_loss_without_sae": 4.605075836181641,
    "ce_loss_with_ablation": 2.8332133293151855,
    "kl_div_with_sae": 1.0293937921524048,
    "kl_div_with_ablation": 1.3041294813156128,
}
"""What SAELens 6.54.12 gave for the model, texts and autoencoder of these tests."""


def _ours(sae, lm, tokens) -> dict[str, float]:
    batch = tokens.batch(np.arange(tokens.n_rows))
    h = residuals(lm, batch.input_ids, batch.mask, [LAYER])[LAYER]
    one = (h[batch.kept()], batch.index[batch.kept()].numpy())
    figures = reconstruction(sae, [one]).by_language["all"].to_dict()
    return {**figures, **recovered(sae, lm, LAYER, tokens)["all"].to_dict()}


def _theirs(sae, lm, tokens, folder) -> dict[str, float]:
    pytest.importorskip("sae_lens", reason="SAELens is not installed: recorded figures are compared instead")
    from sae_lens import SAE
    from sae_lens.evals import get_downstream_reconstruction_metrics, get_sparsity_and_variance_metrics
    from sae_lens.load_model import HookedProxyLM
    from sae_lens.training.activation_scaler import ActivationScaler

    sae.save(folder, {"hook_name": f"model.layers.{LAYER - 1}"})
    theirs = SAE.load_from_disk(str(folder))
    theirs.cfg.metadata.hook_name = f"model.layers.{LAYER - 1}"
    theirs.cfg.metadata.hook_head_index = None
    ids = tokens.batch(np.arange(tokens.n_rows)).input_ids
    store = SimpleNamespace(get_batch_tokens=lambda _: ids)
    model = HookedProxyLM(lm.model, lm.tokenizer)
    common = {"n_batches": 1, "eval_batch_size_prompts": len(ids), "ignore_tokens": [tokens.bos], "model_kwargs": {}}
    with torch.no_grad():
        found, _ = get_sparsity_and_variance_metrics(
            theirs, model, store, ActivationScaler(), compute_l2_norms=True, compute_sparsity_metrics=True,
            compute_variance_metrics=True, compute_featurewise_density_statistics=True, **common,
        )  # fmt: skip
        more = get_downstream_reconstruction_metrics(
            theirs, model, store, ActivationScaler(), compute_kl=True, compute_ce_loss=True, **common
        )
    return {**found, **more}


def test_figures_are_those_of_saelens_on_the_same_tensors(sae, lm, tokens, tmp_path):
    theirs, ours = _theirs(sae, lm, tokens, tmp_path / "sae"), _ours(sae, lm, tokens)
    assert {name: ours[NAMES[name]] for name in NAMES} == pytest.approx(
        {n: theirs[n] for n in NAMES}, rel=1e-6, abs=1e-5
    )


def test_figures_are_those_that_saelens_gave(sae, lm, tokens):
    ours = _ours(sae, lm, tokens)
    assert RECORDED.keys() == NAMES.keys()
    assert {name: ours[NAMES[name]] for name in NAMES} == pytest.approx(RECORDED, rel=1e-6, abs=1e-5)
