"""The Hugging Face cache: what we put there its own client uses offline, and what its client puts there we verify."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hub_by_hand import publish_by_hand
from release_factory import TinyRelease

from release_kit.core.errors import RecordError
from release_kit.core.study import LAYOUTS
from release_kit.hub.server import LocalHub
from release_kit.release.verify.run import VerifyOptions, verify_folder

OFFLINE = """
import json, sys
from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download
answers = {}
for name, repo, revision, path, kind in json.load(sys.stdin):
    answers[name] = hf_hub_download(repo, path, revision=revision, repo_type=kind)
answers["snapshot"] = snapshot_download("lab/tiny", revision="v1.0.0")
scanned = scan_cache_dir()
assert not scanned.warnings, scanned.warnings
assert {repo.repo_id for repo in scanned.repos} >= {"lab/tiny", "lab/tiny-results"}
print(json.dumps(answers))
"""
SNAPSHOT = """
import sys
from huggingface_hub import snapshot_download
for repo, revision, kind in [r.split(",") for r in sys.argv[1:]]:
    print(snapshot_download(repo, revision=revision, repo_type=kind))
"""


def client(code: str, cache: Path, *arguments: str, stdin: str = "", **environment: str) -> str:
    """Run Hugging Face's own client, unmodified, in a process of its own."""
    env = {**os.environ, "HF_HUB_CACHE": str(cache), "HF_HUB_DISABLE_PROGRESS_BARS": "1", **environment}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], input=stdin, capture_output=True, text=True, env=env
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def where(layout: str, cell: str) -> tuple[str, str, str]:
    """Return (repo, revision, folder) under which people know a cell."""
    return {
        "repos": (f"lab/{cell}", "v1.0.0", ""),
        "branches": ("lab/tiny", f"v1.0.0-{cell}", ""),
        "folders": ("lab/tiny", "v1.0.0", f"cells/{cell}/"),
    }[layout]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_client_finds_every_file_offline(
    hub: LocalHub, release: TinyRelease, tmp_path: Path, fetch: Callable, layout: str
) -> None:
    cache = tmp_path / "cache"
    report = fetch(publish_by_hand(hub.endpoint, release, layout), cache, into_cache=True)
    wanted = []
    for cell in release.manifest.cells:
        repo, revision, folder = where(layout, cell.name)
        for entry in cell.files:
            wanted.append((f"cells/{cell.name}/{entry.path}", repo, revision, folder + entry.path, "model"))
    wanted += [(f"results/{e.path}", "lab/tiny-results", "v1.0.0", e.path, "dataset") for e in release.manifest.results]
    wanted += [(f"index/{e.path}", "lab/tiny", "v1.0.0", e.path, "model") for e in release.manifest.index]
    answers = json.loads(client(OFFLINE, cache, stdin=json.dumps(wanted), HF_HUB_OFFLINE="1"))
    assert Path(answers.pop("snapshot")) == report.folder
    assert {name: Path(path).read_bytes() for name, path in answers.items()} == dict(release.files)
    assert verify_folder(report.folder).ok
    assert verify_folder(report.folder).kind == "cache"


def test_weights_are_stored_once_under_the_name_that_the_client_expects(
    hub: LocalHub, release: TinyRelease, tmp_path: Path, fetch: Callable
) -> None:
    reference = publish_by_hand(hub.endpoint, release, "folders")
    fetch(reference, tmp_path / "ours", into_cache=True)
    out = client(SNAPSHOT, tmp_path / "theirs", "lab/tiny,v1.0.0,model", HF_ENDPOINT=hub.endpoint)
    attributes = (Path(out.strip()) / ".gitattributes").resolve().name
    ours, theirs = (
        {path.name for path in (tmp_path / name / "models--lab--tiny" / "blobs").iterdir()} - {attributes}
        for name in ("ours", "theirs")
    )
    assert ours == theirs


def test_a_snapshot_of_the_client_is_verified_through_its_links(
    hub: LocalHub, release: TinyRelease, tmp_path: Path
) -> None:
    publish_by_hand(hub.endpoint, release, "folders")
    snapshot = Path(client(SNAPSHOT, tmp_path, "lab/tiny,v1.0.0,model", HF_ENDPOINT=hub.endpoint).strip())
    assert verify_folder(snapshot).ok
    weights = snapshot / "cells" / "lima-s0" / "model.safetensors"
    assert weights.is_symlink()
    blob = weights.resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    report = verify_folder(snapshot)
    assert [(d.code, d.where) for d in report.differences] == [("changed", "cells/lima-s0/model.safetensors")]
    weights.unlink()
    weights.symlink_to(tmp_path / "gone")
    assert [d.code for d in verify_folder(snapshot).differences] == ["missing"]


def test_snapshots_of_single_repos_are_verified_with_the_manifest(
    hub: LocalHub, release: TinyRelease, tmp_path: Path
) -> None:
    publish_by_hand(hub.endpoint, release, "repos")
    wishes = ["lab/lima-s0,v1.0.0,model", "lab/tiny-results,v1.0.0,dataset", "lab/tiny,v1.0.0,model"]
    cell, results, index = map(Path, client(SNAPSHOT, tmp_path, *wishes, HF_ENDPOINT=hub.endpoint).split())
    manifest = index / "manifest.json"
    with pytest.raises(RecordError, match="--manifest FILE"):
        verify_folder(cell)
    assert verify_folder(cell, VerifyOptions(manifest=manifest)).ok
    assert verify_folder(cell, VerifyOptions(manifest=manifest, cell="lima-s0")).n_files == 7
    wrong = verify_folder(cell, VerifyOptions(manifest=manifest, cell="lima-s1"))
    assert not wrong.ok
    assert verify_folder(results, VerifyOptions(manifest=manifest)).ok
    whole = verify_folder(index)
    assert whole.ok
    assert whole.n_cells == 1
    assert whole.not_downloaded == ("alpaca-s0", "alpaca-s1", "lima-s1")
    assert whole.n_files == 7 + 2 + 2
    (cell / "config.json").unlink()
    assert [d.where for d in verify_folder(index).differences] == ["cells/lima-s0/config.json"]


def test_a_second_call_into_the_cache_asks_for_no_content(
    hub: LocalHub, release: TinyRelease, tmp_path: Path, fetch: Callable
) -> None:
    reference = publish_by_hand(hub.endpoint, release, "folders")
    fetch(reference, tmp_path, into_cache=True, select=("dataset=lima",))
    hub.clear_requests()
    report = fetch(reference, tmp_path, into_cache=True, select=("dataset=lima",))
    asked = {record.path.rsplit("/", 1)[-1] for record in hub.requests if "/resolve/" in record.path}
    assert asked == {"manifest.json", "placement.json", "manifest.sigstore.json"}
    assert verify_folder(report.folder).not_downloaded == ("alpaca-s0", "alpaca-s1")
