"""Whatever a Hub does wrong: the download goes on, or stops with a sentence, and no wrong byte gets a final name."""

import hashlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from hub_by_hand import ByHand, publish_by_hand
from release_factory import TinyRelease

from release_kit.core.canonical import canonical_bytes
from release_kit.core.errors import HubError, IntegrityError, RecordError, ReleaseKitError, UnsafePathError
from release_kit.core.manifest import root_digest
from release_kit.core.placement import Placement
from release_kit.hub.errors import UnreachableError
from release_kit.hub.pacing import Patience
from release_kit.hub.reference import Repo
from release_kit.hub.server import Fault, LocalHub
from release_kit.release.verify.run import verify_folder

WEIGHTS = r"lima-s0/resolve/\w+/model\.safetensors"
PASSING = {
    "503 once": Fault(kind="status", status=503, path="resolve", nth=(1, 9)),
    "429 with Retry-After": Fault(kind="status", status=429, retry_after_s=0, path="resolve", nth=(3,)),
    "429 with RateLimit": Fault(kind="status", status=429, rate_limit_reset_s=0, path="api", nth=(1,)),
    "500 at every third": Fault(kind="status", status=500, path=WEIGHTS, every=3),
    "reset at every fourth": Fault(kind="reset", path="resolve", every=4),
    "lost reply at every fifth": Fault(kind="lost-reply", path="resolve", every=5),
    "truncated at every third": Fault(kind="truncate-body", path="resolve", every=3),
    "truncated five times": Fault(kind="truncate-body", path=WEIGHTS, nth=(1, 2, 3, 4, 5), at_byte=1500),
    "corrupted once": Fault(kind="corrupt-body", path=WEIGHTS, nth=(1,)),
    "main moved by someone else": Fault(kind="move-main", path="revision", nth=(1,)),
}


