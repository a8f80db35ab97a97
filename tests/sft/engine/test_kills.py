"""Random SIGKILLs over workers and controller: the grid ends with the bytes of an undisturbed one.

The campaign runs in a process of its own, which imports torch once and forks everything from there.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[2]


def _campaign(kind: str, folder: Path, n_kills: int, longest_s: float, seed: int) -> dict:
    command = [sys.executable, "-m", "sft.engine.campaign", kind, str(folder), str(n_kills), str(longest_s), str(seed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS), "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=TESTS)
    assert ran.returncode == 0, ran.stderr[-4000:]
    return json.loads(ran.stdout.splitlines()[-1])


def test_kills_of_workers_and_controllers_change_no_byte_of_units_that_do_little(tmp_path: Path):
    seen = _campaign("trivial", tmp_path, 40, 0.1, seed=1)
    assert seen["kills"] == 40 and {"worker", "controller", "machine"} <= set(seen) and seen["differing"] == []


def test_kills_change_no_byte_of_real_training_and_evaluation(tmp_path: Path):
    seen = _campaign("real", tmp_path, 5, 0.3, seed=2)
    assert seen["kills"] == 5 and seen["n_files"] > 80 and seen["differing"] == []


@pytest.mark.slow
def test_hundred_kills_change_no_byte_of_real_training_and_evaluation(tmp_path: Path):
    seen = _campaign("real", tmp_path, 120, 0.6, seed=3)
    assert seen["kills"] == 120 and {"worker", "controller", "machine"} <= set(seen) and seen["differing"] == []
