"""A tiny random Llama, its tokenizer and random examples, for tests of training."""

from pathlib import Path

import numpy as np

from release_kit.sft.data.tokens import TokenExample
from release_kit.sft.spec.settings import TrainingSettings

N_WORDS = 300
SETTINGS = {"batch_size": 4, "max_length": 48, "learning_rate": 3e-3, "steps": 6, "compute": "float32"}


def write_base(
    folder: Path, *, seed: int = 0, tied: bool = True, n_positions: int = 64, model_type: str = "llama"
) -> None:
    """Write a loadable checkpoint with random float32 weights of a size that matters (std 0.2)."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
    from transformers.utils import logging

    logging.disable_progress_bar()
    words = {word: index for index, word in enumerate(["<pad>", "<eos>", "<unk>", *(f"w{i}" for i in range(N_WORDS))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    more = {"num_key_value_heads": 2, "max_position_embeddings": n_positions, "initializer_range": 0.2}
    kind = {"vocab_size": len(words), "tie_word_embeddings": tied, "eos_token_id": 1, "pad_token_id": 0}
    config = AutoConfig.for_model(model_type, **sizes, **more, **kind)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def make_examples(n: int = 10, *, seed: int = 0, shortest: int = 5, longest: int = 20) -> list[TokenExample]:
    """Return random examples whose second half is trained on."""
    random = np.random.default_rng(seed)
    examples = []
    for _ in range(n):
        length = int(random.integers(shortest, longest + 1))
        loss = np.arange(length) >= max(1, length // 2)
        examples.append(TokenExample(ids=random.integers(3, N_WORDS, length).astype(np.int32), loss=loss))
    return examples


def make_settings(**changes: object) -> TrainingSettings:
    """Return settings of a run of six small steps, with ``changes``."""
    values = {**SETTINGS, **changes}
    if "epochs" in changes:
        values.pop("steps")
    return TrainingSettings(**values)


def contents(folder: Path) -> dict[str, bytes]:
    """Return relative path → bytes of every file below ``folder``, but for the state, which holds a clock."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return {name: data for name, data in found.items() if not name.startswith("state/")}