def final_files(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and ".release_kit" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def assert_only_right_bytes(folder: Path, release: TinyRelease) -> None:
    """No file stands under its final name with anything but its content; the manifest, written last, is not there."""
    for path, data in final_files(folder).items():
        assert release.files[path] == data, path


@pytest.mark.parametrize("name", PASSING)
def test_a_fault_that_passes_does_not_change_the_download(
    hub: LocalHub, release: TinyRelease, reference: str, tmp_path: Path, fetch: Callable, name: str
) -> None:
    hub.set_faults([PASSING[name]])
    fetch(reference, tmp_path / "copy", patience=Patience(tries=5, base_s=0.01, pause_s=0.02))
    assert verify_folder(tmp_path / "copy").ok
    got = final_files(tmp_path / "copy")
    assert {path: got[path] for path in release.files} == dict(release.files)


def test_a_truncated_body_is_continued_where_it_broke_off(
    hub: LocalHub, release: TinyRelease, reference: str, tmp_path: Path, fetch: Callable
) -> None:
    hub.set_faults([Fault(kind="truncate-body", path=WEIGHTS, nth=(1,), at_byte=4000)])
    report = fetch(reference, tmp_path / "copy")
    size = len(release.files["cells/lima-s0/model.safetensors"])
    sent = [
        record.n_bytes_out for record in hub.requests if "lima-s0/resolve" in record.path and "model." in record.path
    ]
    assert len(sent) == 2
    assert sent[1] == size - 4000
    assert report.outcome.n_bytes_fetched < sum(len(data) for data in release.files.values())


def test_content_that_stays_wrong_is_named_and_never_kept(
    hub: LocalHub, release: TinyRelease, reference: str, tmp_path: Path, fetch: Callable
) -> None:
    hub.set_faults([Fault(kind="corrupt-body", path=r"(lima-s0|alpaca-s1)/resolve/\w+/model\.safetensors")])
    with pytest.raises(IntegrityError) as raised:
        fetch(reference, tmp_path / "copy")
    assert "lab/lima-s0" in str(raised.value)
    assert "lab/alpaca-s1" in str(raised.value)
    assert "expected sha256" in str(raised.value)
    assert_only_right_bytes(tmp_path / "copy", release)
    with pytest.raises(RecordError, match="interrupted"):
        verify_folder(tmp_path / "copy")
    hub.clear_faults()
    hub.clear_requests()
    fetch(reference, tmp_path / "copy")
    assert sum("/resolve/" in record.path for record in hub.requests) <= 5
    assert verify_folder(tmp_path / "copy").ok


def test_a_file_deleted_behind_the_release_is_named(
    hub: LocalHub, release: TinyRelease, reference: str, tmp_path: Path, fetch: Callable
) -> None:
    hub.set_faults([Fault(kind="delete-file", path=WEIGHTS, place="content", nth=(1,))])
    with pytest.raises(HubError, match=r"lima-s0@\w+/model\.safetensors"):
        fetch(reference, tmp_path / "copy")
    assert_only_right_bytes(tmp_path / "copy", release)


def test_a_hub_that_vanishes_is_reported_once_and_what_came_is_kept(
    hub: LocalHub, release: TinyRelease, reference: str, tmp_path: Path, fetch: Callable
) -> None:
    hub.set_faults([Fault(kind="reset", path=r"resolve/\w+/(model|config|cell)")])
    with pytest.raises(UnreachableError) as raised:
        fetch(reference, tmp_path / "copy")
    assert str(raised.value).count("no answer from") == 1
    assert_only_right_bytes(tmp_path / "copy", release)
    hub.clear_faults()
    fetch(reference, tmp_path / "copy")
    assert verify_folder(tmp_path / "copy").ok


def test_nobody_at_the_address_is_one_sentence(tmp_path: Path, fetch: Callable) -> None:
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9"):
        fetch("http://127.0.0.1:9/lab/tiny@v1.0.0", tmp_path / "copy")
    assert final_files(tmp_path / "copy") == {}


def test_a_repo_that_is_no_release_is_refused_with_the_command_for_it(
    hub: LocalHub, reference: str, tmp_path: Path, fetch: Callable
) -> None:
    with pytest.raises(HubError, match=r"is not a release.*release-kit audit lab/lima-s0"):
        fetch(f"{hub.endpoint}/lab/lima-s0@v1.0.0", tmp_path / "copy")


def _manifest(release: TinyRelease, at: str, **changes) -> bytes:
    """Return the manifest with one file entry changed and the root digest made to fit."""
    value = release.manifest.to_dict()
    group, inner = at.rsplit("/", 1)
    for cell in value["cells"]:
        for entry in cell["files"]:
            if (f"cells/{cell['name']}", entry["path"]) == (group, inner):
                entry |= changes
    groups = [(f"cells/{cell['name']}", cell["files"]) for cell in value["cells"]]
    groups += [(name, value[name]) for name in ("index", "results")]
    files = [(f"{g}/{e['path']}", e["size_bytes"], e["sha256"]) for g, entries in groups for e in entries]
    value["root"] = root_digest(files)
    return canonical_bytes(value) + b"\n"


def _publish_with(hub: LocalHub, release: TinyRelease, manifest: bytes) -> str:
    publish_by_hand(hub.endpoint, release)
    placement = _placement(hub)
    placement["manifest_sha256"] = hashlib.sha256(manifest).hexdigest()
    data = Placement.from_dict(placement).to_bytes()
    return _again(hub, {"manifest.json": manifest, "placement.json": data})


def _placement(hub: LocalHub) -> dict:
    with urllib.request.urlopen(f"{hub.endpoint}/lab/tiny/resolve/v1.0.0/placement.json") as reply:
        return json.loads(reply.read())


def _again(hub: LocalHub, files: dict[str, bytes]) -> str:
    """Commit files over the index repo and return a reference to that commit."""
    with ByHand(hub.endpoint) as hand:
        commit = hand.commit(Repo("lab/tiny"), "main", files)
    return f"{hub.endpoint}/lab/tiny@{commit}"


@pytest.mark.parametrize("path", ["../../outside.txt", "/etc/outside", "a/../../outside", "C:/outside", "a\\b", "a//b"])
def test_a_manifest_with_a_path_that_leaves_the_folder_writes_nothing(
    hub: LocalHub, release: TinyRelease, tmp_path: Path, fetch: Callable, path: str
) -> None:
    reference = _publish_with(hub, release, _manifest(release, "cells/lima-s0/config.json", path=path))
    with pytest.raises(UnsafePathError):
        fetch(reference, tmp_path / "inner" / "copy")
    assert final_files(tmp_path / "inner") == {}
    assert not (tmp_path / "outside.txt").exists()


@pytest.mark.parametrize("size", [10, 10**5])
def test_a_lie_about_a_size_ends_in_an_error_and_no_file(
    hub: LocalHub, release: TinyRelease, tmp_path: Path, fetch: Callable, size: int
) -> None:
    path = "cells/lima-s0/model.safetensors"
    reference = _publish_with(hub, release, _manifest(release, path, size_bytes=size))
    hub.clear_requests()
    with pytest.raises(HubError if size > 10**4 else IntegrityError, match="lima-s0"):
        fetch(reference, tmp_path / "copy")
    assert not (tmp_path / "copy" / path).exists()
    if size == 10:
        assert all(record.n_bytes_out == 10 for record in hub.requests if is_weights("lima-s0", record.path))


def is_weights(cell: str, path: str) -> bool:
    return f"{cell}/resolve/" in path and path.endswith("model.safetensors")


def test_a_download_that_does_not_fit_on_the_disk_is_refused_before_it_starts(
    hub: LocalHub, release: TinyRelease, tmp_path: Path, fetch: Callable
) -> None:
    huge = _manifest(release, "cells/lima-s0/model.safetensors", size_bytes=10**17)
    reference = _publish_with(hub, release, huge)
    hub.clear_requests()
    with pytest.raises(ReleaseKitError, match=r"the disk has .* free, the download needs 100000\.0 TB.*--select"):
        fetch(reference, tmp_path / "copy")
    assert not any("model.safetensors" in record.path for record in hub.requests)
    fetch(reference, tmp_path / "copy", select=("dataset=alpaca",))  # fewer cells, as the message says


def test_manifest_and_placement_of_two_releases_are_refused(
    hub: LocalHub, release: TinyRelease, tmp_path: Path, fetch: Callable
) -> None:
    publish_by_hand(hub.endpoint, release)
    other = _manifest(release, "cells/lima-s0/config.json", size_bytes=1)
    with pytest.raises(IntegrityError, match="do not belong together"):
        fetch(_again(hub, {"manifest.json": other}), tmp_path / "copy")
    assert final_files(tmp_path / "copy") == {}


@pytest.mark.parametrize(
    "change", [{"repo_id": "../../etc/passwd"}, {"repo_id": "a/b/c"}, {"repo_type": "secret"}, {"revision": "main"}]
)
def test_a_placement_that_points_to_no_repo_at_a_commit_is_refused(
    hub: LocalHub, release: TinyRelease, tmp_path: Path, fetch: Callable, change: dict
) -> None:
    publish_by_hand(hub.endpoint, release)
    placement = _placement(hub)
    placement["cells"]["lima-s0"] |= change
    with pytest.raises(RecordError, match="is not a repo at a commit"):
        fetch(_again(hub, {"placement.json": canonical_bytes(placement)}), tmp_path / "copy")
    assert final_files(tmp_path / "copy") == {}


def test_a_folder_of_the_target_that_leads_elsewhere_is_refused(
    release: TinyRelease, reference: str, tmp_path: Path, fetch: Callable
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "cells").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafePathError, match="symbolic link"):
        fetch(reference, tmp_path / "copy", update=True)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_target_that_cannot_be_written_is_one_sentence(reference: str, fetch: Callable) -> None:
    with pytest.raises(ReleaseKitError, match=r"/proc/.*cannot be written"):
        fetch(reference, Path("/proc/release-kit-copy"))


