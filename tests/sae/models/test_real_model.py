"""A real model of 135 million weights: its residual stream is what transformers calls hidden states."""

from pathlib import Path

import pytest
import torch

from release_kit.core.errors import MissingExtraError
from release_kit.sae.activations.tokens import Text, tokenise
from release_kit.sae.models.hooks import replaced, residuals
from release_kit.sae.models.load import open_model
from release_kit.sft.prepare.bases import convert_gguf, find_gguf


@pytest.mark.slow
def test_residual_stream_of_smollm2(tmp_path: Path):
    try:
        source, _ = find_gguf()
    except MissingExtraError as error:
        pytest.skip(str(error))
    convert_gguf(source, tmp_path / "smollm2")
    lm = open_model(tmp_path / "smollm2")
    assert (lm.n_layers, lm.d_model) == (30, 576)
    tokens = tokenise([Text(id="a", language="en", text="The station is next to the old bridge."),
                       Text(id="b", language="ja", text="駅は橋のとなりです。")], lm.tokenizer, 32)  # fmt: skip
    (batch,) = tokens.batches()
    out = lm.model(input_ids=batch.input_ids, attention_mask=batch.mask, output_hidden_states=True)
    seen = residuals(lm, batch.input_ids, batch.mask, [0, 12, 29, 30])
    for layer in (0, 12, 29):
        assert torch.equal(seen[layer], out.hidden_states[layer])
    assert torch.equal(lm.model.base_model.norm(seen[30]), out.hidden_states[30])
    with replaced(lm, 12, torch.clone):
        assert torch.equal(lm.model(input_ids=batch.input_ids, attention_mask=batch.mask).logits, out.logits)
