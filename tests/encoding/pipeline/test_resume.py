"""An analysis that was killed continues to the same bytes; two processes do not work in one folder at once."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from encoding_study_factory import ANALYSIS, write_study

from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import exclusive, iter_files
from release_kit.encoding.pipeline.run import run_analysis
from release_kit.encoding.spec.read import read_analysis

CHILD = """
import os, signal, sys
folder, kill_at = sys.argv[1], int(sys.argv[2])
from release_kit.cli import cli
from release_kit.cli.output import run
count = 0
def hook(event, args):
    # A file takes its name: between two of these nothing that counts changes.
    global count
    if event == "os.rename" and str(args[1]).startswith(folder):
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
code = run(cli, ["encoding", "run", folder])
print(count)
sys.exit(code)
"""
WHOLE = ANALYSIS.replace("n_iter: 0", "n_iter: 2, unions: all") + "mode: both\n"
"""Bands that are searched, every union, both modes."""


def run_child(folder: Path, kill_at: int) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), str(kill_at)], capture_output=True, text=True, timeout=300
    )


def points(child: subprocess.CompletedProcess) -> int:
    """Return how many files took their name."""
    return int(child.stdout.splitlines()[-1])


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file but the dataset."""
    return {name: (folder / name).read_bytes() for name, _ in iter_files(folder) if not name.startswith("dataset/")}


@pytest.mark.slow
def test_killed_anywhere_it_continues_to_the_same_bytes(tmp_path: Path):
    write_study(tmp_path / "clean", subjects=("01",), analysis=WHOLE)
    shutil.copytree(tmp_path / "clean", tmp_path / "whole")
    child = run_child(tmp_path / "whole", 0)
    assert child.returncode == 0, child.stderr
    n_points = points(child)
    expected = contents(tmp_path / "whole")
    assert n_points > 60 and any("partitions/" in name for name in expected)
    assert len({name.split("/")[1] for name in expected if name.startswith("fits/sub-01_both")}) == 2  # one a mode
    # One interrupted at many places in turn, each continuing the one before; then run to its end.
    folder = tmp_path / "killed"
    shutil.copytree(tmp_path / "clean", folder)
    for kill_at in (3, 9, 4, 3, 5, 12, 7, 15):
        assert run_child(folder, kill_at).returncode == -signal.SIGKILL
        assert not (folder / "analysis.json").exists()
    child = run_child(folder, 0)
    assert child.returncode == 0, child.stderr
    assert 0 < points(child) < n_points - 30  # what was complete was kept
    found = contents(folder)
    assert sorted(found) == sorted(expected)
    assert found == expected


def test_a_second_process_is_refused(tmp_path: Path):
    analysis = read_analysis(write_study(tmp_path, subjects=("01",)))
    with exclusive(tmp_path, "analysis"), pytest.raises(ReleaseKitError, match="another analysis is at work here"):
        run_analysis(analysis)
    assert not (tmp_path / "features").exists()


def test_the_same_file_gives_the_same_bytes_in_another_place(tmp_path: Path):
    for name in ("one", "two"):
        run_analysis(read_analysis(write_study(tmp_path / name, subjects=("01",))))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
