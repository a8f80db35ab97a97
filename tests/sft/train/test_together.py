"""Runs that share a batch learn what they learn alone, and neither disturb nor see each other."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from killing import run_child
from safetensors.torch import load_file
from tiny_training import make_examples, make_settings

from release_kit.core.errors import ArtifactError
from release_kit.sft.spec.settings import LoraSettings
from release_kit.sft.train import together
from release_kit.sft.train.log import read_log
from release_kit.sft.train.run import Job, train_run
from release_kit.sft.train.together import TOLERANCE, problems, speed_up, train_together, worth_it
from release_kit.sft.train.warm import WarmBase

LORA = LoraSettings(rank=2, targets="q_proj,down_proj")


def _jobs(warm: WarmBase, folder: Path) -> list[Job]:
    """Three runs that differ in data, seed, rate, schedule, accumulation and length."""
    changes = [
        {"learning_rate": 1e-2, "steps": 5},
        {"learning_rate": 3e-2, "steps": 7, "schedule": "cosine", "micro_batch": 2},
        {"learning_rate": 1e-3, "steps": 3, "max_gradient_norm": 0.01, "batch_size": 3},
    ]
    return [
        Job(
            base=warm,
            examples=make_examples(9 + index, seed=index),
            settings=make_settings(lora=LORA, checkpoint_every=2, **change),
            method="lora",
            seed=index,
            keep={"epoch-1": 2, "final": change["steps"]},
            folder=folder / f"run-{index}",
        )
        for index, change in enumerate(changes)
    ]


def _alone(job: Job) -> None:
    train_run(
        job.base, job.examples, job.settings, method="lora", seed=job.seed, keep=job.keep, folder=job.folder
    )  # fmt: skip


def _assert_as_alone(warm: WarmBase, tmp_path: Path) -> None:
    jobs, alone = _jobs(warm, tmp_path / "together"), _jobs(warm, tmp_path / "alone")
    facts = train_together(warm, jobs, folder=tmp_path / "group")
    for job, other, fact in zip(jobs, alone, facts, strict=True):
        _alone(other)
        rows = [read_log(run.folder / "final" / "training_log.parquet") for run in (job, other)]
        assert len(rows[0]) == max(job.keep.values()) == fact.n_steps
        for ours, wanted in zip(*rows, strict=True):
            assert ours.loss == pytest.approx(wanted.loss, rel=TOLERANCE)
            assert ours.gradient_norm == pytest.approx(wanted.gradient_norm, rel=1e-3)
            same = ("step", "epoch", "learning_rate", "n_tokens", "n_trained")
            assert all(getattr(ours, name) == getattr(wanted, name) for name in same)
        for label in job.keep:
            paths = [run.folder / label / "adapter_model.safetensors" for run in (job, other)]
            found, wanted = map(load_file, paths)
            assert found.keys() == wanted.keys()
            for name, value in wanted.items():
                torch.testing.assert_close(found[name].float(), value.float(), rtol=0.02, atol=2e-4, msg=name)
            assert (paths[0].parent / "adapter_config.json").read_bytes() == (
                paths[1].parent / "adapter_config.json"
            ).read_bytes()


def test_runs_learn_together_what_they_learn_alone(warm: WarmBase, tmp_path: Path):
    _assert_as_alone(warm, tmp_path)


def test_batched_products_of_accelerators_learn_the_same(warm: WarmBase, tmp_path: Path, monkeypatch):
    build = together.build_segments

    def padded(lengths, device):
        made = build(lengths, device)
        longest = made.longest
        gather = [min(a + offset, b - 1) for a, b in made.bounds for offset in range(longest)]
        scatter = [i * longest + offset for i, (a, b) in enumerate(made.bounds) for offset in range(b - a)]
        return replace(made, gather=torch.tensor(gather), scatter=torch.tensor(scatter))

    monkeypatch.setattr(together, "build_segments", padded)
    _assert_as_alone(warm, tmp_path)


def test_base_is_as_it_was_afterwards(warm: WarmBase, tmp_path: Path):
    before = {name: value.clone() for name, value in warm.restore().state_dict().items()}
    train_together(warm, _jobs(warm, tmp_path), folder=tmp_path / "group")
    after = warm.restore().state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_group_killed_at_many_points_ends_with_the_same_bytes(warm: WarmBase, tmp_path: Path, contents: Callable):
    def train(folder: Path) -> None:
        train_together(warm, _jobs(warm, folder), folder=folder)

    warm.mode  # noqa: B018 — found in the parent, so that all children start alike
    outcome, n_operations = run_child(partial(train, tmp_path / "whole"))
    assert outcome == "done"
    wanted = contents(tmp_path / "whole")
    for kill_at in np.linspace(2, n_operations, 6).astype(int).tolist():
        folder = tmp_path / f"killed-{kill_at}"
        assert run_child(partial(train, folder), kill_at=kill_at)[0] == "killed"
        assert run_child(partial(train, folder))[0] == "done"
        assert contents(folder) == wanted, f"killed before operation {kill_at}"


def test_run_that_fails_stops_alone(warm: WarmBase, tmp_path: Path, contents: Callable):
    jobs = _jobs(warm, tmp_path / "bad")
    jobs[1] = replace(jobs[1], settings=replace(jobs[1].settings, learning_rate=1e30, max_gradient_norm=0.0))
    facts = train_together(warm, jobs, folder=tmp_path / "group")
    assert isinstance(facts[1], ArtifactError) and "lower the learning rate" in str(facts[1])
    assert not (jobs[1].folder / "final").exists()
    assert facts[0].n_steps == 5 and facts[2].n_steps == 3
    for index in (0, 2):
        assert (jobs[index].folder / "final" / "adapter_model.safetensors").is_file()
    again = train_together(warm, jobs, folder=tmp_path / "group")
    assert str(again[1]) == str(facts[1]) and again[0] == facts[0]


def test_what_cannot_share_a_batch_is_named(warm: WarmBase, tmp_path: Path):
    first, second, third = _jobs(warm, tmp_path)
    settings = replace(second.settings, lora=LoraSettings(rank=3, dropout=0.1), compute="bfloat16")
    wrong = [first, replace(second, settings=settings), replace(third, method="full")]
    assert len(problems(warm, wrong)) == 4 and problems(warm, [first, second, third]) == []
    with pytest.raises(ArtifactError, match="only LoRA runs share a batch; their adapters have different ranks"):
        train_together(warm, wrong, folder=tmp_path / "group")


def test_processor_trains_alone_unless_asked(warm: WarmBase, tmp_path: Path):
    jobs = _jobs(warm, tmp_path)
    assert not worth_it(warm, jobs)
    assert 0.05 < speed_up(warm, jobs, n_steps=1) < 20
    assert not any((job.folder).exists() for job in jobs)
