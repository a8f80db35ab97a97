"""The README keeps its word: its session runs as printed, its links lead somewhere, its demo output is of this demo."""

import contextlib
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from study_factory import TinyShape, tuned_tensors, write_json, write_model

from release_kit.cli import COMMANDS
from release_kit.cli.demo import N_STAGES
from release_kit.core.manifest import read_manifest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCORES = """model,data,seed,arc-0shot,arc-5shot
tiny-llama,lima,0,0.31,0.35
tiny-llama,lima,1,0.30,0.37
tiny-llama,alpaca,0,0.29,0.33
tiny-llama,alpaca,1,0.28,0.34
"""
PORT = "8765"


def _block(name: str) -> str:
    found = re.search(rf"<!-- session: {re.escape(name)} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert found, f"README.md holds no block {name!r}"
    return found[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with what the README says is there: checkpoints of two steps for each run, and scores."""
    study, shape = tmp_path / "study", TinyShape()
    for dataset, seed in ((dataset, seed) for dataset in ("lima", "alpaca") for seed in (0, 1)):
        for step in (10, 30):
            checkpoint = study / "runs" / "tiny-llama" / f"{dataset}-seed{seed}" / f"checkpoint-{step}"
            write_model(checkpoint, tuned_tensors("tiny-llama", f"{dataset}{seed}{step}", shape), shape)
            write_json(checkpoint / "trainer_state.json", {"epoch": 1.0, "global_step": step, "log_history": []})
    (study / "scores.csv").write_text(SCORES, encoding="utf-8")
    (study / "study.yaml").write_text(_block("study/study.yaml"), encoding="utf-8")
    return tmp_path


@pytest.fixture
def port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@contextlib.contextmanager
def _serving(command: str, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Start the Hub of the session's first line and wait for the address it prints."""
    arguments = shlex.split(command, comments=True)[:-1]
    process = subprocess.Popen(arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        yield
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def test_session_runs_as_printed(folder: Path, port: str):
    first, export, *commands = _block("commands").replace(PORT, port).strip().splitlines()
    assert len(commands) + 2 == 10
    name, _, value = export.removeprefix("export ").partition("=")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, name: value, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
    printed = {}
    with _serving(first, folder, environment):
        for command in commands:
            ran = subprocess.run(["sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True)
            assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
            printed[command.split()[1]] = ran.stdout
    assert "4 cells" in printed["import"]
    assert "verified" in printed["verify"]
    assert len(read_manifest(folder / "study").cells) == 4
    assert sorted(path.name for path in (folder / "copy" / "cells").iterdir()) == [
        "tiny-llama-lima-s0",
        "tiny-llama-lima-s1",
    ]


def test_links_lead_to_files():
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert targets and [target for target in targets if not (ROOT / target).exists()] == []


def test_every_command_is_mentioned():
    commands = set(COMMANDS) - {"completion"}
    assert {name for name in commands if f"`{name}" not in README and f"release-kit {name}" not in README} == set()


def test_demo_output_is_of_this_demo():
    output = README.partition("<!-- demo output -->")[2].partition("<!-- /demo output -->")[0]
    assert [int(n) for n in re.findall(rf"^\[(\d+)/{N_STAGES}\]", output, re.MULTILINE)] == list(range(1, N_STAGES + 1))
    assert "every step came out as it must" in output
