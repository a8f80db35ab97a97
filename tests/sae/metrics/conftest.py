"""A language model of two blocks, texts and an autoencoder; their numbers come from one generator, always the same."""

from pathlib import Path

import numpy as np
import pytest
import torch

from release_kit.sae.activations.tokens import Text, TokenBatches, tokenise
from release_kit.sae.config import SaeConfig
from release_kit.sae.dictionary import Sae
from release_kit.sae.models.load import LanguageModel, open_model

WORDS = {"en": ["cat", "dog", "house", "sees", "runs", "big"], "ja": ["猫", "犬", "家", "見る", "走る", "大きい"]}
D, N, K = 16, 48, 6


@pytest.fixture(scope="session")
def lm(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    """Return the model, opened from disk."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder: Path = tmp_path_factory.mktemp("model")
    vocabulary = ["<s>", "<pad>", "<unk>", *WORDS["en"], *WORDS["ja"], "1", "."]
    words = models.WordLevel({word: k for k, word in enumerate(vocabulary)}, unk_token="<unk>")
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=D, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=0, pad_token_id=1, eos_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    rng = np.random.default_rng(3)
    with torch.no_grad():
        for name, value in sorted(model.named_parameters()):
            if value.ndim == 2:
                value.copy_(torch.from_numpy(0.5 * rng.standard_normal(tuple(value.shape)).astype(np.float32)))
            assert value.ndim in (1, 2), name
    model.save_pretrained(folder)
    return open_model(folder)


@pytest.fixture(scope="session")
def tokens(lm: LanguageModel) -> TokenBatches:
    """Return 24 pairs of sentences of 8 words each, so that no row has padding."""
    rng = np.random.default_rng(4)
    texts = []
    for pair in range(24):
        places = rng.integers(0, 6, 8)
        for language in ("en", "ja"):
            text = " ".join(WORDS[language][k] for k in places)
            texts.append(Text(id=f"{pair}-{language}", language=language, text=text, pair=str(pair)))
    return tokenise(texts, lm.tokenizer, 16)


@pytest.fixture(scope="session")
def sae() -> Sae:
    """Return an autoencoder of the model's width."""
    rng = np.random.default_rng(5)
    w_dec = torch.from_numpy(rng.standard_normal((N, D)).astype(np.float32))
    w_dec /= w_dec.norm(dim=1, keepdim=True)
    return Sae(
        config=SaeConfig(architecture="topk", d_in=D, n_features=N, k=K),
        w_enc=0.6 * w_dec,
        b_enc=torch.from_numpy(0.05 * rng.standard_normal(N).astype(np.float32)),
        w_dec=w_dec,
        b_dec=torch.from_numpy(0.05 * rng.standard_normal(D).astype(np.float32)),
    )
