"""The code in a card runs as it stands, in the folder of a download."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import study_factory

from release_kit.release.build import build_release
from release_kit.release.tree import open_tree

BASE, FULL, LORA = "tiny-llama-none-base-s0", "tiny-llama-alpaca-full-s0", "tiny-llama-alpaca-lora-s0"
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def python_blocks(card: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card.read_text(), re.DOTALL)


def run_python(code: str, folder: Path, cache: Path) -> str:
    environment = os.environ | OFFLINE | {"HF_HOME": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def write_tokenizer(folder: Path, vocab_size: int) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {word: i for i, word in enumerate(["<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"][:vocab_size])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def download(tmp_path_factory) -> Path:
    """Lay out a built study as a download has it."""
    root = tmp_path_factory.mktemp("code")
    study = study_factory.make_study(root / "study", seeds=(0,), datasets=("alpaca",))
    for config in (root / "study").rglob("config.json"):
        write_tokenizer(config.parent, study_factory.TinyShape().vocab)
    build_release(study)
    tree = open_tree(root / "study")
    for path, _ in tree.manifest.iter_files():
        target = root / "download" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tree.locate(path), target)
    return root / "download"


def test_code_that_reads_the_results_of_a_cell_runs(download, tmp_path):
    (code,) = python_blocks(download / "cells" / BASE / "README.md")
    shown = run_python(code, download, tmp_path)
    assert "arc_tiny" in shown and "copa_tiny" in shown


def test_code_that_loads_the_tables_runs(download, tmp_path):
    (code,) = python_blocks(download / "results" / "README.md")
    shown = run_python(code + "\nprint(results.num_rows, cells.num_rows)", download, tmp_path)
    assert shown.split() == ["9", "3"]


@pytest.mark.slow
def test_code_that_loads_a_model_and_an_adapter_runs(download, tmp_path):
    (full,) = python_blocks(download / "cells" / FULL / "README.md")
    check = "\nids = tokenizer('a b c', return_tensors='pt').input_ids\nprint(tuple(model(ids).logits.shape))"
    assert run_python(full + check, download, tmp_path).split("\n")[0] == "(1, 3, 16)"
    (lora,) = python_blocks(download / "cells" / LORA / "README.md")
    assert 'base = "test-lab/tiny-llama"' in lora
    local = lora.replace('"test-lab/tiny-llama"', repr(str(download.parent / "study/bases/tiny-llama")))
    assert run_python(local + check, download, tmp_path).split("\n")[0] == "(1, 3, 16)"