def _limited(reference: str, folder: Path, limit: int, token: str = "") -> subprocess.CompletedProcess:
    """Download in a process that may not write files over ``limit`` bytes: what a full disk or a quota does."""
    code = (
        "import resource, sys; from release_kit.cli import main;"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
        "main(sys.argv[1:])"
    )
    return subprocess.run(
        [sys.executable, "-c", code, "download", reference, str(folder), "--json"],
        capture_output=True, text=True, env={**os.environ, "HF_TOKEN": token},
    )  # fmt: skip


def test_a_disk_that_takes_no_more_leaves_no_half_file_under_a_final_name(
    hub: LocalHub, release: TinyRelease, reference: str, tmp_path: Path, fetch: Callable
) -> None:
    done = _limited(reference, tmp_path / "copy", 8192)
    assert done.returncode == 1
    assert "cannot be written (File too large)" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout)["ok"] is False
    assert_only_right_bytes(tmp_path / "copy", release)
    fetch(reference, tmp_path / "copy")
    assert verify_folder(tmp_path / "copy").ok


def test_a_token_never_shows(hub: LocalHub, reference: str, tmp_path: Path) -> None:
    secret = "hf_" + "S3cret" * 6
    hub.set_faults([Fault(kind="status", status=403, path="resolve")])
    done = _limited(reference, tmp_path / "copy", 1 << 20, secret)
    assert done.returncode == 1
    assert secret not in done.stdout + done.stderr
    state = b"".join(path.read_bytes() for path in (tmp_path / "copy").rglob("*") if path.is_file())
    assert secret.encode() not in state
