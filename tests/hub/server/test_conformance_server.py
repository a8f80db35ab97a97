"""The unmodified clients do everything they do with the public Hub, through LFS and through Xet.

The clients read their settings when they are imported, so each runs in a process with its own HF_HOME.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parent / "clients"
MODES = pytest.mark.parametrize("mode", ["lfs", "xet"])


def run_client(hub, tmp_path: Path, script: str, mode: str) -> list[str]:
    """Run a client script and return the names of the steps that it passed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment |= {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1" if mode == "lfs" else "0",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_TOKEN": "hf_anything",
    }
    command = [sys.executable, str(CLIENTS / script), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return [line.split()[1] for line in done.stdout.splitlines() if line.startswith("passed ")]


@MODES
def test_huggingface_hub_and_its_command_line(hub, tmp_path, mode):
    steps = run_client(hub, tmp_path, "hub_client.py", mode)
    assert len(steps) == 20
    used_xet = any("xet-write-token" in record.path for record in hub.requests)
    used_lfs = any(record.path.endswith("/objects/batch") for record in hub.requests)
    assert (used_lfs, used_xet) == ((True, False) if mode == "lfs" else (False, True))
    assert not [record for record in hub.requests if record.status >= 500]


@pytest.mark.slow
@MODES
def test_datasets_library(hub, tmp_path, mode):
    assert len(run_client(hub, tmp_path, "datasets_client.py", mode)) == 3
    assert not [record for record in hub.requests if record.status >= 500]


@pytest.mark.slow
@MODES
def test_transformers_library(hub, tmp_path, mode):
    assert len(run_client(hub, tmp_path, "transformers_client.py", mode)) == 2
    assert not [record for record in hub.requests if record.status >= 500]
