"""The change of a tensor is what numpy says of the whole matrices, for full models and for adapters alike."""

from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from release_kit.core.errors import ArtifactError
from release_kit.sft.measure.changes import Base, measure_changes, place_of, sampled_layers

from .conftest import write_adapter, write_base, write_perturbed

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Model (has|with) `tie_word_embeddings=True`:UserWarning"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning"),
]


def _reference(before: torch.Tensor, after: torch.Tensor) -> dict[str, float]:
    """The definitions, on whole float64 matrices."""
    w, w2 = (t.detach().double().numpy() for t in (before, after))
    delta = w2 - w
    found = {
        "relative_frobenius": np.linalg.norm(delta) / np.linalg.norm(w),
        "cosine": (w * w2).sum() / (np.linalg.norm(w) * np.linalg.norm(w2)),
    }
    if delta.ndim == 2:
        s = np.linalg.svd(delta, compute_uv=False)
        share = s[s > s[0] * 1e-9] / s.sum()
        found["stable_rank"] = (s**2).sum() / s[0] ** 2
        found["effective_rank"] = np.exp(-(share * np.log(share)).sum())
    return found


def _check(change, before: torch.Tensor, after: torch.Tensor) -> None:
    for name, value in _reference(before, after).items():
        assert getattr(change, name) == pytest.approx(value, rel=2e-5), (change.tensor, name)


def test_full_model_agrees_with_whole_matrices(tiny_bases: Path, tmp_path: Path):
    write_perturbed(tiny_bases / "tiny-a", tmp_path / "model", seed=3)
    before, after = (load_file(f / "model.safetensors") for f in (tiny_bases / "tiny-a", tmp_path / "model"))
    with Base(tiny_bases / "tiny-a") as base:
        changes = measure_changes(base, tmp_path / "model", ranks="all")
    assert {change.tensor for change in changes} == set(before)
    for change in changes:
        _check(change, before[change.tensor], after[change.tensor])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True, "r": 4},
        {"target_modules": ["q_proj", "embed_tokens"], "alpha_pattern": {"layers.1.self_attn.q_proj": 32}},
        {"target_modules": ["down_proj"], "modules_to_save": ["norm"]},
    ],
    ids=["all-linear", "rslora", "embedding-and-alpha-pattern", "whole-modules"],
)
def test_adapter_has_the_change_of_the_merged_model(tiny_bases: Path, tmp_path: Path, options: dict):
    folder = tiny_bases / "tiny-a"
    write_adapter(folder, tmp_path / "adapter", seed=1, **options)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    merged = PeftModel.from_pretrained(plain, tmp_path / "adapter").merge_and_unload().state_dict()
    with Base(folder) as base:
        changes = measure_changes(base, tmp_path / "adapter")
    moved = [change for change in changes if change.relative_frobenius]
    assert len(changes) == len(before) - 1, "the tied head is no tensor of its own"
    assert {c.tensor for c in moved} == {n for n in before if n != "lm_head.weight" and (before[n] != merged[n]).any()}
    for change in changes:
        if change.relative_frobenius:
            _check(change, before[change.tensor], merged[change.tensor])
        else:
            assert (change.cosine, change.stable_rank) == (1.0, None)


def test_adapter_ranks_never_exceed_the_rank_of_the_adapter(tiny_bases: Path, tmp_path: Path):
    write_adapter(tiny_bases / "tiny-a", tmp_path / "adapter", seed=1)
    with Base(tiny_bases / "tiny-a") as base:
        changes = measure_changes(base, tmp_path / "adapter", ranks="none")
    found = [change for change in changes if change.stable_rank is not None]
    assert len(found) == 21
    assert all(1 <= c.stable_rank <= 2 + 1e-9 and 1 <= c.effective_rank <= 2 + 1e-9 for c in found)


def test_rounding_of_a_float32_base_to_bfloat16_is_not_a_change(tiny_bases: Path, tmp_path: Path):
    base_folder = tiny_bases / "tiny-b"
    tensors = load_file(base_folder / "model.safetensors")
    tmp_path.joinpath("model").mkdir()
    save_file({n: t.bfloat16() for n, t in tensors.items()}, tmp_path / "model" / "model.safetensors")
    with Base(base_folder) as base:
        changes = measure_changes(base, tmp_path / "model", ranks="all")
    assert all((c.relative_frobenius, c.cosine, c.effective_rank) == (0.0, 1.0, None) for c in changes)


