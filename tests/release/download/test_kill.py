"""``download`` killed at any request and at any byte, then run again: always the same end, and little is sent twice."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from download_children import Downloads
from hub_by_hand import publish_by_hand
from publish_hub import Children, KillAfter, Victim
from release_factory import TinyRelease

from release_kit.hub.server import LocalHub
from release_kit.release.verify.run import verify_folder

FEW_REQUESTS, FEW_BYTES = (2, 9, 20), (0, 3000, 17_000, 35_000)
N_BYTE_POINTS = 40


@pytest.fixture(scope="module")
def downloads() -> Iterator[Downloads]:
    """Start the helper that forks downloads once."""
    with Downloads() as helper:
        yield helper


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    """Start the helper that forks commands once."""
    with Children() as helper:
        yield helper


def end_state(folder: Path) -> dict[str, bytes | str]:
    """Return everything that a reader can see, links as what they point to, and the selection."""
    state: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            state[name] = os.readlink(path)
        elif path.is_file() and path.name != "lock":
            state[name] = path.read_bytes()
    return state


def assert_nothing_wrong_is_named(folder: Path, release: TinyRelease) -> None:
    """What stands under a final name after a kill is right."""
    for path, data in release.files.items():
        if (folder / path).exists():
            assert (folder / path).read_bytes() == data


def killed_at_bytes(reference: str, release: TinyRelease, root: Path, downloads: Downloads, points) -> int:
    assert downloads.run(reference, root / "undisturbed") == 0
    expected = end_state(root / "undisturbed")
    n_killed = 0
    for at in points:
        folder = root / f"byte-{at}"
        code = downloads.run(reference, folder, at_byte=at)
        if code == 0:
            break
        assert code == -9
        assert_nothing_wrong_is_named(folder, release)
        assert downloads.run(reference, folder) == 0
        assert end_state(folder) == expected, f"killed at byte {at}"
        assert verify_folder(folder).ok
        shutil.rmtree(folder)
        n_killed += 1
    return n_killed


def killed_at_requests(root: Path, release: TinyRelease, children: Children, points, *, into_cache: bool) -> int:
    log = KillAfter()
    n_killed = 0
    options = ["--json", *(["--into-cache"] if into_cache else [])]
    with LocalHub(root / "hub", log=log) as hub:
        reference = publish_by_hand(hub.endpoint, release, "folders" if into_cache else "repos")
        assert children.publish(["download", reference, str(root / "undisturbed"), *options]) == 0
        expected = end_state(root / "undisturbed")
        for at in points:
            folder = root / f"request-{at}"
            log.victim = Victim(at, before=False)
            code = children.publish(["download", reference, str(folder), *options], log.victim)
            log.victim = None
            if code == 0:
                break
            assert code == -9
            if not into_cache:
                assert_nothing_wrong_is_named(folder, release)
            assert children.publish(["download", reference, str(folder), *options]) == 0
            assert end_state(folder) == expected, f"killed at request {at}"
            shutil.rmtree(folder)
            n_killed += 1
    return n_killed


def test_download_killed_at_a_few_bytes_ends_in_the_same_state(
    reference: str, release: TinyRelease, tmp_path: Path, downloads: Downloads
) -> None:
    assert killed_at_bytes(reference, release, tmp_path, downloads, FEW_BYTES) == len(FEW_BYTES)


@pytest.mark.parametrize("into_cache", [False, True])
def test_download_killed_at_a_few_requests_ends_in_the_same_state(
    release: TinyRelease, tmp_path: Path, children: Children, into_cache: bool
) -> None:
    n = killed_at_requests(tmp_path, release, children, FEW_REQUESTS, into_cache=into_cache)
    assert n == len(FEW_REQUESTS)


@pytest.mark.slow
def test_download_killed_at_fifty_points_and_more_ends_in_the_same_state(
    reference: str, release: TinyRelease, tmp_path: Path, downloads: Downloads, children: Children
) -> None:
    size = sum({data: len(data) for data in release.files.values()}.values())
    points = range(0, size, size // N_BYTE_POINTS)
    at_bytes = killed_at_bytes(reference, release, tmp_path, downloads, points)
    at_requests = killed_at_requests(tmp_path / "folder", release, children, range(1, 100), into_cache=False)
    in_cache = killed_at_requests(tmp_path / "cache", release, children, range(1, 100), into_cache=True)
    print(f"download killed and resumed: {at_bytes} bytes, {at_requests} requests, {in_cache} requests into the cache")
    assert at_bytes >= N_BYTE_POINTS
    assert at_requests + in_cache >= 50


def test_what_arrived_before_a_kill_is_not_sent_again(
    hub: LocalHub, reference: str, release: TinyRelease, tmp_path: Path, downloads: Downloads
) -> None:
    size = sum({data: len(data) for data in release.files.values()}.values())
    assert downloads.run(reference, tmp_path / "copy", at_byte=size * 3 // 4) == -9
    hub.clear_requests()
    assert downloads.run(reference, tmp_path / "copy") == 0
    beside = len(release.manifest.to_bytes()) + 4000
    assert sum(record.n_bytes_out for record in hub.requests) < size // 2 + beside
