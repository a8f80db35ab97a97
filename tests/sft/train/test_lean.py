"""Layers that keep less give the values and gradients of the layers that they stand for, and leave no trace."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

from release_kit.sft.train.lean import lean_layers

CONFIG = LlamaConfig(
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=2,
    vocab_size=64,
    tie_word_embeddings=True,
)


def _gradients(layer: torch.nn.Module, states: torch.Tensor) -> tuple[torch.Tensor, ...]:
    states = states.detach().requires_grad_()
    out = layer(states)
    return (
        out,
        *torch.autograd.grad((out * torch.arange(out.numel()).view_as(out)).sum(), [states, *layer.parameters()]),
    )


@pytest.mark.parametrize("kind", [LlamaMLP, LlamaRMSNorm])
def test_values_and_gradients_are_those_of_the_layer(kind: type):
    torch.manual_seed(0)
    layer = LlamaMLP(CONFIG) if kind is LlamaMLP else LlamaRMSNorm(24, eps=1e-5)
    torch.nn.init.normal_(next(layer.parameters()))
    states = torch.randn(2, 7, 24)
    plain = _gradients(layer, states)
    with lean_layers(layer):
        assert "forward" in vars(layer)
        lean = _gradients(layer, states)
    assert "forward" not in vars(layer)
    for found, wanted in zip(lean, plain, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-4)


def test_less_is_kept_for_the_backward_pass():
    torch.manual_seed(0)
    model = LlamaForCausalLM(CONFIG)
    ids = torch.arange(32)[None]

    def kept() -> int:
        seen: dict[int, int] = {}
        weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                seen[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = model(input_ids=ids, use_cache=False).logits.sum()
            total = sum(seen.values())
        del loss
        return total

    plain = kept()
    with lean_layers(model):
        lean = kept()
    assert lean < 0.85 * plain


def test_layers_of_other_kinds_are_left_alone():
    sizes = {"hidden_size": 24, "intermediate_size": 40, "num_attention_heads": 2}
    gelu, biased = (LlamaMLP(LlamaConfig(**sizes, **other)) for other in ({"hidden_act": "gelu"}, {"mlp_bias": True}))
    half = LlamaMLP(CONFIG).to(torch.bfloat16)
    for layer in (gelu, half, biased, torch.nn.RMSNorm(24)):
        with lean_layers(layer):
            assert "forward" not in vars(layer)


def test_blocks_inside_one_another_end_one_by_one():
    layer = LlamaMLP(CONFIG)
    with lean_layers(layer):
        with lean_layers(layer):
            pass
        assert "forward" in vars(layer)
    assert "forward" not in vars(layer)
