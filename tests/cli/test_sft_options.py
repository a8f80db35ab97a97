"""A wrong option is refused before any worker starts."""

from pathlib import Path

import pytest
from cli_in_process import release_kit


@pytest.mark.parametrize("command", [["sft", "run"], ["sft", "worker"]])
def test_device_that_does_not_exist_is_wrong_usage(command: list[str], tmp_path: Path):
    ran = release_kit(*command, tmp_path, "--device", "tpu")
    assert ran.returncode == 2
    assert "'tpu' is not a device; use cpu, cuda" in ran.stderr
