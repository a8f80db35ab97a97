"""Perplexity is that of transformers for each example alone, whatever lies in the same row."""

from pathlib import Path

import pytest
import torch

from release_kit.core.errors import ArtifactError
from release_kit.sft.measure.perplexity import losses_table, open_base
from release_kit.sft.spec.settings import TrainingSettings

from .conftest import COLOURS, SUMS

SETTINGS = TrainingSettings(batch_size=2, max_length=128, learning_rate=0.1)
ROWS = [*SUMS, *({"prompt": row["instruction"], "completion": " " + row["response"]} for row in COLOURS)]


def _alone(base, row: dict) -> tuple[float, float]:
    """Return the sums of one example, by the loss that transformers itself computes from labels."""
    prompt, whole = (base.tokenizer(text)["input_ids"] for text in (row["prompt"], row["prompt"] + row["completion"]))
    ids = torch.tensor([[*whole, base.tokenizer.eos_token_id]])
    labels = ids.clone()
    labels[:, : len(prompt)] = -100
    with torch.inference_mode():
        full, completion = (base.model(input_ids=ids, labels=given).loss for given in (ids, labels))
    return float(full) * (ids.shape[1] - 1), float(completion) * int((labels != -100).sum())


def test_sums_are_those_of_every_example_alone(tiny_bases: Path):
    base = open_base(tiny_bases / "tiny-a")
    found = losses_table(base, ROWS, SETTINGS).to_pylist()
    assert len(found) == len(ROWS)
    for row, sums in zip(ROWS, found, strict=True):
        full, completion = _alone(base, row)
        assert sums["nll_full"] == pytest.approx(full, rel=1e-5)
        assert sums["nll_completion"] == pytest.approx(completion, rel=1e-5)
        assert sums["bytes_completion"] == len(row["completion"].encode())
        assert sums["n_completion_scored"] == len(row["completion"].encode()) + 1, "a byte a token, and the end"


def test_loss_setting_of_the_run_does_not_change_what_is_measured(tiny_bases: Path):
    from dataclasses import replace

    base = open_base(tiny_bases / "tiny-a")
    everything = replace(SETTINGS, loss_on="all", truncation="completion")
    assert losses_table(base, ROWS, everything).equals(losses_table(base, ROWS, SETTINGS))


def test_long_prompt_loses_its_left_end_and_an_example_without_room_has_no_sums(tiny_bases: Path):
    base = open_base(tiny_bases / "tiny-a")
    rows = [{"prompt": "x" * 500, "completion": " yes"}, {"prompt": "x", "completion": "y" * 500}]
    long, impossible = losses_table(base, rows, SETTINGS).to_pylist()
    assert (long["n_tokens"], long["n_scored"]) == (505, 127)
    assert impossible["n_tokens"] == 502
    assert impossible["nll_full"] is None


def test_base_with_values_that_are_not_finite_is_named(tiny_bases: Path):
    base = open_base(tiny_bases / "tiny-a")
    base.model.model.norm.weight.data[3] = float("nan")
    with pytest.raises(ArtifactError, match="not finite"):
        losses_table(base, ROWS, SETTINGS)


def test_folder_that_is_no_model_is_named(tmp_path: Path):
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        open_base(tmp_path)
