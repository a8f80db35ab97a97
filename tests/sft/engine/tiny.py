"""A study that really trains and evaluates in a second: a random Llama of 32 dimensions, twelve examples, two tasks."""

import json
from pathlib import Path
from typing import Any

import yaml

from release_kit.core.study import Study, read_study

WORDS = ["<pad>", "<eos>", "<unk>", *"ABCD", "Question", "Answer", "red", "green", "blue", "sky", "grass", *".:?"]
THINGS, COLOURS = ("sky", "grass", "red"), ("blue", "green", "red", "sky")

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
TRAINING = {
    "batch_size": 2,
    "max_length": 32,
    "learning_rate": 1e-3,
    "compute": "float32",
    "checkpoint_every": 4,
    "lora": {"rank": 2, "alpha": 4},
}


def preload() -> None:
    """Import what workers need, so that processes forked from this one start at once; starts no thread."""
    import datasets  # noqa: F401
    import lm_eval.tasks  # noqa: F401
    import peft  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM  # noqa: F401

    from release_kit.sft.engine import provenance
    from release_kit.sft.evaluate.identity import code_sha256
    from release_kit.sft.spec.identity import code_digest

    provenance.code_commit(), code_digest(), code_sha256()  # remembered: all processes are of one state of the code
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()


def write_study(folder: Path, **changes: Any) -> Study:
    """Write a study with everything that its runs need; ``changes`` replace keys of ``study.yaml``."""
    write_base(folder / "bases" / "tiny")
    write_data(folder / "data")
    (folder / "tasks").mkdir()
    (folder / "tasks" / "colours_test.yaml").write_text(yaml.safe_dump(TASK), encoding="utf-8")
    study = {
        "schema_version": 1,
        "name": "tiny-sft",
        "version": "1.0.0",
        "factors": {
            "base_model": {"tiny": {"hub_id": "test-lab/tiny", "license": "apache-2.0"}},
            "dataset": {"colours": {"hub_id": "test-lab/colours", "license": "mit"}, "none": {}},
            "method": ["full", "lora", "none"],
            "epoch": [0, 1, 3],
        },
        "seeds": [0, 1],
        "include": [
            {"dataset": "colours", "method": ["full", "lora"], "epoch": [1, 3]},
            {"dataset": "none", "method": "none", "epoch": 0, "seed": 0},
        ],
        "baseline": {"method": "none"},
        "results_only": [{"method": "none"}],
        "settings": {"training": TRAINING, "evaluation": {"tasks": ["colours_test"]}},
    } | changes
    (folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    return read_study(folder)


def write_base(folder: Path, *, seed: int = 0, context: int = 64, inner: int = 64) -> None:
    """Write a checkpoint with random weights and its tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>", "bos_token": "<eos>"}
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        intermediate_size=inner,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=context,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=1,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


def write_data(folder: Path) -> None:
    """Write twelve examples."""
    rows = [
        {"prompt": f"Question : {thing} ? A red B {colour} . Answer :", "completion": " B", "answer": 1}
        for thing in THINGS
        for colour in COLOURS
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "colours.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
