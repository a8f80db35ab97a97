"""Tiny language models with random weights and a tokenizer of words, on disk as transformers has them."""

from pathlib import Path

import torch

from release_kit.sae.config import SaeConfig
from release_kit.sae.dictionary import Sae
from release_kit.sae.models.load import LanguageModel, open_model

WORDS = {"en": ["cat", "dog", "house", "sees", "runs", "big"], "ja": ["猫", "犬", "家", "見る", "走る", "大きい"]}
D, N, K, LAYERS = 16, 48, 6, 2


def write_model(folder: Path, seed: int) -> LanguageModel:
    """Write and open a model of two blocks."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = ["<s>", "<pad>", "<unk>", "|", *WORDS["en"], *WORDS["ja"]]
    tokenizer = Tokenizer(models.WordLevel({word: k for k, word in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=D, intermediate_size=32, num_hidden_layers=LAYERS,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64, bos_token_id=0, pad_token_id=1,
        eos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return open_model(folder)


def make_pairs(n: int = 12, seed: int = 0) -> list[tuple[str, str, str]]:
    """Return pairs that say the same words in both languages."""
    rng = torch.Generator().manual_seed(seed)
    found = []
    for number in range(n):
        places = torch.randint(0, 6, (3 + number % 4,), generator=rng).tolist()
        sides = [" ".join(WORDS[language][k] for k in places) for language in ("en", "ja")]
        found.append((f"p{number}", *sides))
    return found


def make_sae(seed: int = 0, normalise: str = "unit-norm") -> Sae:
    """Return an autoencoder with random weights."""
    rng = torch.Generator().manual_seed(seed)
    w_dec = torch.randn(N, D, generator=rng)
    w_dec /= w_dec.norm(dim=1, keepdim=True)
    return Sae(
        config=SaeConfig(architecture="topk", d_in=D, n_features=N, k=K, normalise=normalise),
        w_enc=w_dec.clone(),
        b_enc=0.05 * torch.randn(N, generator=rng),
        w_dec=w_dec,
        b_dec=0.05 * torch.randn(D, generator=rng),
    )
