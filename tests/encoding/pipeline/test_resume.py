"""An analysis that was killed continues to the same bytes; two processes do not work in one folder at once."""

import json
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
from pathlib import Path
folder, kill_at = sys.argv[1], int(sys.argv[2])
from release_kit.encoding.pipeline.run import run_analysis
from release_kit.encoding.spec.read import read_analysis
count = 0
def hook(event, args):
    # A file takes its name: between two of these nothing that counts changes.
    global count
    if event == "os.rename" and str(args[1]).startswith(folder) and ".release_kit" not in str(args[1]):
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
run_analysis(read_analysis(Path(folder)))
print(count)
"""
LAYERS = ANALYSIS.replace("n_iter: 0", "n_iter: 0, unions: all")


def run_child(folder: Path, kill_at: int) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), str(kill_at)], capture_output=True, text=True, timeout=300
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file but the dataset; clock values of fits are no part of what is compared."""
    found = {}
    for name, _ in iter_files(folder):
        if not name.startswith("dataset/"):
            data = (folder / name).read_bytes()
            if name.endswith("fit.json"):
                record = json.loads(data)
                assert record["facts"].pop("seconds") >= 0
                data = json.dumps(record).encode()
            found[name] = data
    return found


@pytest.mark.slow
def test_killed_anywhere_it_continues_to_the_same_bytes(tmp_path: Path):
    write_study(tmp_path / "clean", subjects=("01",), analysis=LAYERS)
    shutil.copytree(tmp_path / "clean", tmp_path / "whole")
    child = run_child(tmp_path / "whole", 0)
    assert child.returncode == 0, child.stderr
    n_points = int(child.stdout)
    expected = contents(tmp_path / "whole")
    assert n_points > 30 and any("partitions/" in name for name in expected)
    # One interrupted at many places in turn, each continuing the one before; then run to its end.
    folder = tmp_path / "killed"
    shutil.copytree(tmp_path / "clean", folder)
    for kill_at in (3, 9, 4, 3, 5):
        assert run_child(folder, kill_at).returncode == -signal.SIGKILL
        assert not (folder / "analysis.json").exists()
    child = run_child(folder, 0)
    assert child.returncode == 0, child.stderr
    assert 0 < int(child.stdout) < n_points - 15  # what was complete was kept
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
