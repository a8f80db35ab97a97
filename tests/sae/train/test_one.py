"""Training one autoencoder learns, and continues to the same bytes wherever it was stopped."""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from release_kit.sae.config import SaeConfig
from release_kit.sae.errors import ActivationError, SaeError
from release_kit.sae.step.settings import StepSettings
from release_kit.sae.train.one import LOGGED, STATE_FILE, Schedule, remove_state, train_one

D, N, K, ROWS = 12, 40, 3, 64
CONFIG = SaeConfig(architecture="topk", d_in=D, n_features=N, k=K)
SETTINGS = StepSettings(lr=5e-3, warmup_steps=5)
SCHEDULE = Schedule(n_steps=30, checkpoint_every=7, log_every=4)


def batches(start: int) -> Iterator[torch.Tensor]:
    """Yield sparse combinations of few directions; batch k is the same however one came to it."""
    directions = torch.randn(N // 2, D, generator=torch.Generator().manual_seed(1))
    for number in itertools.count(start):
        rng = torch.Generator().manual_seed(1000 + number)
        codes = torch.rand(ROWS, N // 2, generator=rng) * (torch.rand(ROWS, N // 2, generator=rng) < 0.1)
        yield codes @ directions + 0.01 * torch.randn(ROWS, D, generator=rng)


def train(folder: Path, **more: object):
    options = {"seed": 3, **more}
    schedule = options.pop("schedule", SCHEDULE)
    return train_one(CONFIG, options.pop("batches", batches), SETTINGS, schedule, folder, **options)


def test_it_learns_and_logs_what_steps_said(tmp_path: Path):
    found = train(tmp_path, schedule=Schedule(n_steps=300, log_every=50))
    fvu = found.log[:, LOGGED.index("fvu")]
    assert found.logged_steps.tolist() == [1, 50, 100, 150, 200, 250, 300]
    assert fvu[-1] < 0.35 * fvu[0]
    torch.testing.assert_close(found.sae.w_dec.norm(dim=1), torch.ones(N))


@pytest.mark.parametrize("stop_after", [1, 6, 7, 8, 14, 29])
def test_stopped_anywhere_it_continues_to_the_same_bytes(stop_after: int, tmp_path: Path):
    whole = train(tmp_path / "whole")

    def stop(step: int, n_steps: int, found: object) -> None:
        if step == stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", report=stop)
    again = train(tmp_path / "cut")
    assert (tmp_path / "cut" / STATE_FILE).read_bytes() == (tmp_path / "whole" / STATE_FILE).read_bytes()
    assert np.array_equal(again.log, whole.log) and np.array_equal(again.logged_steps, whole.logged_steps)


CHILD = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
import torch
torch.set_num_threads(1)
from pathlib import Path
from sae.train.test_one import train
def kill(step, n_steps, found):
    if step == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
train(Path(sys.argv[1]), report=kill)
"""


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_bytes(tmp_path: Path):
    tests = str(Path(__file__).parents[2])

    def child(folder: Path, kill_at: int) -> int:
        command = [sys.executable, "-c", CHILD, str(folder), tests, str(kill_at)]
        return subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=120).returncode

    for kill_at in (3, 9, 12, 20, 22, 29):
        assert child(tmp_path / "killed", kill_at) == -signal.SIGKILL
    assert child(tmp_path / "killed", 0) == 0
    assert child(tmp_path / "whole", 0) == 0
    assert (tmp_path / "killed" / STATE_FILE).read_bytes() == (tmp_path / "whole" / STATE_FILE).read_bytes()


@pytest.mark.parametrize("place", [-100, -3, 9, 2000])
def test_a_damaged_state_is_not_used(place: int, tmp_path: Path):
    whole = train(tmp_path)
    path = tmp_path / STATE_FILE
    expected = path.read_bytes()
    damaged = bytearray(expected)
    damaged[place] ^= 1
    path.write_bytes(expected[:-100] if place == -100 else bytes(damaged))
    again = train(tmp_path)
    assert path.read_bytes() == expected and torch.equal(again.sae.w_enc, whole.sae.w_enc)


def test_a_state_of_another_autoencoder_is_named(tmp_path: Path):
    train(tmp_path)
    other = SaeConfig(architecture="topk", d_in=D, n_features=N + 1, k=K)
    with pytest.raises(SaeError, match=r"state\.safetensors: .*expected \(41,.*remove this file to start again"):
        train_one(other, batches, SETTINGS, SCHEDULE, tmp_path, seed=3)


def test_a_warm_start_begins_better_and_one_of_other_settings_is_refused(tmp_path: Path):
    cold = train(tmp_path / "cold", schedule=Schedule(n_steps=200))
    warm = train(tmp_path / "warm", warm=cold.sae, schedule=Schedule(n_steps=1))
    assert warm.log[0, LOGGED.index("fvu")] < 0.6 * cold.log[0, LOGGED.index("fvu")]
    other = SaeConfig(architecture="topk", d_in=D, n_features=N, k=K + 1)
    with pytest.raises(SaeError, match="warm start: is none to begin with"):
        train_one(other, batches, SETTINGS, SCHEDULE, tmp_path / "x", seed=3, warm=cold.sae)


def test_activations_that_are_no_numbers_end_it_and_lose_nothing(tmp_path: Path):
    def broken(start: int) -> Iterator[torch.Tensor]:
        for number, batch in enumerate(batches(start), start):
            yield torch.where(torch.arange(ROWS)[:, None] == 5, torch.nan, batch) if number == 17 else batch

    with pytest.raises(ActivationError, match="training step 18: 1 of 64 tokens"):
        train(tmp_path / "a", batches=broken)
    train(tmp_path / "a")
    train(tmp_path / "b")
    assert (tmp_path / "a" / STATE_FILE).read_bytes() == (tmp_path / "b" / STATE_FILE).read_bytes()
    remove_state(tmp_path / "a")
    assert not list((tmp_path / "a").iterdir())


def test_a_stream_that_ends_is_said(tmp_path: Path):
    with pytest.raises(SaeError, match="there are no more activations"):
        train(tmp_path, batches=lambda start: itertools.islice(batches(start), 5))