def test_cosine_of_a_tiny_change_is_not_lost_in_rounding(tmp_path: Path, tiny_bases: Path):
    """1 - cos of a short run is about 1e-9, below the precision of any float32 sum of products."""
    w = torch.randn(400, 300, generator=torch.Generator().manual_seed(0))
    after = w + 5e-5 * torch.randn(400, 300, generator=torch.Generator().manual_seed(1))
    for name, tensor in (("base", w), ("model", after)):
        (tmp_path / name).mkdir()
        save_file({"model.layers.0.mlp.up_proj.weight": tensor}, tmp_path / name / "model.safetensors")
    with Base(tmp_path / "base") as base:
        (change,) = measure_changes(base, tmp_path / "model")
    expected = _reference(w, after)["cosine"]
    assert 1 - change.cosine == pytest.approx(1 - expected, rel=1e-3)


def test_tied_head_stored_on_one_side_only_is_compared_with_the_embedding(tiny_bases: Path, tmp_path: Path):
    write_perturbed(tiny_bases / "tiny-a", tmp_path / "model", seed=3)
    path = tmp_path / "model" / "model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"].clone()}, path)
    with Base(tiny_bases / "tiny-a") as base:
        changes = {change.tensor: change for change in measure_changes(base, tmp_path / "model")}
    assert changes["lm_head.weight"].cosine == changes["model.embed_tokens.weight"].cosine


def test_shards_give_what_one_file_gives(tiny_bases: Path, tmp_path: Path):
    write_base(tmp_path / "one", seed=5)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "one", dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "many", max_shard_size="20KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 2
    with Base(tiny_bases / "tiny-a") as base:
        assert measure_changes(base, tmp_path / "many") == measure_changes(base, tmp_path / "one")


def test_everything_that_does_not_fit_is_named_at_once(tiny_bases: Path, tmp_path: Path):
    write_perturbed(tiny_bases / "tiny-a", tmp_path / "model", seed=3)
    path = tmp_path / "model" / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.norm.weight"]
    tensors["model.layers.0.mlp.up_proj.weight"] = torch.zeros(3, 3)
    save_file({**tensors, "extra": torch.zeros(2)}, path)
    with Base(tiny_bases / "tiny-a") as base, pytest.raises(ArtifactError) as caught:
        measure_changes(base, tmp_path / "model")
    message = str(caught.value)
    assert "model.norm.weight is not in the model" in message
    assert "model.layers.0.mlp.up_proj.weight is [64, 32] in the base and [3, 3] in the model" in message
    assert "extra is not in the base" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_named(tiny_bases: Path, tmp_path: Path, value: float):
    write_perturbed(tiny_bases / "tiny-a", tmp_path / "model", seed=3)
    path = tmp_path / "model" / "model.safetensors"
    tensors = load_file(path)
    for name in ("model.norm.weight", "model.layers.2.mlp.up_proj.weight"):
        tensors[name].view(-1)[1] = value
    save_file(tensors, path)
    with Base(tiny_bases / "tiny-a") as base, pytest.raises(ArtifactError, match=r"not finite.*not finite"):
        measure_changes(base, tmp_path / "model")


def test_dora_is_refused_rather_than_measured_as_lora(tiny_bases: Path, tmp_path: Path):
    write_adapter(tiny_bases / "tiny-a", tmp_path / "adapter", seed=1, use_dora=True)
    with Base(tiny_bases / "tiny-a") as base, pytest.raises(ArtifactError, match="DoRA"):
        measure_changes(base, tmp_path / "adapter")


def test_names_of_several_architectures_have_their_place():
    assert place_of("model.layers.12.self_attn.q_proj.bias") == (12, "self_attn.q_proj.bias")
    assert place_of("transformer.h.3.attn.c_attn.weight") == (3, "attn.c_attn")
    assert place_of("gpt_neox.layers.0.mlp.dense_4h_to_h.weight") == (0, "mlp.dense_4h_to_h")
    assert place_of("model.embed_tokens.weight") == (None, "embed_tokens")


def test_sampled_layers_are_the_ends_and_three_between():
    assert sampled_layers(30) == {0, 7, 15, 22, 29}
    assert sampled_layers(2) == {0, 1}
    assert sampled_layers(1) == {0}
