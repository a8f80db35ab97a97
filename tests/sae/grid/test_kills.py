"""SIGKILLs of workers and of whole machines, at every stage of a study: it ends with the bytes of an undisturbed one.

The undisturbed run has one worker, the killed ones two: the number of workers changes nothing either.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[2]


def _campaign(folder: Path, n_kills: int, seed: int, **settings: str) -> dict:
    command = [sys.executable, "-m", "sae.grid.campaign", str(folder), str(n_kills), str(seed), json.dumps(settings)]
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS), "HF_HUB_OFFLINE": "1",
        "RELEASE_KIT_CACHE": str(folder / "digests.sqlite"),
    }  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=TESTS)
    assert ran.returncode == 0, ran.stderr[-4000:]
    return json.loads(ran.stdout.splitlines()[-1])


def test_a_few_kills_change_no_byte_of_autoencoders_measures_and_tables(tmp_path: Path):
    asked = ", rules: [released], meanings: words.tsv"
    seen = _campaign(tmp_path, 3, seed=5, sizes="small", nulls="[permuted-languages]", steps="[0, 6]", classify=asked)
    assert seen["kills"] == 3 and seen["n_files"] > 60 and seen["differing"] == []


@pytest.mark.slow
def test_kills_at_every_stage_change_no_byte_of_autoencoders_measures_and_tables(tmp_path: Path):
    seen = _campaign(tmp_path, 21, seed=1)
    stages = {"model", "activations", "train", "written", "measure", "intervene", "done"}
    assert seen["kills"] >= 20 and stages <= set(seen), seen
    assert seen["n_files"] > 250 and seen["differing"] == []


@pytest.mark.slow
def test_kills_change_no_byte_when_autoencoders_are_streamed_together_from_a_warm_start(tmp_path: Path):
    seen = _campaign(tmp_path, 7, seed=2, cache="stream", warm_start="previous-step", sizes="small")
    stages = {"model", "train", "written", "measure", "intervene", "done"}
    assert seen["kills"] == 7 and stages <= set(seen) and seen["differing"] == [], seen
