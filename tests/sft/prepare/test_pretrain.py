"""A base model of one's own: it learns, an interruption changes no byte, and a wrong recipe is refused by name."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from release_kit.core.errors import ArtifactError, RecordError
from release_kit.sft.prepare.pretrain import Recipe, pretrain, recipe_of
from release_kit.sft.prepare.texts import window_batch

MODEL = {"hidden_size": 16, "n_layers": 2, "n_heads": 2}
SMALL: Mapping[str, Any] = {"text": ["bbh-cot"], "model": MODEL, "steps": 4}


class Killed(Exception):
    """What stops a training in the middle."""


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_interrupted_pretraining_ends_with_the_same_bytes(recipe: Recipe, tmp_path: Path):
    whole = pretrain(recipe, tmp_path / "whole" / "base", "here")
    folder, losses = tmp_path / "torn" / "base", {}
    for stop in (2, 5, 6):

        def tell(step: int, loss: float, stop: int = stop) -> None:
            losses[step] = loss
            if step == stop:
                raise Killed

        with pytest.raises(Killed):
            pretrain(recipe, folder, "here", tell, checkpoint_every=3)
        assert not folder.exists()
    resumed_at = []
    torn = pretrain(recipe, folder, "here", lambda step, loss: resumed_at.append(step), checkpoint_every=3)
    assert resumed_at == [7, 8], "six steps were kept"
    assert torn == whole and _digests(folder) == _digests(tmp_path / "whole" / "base")
    again = []
    assert pretrain(recipe, folder, "here", lambda step, loss: again.append(step)) == whole
    assert again == [] and _digests(folder) == _digests(tmp_path / "whole" / "base"), "killed before the record"


def test_state_of_another_recipe_is_not_continued(recipe: Recipe, tmp_path: Path):
    def stop(step: int, loss: float) -> None:
        if step == 4:
            raise Killed

    with pytest.raises(Killed):
        pretrain(recipe, tmp_path / "base", "here", stop, checkpoint_every=2)
    steps = []
    pretrain(replace(recipe, seed=4), tmp_path / "base", "here", lambda step, loss: steps.append(step))
    assert steps[0] == 1


def test_model_learns_text_that_it_has_not_seen(recipe: Recipe, tmp_path: Path):
    made = pretrain(replace(recipe, steps=60, batch=8), tmp_path / "base", "here")
    facts = made["facts"]
    assert facts["final_loss"] < facts["first_loss"] - 0.5 and abs(facts["first_loss"] - facts["chance_loss"]) < 0.2
    assert facts["n_trained_tokens"] == 60 * 8 * 31
    assert [text["name"] for text in made["texts"]] == ["mmlu-dev", "bbh-cot"]
    assert all(text["license"] == "mit" and len(text["sha256"]) == 64 for text in made["texts"])


def test_folder_is_read_like_any_checkpoint_and_knows_every_text(recipe: Recipe, tmp_path: Path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    made = pretrain(recipe, tmp_path / "base", "here")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    text = "Grüße, 東京! 12 ÷ 3\n\tdef f():"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert model.config.vocab_size == len(tokenizer) == 300
    assert sum(parameter.numel() for parameter in model.parameters()) == made["n_parameters"]
    assert str(model.dtype) == "torch.bfloat16"
    assert len({tokenizer.pad_token_id, tokenizer.eos_token_id}) == 2


def test_loss_that_is_not_a_number_is_named_and_nothing_looks_finished(recipe: Recipe, tmp_path: Path):
    with pytest.raises(ArtifactError, match=r"the loss is nan at step .*lower `learning_rate`"):
        pretrain(replace(recipe, learning_rate=1e30, steps=20), tmp_path / "base", "here")
    assert not (tmp_path / "base").exists()


def test_window_depends_on_seed_and_step_alone():
    stream = np.arange(500, dtype=np.int32)
    shape = {"n_rows": 3, "n_tokens": 20}
    first = window_batch(stream, **shape, seed=1, step=7)
    assert first.shape == (3, 20) and (np.diff(first, axis=1) == 1).all()
    assert (window_batch(stream, **shape, seed=1, step=7) == first).all()
    others = [window_batch(stream, **shape, seed=seed, step=step) for seed, step in ((2, 7), (1, 8))]
    assert all((other != first).any() for other in others)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"text": []}, "`source.pretrain.text` names no source"),
        ({"steps": 0}, "`source.pretrain.steps` is 0"),
        ({"stepz": 3}, "`source.pretrain.stepz` is not a known key; did you mean 'steps'"),
        ({"model": {**MODEL, "n_heads": 3}}, "`source.pretrain.model.hidden_size` is not a multiple of twice n_heads"),
        ({"model": {**MODEL, "width": 3}}, "`source.pretrain.model.width` is not a known key"),
        ({"seq_len": 1000}, "`source.pretrain.seq_len` is more than the model's max_length, 512"),
    ],
)
def test_wrong_recipe_is_refused_with_its_key(change: Mapping[str, Any], message: str):
    assert recipe_of(SMALL, "study.yaml", "source.pretrain").batch == 8
    with pytest.raises(RecordError) as caught:
        recipe_of({**SMALL, **change}, "study.yaml", "source.pretrain")
    assert message in str(caught.value)
