"""Two processes (gloo, on processors) train what one trains, whole or sharded, and resume to the same bytes."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_training import make_examples, make_settings

from release_kit.core.errors import ArtifactError
from release_kit.sft.train.distributed import join
from release_kit.sft.train.run import train_run
from release_kit.sft.train.warm import WarmBase

CHILD = Path(__file__).with_name("distributed_child.py")
WEIGHTS = {"full": "model.safetensors", "lora": "adapter_model.safetensors"}


def _launch(*arguments: object) -> subprocess.CompletedProcess:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1",
               f"--master-port={port}", str(CHILD), *map(str, arguments)]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "layout"), [("full", "whole"), ("full", "sharded"), ("lora", "sharded")])
def test_two_processes_train_what_one_trains(
    warm: WarmBase, tmp_path: Path, contents: Callable, method: str, layout: str
):
    settings, keep = make_settings(checkpoint_every=2), {"epoch-1": 3, "final": 6}
    one = train_run(warm, make_examples(), settings, method=method, seed=0, keep=keep, folder=tmp_path / "one")
    done = _launch(warm.folder, tmp_path / "two", method, layout)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FACTS ")]
    facts = json.loads(line.removeprefix("FACTS "))
    assert facts["losses"] == pytest.approx(one.losses, abs=1e-5)
    assert (facts["n_tokens"], facts["n_completion_tokens"]) == (one.n_tokens, one.n_completion_tokens)
    assert sorted(contents(tmp_path / "two")) == sorted(contents(tmp_path / "one"))
    found, wanted = (load_file(tmp_path / run / "final" / WEIGHTS[method]) for run in ("two", "one"))
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name].float(), value.float(), rtol=0.02, atol=1e-3, msg=name)
    assert _launch(warm.folder, tmp_path / "killed", method, layout, 5).returncode != 0
    assert not (tmp_path / "killed" / "final").exists()
    assert _launch(warm.folder, tmp_path / "killed", method, layout).returncode == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "two")


def test_process_without_a_group_is_told_how_to_start_one():
    with pytest.raises(ArtifactError, match="accelerate launch"):
        join()
