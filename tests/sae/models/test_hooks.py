"""The residual stream is what transformers calls hidden states, in every kind of stack, and can be replaced exactly."""

import pytest
import torch
import transformers

from release_kit.sae.errors import ActivationError
from release_kit.sae.models.hooks import blocks_of, replaced, residuals
from release_kit.sae.models.load import LanguageModel

KINDS = ("llama", "gpt2", "gpt_neox", "gemma3")


def make(kind: str) -> LanguageModel:
    """Return a random model of 3 blocks, width 32."""
    common = {"vocab_size": 97, "num_hidden_layers": 3, "hidden_size": 32, "num_attention_heads": 2}
    configs = {
        "llama": lambda: transformers.LlamaConfig(**common, intermediate_size=64),
        "gpt2": lambda: transformers.GPT2Config(vocab_size=97, n_layer=3, n_embd=32, n_head=2, bos_token_id=0,
                                                eos_token_id=0),
        "gpt_neox": lambda: transformers.GPTNeoXConfig(**common, intermediate_size=64),
        "gemma3": lambda: transformers.Gemma3TextConfig(**common, intermediate_size=64, head_dim=16,
                                                        num_key_value_heads=1, sliding_window=8),
    }  # fmt: skip
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(configs[kind]()).eval().requires_grad_(False)
    return LanguageModel(
        model=model, tokenizer=None, n_layers=3, d_model=32, digest="0" * 64, source=kind, revision=None
    )


@pytest.fixture(scope="module", params=KINDS)
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    return make(request.param)


@pytest.fixture(scope="module")
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(1, 97, (3, 11), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    return ids, mask


def test_every_layer_but_the_last_is_a_hidden_state_of_transformers(lm: LanguageModel, inputs: tuple):
    ids, mask = inputs
    expected = lm.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    seen = residuals(lm, ids, mask, [0, 1, 2])
    assert sorted(seen) == [0, 1, 2]
    for layer, h in seen.items():
        assert torch.equal(h, expected[layer])


def test_last_layer_is_before_the_final_norm(lm: LanguageModel, inputs: tuple):
    ids, mask = inputs
    base = lm.model.base_model
    norm = next(getattr(base, name) for name in ("norm", "ln_f", "final_layer_norm") if hasattr(base, name))
    after = lm.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[-1]
    before = residuals(lm, ids, mask, [3])[3]
    assert torch.equal(norm(before), after) and not torch.allclose(before, after)


def test_what_a_pass_gives_does_not_depend_on_the_layers_asked_for(lm: LanguageModel, inputs: tuple):
    together = residuals(lm, *inputs, [0, 1, 2, 3])
    for layer in range(4):
        assert torch.equal(residuals(lm, *inputs, [layer])[layer], together[layer])


@pytest.mark.parametrize("layer", range(4))
def test_replacing_a_layer_by_itself_changes_nothing_to_the_bit(lm: LanguageModel, inputs: tuple, layer: int):
    ids, mask = inputs
    before = lm.model(input_ids=ids, attention_mask=mask).logits
    with replaced(lm, layer, lambda h: h.clone()):
        assert torch.equal(lm.model(input_ids=ids, attention_mask=mask).logits, before)
    assert torch.equal(lm.model(input_ids=ids, attention_mask=mask).logits, before)


@pytest.mark.parametrize("layer", range(4))
def test_replacement_is_what_later_layers_see(lm: LanguageModel, inputs: tuple, layer: int):
    ids, mask = inputs
    before = residuals(lm, ids, mask, range(4))
    with replaced(lm, layer, lambda h: h + 1):
        after = residuals(lm, ids, mask, range(4))
    for other in range(4):
        assert torch.equal(after[other], before[other]) == (other < layer)
    assert torch.equal(after[layer], before[layer] + 1)


def test_replacements_at_several_layers_apply_together(lm: LanguageModel, inputs: tuple):
    ids, mask = inputs
    with replaced(lm, 1, torch.zeros_like), replaced(lm, 3, lambda h: h * 0 + 2):
        seen = residuals(lm, ids, mask, [1, 3])
    assert float(seen[1].abs().max()) == 0 and bool((seen[3] == 2).all())


def test_unknown_layer_is_named_with_the_range(lm: LanguageModel, inputs: tuple):
    with pytest.raises(ActivationError, match=rf"{lm.source}: there is no layer 4: its layers are 0 to 3"):
        residuals(lm, *inputs, [1, 4])
    with pytest.raises(ActivationError, match="there is no layer -1"), replaced(lm, -1, lambda h: h):
        pass


def test_replacement_of_another_shape_is_refused(lm: LanguageModel, inputs: tuple):
    said = r"layer 2: the replacement has shape \(3, 11, 31\)"
    with pytest.raises(ActivationError, match=said), replaced(lm, 2, lambda h: h[..., 1:]):
        lm.model(input_ids=inputs[0])


def test_hooks_are_gone_after_an_error(lm: LanguageModel, inputs: tuple):
    before = lm.model(input_ids=inputs[0]).logits
    with pytest.raises(ZeroDivisionError), replaced(lm, 1, lambda h: h + 1 / 0):
        lm.model(input_ids=inputs[0])
    assert torch.equal(lm.model(input_ids=inputs[0]).logits, before)


def test_model_without_a_list_of_blocks_is_refused():
    model = make("llama").model
    model.config.num_hidden_layers = 7
    with pytest.raises(ActivationError, match="expected one list of its 7 blocks, found none"):
        blocks_of(model)
