"""A save that is killed, process group and all, loses nothing and ends in the same tree when it is run again."""

import hashlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from versioning_factory import AUTHOR, DATE, RUNS, git, make_dataset, writable, write

from release_kit.bids.versioning.save import save_version
from release_kit.bids.versioning.verify import verify_dataset

EVENTS = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "subprocess.Popen", "fcntl.flock", "os.listdir"})


def killed(function: Callable[[], object], at: int, delay_s: float) -> bool:
    """Run ``function`` in a process group of its own and kill the group; return whether it was killed.

    Args:
        function: what to run.
        at: the event (a file opened, a process started …) at which the clock starts, counted from 1.
        delay_s: how long after that event every process is killed, so that git and git-annex are hit at work.
    """
    pid = os.fork()
    if pid == 0:
        _child(function, at, delay_s)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


def _child(function: Callable[[], object], at: int, delay_s: float) -> None:
    os.setpgid(0, 0)
    count = 0

    def strike(*_: object) -> None:
        os.killpg(0, signal.SIGKILL)

    def hook(event: str, args: tuple) -> None:
        nonlocal count
        if event in EVENTS:
            count += 1
            if count == at:
                signal.setitimer(signal.ITIMER_REAL, delay_s) if delay_s else strike()

    code = 1
    try:
        signal.signal(signal.SIGALRM, strike)
        sys.addaudithook(hook)
        function()
        code = 0
    finally:
        os._exit(code)


def contents(folder: Path) -> set[bytes]:
    """Return the digests of everything in a folder, git's own folder included."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {hashlib.sha256(path.read_bytes()).digest() for path in files}


def first(folder: Path) -> None:
    save_version(folder, version="1.0.0", author=AUTHOR, date=DATE)


def second(folder: Path) -> None:
    save_version(folder, version="2.0.0", author=AUTHOR, date=DATE, everything=True)


def change(folder: Path) -> None:
    write(folder / RUNS[0], b"measured again" * 300)
    (folder / RUNS[3]).unlink()
    write(folder / "sub-03" / "func" / "sub-03_task-film_run-01_bold.nii.gz", b"a third person" * 300)
    write(folder / "participants.tsv", b"participant_id\nsub-01\nsub-02\nsub-03\n")


def trees(folder: Path) -> list[str]:
    make_dataset(folder)
    first(folder)
    change(folder)
    second(folder)
    return [git(folder, "rev-parse", f"{version}^{{tree}}") for version in ("1.0.0", "2.0.0")]


def check_kills(tmp_path: Path, n: int, delays_s: tuple[float, ...]) -> None:
    """Kill saves at ``n`` points, each continued by the next, and hold what is there against an undisturbed save."""
    expected = trees(tmp_path / "undisturbed")
    n_killed, number = 0, 0
    while n_killed < n:
        folder = tmp_path / f"killed-{number}"
        make_dataset(folder)
        for save, tree in ((first, expected[0]), (second, expected[1])):
            if save is second:
                change(folder)
            text = {path: path.read_bytes() for path in folder.rglob("*.nii.gz") if ".git" not in path.parts}
            for point in range(number + 3, 400, 7):
                hit = killed(lambda save=save, folder=folder: save(folder), point, delays_s[point % len(delays_s)])
                n_killed += hit
                lost = [path for path, data in text.items() if not path.is_file() or path.read_bytes() != data]
                assert not lost, f"lost after a kill at point {point}: {lost}"
                if not hit:
                    break
            save(folder)
            assert git(folder, "rev-parse", "HEAD^{tree}") == tree
        assert git(folder, "tag", "--list").split() == ["1.0.0", "2.0.0"]
        assert git(folder, "status", "--short") == "" and not list(folder.glob(".rk-tmp*"))
        assert verify_dataset(folder, complete=True).ok
        number += 1
    writable(tmp_path)


def test_killed_save_continues_to_the_same_tree(tmp_path: Path):
    expected = trees(tmp_path / "undisturbed")[0]
    folder = make_dataset(tmp_path / "killed")
    before = contents(folder)
    for point, delay_s in ((4, 0.0), (20, 0.03), (40, 0.0)):
        assert killed(lambda: first(folder), point, delay_s)
        assert before - contents(folder) <= {hashlib.sha256(b"1.0.0 Not Released\n  - First version.\n").digest()}
    first(folder)
    assert git(folder, "rev-parse", "HEAD^{tree}") == expected
    assert verify_dataset(folder, complete=True).ok
    writable(tmp_path)


@pytest.mark.slow
def test_save_killed_at_fifty_points_loses_nothing_and_ends_in_the_same_tree(tmp_path: Path):
    check_kills(tmp_path, 50, (0.0, 0.02, 0.05, 0.1, 0.0))


def test_lock_files_of_somebody_elses_git_are_left_alone(saved: Path):
    lock = saved / ".git" / "index.lock"
    lock.write_bytes(b"")
    write(saved / "participants.tsv", b"participant_id\n")
    with pytest.raises(Exception, match=r"index\.lock"):
        save_version(saved, version="1.1.0", author=AUTHOR, date=DATE, everything=True)
    assert lock.exists()
