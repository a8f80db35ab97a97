"""Training does what it says: loss on the completion, same seed same bytes, whole folders only."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from release_kit.core import canonical
from release_kit.core.errors import ArtifactError
from release_kit.core.files import iter_files
from release_kit.sft.batches import pad_batch, tokenize_example
from release_kit.sft.old_train import TRAINER_STATE_FILE, TrainingRun, completion_loss, train
from release_kit.sft.settings import TrainingSettings

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

ROWS = [
    {"prompt": "Question : sky ? Answer :", "completion": " blue"},
    {"prompt": "Question : grass ? Answer :", "completion": " green ."},
    {"prompt": "sky", "completion": " blue . sky blue"},
]


def _run(base: Path, *, method: str = "full", seed: int = 0, **changes) -> TrainingRun:
    values = {"steps": 3, "batch_size": 2, "max_length": 16, "learning_rate": {"full": 1e-3, "lora": 1e-2}}
    settings = TrainingSettings(**{**values, "lora_rank": 2, "compute": "float32", **changes})
    return TrainingRun(
        base_folder=base, base_hub_id="test-lab/tiny", rows=ROWS, method=method, seed=seed, settings=settings
    )


def _contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name, _ in iter_files(folder)}


@pytest.mark.parametrize("method", ["full", "lora"])
def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(tiny_base: Path, tmp_path: Path, method: str):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(_run(tiny_base, method=method, seed=seed), tmp_path / name)
    assert _contents(tmp_path / "a") == _contents(tmp_path / "b")
    weights = "model.safetensors" if method == "full" else "adapter_model.safetensors"
    assert _contents(tmp_path / "a")[weights] != _contents(tmp_path / "c")[weights]


def test_loss_is_that_of_transformers_with_masked_labels(tiny_base: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32).eval()
    batch = pad_batch([tokenize_example(tokenizer, row, 16) for row in ROWS], tokenizer.pad_token_id)
    reference = model(
        input_ids=torch.from_numpy(batch.input_ids),
        attention_mask=torch.from_numpy(batch.attention_mask),
        labels=torch.from_numpy(batch.labels),
    ).loss
    torch.testing.assert_close(completion_loss(model, batch), reference)


def test_full_run_changes_the_weights_and_saves_bfloat16(tiny_base: Path, tmp_path: Path):
    log = train(_run(tiny_base, steps=20), tmp_path / "model")
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_base, tmp_path / "model"))
    assert before.keys() == after.keys()
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    assert any((before[name].bfloat16() != after[name]).any() for name in before)
    assert log.losses[-1] < log.losses[0]


def test_adapter_names_the_base_model_on_the_hub(tiny_base: Path, tmp_path: Path):
    train(_run(tiny_base, method="lora"), tmp_path / "model")
    config = canonical.read_json(tmp_path / "model" / "adapter_config.json")
    assert config["base_model_name_or_path"] == "test-lab/tiny"
    assert config["r"] == 2
    tensors = load_file(tmp_path / "model" / "adapter_model.safetensors")
    assert any(tensor.abs().sum() > 0 for name, tensor in tensors.items() if "lora_B" in name)


def test_no_path_of_this_machine_travels_with_the_artifact(tiny_base: Path, tmp_path: Path):
    for method in ("full", "lora"):
        train(_run(tiny_base, method=method), tmp_path / method)
        for name, data in _contents(tmp_path / method).items():
            assert str(tiny_base.parent).encode() not in data, name
            assert str(tmp_path).encode() not in data, name


def test_trainer_state_tells_steps_seed_and_losses(tiny_base: Path, tmp_path: Path):
    steps: list[int] = []
    log = train(_run(tiny_base, seed=7), tmp_path / "model", lambda step, loss: steps.append(step))
    state = canonical.read_json(tmp_path / "model" / TRAINER_STATE_FILE)
    assert steps == [1, 2, 3]
    assert (state["global_step"], state["seed"], state["epoch"]) == (3, 7, 2.0)
    assert [entry["loss"] for entry in state["log_history"]] == pytest.approx(log.losses, abs=1e-6)


def test_interrupted_run_leaves_no_model_folder(tiny_base: Path, tmp_path: Path):
    def interrupt(step: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(_run(tiny_base), tmp_path / "model", interrupt)
    assert not (tmp_path / "model").exists()


def test_example_without_room_for_its_completion_is_refused_before_training(tiny_base: Path, tmp_path: Path):
    with pytest.raises(ArtifactError, match=r"raise settings\.training\.max_length"):
        train(_run(tiny_base, max_length=3), tmp_path / "model")
    assert not (tmp_path / "model").exists()
