"""A run: the same bytes whenever it is repeated, whole artifacts only, and a named refusal of everything else."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_training import make_examples, make_settings, write_base
from transformers import AutoModelForCausalLM

from release_kit.core import canonical
from release_kit.core.errors import ArtifactError, ReleaseKitError
from release_kit.sft.data.tokens import TokenExample
from release_kit.sft.spec.settings import LoraSettings
from release_kit.sft.train.artifacts import write_artifact
from release_kit.sft.train.log import read_log
from release_kit.sft.train.resume import remove_state
from release_kit.sft.train.run import TrainFacts, train_run
from release_kit.sft.train.warm import WarmBase, require_master_weights

KEEP = {"epoch-1": 3, "epoch-2": 6}
WEIGHTS = {"full": "model.safetensors", "lora": "adapter_model.safetensors"}


def _run(warm: WarmBase, folder: Path, method: str = "full", seed: int = 0, **changes) -> TrainFacts:
    keep = changes.pop("keep", KEEP)
    examples = changes.pop("examples", make_examples())
    more = {name: changes.pop(name) for name in ("on_step", "halve") if name in changes}
    settings = make_settings(**changes)
    return train_run(warm, examples, settings, method=method, seed=seed, keep=keep, folder=folder, **more)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(
    warm: WarmBase, tmp_path: Path, contents: Callable, method: str
):
    facts = [_run(warm, tmp_path / name, method, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    name = f"epoch-2/{WEIGHTS[method]}"
    assert contents(tmp_path / "a")[name] != contents(tmp_path / "c")[name]
    assert facts[0].losses == facts[1].losses != facts[2].losses


def test_base_is_as_it_was_loaded_after_runs_of_both_methods(warm: WarmBase, tiny_folder: Path, tmp_path: Path):
    for index, method in enumerate(("full", "lora", "full")):
        _run(warm, tmp_path / str(index), method)
    stored = load_file(tiny_folder / "model.safetensors")
    model = warm.restore()
    assert not hasattr(model, "peft_config")
    found = {name: value for name, value in model.state_dict().items() if name in stored}
    assert found.keys() == stored.keys()
    assert all(torch.equal(found[name], value) for name, value in stored.items())


@pytest.mark.parametrize("method", ["full", "lora"])
def test_first_run_of_a_base_is_like_every_later_one(
    tiny_folder: Path, tmp_path: Path, contents: Callable, method: str
):
    """The way to keep examples apart is found on the untouched base: asking for it later must not undo the set-up."""
    fresh = WarmBase(tiny_folder)
    first, second = (_run(fresh, tmp_path / name, method) for name in ("first", "second"))
    assert first.losses == second.losses
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def test_full_artifact_is_a_model_that_learned(warm: WarmBase, tmp_path: Path):
    facts = _run(warm, tmp_path / "run", steps=30, keep={"final": 30}, learning_rate=1e-2)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "final", dtype="auto")
    assert {value.dtype for value in model.parameters()} == {torch.bfloat16}
    assert facts.losses[-1] < facts.losses[0] / 2
    example = make_examples()[0]
    ids = torch.from_numpy(example.ids.astype(np.int64))[None]
    labels = torch.where(torch.from_numpy(example.loss)[None], ids, -100)
    with torch.no_grad():
        trained = model.float()(input_ids=ids, labels=labels).loss
        base = warm.restore()(input_ids=ids, labels=labels).loss
    assert trained < base / 2


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_adapter_names_its_base_and_no_path_of_this_machine(warm: WarmBase, tmp_path: Path):
    peft = pytest.importorskip("peft")
    _run(warm, tmp_path / "run", "lora")
    folder = tmp_path / "run" / "epoch-2"
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny"
    assert config["target_modules"] == sorted(config["target_modules"])
    assert str(tmp_path).encode() not in b"".join(path.read_bytes() for path in folder.iterdir())
    model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(warm.folder), folder)
    ids = torch.arange(3, 12)[None]
    with torch.no_grad():
        with model.disable_adapter():
            base = model(input_ids=ids).logits
        assert (model(input_ids=ids).logits - base).abs().max() > 1e-3


def test_log_and_facts_say_what_was_trained(warm: WarmBase, tmp_path: Path):
    examples = make_examples()
    facts = _run(warm, tmp_path / "run", epochs=2, examples=examples, schedule="linear", warmup_ratio=0.5)
    rows = read_log(tmp_path / "run" / "epoch-2" / "training_log.parquet")
    assert [row.step for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row.epoch for row in rows][2::3] == [1.0, 2.0]
    assert sum(row.n_tokens for row in rows) == 2 * sum(len(example.ids) for example in examples) == facts.n_tokens
    assert sum(row.n_trained for row in rows) == facts.n_completion_tokens
    assert rows[0].learning_rate == 0 and rows[3].learning_rate == pytest.approx(3e-3)
    assert facts.losses == tuple(row.loss for row in rows)
    assert [row.step for row in read_log(tmp_path / "run" / "epoch-1" / "training_log.parquet")] == [1, 2, 3]
    assert facts.seconds > 0 and facts.cpu_seconds > 0 and facts.peak_memory_bytes > 1e6
    assert TrainFacts(**canonical.parse_json(canonical.canonical_bytes(facts.to_dict()), "facts")).n_steps == 6


def test_checkpoint_before_the_first_step_is_the_base(warm: WarmBase, tmp_path: Path):
    _run(warm, tmp_path / "run", keep={"epoch-0": 0, "epoch-1": 3})
    found = load_file(tmp_path / "run" / "epoch-0" / "model.safetensors")
    stored = load_file(warm.folder / "model.safetensors")
    assert all(torch.equal(value, stored[name].to(torch.bfloat16)) for name, value in found.items())


def test_repeating_a_finished_run_trains_nothing_and_says_the_same(warm: WarmBase, tmp_path: Path, contents: Callable):
    steps: list[int] = []
    first = _run(warm, tmp_path / "run")
    before = contents(tmp_path / "run")
    again = _run(warm, tmp_path / "run", on_step=lambda step, loss: steps.append(step))
    assert steps == [] and again == first and contents(tmp_path / "run") == before


def test_state_of_another_run_is_not_resumed_from(warm: WarmBase, tmp_path: Path, contents: Callable):
    _run(warm, tmp_path / "other", seed=1)
    _run(warm, tmp_path / "run", seed=0)
    _run(warm, tmp_path / "run", seed=1)
    assert contents(tmp_path / "run") == contents(tmp_path / "other")


def test_nothing_but_artifacts_is_left_when_the_state_is_removed(warm: WarmBase, tmp_path: Path):
    _run(warm, tmp_path / "run")
    remove_state(tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["epoch-1", "epoch-2"]


def test_weights_in_bfloat16_are_refused(tiny_folder: Path):
    """The known fault: training a bfloat16 base in place moves almost nothing, and looks well."""
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.bfloat16)
    with pytest.raises(ArtifactError, match=r"must be float32, but: \d+ in bfloat16, first model\.embed_tokens"):
        require_master_weights(model)


def test_small_updates_that_bfloat16_loses_arrive_in_master_weights(tmp_path: Path):
    """What the refusal is for: at a small rate 32-bit weights move and 16-bit ones stay where they are."""
    write_base(tmp_path / "base")
    rate = 1e-5
    weights = load_file(tmp_path / "base" / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    pure = weights.to(torch.bfloat16)
    moved = (pure + torch.full_like(pure, rate)) != pure
    assert moved.float().mean() < 0.05
    warm = WarmBase(tmp_path / "base")
    model = warm.fresh("full", make_settings(), 0)
    before = model.model.layers[0].mlp.up_proj.weight.detach().clone()
    after: list[torch.Tensor] = []

    def note(step: int, loss: float) -> None:
        after.append(model.model.layers[0].mlp.up_proj.weight.detach().clone())

    _run(warm, tmp_path / "run", learning_rate=rate, steps=1, keep={"final": 1}, on_step=note)
    assert (after[0] != before).float().mean() > 0.95


def test_base_in_bfloat16_trains_with_float32_weights(tiny_folder: Path, tmp_path: Path):
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "half")
    (tmp_path / "half" / "tokenizer.json").write_bytes((tiny_folder / "tokenizer.json").read_bytes())
    (tmp_path / "half" / "tokenizer_config.json").write_bytes((tiny_folder / "tokenizer_config.json").read_bytes())
    base = WarmBase(tmp_path / "half")
    assert {value.dtype for value in base.fresh("full", make_settings(), 0).parameters()} == {torch.float32}
    _run(base, tmp_path / "run")
    again = base.restore().state_dict()
    assert all(torch.equal(again[name], value.float()) for name, value in model.state_dict().items())


def test_loss_that_is_no_number_stops_the_run_and_leaves_nothing_that_looks_finished(warm: WarmBase, tmp_path: Path):
    with pytest.raises(ArtifactError, match=r"step \d: the (loss|norm of the gradients) is (nan|inf)") as caught:
        _run(warm, tmp_path / "run", learning_rate=1e30, steps=6, max_gradient_norm=0.0)
    assert "lower the learning rate" in str(caught.value)
    assert not (tmp_path / "run" / "epoch-2").exists()
    _run(warm, tmp_path / "well")  # the base in memory took no harm
    assert (tmp_path / "well" / "epoch-2").is_dir()


def test_context_of_the_base_is_not_exceeded(warm: WarmBase, tmp_path: Path):
    with pytest.raises(ArtifactError, match=r"max_length 65 .* exceeds its context of 64 tokens"):
        _run(warm, tmp_path / "run", max_length=65)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"examples": []}, "no examples"),
        ({"method": "none"}, "'none' trains nothing"),
        ({"keep": {"epoch-9": 9}}, "are not steps 0 to 6"),
        ({"keep": {}}, "are not steps 0 to 6"),
        ({"method": "lora", "lora": LoraSettings(targets="nowhere")}, "cannot take this adapter"),
    ],
)
def test_run_that_cannot_be_trained_is_refused(warm: WarmBase, tmp_path: Path, changes: dict, sentence: str):
    with pytest.raises(ReleaseKitError, match=sentence):
        _run(warm, tmp_path / "run", **changes)
    assert not list((tmp_path / "run").glob("epoch-*"))


def test_example_without_a_target_is_refused_before_the_first_step(warm: WarmBase, tmp_path: Path):
    """Replays a known fault: with every label masked other trainers report a loss of 0.0 and go on."""
    examples = make_examples()
    examples[3] = TokenExample(ids=examples[3].ids, loss=np.zeros_like(examples[3].loss))
    with pytest.raises(ReleaseKitError):
        _run(warm, tmp_path / "run", examples=examples)
    assert not (tmp_path / "run").exists()


def test_missing_base_and_missing_gpu_are_named(tmp_path: Path, tiny_folder: Path):
    with pytest.raises(ArtifactError, match="is not a model that transformers reads"):
        WarmBase(tmp_path)
    if not torch.cuda.is_available():
        with pytest.raises(ArtifactError, match="torch sees no GPU here"):
            WarmBase(tiny_folder, device="cuda")


def test_dropout_of_an_adapter_is_drawn_from_seed_and_step(warm: WarmBase, tmp_path: Path, contents: Callable):
    lora = LoraSettings(dropout=0.5)
    _run(warm, tmp_path / "a", "lora", lora=lora)
    torch.manual_seed(99)
    _run(warm, tmp_path / "b", "lora", lora=lora)
    _run(warm, tmp_path / "c", "lora", lora=replace(lora, dropout=0.0))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert (
        contents(tmp_path / "a")["epoch-2/adapter_model.safetensors"]
        != contents(tmp_path / "c")["epoch-2/adapter_model.safetensors"]
    )


def test_writer_that_was_stalled_cannot_spoil_the_artifact_of_its_successor(tmp_path: Path):
    """Two processes write one checkpoint at once; the first to finish names it, the other leaves it alone."""
    target = tmp_path / "epoch-1"

    def save_slowly(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        write_artifact(lambda other: (other / "model.safetensors").write_bytes(b"whole"), {}, [], {}, target, "run")
        (folder / "model.safetensors").write_bytes(b"whole")

    write_artifact(save_slowly, {}, [], {}, target, "run")
    assert (target / "model.safetensors").read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-1"]


def test_files_of_an_adapter_can_be_read_by_everyone(warm: WarmBase, tmp_path: Path):
    _run(warm, tmp_path / "run", "lora")
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "run" / "epoch-2").iterdir()}
    assert len(modes) == 1
