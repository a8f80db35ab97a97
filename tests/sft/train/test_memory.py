"""Memory that runs out: half the rows at a time, the bytes of a run that was set so, and the caller's to decide."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tiny_training import make_examples, make_settings

from release_kit.sft.train.memory import is_out_of_memory
from release_kit.sft.train.run import train_run
from release_kit.sft.train.warm import WarmBase

EXAMPLES = make_examples(8, shortest=15, longest=20)
SETTINGS = {"batch_size": 8, "max_length": 20, "micro_batch": 8, "steps": 3}


@contextmanager
def memory_for(warm: WarmBase, n_tokens: int) -> Iterator[None]:
    """Let the model's first layer run out of memory when more than ``n_tokens`` go through it at once."""

    def refuse(module: torch.nn.Module, arguments: tuple) -> None:
        if arguments[0].shape[1] > n_tokens:
            raise torch.OutOfMemoryError("out of memory in a forward pass")

    hook = warm.restore().model.layers[0].register_forward_pre_hook(refuse)
    try:
        yield
    finally:
        hook.remove()


def _train(warm: WarmBase, folder: Path, *, halve: bool = True, **changes):
    settings = make_settings(**{**SETTINGS, **changes})
    keep = {"epoch-1": 1, "final": 3}
    return train_run(warm, EXAMPLES, settings, method="full", seed=0, keep=keep, folder=folder, halve=halve)


def test_half_the_rows_until_it_fits_gives_the_bytes_of_that_micro_batch(
    warm: WarmBase, tmp_path: Path, contents: Callable
):
    wanted = _train(warm, tmp_path / "set", micro_batch=2)
    with memory_for(warm, n_tokens=45):
        facts = _train(warm, tmp_path / "run")
    assert (facts.micro_batch, facts.out_of_memory) == (2, (8, 4))
    assert facts.losses == wanted.losses and facts.n_steps == 3
    assert contents(tmp_path / "run") == contents(tmp_path / "set")


def test_memory_that_runs_out_later_starts_the_run_again_with_half(
    warm: WarmBase, tmp_path: Path, contents: Callable, monkeypatch
):
    """The second step fails after a checkpoint was kept: what was trained with eight rows must not stay."""
    _train(warm, tmp_path / "set", micro_batch=4)
    calls = []

    def refuse(module: torch.nn.Module, arguments: tuple) -> None:
        calls.append(arguments[0].shape[1])
        if len(calls) == 2:
            raise torch.OutOfMemoryError("out of memory in a forward pass")

    hook = warm.restore().model.layers[0].register_forward_pre_hook(refuse)
    facts = _train(warm, tmp_path / "run")
    hook.remove()
    assert (facts.micro_batch, facts.out_of_memory) == (4, (8,))
    assert contents(tmp_path / "run") == contents(tmp_path / "set")


def test_one_row_that_does_not_fit_is_an_error_and_leaves_the_base_usable(
    warm: WarmBase, tmp_path: Path, contents: Callable
):
    with memory_for(warm, n_tokens=10), pytest.raises(torch.OutOfMemoryError):
        _train(warm, tmp_path / "run")
    assert not (tmp_path / "run" / "final").exists()
    _train(warm, tmp_path / "a", micro_batch=1)
    _train(warm, tmp_path / "run", micro_batch=1)
    assert contents(tmp_path / "run") == contents(tmp_path / "a")


def test_caller_that_gives_every_micro_batch_its_own_identity_gets_the_error(warm: WarmBase, tmp_path: Path):
    with memory_for(warm, n_tokens=45), pytest.raises(torch.OutOfMemoryError) as caught:
        _train(warm, tmp_path / "run", halve=False)
    assert is_out_of_memory(caught.value)


def test_what_counts_as_memory_that_ran_out():
    allocator = "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to allocate"
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError(allocator)) and is_out_of_memory(RuntimeError("std::bad_alloc"))
    assert not is_out_of_memory(RuntimeError("shape mismatch")) and not is_out_of_memory(ValueError("out of memory"))


LIMITED = """
import os, resource, sys, torch
os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tiny_training import make_examples, make_settings
from release_kit.sft.train.run import train_run
from release_kit.sft.train.warm import WarmBase
warm = WarmBase(Path(sys.argv[1]))
examples = make_examples(512, shortest=60, longest=64)
settings = make_settings(batch_size=512, max_length=64, micro_batch=512, steps=1)
warm.mode
import pyarrow.parquet
pages = int(Path("/proc/self/statm").read_text().split()[0])
room = pages * resource.getpagesize() + 64 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (room, room))
job = {"method": "full", "seed": 0, "keep": {"final": 1}, "folder": Path(sys.argv[2]), "halve": True}
facts = train_run(warm, examples, settings, **job)
print(facts.micro_batch, facts.out_of_memory)
"""


@pytest.mark.slow
def test_real_limit_of_the_address_space_is_met_by_smaller_micro_batches(tiny_folder: Path, tmp_path: Path):
    tests = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", LIMITED, str(tiny_folder), str(tmp_path / "run"), tests]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    micro_batch, _, failed = done.stdout.strip().partition(" ")
    assert int(micro_batch) < 512 and failed.startswith("(512,")
    assert (tmp_path / "run" / "final" / "model.safetensors").is_file()
