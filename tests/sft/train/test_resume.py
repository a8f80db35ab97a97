"""Killed at any moment, a run ends with the bytes of one that nobody disturbed."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from killing import run_child
from tiny_training import make_examples, make_settings

from release_kit.sft.spec.settings import LoraSettings
from release_kit.sft.train.resume import STATE, read_state
from release_kit.sft.train.run import train_run
from release_kit.sft.train.warm import WarmBase

KEEP = {"epoch-1": 3, "epoch-2": 6}
N_POINTS = 13
"""Points of each method in the fast test; the slow one takes them all."""


def _train(warm: WarmBase, method: str, folder: Path, on_step: Callable | None = None) -> None:
    settings = make_settings(checkpoint_every=2, lora=LoraSettings(dropout=0.1, targets="q_proj,v_proj"))
    train_run(
        warm, make_examples(), settings, method=method, seed=0, keep=KEEP, folder=folder, on_step=on_step
    )  # fmt: skip


def _compare_after_kills(warm: WarmBase, tmp_path: Path, contents: Callable, method: str, wanted: int | None) -> None:
    warm.mode  # noqa: B018 — found in the parent, so that all children start alike
    whole = tmp_path / "whole"
    outcome, n_operations = run_child(partial(_train, warm, method, whole))
    assert outcome == "done" and n_operations > 60
    expected = contents(whole)
    points = range(1, n_operations + 1)
    if wanted is not None:
        points = [1 + index * (n_operations - 1) // (wanted - 1) for index in range(wanted)]
    for kill_at in points:
        folder = tmp_path / f"killed-{kill_at}"
        assert run_child(partial(_train, warm, method, folder), kill_at=kill_at)[0] == "killed"
        run_child(partial(_train, warm, method, folder), kill_at=kill_at // 2 + 5)  # and once more on the way back
        assert run_child(partial(_train, warm, method, folder))[0] == "done", kill_at
        assert contents(folder) == expected, f"killed before operation {kill_at}"


@pytest.mark.parametrize("method", [pytest.param("full", marks=pytest.mark.slow), "lora"])
def test_bytes_are_the_same_after_kills_at_many_points(warm: WarmBase, tmp_path: Path, contents: Callable, method: str):
    _compare_after_kills(warm, tmp_path, contents, method, N_POINTS)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_bytes_are_the_same_after_kills_at_every_point(warm: WarmBase, tmp_path: Path, contents: Callable, method: str):
    _compare_after_kills(warm, tmp_path, contents, method, None)


@pytest.mark.parametrize("at", [1, 2, 4, 5])
def test_at_most_one_checkpoint_interval_is_done_again(warm: WarmBase, tmp_path: Path, contents: Callable, at: int):
    def kill(step: int, loss: float) -> None:
        if step == at:
            os.kill(os.getpid(), signal.SIGKILL)

    _train(warm, "full", tmp_path / "whole")
    assert run_child(partial(_train, warm, "full", tmp_path / "run", kill))[0] == "killed"
    steps: list[int] = []
    _train(warm, "full", tmp_path / "run", lambda step, loss: steps.append(step))
    assert steps == list(range({1: 1, 2: 3, 4: 5, 5: 5}[at], 7))
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_damaged_state_costs_time_and_no_bytes(warm: WarmBase, tmp_path: Path, contents: Callable):
    def stop(step: int, loss: float) -> None:
        if step == 5:
            raise KeyboardInterrupt

    _train(warm, "full", tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        _train(warm, "full", tmp_path / "run", stop)
    (path,) = (tmp_path / "run" / STATE).glob("step-*/state.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    _train(warm, "full", tmp_path / "run")
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_state_is_read_by_its_own_run_only(warm: WarmBase, tmp_path: Path):
    _train(warm, "full", tmp_path / "run")
    assert read_state(tmp_path / "run", "another fingerprint") is None
    assert read_state(tmp_path / "nowhere", "any") is None
