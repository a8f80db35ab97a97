"""What a publication promises: readers by tag get the manifest, twice sends nothing, small changes send little."""

import hashlib
import json
import os
import subprocess
import sys

import pytest
from publish_hub import edit_card, end_state, files_at, n_writes, send_file
from release_factory import make_release

from release_kit.core.canonical import read_json
from release_kit.core.errors import PublishError, ReleaseKitError
from release_kit.core.manifest import Manifest, read_manifest
from release_kit.core.placement import Placement
from release_kit.core.study import LAYOUTS, read_study
from release_kit.hub.client import HubClient
from release_kit.hub.reference import Repo
from release_kit.hub.upload import NewCommit
from release_kit.release.build import build_release
from release_kit.release.publish.journal import PublishJournal
from release_kit.release.publish.run import PublishOptions, plan_of, publish_release
from release_kit.release.tree import open_tree

INDEX, RESULTS = Repo("lab/tiny-grid"), Repo("lab/tiny-grid-results", "dataset")
CELL = Repo("lab/tiny-llama-alpaca-lora-s0")

READ_BACK = """
import hashlib, json, os, sys
from huggingface_hub import hf_hub_download, snapshot_download
index, version, out = sys.argv[1:]
here = snapshot_download(index, revision=version, allow_patterns=["manifest.json", "placement.json"])
placement = json.load(open(f"{here}/placement.json"))
found = {}
for name, place in placement["cells"].items():
    prefix = place["prefix"]
    root = snapshot_download(place["repo_id"], revision=place["revision"], repo_type=place["repo_type"],
                             allow_patterns=[prefix + "*"] if prefix else None, local_dir=f"{out}/{name}")
    base = os.path.join(root, prefix)
    for folder, _, names in os.walk(base):
        for file in names:
            path = os.path.relpath(os.path.join(folder, file), base)
            if not path.startswith(".cache") and path != ".gitattributes":
                found[f"cells/{name}/{path}"] = hashlib.sha256(open(f"{base}/{path}", "rb").read()).hexdigest()
json.dump(found, sys.stdout)
"""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_unmodified_client_reads_back_at_the_tag_what_the_manifest_says(hub, built, publish, tmp_path, layout):
    report = publish(built, layout)
    environment = os.environ | {
        "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip
    index, _, version = report.reference.partition("@")
    command = [sys.executable, "-c", READ_BACK, index, version, str(tmp_path / "copy")]
    found = json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    manifest = read_manifest(built.folder)
    expected = {path: entry.sha256 for path, entry in manifest.iter_files() if path.startswith("cells/")}
    assert found == expected


@pytest.mark.parametrize("layout", LAYOUTS)
def test_second_publication_sends_nothing(hub, built, publish, layout):
    publish(built, layout)
    before = end_state(hub, "lab")
    hub.clear_requests()
    report = publish(built, layout)
    assert (n_writes(hub), report.n_commits, report.n_tags, report.n_bytes_sent) == (0, 0, 0, 0)
    assert end_state(hub, "lab") == before


def test_publication_without_its_journal_changes_nothing_on_the_hub(hub, built, publish):
    publish(built)
    before = end_state(hub, "lab")
    for path in (built.folder / ".release_kit").glob("publish-*"):
        path.unlink()
    report = publish(built)
    assert (report.n_commits, report.n_tags, report.n_bytes_sent) == (0, 0, 0)
    assert end_state(hub, "lab") == before


@pytest.mark.parametrize("layout", LAYOUTS)
def test_after_a_change_in_one_card_only_that_card_is_sent(hub, built, publish, layout):
    publish(built, layout)
    edit_card(built.folder, CELL.name)
    hub.clear_requests()
    report = publish(built, layout)
    commits = [record.path for record in hub.requests if "/commit/" in record.path]
    assert report.n_commits == len(commits) == 2
    assert report.n_bytes_sent == 0
    place = report.placement.cells[CELL.name]
    card = (built.folder / "release/cells" / CELL.name / "README.md").read_bytes()
    with HubClient(hub.endpoint) as client:
        assert client.read_bytes(Repo(place.repo_id), place.revision, f"{place.prefix}README.md") == card
    hub.clear_requests()
    publish(built, layout)
    assert n_writes(hub) == 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_new_version_shares_what_did_not_change(hub, built, publish, layout):
    first = publish(built, layout)
    text = (built.folder / "study.yaml").read_text().replace("version: 1.0.0", "version: 1.1.0")
    (built.folder / "study.yaml").write_text(text)
    study = read_study(built.folder)
    build_release(study)
    second = publish(study, layout)
    assert second.reference == "lab/tiny-grid@v1.1.0"
    old, new = first.placement.cells, second.placement.cells
    with HubClient(hub.endpoint) as client:
        for name, place in old.items():
            there = files_at(client, Repo(place.repo_id), place.revision)
            weights = f"{place.prefix}adapter_model.safetensors"
            if weights in there:
                assert there[weights] == files_at(client, Repo(new[name].repo_id), new[name].revision)[weights]
        assert set(client.list_refs(INDEX).tags) >= {"v1.0.0", "v1.1.0"}
    puts = [record for record in hub.requests if record.method == "PUT" and record.n_bytes_in > 2000]
    assert len({record.path for record in puts}) == len(puts)


def test_unchanged_cells_keep_their_commit_in_a_new_version(hub, built, publish):
    first = publish(built)
    value = read_json(built.folder / "release/manifest.json")
    manifest = Manifest.from_dict(value | {"version": "2.0.0"})
    (built.folder / "release/manifest.json").write_bytes(manifest.to_bytes())
    hub.clear_requests()
    second = publish(built)
    assert second.placement.cells == first.placement.cells
    assert second.n_commits == 1
    assert not [record for record in hub.requests if record.method == "PUT"]
    with HubClient(hub.endpoint) as client:
        tags = client.list_refs(CELL).tags
    assert tags["v1.0.0"] == tags["v2.0.0"]


def test_published_version_refuses_other_data(hub, built, publish):
    publish(built)
    before = end_state(hub, "lab")
    weights = next((built.folder / "cells").glob("*/model/adapter_model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    build_release(built)
    with pytest.raises(PublishError, match=r"published already, with other data.*raise `version`"):
        publish(built)
    assert end_state(hub, "lab") == before
    report = publish(built, replace=True)
    assert report.n_commits >= 2 and report.n_tags >= 2


def test_published_version_refuses_another_layout(hub, built, publish):
    publish(built, "folders")
    with pytest.raises(PublishError, match="published as 'folders' already"):
        publish(built, "repos")
    assert publish(built, None).plan.layout == "folders"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_replacing_the_layout_leaves_only_what_belongs_there(hub, built, publish, layout):
    publish(built, "folders")
    report = publish(built, layout, replace=True)
    with HubClient(hub.endpoint) as client:
        paths = set(files_at(client, INDEX, "v1.0.0"))
        data = client.read_bytes(INDEX, "v1.0.0", "placement.json")
    assert Placement.from_dict(json.loads(data)) == report.placement
    assert any(path.startswith("cells/") for path in paths) == (layout == "folders")


def test_index_is_published_last_and_tags_come_after_all_content(hub, built, publish):
    publish(built)
    kinds = [r.path for r in hub.requests if "/commit/" in r.path or "/tag/" in r.path]
    first_tag = next(i for i, path in enumerate(kinds) if "/tag/" in path)
    assert all("/tag/" in path for path in kinds[first_tag:-2])
    assert kinds[-2] == "/api/models/lab/tiny-grid/commit/main"
    assert kinds[-1].startswith("/api/models/lab/tiny-grid/tag/")


def test_changed_file_is_refused_before_it_is_under_a_commit(hub, built, publish):
    weights = next((built.folder / "cells").glob("*/model/adapter_model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(PublishError, match=r"changed since the release was built.*release-kit build"):
        publish(built)
    with HubClient(hub.endpoint) as client:
        assert all("v1.0.0" not in client.list_refs(repo).tags for repo in client.list_repos("lab"))


def test_missing_file_is_refused_before_anything_is_sent(hub, built, publish):
    next((built.folder / "cells").glob("*/model/adapter_model.safetensors")).unlink()
    with pytest.raises(PublishError, match="1 file not as built"):
        publish(built)
    assert hub.requests == []


def test_somebody_elses_repo_is_not_touched(hub, built, publish):
    data = b"do not lose me\n"
    theirs = send_file("notes.txt", data)
    with HubClient(hub.endpoint) as client:
        client.create_repo(CELL)
        client.commit(CELL, "main", NewCommit(title="Mine", files=[theirs]))
        with pytest.raises(PublishError, match=r"1 file foreign to this release: notes.txt .*'Mine'.*--overwrite"):
            publish(built)
        assert client.read_bytes(CELL, "main", "notes.txt") == data
        assert client.list_refs(CELL).tags == {}
        publish(built, overwrite=True)
        assert "notes.txt" not in files_at(client, CELL, "v1.0.0")


def test_somebody_elses_tag_on_the_index_is_refused_before_anything_is_sent(hub, built, publish):
    with HubClient(hub.endpoint) as client:
        client.create_repo(INDEX)
        theirs = client.resolve(INDEX)
        client.create_tag(INDEX, "v1.0.0", theirs, "mine")
        hub.clear_requests()
        with pytest.raises(PublishError, match=r"the tag v1.0.0 of lab/tiny-grid .* did not make.*--replace"):
            publish(built)
        assert n_writes(hub) == 0
        assert client.list_refs(INDEX).tags["v1.0.0"] == theirs
        publish(built, replace=True)
        assert "manifest.json" in files_at(client, INDEX, "v1.0.0")


def test_file_deleted_on_main_after_the_release_is_put_back(hub, built, publish):
    publish(built)
    with HubClient(hub.endpoint) as client:
        client.commit(CELL, "main", NewCommit(title="Oops", files=[], deleted=["adapter_model.safetensors"]))
        tagged = client.list_refs(CELL).tags["v1.0.0"]
        report = publish(built)
        assert any("1 file had been deleted and put back" in note for note in report.notes)
        refs = client.list_refs(CELL)
        assert files_at(client, CELL, "main") == files_at(client, CELL, "v1.0.0")
        assert refs.tags["v1.0.0"] == tagged


def test_main_that_moved_on_after_the_release_is_spoken_of_and_left_alone(hub, built, publish):
    publish(built)
    data = b"a page edited in the browser\n"
    edited = send_file("README.md", data)
    with HubClient(hub.endpoint) as client:
        client.commit(CELL, "main", NewCommit(title="Edited", files=[edited]))
        hub.clear_requests()
        report = publish(built)
        assert n_writes(hub) == 0
        assert any("has moved on since" in note and "'Edited'" in note for note in report.notes)
        assert client.read_bytes(CELL, "main", "README.md") == data


def test_deleted_repo_and_deleted_tag_are_repaired(hub, built, publish):
    before = publish(built)
    expected = end_state(hub, "lab")
    with HubClient(hub.endpoint) as client:
        client.delete_tag(RESULTS, "v1.0.0")
        client._channel.send_json("DELETE", "/api/repos/delete", {"name": CELL.name, "organization": "lab"}, what="x")
    report = publish(built)
    assert report.placement.cells.keys() == before.placement.cells.keys()
    state = end_state(hub, "lab")
    state["lab/tiny-grid"].pop("commits"), expected["lab/tiny-grid"].pop("commits")
    assert state == expected


def test_private_release_makes_private_repos(hub, built, publish):
    publish(built, private=True)
    with HubClient(hub.endpoint) as client:
        info = client._channel.get_json(CELL.api_path, what="info")
    assert info["private"] is True


def test_two_publications_at_once_are_refused(hub, built, publish):
    plan = plan_of(open_tree(built.folder), PublishOptions(namespace="lab", layout="repos"))
    with (
        PublishJournal(built.folder, hub.endpoint, plan),
        pytest.raises(ReleaseKitError, match="another process is at the same job"),
    ):
        publish(built)


def test_collection_holds_every_repo_of_the_release(hub, built, publish):
    report = publish(built)
    with HubClient(hub.endpoint) as client:
        assert client.read_collection(report.collection).items == frozenset(report.plan.repos)


def test_a_download_can_be_published_again_elsewhere(hub, publish, tmp_path):
    release = make_release(tmp_path)
    root = release.write(tmp_path / "copy")
    with HubClient(hub.endpoint) as client:
        report = publish_release(open_tree(root), client, PublishOptions(namespace="mirror", layout="folders"))
        there = files_at(client, Repo("mirror/tiny"), "v1.0.0")
    assert report.plan.manifest_sha256 == release.manifest_sha256
    assert len(there) == sum(1 for _ in release.manifest.iter_files()) - len(release.manifest.results) + 3


@pytest.mark.parametrize("layout", ["repos", "folders"])
def test_content_sent_through_xet_is_the_same_release(hub, built, publish, layout):
    report = publish(built, layout, xet=True)
    assert report.n_bytes_sent > 0
    assert not any(record.method == "PUT" for record in hub.requests)
    assert any("/xet-write-token/" in record.path for record in hub.requests)
    hub.clear_requests()
    assert publish(built, layout).n_commits == 0
    assert n_writes(hub) == 0
    place = report.placement.cells[CELL.name]
    wanted = {e.path: e.sha256 for c in read_manifest(built.folder).cells if c.name == CELL.name for e in c.files}
    with HubClient(hub.endpoint) as client:
        path = f"{place.prefix}adapter_model.safetensors"
        with client.stream(Repo(place.repo_id), place.revision, path) as pieces:
            sha256 = hashlib.sha256(b"".join(pieces)).hexdigest()
    assert sha256 == wanted["adapter_model.safetensors"]
