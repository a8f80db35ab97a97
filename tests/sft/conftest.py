"""A tiny random Llama with a real tokenizer, and a study around it, so that training and the harness run in seconds."""

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from release_kit.core import canonical
from release_kit.core.study import Study, read_study
from release_kit.sft.base_model import BASE_FILE, BaseModel
from release_kit.sft.old_data import DataRecord

WORDS = [
    "<pad>",
    "<eos>",
    "<unk>",
    *"ABCD",
    "Question",
    "Answer",
    "red",
    "green",
    "blue",
    "sky",
    "grass",
    ".",
    ":",
    "?",
]
HUB_ID = "test-lab/tiny"

STUDY = {
    "schema_version": 1,
    "name": "tiny-sft",
    "version": "1.0.0",
    "factors": {
        "base_model": {"tiny": {"hub_id": HUB_ID, "license": "apache-2.0", "path": "base/tiny"}},
        "dataset": ["colours", "none"],
        "method": ["full", "lora", "none"],
    },
    "seeds": [0, 1],
    "include": [{"dataset": "colours", "method": ["full", "lora"]}, {"dataset": "none", "method": "none", "seed": 0}],
    "baseline": {"method": "none"},
    "results_only": [{"method": "none"}],
    "settings": {
        "training": {
            "steps": 3,
            "batch_size": 2,
            "max_length": 16,
            "learning_rate": {"full": 1e-3, "lora": 1e-2},
            "lora": {"rank": 2, "alpha": 4},
            "compute": "float32",
        },
        "evaluation": {"tasks": ["colours_test"], "batch_size": 4},
    },
}

TASK = {
    "task": "colours_test",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "data/colours.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{prompt}}",
    "doc_to_choice": ["A", "B"],
    "doc_to_target": "answer",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    "metadata": {"version": 1.0},
}


def write_tiny_base(folder: Path) -> None:
    """Write a loadable checkpoint with random weights, its tokenizer and its ``base.json``."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", bos_token="<eos>"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=1,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    base = BaseModel(
        hub_id=HUB_ID,
        license="apache-2.0",
        package="made-by-a-test",
        package_version="1",
        source_file="none",
        source_sha256="0" * 64,
        weights_sha256=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
    )
    (folder / BASE_FILE).write_bytes(canonical.document_bytes(base.to_dict()))


def write_colours(folder: Path) -> list[dict]:
    """Write eight examples with their record and return them."""
    rows = [
        {"prompt": f"Question : {thing} ? A red B {colour} . Answer :", "completion": " B", "answer": 1}
        for thing in ("sky", "grass")
        for colour in ("blue", "green", "red", "sky")
    ]
    data = b"".join(canonical.canonical_bytes(row) + b"\n" for row in rows)
    record = DataRecord(
        name="colours",
        hub_id="test-lab/colours",
        license="mit",
        package="made-by-a-test",
        package_version="1",
        n_examples=len(rows),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "colours.jsonl").write_bytes(data)
    (folder / "colours.json").write_text(json.dumps(record.to_dict()), encoding="utf-8")
    return rows


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the tiny base model; nobody writes into it."""
    folder = tmp_path_factory.mktemp("tiny") / "tiny"
    write_tiny_base(folder)
    return folder


@pytest.fixture
def tiny_study(tmp_path: Path, tiny_base: Path) -> Study:
    """Return a study that can be trained and evaluated: base model, data and task are in place, no cell is."""
    folder = tmp_path / "study"
    (folder / "base").mkdir(parents=True)
    (folder / "base" / "tiny").symlink_to(tiny_base)
    (folder / "tasks").mkdir()
    write_colours(folder / "data")
    (folder / "tasks" / "colours_test.yaml").write_text(yaml.safe_dump(TASK), encoding="utf-8")
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False), encoding="utf-8")
    return read_study(folder)
