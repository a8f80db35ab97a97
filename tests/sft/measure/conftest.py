"""A small study of two bases, two datasets and two tasks, with trained cells on disk."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from release_kit.core.cell import Cell, write_cell
from release_kit.core.grid import cell_config, cell_id, iter_levels
from release_kit.core.study import Study, read_study
from release_kit.sft.spec.identity import base_identity, file_sha256

SUMS = [{"prompt": f"Question: {a} plus {b}?\nAnswer:", "completion": f" {a + b}"} for a in range(4) for b in range(3)]
COLOURS = [
    {"instruction": f"What is the colour of the {thing}?", "response": f"The {thing} is {colour}."}
    for thing, colour in (("sky", "blue"), ("grass", "green"), ("snow", "white"), ("coal", "black"), ("sun", "yellow"))
]
TASK = {
    "task": "sums_test",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "data/sums-test.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "answer",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}
DOCUMENTS = [{"question": f"{a} plus {a}?", "choices": [str(2 * a), str(a)], "answer": 0} for a in range(6)]


def study_document() -> dict[str, Any]:
    """Return ``study.yaml``: two bases by two datasets and their mixture by two methods, and the untouched bases."""
    return {
        "schema_version": 1,
        "name": "measured",
        "version": "1.0.0",
        "factors": {
            "base_model": {"tiny-a": {"path": "bases/tiny-a"}, "tiny-b": {"path": "bases/tiny-b"}},
            "dataset": {"sums": {}, "colours": {}, "all": {"mix": ["sums", "colours"]}, "none": {}},
            "method": ["full", "lora", "none"],
        },
        "seeds": [0],
        "include": [
            {"dataset": ["sums", "colours", "all"], "method": ["full", "lora"]},
            {"dataset": "none", "method": "none"},
        ],
        "settings": {
            "training": {"steps": 2, "batch_size": 2, "max_length": 128, "learning_rate": 0.01},
            "evaluation": {"tasks": ["sums_test"]},
        },
    }


def write_lines(path: Path, rows: list[dict]) -> None:
    """Write a JSON Lines file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_base(folder: Path, *, seed: int, hidden: int = 32, n_layers: int = 3, dtype: str = "bfloat16") -> None:
    """Write a random Llama with a byte-level tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["<pad>", "<eos>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=n_layers,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=256, tie_word_embeddings=True,
        pad_token_id=0, eos_token_id=1, bos_token_id=1, initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>").save_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the bases ``tiny-a`` and ``tiny-b``; nobody writes into it."""
    folder = tmp_path_factory.mktemp("bases")
    write_base(folder / "tiny-a", seed=0)
    write_base(folder / "tiny-b", seed=1, hidden=16, n_layers=2, dtype="float32")
    return folder


@pytest.fixture
def measured_study(tmp_path: Path, tiny_bases: Path) -> Study:
    """Return a study whose bases, data and tasks are in place; no cell is trained."""
    folder = tmp_path / "study"
    folder.mkdir()
    shutil.copytree(tiny_bases, folder / "bases")
    write_lines(folder / "data" / "sums.jsonl", SUMS)
    write_lines(folder / "data" / "colours.jsonl", COLOURS)
    write_lines(folder / "data" / "sums-test.jsonl", DOCUMENTS)
    (folder / "tasks").mkdir()
    (folder / "tasks" / "sums_test.yaml").write_text(yaml.safe_dump(TASK), encoding="utf-8")
    (folder / "study.yaml").write_text(yaml.safe_dump(study_document(), sort_keys=False), encoding="utf-8")
    return read_study(folder)


@pytest.fixture
def trained_study(measured_study: Study) -> Study:
    """Return the study with every cell on disk: perturbed full models, and random adapters made by PEFT."""
    make_cells(measured_study, lambda levels: True)
    return measured_study


def make_cells(study: Study, wanted: Callable[[dict], bool]) -> None:
    """Write the artifact and the record of every trained cell that ``wanted`` says."""
    for number, levels in enumerate(iter_levels(study)):
        if levels["method"] != "none" and wanted(levels):
            base = study.folder / "bases" / str(levels["base_model"])
            run = f"runs/{number:016x}/final"
            (write_perturbed if levels["method"] == "full" else write_adapter)(base, study.folder / run, seed=number)
            record(study, levels, run)


def record(study: Study, levels: dict, run: str) -> Path:
    """Write ``cell.json`` as a finished run does."""
    folder = study.folder / run
    base = study.folder / "bases" / str(levels["base_model"])
    provenance = {
        "artifact": {path.name: file_sha256(path) for path in sorted(folder.iterdir())},
        "base_model": {"name": levels["base_model"], "digest": base_identity(base).weights_sha256},
    }
    config = cell_config(study, levels)
    cell = Cell(cell_id=cell_id(study, levels), levels=levels, config=config, artifact_path=run, provenance=provenance)
    return write_cell(study.folder, cell)


def write_perturbed(base: Path, folder: Path, *, seed: int) -> None:
    """Write the base with small random changes, as bfloat16, as a full run would."""
    import torch
    from safetensors.torch import load_file, save_file

    generator = torch.Generator().manual_seed(seed)
    folder.mkdir(parents=True)
    tensors = load_file(base / "model.safetensors")
    changed = {
        name: (t.float() + 0.02 * torch.randn(t.shape, generator=generator)).bfloat16() for name, t in tensors.items()
    }
    save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_bytes((base / "config.json").read_bytes())


def write_adapter(base: Path, folder: Path, *, seed: int, **options: Any) -> None:
    """Write a PEFT adapter with random factors."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    settings = {"r": 2, "lora_alpha": 6, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **options}
    torch.manual_seed(seed)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), LoraConfig(**settings))
    for name, parameter in model.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            parameter.data = parameter.data + 0.05 * torch.randn(parameter.shape)
    model.save_pretrained(folder)
