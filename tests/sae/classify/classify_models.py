"""A language model of two blocks with random weights, texts of both languages, and an autoencoder."""

from pathlib import Path

import torch

from release_kit.sae.activations.tokens import Text
from release_kit.sae.config import SaeConfig
from release_kit.sae.dictionary import Sae
from release_kit.sae.models.load import LanguageModel, open_model

WORDS = {"en": ["cat", "dog", "house", "sees", "runs", "big"], "ja": ["猫", "犬", "家", "見る", "走る", "大きい"]}
D, N, K = 16, 48, 6


def make_model(folder: Path) -> LanguageModel:
    """Write and open the model."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = ["<s>", "<pad>", "<unk>", "7", ".", *WORDS["en"], *WORDS["ja"]]
    tokenizer = Tokenizer(models.WordLevel({word: k for k, word in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=D, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=0, pad_token_id=1, eos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return open_model(folder)


def make_texts(n: int = 60) -> list[Text]:
    """Return pairs that say the same words, some longer than a row, with digits and full stops."""
    rng = torch.Generator().manual_seed(1)
    texts = []
    for pair in range(n):
        places = torch.randint(0, 6, (3 + pair % 9,), generator=rng).tolist()
        for language in ("en", "ja"):
            words = " ".join(WORDS[language][k] for k in places)
            texts.append(Text(id=f"{pair}-{language}", language=language, text=f"{words} 7 .", pair=str(pair)))
    return texts


def make_sae() -> Sae:
    """Return an autoencoder with random weights for unit-norm activations."""
    rng = torch.Generator().manual_seed(2)
    w_dec = torch.randn(N, D, generator=rng)
    w_dec /= w_dec.norm(dim=1, keepdim=True)
    return Sae(
        config=SaeConfig(architecture="topk", d_in=D, n_features=N, k=K, normalise="unit-norm"),
        w_enc=w_dec.clone(), b_enc=torch.zeros(N), w_dec=w_dec, b_dec=torch.zeros(D),
    )  # fmt: skip
