"""A byte-level tokenizer with a chat template, a tiny random Llama, and a study with data in place."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from release_kit.core.study import Study, read_study
from release_kit.sft.spec.settings import TrainingSettings

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Without marks of generation, as most published templates are."""

TEXTS = [
    "Question: How many apples are in the basket? Answer: There are seven apples in the basket.",
    "###Question: What is two and two?\n###Answer: two and two is four, and four is the answer.",
    "user assistant system 0 1 2 3 4 5 6 7 8 9 A. B. C. D.",
]


def settings_of(**changes: Any) -> TrainingSettings:
    """Return settings of a small run."""
    return TrainingSettings(**{"batch_size": 4, "max_length": 64, "learning_rate": 1e-3, "epochs": 1, **changes})


@pytest.fixture(scope="session")
def settings() -> Callable[..., TrainingSettings]:
    """Return the function that makes settings of a small run."""
    return settings_of


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """Return a byte-level tokenizer of 400 entries: every text comes back from its tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(TEXTS * 4, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token="<|pad|>", bos_token="<|im_start|>", eos_token="<|im_end|>"
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


@pytest.fixture(scope="session")
def model() -> Any:
    """Return a tiny random Llama in float32 that attends with sdpa."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = LlamaConfig(
        vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=256, attn_implementation="sdpa",
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as JSON Lines and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def write_data() -> Callable[[Path, list[dict[str, Any]]], Path]:
    """Return the function that writes a data file."""
    return write_rows


def sums(n: int, start: int = 0) -> list[dict[str, str]]:
    """Return ``n`` different examples."""
    return [
        {"prompt": f"Question: {i} and {i + 1}?\nAnswer:", "completion": f" {2 * i + 1}"}
        for i in range(start, start + n)
    ]


@pytest.fixture(scope="session")
def sum_rows() -> Callable[..., list[dict[str, str]]]:
    """Return the function that makes examples."""
    return sums


@pytest.fixture
def data_study(tmp_path: Path, tokenizer: Any) -> Callable[..., Study]:
    """Return a function that writes a study with two datasets, their mixture and a base without weights."""

    def make(*, training: dict[str, Any] | None = None, datasets: dict[str, Any] | None = None) -> Study:
        folder = tmp_path / "study"
        base = folder / "bases" / "tiny"
        base.mkdir(parents=True, exist_ok=True)
        tokenizer.save_pretrained(base)
        (base / "config.json").write_text(json.dumps({"max_position_embeddings": 128, "vocab_size": 400}))
        write_rows(folder / "data" / "low.jsonl", sums(12))
        write_rows(folder / "data" / "high.jsonl", sums(7, 50))
        known = {"low": {}, "high": {}, "both": {"mix": ["low", "high"]}, **(datasets or {})}
        study = {
            "schema_version": 1,
            "name": "data-study",
            "version": "1.0.0",
            "factors": {"base_model": {"tiny": {}}, "dataset": known, "method": ["full", "lora"]},
            "seeds": [0, 1],
            "settings": {
                "training": {"batch_size": 4, "max_length": 64, "learning_rate": 1e-3, "epochs": 2, **(training or {})},
                "evaluation": {"tasks": ["x"]},
            },
        }
        (folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
        return read_study(folder)

    return make
