"""Verify against a Hub, by metadata and by sample."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_by_hand import ByHand, publish_by_hand
from release_factory import TinyRelease, make_release
from study_factory import read_tensors, write_safetensors

from release_kit.core.study import LAYOUTS
from release_kit.hub.client import HubClient
from release_kit.hub.reference import Repo, parse_reference
from release_kit.hub.server import Fault, LocalHub
from release_kit.release.download.release import DownloadOptions, download_release
from release_kit.release.download.source import open_remote
from release_kit.release.verify.remote import verify_remote
from release_kit.release.verify.sample import HubReader, LocalReader, Sample, sample

WEIGHTS = "cells/lima-s0/model.safetensors"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(root=tmp_path / "hub") as running:
        yield running


def codes(report) -> list[tuple[str, str]]:
    return [(difference.code, difference.where) for difference in report.differences]


def remote(reference: str, **options):
    parsed = parse_reference(reference)
    with HubClient(parsed.endpoint) as client:
        return verify_remote(client, open_remote(client, parsed), **options)


def download(reference: str, folder: Path, **options) -> Path:
    parsed = parse_reference(reference)
    with HubClient(parsed.endpoint) as client:
        return download_release(client, parsed, folder, DownloadOptions(**options)).folder


@pytest.mark.parametrize("layout", LAYOUTS)
def test_metadata_alone_verify_a_release_without_its_content(hub: LocalHub, release: TinyRelease, layout: str) -> None:
    reference = publish_by_hand(hub.endpoint, release, layout)
    hub.clear_requests()
    report = remote(reference)
    assert report.ok
    assert (report.n_files, report.n_cells, report.n_bytes_read) == (32, 4, 0)
    contents = [r.path for r in hub.requests if "/resolve/" in r.path]
    assert {path.rsplit("/", 1)[-1] for path in contents} == {
        "manifest.json",
        "placement.json",
        "manifest.sigstore.json",
    }
    listings = sum("/tree/" in record.path for record in hub.requests)
    looks = sum(record.path.endswith("/refs") for record in hub.requests)
    assert (listings, looks) == {"repos": (6, 6), "branches": (6, 2), "folders": (2, 2)}[layout]
    assert report.n_requests == len(hub.requests)


def test_a_selection_asks_only_for_its_cells(hub: LocalHub, release: TinyRelease) -> None:
    reference = publish_by_hand(hub.endpoint, release, "repos")
    hub.clear_requests()
    assert remote(reference, select=("dataset=lima", "seed=0")).n_cells == 1
    assert not any("alpaca" in record.path or "lima-s1" in record.path for record in hub.requests)


def test_wrong_files_at_the_commit_of_the_placement_are_found(hub: LocalHub, release: TinyRelease) -> None:
    """Another release's files published under this one's manifest: what a wrong label looks like on a Hub."""
    swapped = dict(release.files)
    swapped[WEIGHTS], swapped["cells/lima-s1/model.safetensors"] = (
        release.files["cells/lima-s1/model.safetensors"],
        release.files[WEIGHTS],
    )
    swapped["cells/alpaca-s0/config.json"] = b"{}"
    swapped["cells/alpaca-s1/README.md"] += b"edited"
    reference = publish_by_hand(hub.endpoint, TinyRelease(manifest=release.manifest, files=swapped), "folders")
    assert codes(remote(reference)) == [
        ("changed", "cells/alpaca-s0/config.json"),
        ("changed", "cells/alpaca-s1/README.md"),
        ("swapped", WEIGHTS),
        ("swapped", "cells/lima-s1/model.safetensors"),
    ]


def test_a_tag_that_was_moved_or_removed_is_found(hub: LocalHub, release: TinyRelease) -> None:
    reference = publish_by_hand(hub.endpoint, release, "repos")
    with ByHand(hub.endpoint) as hand:
        for cell in ("lima-s0", "lima-s1"):
            hand.ask("DELETE", f"/api/models/lab/{cell}/tag/v1.0.0")
        commit = hand.commit(Repo("lab/lima-s0"), "main", {"config.json": b"{}"})
        hand.tag(Repo("lab/lima-s0"), commit, "v1.0.0")
    report = remote(reference)
    assert codes(report) == [("tag", "lab/lima-s0@v1.0.0"), ("tag", "lab/lima-s1@v1.0.0")]
    assert "points to" in report.differences[0].what
    assert "is gone" in report.differences[1].what


def test_a_repo_that_is_gone_hides_no_other(hub: LocalHub, release: TinyRelease) -> None:
    reference = publish_by_hand(hub.endpoint, release, "repos")
    with ByHand(hub.endpoint) as hand:
        hand.ask("DELETE", "/api/repos/delete", {"name": "lima-s0", "organization": "lab"})
    report = remote(reference)
    found = codes(report)
    assert len([code for code, _ in found if code == "unreachable"]) == 2
    assert len([where for code, where in found if code == "missing" and "lima-s0" in where]) == 7
    assert len(found) == 9


def test_the_local_manifest_decides_when_a_folder_is_given(hub: LocalHub, release: TinyRelease, tmp_path: Path) -> None:
    reference = publish_by_hand(hub.endpoint, release)
    other = make_release(tmp_path / "other", version="1.0.1")
    report = remote(reference, manifest=other.manifest)
    assert report.root == other.manifest.root
    assert {code for code, _ in codes(report)} == {"manifest", "changed"}
    assert remote(reference, manifest=release.manifest).ok


def drawn(reader, release: TinyRelease, n: int, seed: int) -> Sample:
    return sample(reader, dict(release.manifest.iter_files()), n, seed)


def test_the_same_seed_reads_the_same_tensors_here_and_on_a_hub(
    hub: LocalHub, release: TinyRelease, copy: Path
) -> None:
    parsed = parse_reference(publish_by_hand(hub.endpoint, release))
    with HubClient(parsed.endpoint) as client:
        there = drawn(HubReader(client, open_remote(client, parsed)), release, 5, 7)
    here = drawn(LocalReader(lambda path: copy / path), release, 5, 7)
    assert here == there
    assert (here.n_drawn, here.n_choices, here.unit, here.differences) == (5, 16, "tensors", ())
    size = len(release.files[WEIGHTS])
    assert here.n_bytes < 4 * size
    assert drawn(LocalReader(lambda path: copy / path), release, 5, 8).n_files >= 1


def test_a_sample_of_everything_finds_one_changed_tensor(release: TinyRelease, copy: Path) -> None:
    tensors = read_tensors(copy / WEIGHTS)
    tensors["layer.1.weight"] = tensors["layer.1.weight"] * 2
    write_safetensors(copy / WEIGHTS, tensors)
    result = drawn(LocalReader(lambda path: copy / path), release, 100, 0)
    assert [(d.code, d.where, d.tensors) for d in result.differences] == [("changed", WEIGHTS, ("layer.1.weight",))]


def test_a_sample_survives_a_connection_that_breaks(hub: LocalHub, release: TinyRelease) -> None:
    parsed = parse_reference(publish_by_hand(hub.endpoint, release))
    hub.set_faults([Fault(kind="truncate-body", path=r"model\.safetensors", every=3)])
    with HubClient(parsed.endpoint) as client:
        assert drawn(HubReader(client, open_remote(client, parsed)), release, 6, 1).differences == ()
    hub.set_faults([Fault(kind="corrupt-body", path=r"model\.safetensors")])
    with HubClient(parsed.endpoint) as client:
        assert drawn(HubReader(client, open_remote(client, parsed)), release, 6, 1).differences


def test_missing_files_are_told_by_a_sample(release: TinyRelease, copy: Path) -> None:
    for path in copy.glob("cells/*/model.safetensors"):
        path.unlink()
    result = drawn(LocalReader(lambda path: copy / path), release, 8, 0)
    assert result.n_drawn == 0
    assert {difference.code for difference in result.differences} == {"unreadable"}
