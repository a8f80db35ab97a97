"""Conversion that is killed, interrupted or runs out of disk: nothing half-written, and the same bytes in the end."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import bids_factory
import pytest
from bids_factory import snapshot
from killing import run_child

from release_kit.bids.convert.run import convert
from release_kit.bids.recipe.read import read_recipe
from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import TEMPORARY_PREFIX

HEARS_INTERRUPTS = (
    "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "sys.argv[0] = 'release-kit'; runpy.run_module('release_kit', run_name='__main__', alter_sys=True)"
)
"""A background job is started with the signal ignored, and its children are too."""
COMMAND = [sys.executable, "-c", HEARS_INTERRUPTS, "bids", "convert"]


@pytest.fixture
def whole(tmp_path: Path, study: Path) -> dict[str, str]:
    """What the dataset is when nothing disturbs its making (which also loads every module that it needs)."""
    folder = tmp_path / "undisturbed"
    bids_factory.make_recordings(folder / "study")
    convert(read_recipe(folder / "study"), folder / "made")
    return snapshot(folder / "made")


def _is_part_of(found: dict[str, str], whole: dict[str, str]) -> bool:
    """Whether every file that has a name of the dataset is whole."""
    return all(whole.get(path) == digest for path, digest in found.items() if TEMPORARY_PREFIX not in path)


def _kill_and_resume(study: Path, out: Path, whole: dict[str, str], point: int) -> None:
    end, _ = run_child(lambda: convert(read_recipe(study), out, workers=1), kill_at=point)
    assert end == "killed", f"point {point} is behind the end"
    if out.exists():
        assert _is_part_of(snapshot(out), whole), f"half-written after a kill at point {point}"
        assert "dataset_description.json" not in snapshot(out) or len(snapshot(out)) >= len(whole)
    convert(read_recipe(study), out)
    assert snapshot(out) == whole, f"other bytes after a kill at point {point}"


def _fresh(study: Path, out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    shutil.rmtree(study / ".release_kit", ignore_errors=True)


def _n_points(study: Path, out: Path) -> int:
    """Count what a conversion does; twice, since the first one remembers digests of sources for all that follow."""
    for _ in range(2):
        end, n = run_child(lambda: convert(read_recipe(study), out, workers=1))
        assert end == "done"
        _fresh(study, out)
    return n


def test_killed_conversion_continues_to_the_same_bytes(study: Path, out: Path, whole: dict[str, str]):
    n = _n_points(study, out)
    for point in (n // 5, n // 2, n - 8):
        _kill_and_resume(study, out, whole, point)
        _fresh(study, out)


@pytest.mark.slow
def test_killed_at_any_of_sixty_points_it_continues_to_the_same_bytes(study: Path, out: Path, whole: dict[str, str]):
    n = _n_points(study, out)
    points = sorted({1 + index * (n - 2) // 59 for index in range(60)})
    assert len(points) >= 50
    for point in points:
        _kill_and_resume(study, out, whole, point)
        _fresh(study, out)


@pytest.mark.slow
def test_change_of_a_dataset_that_is_killed_continues_to_the_same_bytes(study: Path, out: Path, tmp_path: Path):
    """The second conversion replaces and removes; killed anywhere, a third one ends where it would have ended."""
    convert(read_recipe(study), out)
    saved = [shutil.copytree(folder, tmp_path / f"saved-{folder.name}") for folder in (study, out)]
    _change(study)
    end, n = run_child(lambda: convert(read_recipe(study), out, workers=1))
    assert end == "done"
    changed = snapshot(out)
    for point in sorted({1 + index * (n - 2) // 24 for index in range(25)}):
        for copy, folder in zip(saved, (study, out), strict=True):
            shutil.rmtree(folder)
            shutil.copytree(copy, folder)
        _change(study)
        end, _ = run_child(lambda: convert(read_recipe(study), out, workers=1), kill_at=point)
        assert end == "killed"
        convert(read_recipe(study), out)
        assert snapshot(out) == changed, f"other bytes after a kill at point {point}"


def _change(study: Path) -> None:
    bids_factory.replace_in_recipe(study, "age: 28", "age: 29")
    bids_factory.replace_in_recipe(study, "overlap_s: 4}}", 'overlap_s: 4}, missing: {"02": stopped}}')
    os.remove(study / "CD34" / "film_run2.nii.gz")
    annotation = study / "annotations" / "film_story_A02.csv"
    annotation.write_text(annotation.read_text().replace("story_A02 at 0 s", "a door opens"))
    shutil.copyfile(study / "CD34" / "film_run1.nii.gz", study / "AB12" / "keep.tmp")
    os.replace(study / "AB12" / "keep.tmp", study / "CD34" / "film_run1.nii.gz")


@pytest.mark.slow
@pytest.mark.parametrize("n_images", [2, 5])
def test_killed_with_its_workers_at_work_it_leaves_no_process_and_continues(
    n_images: int, study: Path, out: Path, whole: dict[str, str]
):
    process = _started(study, out)
    _wait_for_images(process, n_images)
    workers = _children(process.pid)
    assert workers
    process.kill()
    process.wait()
    process.stderr.close()
    for pid in workers:
        _wait_until_gone(pid)
    assert _is_part_of(snapshot(out), whole)
    convert(read_recipe(study), out)
    assert snapshot(out) == whole


def test_interrupted_conversion_says_so_leaves_no_temporary_file_and_continues(
    study: Path, out: Path, whole: dict[str, str]
):
    process = _started(study, out)
    _wait_for_images(process, 2)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and b"interrupted" in said and b"Traceback" not in said
    found = snapshot(out)
    assert not [path for path in found if TEMPORARY_PREFIX in path] and _is_part_of(found, whole)
    convert(read_recipe(study), out)
    assert snapshot(out) == whole


def _started(study: Path, out: Path) -> subprocess.Popen:
    command = [*COMMAND, str(study), str(out), "--workers", "2"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def _wait_for_images(process: subprocess.Popen, n: int) -> None:
    for line in process.stderr:
        if line.startswith(f"{n}/".encode()):
            return
    raise AssertionError(f"it ended with {process.wait()} before image {n}")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _wait_until_gone(pid: int) -> None:
    """Wait for a process that is not ours to end; the descriptor becomes readable when it does."""
    import select

    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with os.fdopen(descriptor) as gone:
        assert select.select([gone], [], [], 20)[0], f"process {pid} is left"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Return a function that gives a real file system a size in kB and returns its folder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4M", "none", folder], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")

    def resize(size_kb: int) -> Path:
        subprocess.run(["mount", "-o", f"remount,size={size_kb}k", folder], check=True)
        return folder

    yield resize
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("size_kb", [4, 60, pytest.param(90, marks=pytest.mark.slow), 150])
def test_full_disk_is_said_and_nothing_half_written_is_left(
    size_kb: int, study: Path, whole: dict[str, str], small_disk: Callable[[int], Path]
):
    out = small_disk(size_kb) / "dataset"
    with pytest.raises(ReleaseKitError, match="No space left on device") as full:
        convert(read_recipe(study), out)
    assert "free some space" in str(full.value)
    found = snapshot(out) if out.exists() else {}
    assert _is_part_of(found, whole) and not [path for path in found if TEMPORARY_PREFIX in path]
    small_disk(8192)
    convert(read_recipe(study), out)
    assert snapshot(out) == whole


@pytest.mark.slow
def test_file_that_grows_beyond_a_limit_is_said_by_workers_too(study: Path, out: Path, whole: dict[str, str]):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        with pytest.raises(ReleaseKitError, match="cannot be written"):
            convert(read_recipe(study), out, workers=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert _is_part_of(snapshot(out), whole)
    convert(read_recipe(study), out)
    assert snapshot(out) == whole


def test_full_disk_beside_the_recipe_is_said_too(
    tmp_path: Path, out: Path, whole: dict[str, str], small_disk: Callable[[int], Path]
):
    study = bids_factory.make_recordings(small_disk(4096) / "study").parent
    filler = study.parent / "filler"
    filler.write_bytes(b"\0" * shutil.disk_usage(study).free)
    with pytest.raises(ReleaseKitError, match="No space left on device"):
        convert(read_recipe(study), out)
    assert not out.exists()
    filler.write_bytes(b"\0" * (shutil.disk_usage(study).free + filler.stat().st_size - 12_000))
    with pytest.raises(ReleaseKitError, match="No space left on device"):
        convert(read_recipe(study), out)
    assert _is_part_of(snapshot(out), whole)
    filler.unlink()
    convert(read_recipe(study), out)
    assert snapshot(out) == whole


def test_recording_that_changes_while_it_is_read_is_refused(study: Path, out: Path, whole: dict[str, str]):
    source = study / "CD34" / "film_run1.nii.gz"

    def touched_on_the_way() -> None:
        """An audit hook stays for the life of a process, so this runs in a child."""
        seen: list[str] = []

        def hook(event: str, args: tuple) -> None:
            if event == "open" and "images" in seen and str(args[0]) == str(source):
                seen.append("opened")
                if seen.count("opened") == 2:
                    os.utime(source, ns=(1, 1))

        sys.addaudithook(hook)
        with pytest.raises(ReleaseKitError, match="changed while it was read") as refused:
            convert(read_recipe(study), out, workers=1, on_event=lambda event: seen.append(event["event"]))
        assert str(source) in str(refused.value)

    assert run_child(touched_on_the_way)[0] == "done"
    assert "sub-02/func/sub-02_task-film_run-01_bold.nii.gz" not in snapshot(out)
    convert(read_recipe(study), out)
    assert snapshot(out) == whole
