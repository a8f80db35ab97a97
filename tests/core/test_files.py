"""Writing: the old bytes or the new ones, whatever happens. Paths from strangers stay inside their folder."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.core import files
from release_kit.core.errors import ReleaseKitError, UnsafePathError


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.startswith(files.TEMPORARY_PREFIX)]


def test_same_bytes_are_not_written_again(tmp_path):
    path = tmp_path / "a" / "b.json"
    assert files.write_atomic(path, b"one") is True
    before = path.stat()
    assert files.write_atomic(path, b"one") is False
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino
    assert files.write_atomic(path, b"two") is True
    assert path.read_bytes() == b"two"
    assert leftovers(tmp_path) == []


def test_a_failing_writer_leaves_the_old_bytes_and_no_temporary_file(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def interrupted():
        with files.open_atomic(path) as stream:
            stream.write(b"half of the new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert leftovers(tmp_path) == []


def test_a_full_disk_is_a_clear_error_and_keeps_the_old_bytes(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(ReleaseKitError, match="cannot be written") as caught:
            files.write_atomic(path, b"n" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.where == str(path)
    assert caught.value.next_step
    assert path.read_bytes() == b"old"
    assert leftovers(tmp_path) == []


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="no /dev/full on this machine")
def test_no_space_left_says_so():
    try:
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")
    except OSError as error:
        told = files.write_error(Path("release/manifest.json"), error)
    assert "No space left on device" in str(told)
    assert "free some space" in told.next_step


def test_a_target_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ReleaseKitError, match="cannot be written"):
        files.write_atomic(tmp_path / "file" / "x", b"data")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ReleaseKitError, match="Is a directory"):
        files.write_atomic(tmp_path / "folder", b"data")
    assert leftovers(tmp_path) == []


KILLED_WRITER = """
    import sys
    from pathlib import Path
    from release_kit.core.files import write_atomic
    path, old, new = Path(sys.argv[1]), b"o" * 300_000, b"n" * 300_000
    print("ready", flush=True)
    while True:
        write_atomic(path, new, durable=False)
        write_atomic(path, old, durable=False)
"""


def test_a_killed_writer_never_leaves_a_part_under_the_name(tmp_path):
    path = tmp_path / "x"
    seen = set()
    for kill in range(6):
        command = [sys.executable, "-c", textwrap.dedent(KILLED_WRITER), str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout.readline() == b"ready\n"
            while not path.exists():
                assert writer.poll() is None
            for _ in range(kill):
                seen.add(path.read_bytes())
            writer.kill()
        seen.add(path.read_bytes())
    assert seen <= {b"o" * 300_000, b"n" * 300_000}
    assert [found for found, _ in files.iter_files(tmp_path)] == ["x"]


PARTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8) | st.sampled_from(
    ["..", ".", "", "a", "C:", "C:x", "~", "a\\b", "a\0b", "..."]
)


@given(st.lists(PARTS, min_size=1, max_size=5).map("/".join))
def test_a_safe_path_stays_inside_and_means_itself(text):
    try:
        path = files.safe_relative_path(text)
    except UnsafePathError as error:
        assert "nothing was written" in error.next_step
        return
    assert path == text
    assert os.path.normpath(path) == path
    root = os.path.abspath("root")
    assert os.path.abspath(os.path.join(root, path)).startswith(root + os.sep)


UNSAFE = ["", "/etc/passwd", "..", "a/../b", "a//b", "./a", "a/.", "a/", "C:/x", "c:x", "a\\b", "a\nb", "a\0b"]
UNSAFE += ["x" * 4097, "a\ud800b", "a\udcff"]


@pytest.mark.parametrize("text", UNSAFE)
def test_paths_that_leave_or_disguise_are_refused(text):
    with pytest.raises(UnsafePathError):
        files.safe_relative_path(text)


@pytest.mark.parametrize("text", ["a", "a/b.c", "...", "..a", "a b", "ünï/文字", ".eval_results/x.yaml", "~x"])
def test_plain_paths_are_left_alone(text):
    assert files.safe_relative_path(text) == text


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "link").symlink_to(outside)
    (root / "inner").mkdir()
    (root / "good").symlink_to(root / "inner")
    with pytest.raises(UnsafePathError, match="symbolic link"):
        files.inside(root, "link/file")
    assert files.inside(root, "good/file") == root / "good" / "file"
    assert files.inside(root, "new/folder/file") == root / "new" / "folder" / "file"


def test_listing_is_sorted_and_leaves_out_state_and_temporary_files(tmp_path):
    for name in ("b", "a/z", "a.b", f"{files.TEMPORARY_PREFIX}x", f"{files.STATE_FOLDER}/journal", "c/d/e"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "linked").symlink_to(tmp_path / "b")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = dict(files.iter_files(tmp_path))
    assert list(found) == sorted(found) == ["a.b", "a/z", "b", "c/d/e", "linked"]
    assert found["linked"].st_size == 1


@pytest.mark.parametrize("letter", ["x", "漢", "🦜"])
def test_the_longest_names_can_be_written(tmp_path, letter):
    name = letter * (255 // len(letter.encode()))
    assert files.write_atomic(tmp_path / name, b"x") is True
    assert os.listdir(tmp_path) == [name]


def test_a_lock_of_a_process_that_is_just_going_away_is_waited_for(tmp_path: Path):
    code = "import sys, time; from pathlib import Path; from release_kit.core.files import exclusive\n"
    code += "with exclusive(Path(sys.argv[1]), 'training'): print('held', flush=True); time.sleep(1)"
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(ReleaseKitError, match="another training is at work"), files.exclusive(tmp_path, "training"):
            pytest.fail("two hold it")
        with files.exclusive(tmp_path, "training", wait_s=30):
            pass
    assert holder.returncode == 0
