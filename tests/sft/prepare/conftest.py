"""Small recipes of pre-training whose text comes with installed packages."""

import pytest

from release_kit.sft.prepare.pretrain import Recipe, recipe_of

TEXT = ["mmlu-dev", "bbh-cot"]
RECIPE = {
    "text": TEXT,
    "tokenizer": {"vocab_size": 300},
    "model": {"hidden_size": 16, "n_layers": 2, "n_heads": 2, "max_length": 64},
    "steps": 8,
    "batch": 2,
    "seq_len": 32,
    "learning_rate": 1.0e-2,
    "seed": 3,
}
"""Text out of lm-evaluation-harness, which every installation of this room has."""


@pytest.fixture
def recipe() -> Recipe:
    return recipe_of(RECIPE, "study.yaml", "source.pretrain")
