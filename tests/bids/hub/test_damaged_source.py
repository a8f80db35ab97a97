"""A Hub that serves other bytes than were published: each damage at the source is caught, and nothing wrong arrives."""

import contextlib
import hashlib
import sqlite3
from pathlib import Path

import pytest
from bids_hub import REFERENCE, REPO, contents, download, publish
from publish_hub import send_file

from release_kit.core.errors import ReleaseKitError
from release_kit.hub.client import HubClient
from release_kit.hub.reference import parse_reference
from release_kit.hub.server import LocalHub
from release_kit.hub.upload import NewCommit
from release_kit.release.download.source import open_remote
from release_kit.release.verify.remote import verify_remote

BOLD = "sub-01/func/sub-01_task-film_run-01_bold.nii.gz"
OTHER = BOLD.replace("sub-01", "sub-02")
RENAMED = BOLD.replace("run-01", "run-03")
ANNOTATION = "stimuli/stim-film_annot-storyA01_events.tsv"
DAMAGE = ("flip", "truncate", "drop", "rename", "swap", "annotation")


def damaged(dataset: Path, how: str) -> tuple[dict[str, bytes], list[str]]:
    """Return (path → bytes that somebody puts there, paths that somebody removes)."""
    image, other = (dataset / BOLD).read_bytes(), (dataset / OTHER).read_bytes()
    assert image != other
    return {
        "flip": ({BOLD: image[:-20] + bytes([image[-20] ^ 1]) + image[-19:]}, []),
        "truncate": ({BOLD: image[:-1]}, []),
        "drop": ({}, [BOLD]),
        "rename": ({RENAMED: image}, [BOLD]),
        "swap": ({BOLD: other, OTHER: image}, []),
        "annotation": ({ANNOTATION: (dataset / ANNOTATION).read_bytes().replace(b"at 4 s", b"at 5 s")}, []),
    }[how]


@pytest.mark.parametrize("how", DAMAGE)
def test_a_version_that_somebody_has_moved_to_other_content_is_caught(
    study: Path, hub: LocalHub, tmp_path: Path, how: str
):
    publish(study, hub)
    original = contents(study / "dataset")
    changed, removed = damaged(study / "dataset", how)
    with HubClient(hub.endpoint) as client:
        release = open_remote(client, parse_reference(REFERENCE))
        files = [send_file(path, data) for path, data in changed.items()]
        commit = NewCommit(title="x", files=files, deleted=removed, parent=client.resolve(REPO, "main"))
        client.commit(REPO, "main", commit)
        client.delete_tag(REPO, "v1.0.0")
        assert client.create_tag(REPO, "v1.0.0", client.resolve(REPO, "main"))
        found = verify_remote(client, release)
        assert not found.ok, "its listing is held against the manifest"
    try:
        download(hub, tmp_path / "copy")
    except ReleaseKitError as error:
        assert any(path in str(error) for path in (*changed, *removed)), error
    else:
        got = contents(tmp_path / "copy")
        assert {path: got.get(path) for path in (*original, RENAMED) if path != "README.md"} == {
            path: original.get(path) for path in (*original, RENAMED) if path != "README.md"
        }, "the commit that was published is read, whatever the tag says now"


@pytest.mark.parametrize("how", ["flip", "truncate", "drop", "swap", "annotation"])
def test_stored_bytes_that_have_changed_under_the_hub_do_not_arrive(study: Path, tmp_path: Path, how: str):
    with LocalHub(tmp_path / "store", durability="fast") as hub:
        publish(study, hub)
    changed, removed = damaged(study / "dataset", how)
    with contextlib.closing(sqlite3.connect(tmp_path / "store" / "hub.sqlite3")) as database, database:
        for path in (*changed, *removed):
            sha256 = hashlib.sha256((study / "dataset" / path).read_bytes()).hexdigest()
            wish = (changed.get(path), sha256)
            assert database.execute("UPDATE objects SET data = ? WHERE sha256 = ?", wish).rowcount == 1
    with LocalHub(tmp_path / "store", durability="fast") as hub, pytest.raises(ReleaseKitError) as refused:
        download(hub, tmp_path / "copy")
    assert any(path in str(refused.value) for path in (*changed, *removed)), refused.value
    assert not any((tmp_path / "copy" / path).exists() for path in (*changed, *removed))
