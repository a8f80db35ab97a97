"""A dataset on a Hub: every file at its own path, nothing sent twice, and a download that is the dataset."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bids_hub import NAME, NAMES, OWN, REFERENCE, REPO, build, contents, download, on_hub, publish
from publish_hub import n_writes, send_file

from release_kit.bids.release_study import write_release_study
from release_kit.bids.validate.reference import run_reference
from release_kit.core.errors import PublishError, UsageError
from release_kit.hub.client import HubClient
from release_kit.hub.reference import parse_reference
from release_kit.hub.server import LocalHub
from release_kit.hub.upload import NewCommit
from release_kit.release.download.source import open_remote
from release_kit.release.verify.remote import verify_remote
from release_kit.release.verify.repair import repair
from release_kit.release.verify.run import VerifyOptions, inspect, verify_folder

BOLD = "sub-01/func/sub-01_task-film_run-01_bold.nii.gz"


def test_a_release_is_the_dataset_at_its_own_paths_and_is_sent_once(study: Path, hub: LocalHub):
    report = publish(study, hub)
    dataset = contents(study / "dataset")
    assert on_hub(hub) == set(dataset) | set(OWN)
    assert (report.reference, report.plan.layout, report.plan.repos) == (REFERENCE, "tree", (REPO,))
    hub.clear_requests()
    again = publish(study, hub)
    assert (again.n_commits, again.n_tags, again.n_bytes_sent, n_writes(hub)) == (0, 0, 0, 0)


def test_a_download_is_the_dataset_byte_by_byte_but_for_its_page(study: Path, hub: LocalHub, tmp_path: Path):
    publish(study, hub)
    download(hub, tmp_path / "copy")
    got, original = contents(tmp_path / "copy"), contents(study / "dataset")
    assert {path for path in got.keys() | original.keys() if got.get(path) != original.get(path)} == {"README.md", *OWN}
    assert verify_folder(tmp_path / "copy").ok
    with HubClient(hub.endpoint) as client:
        before = client.request_count
        assert download(hub, tmp_path / "copy").outcome.n_fetched == 0 == before


def test_one_subject_comes_with_what_all_share_and_nothing_else(study: Path, hub: LocalHub, tmp_path: Path):
    publish(study, hub)
    copy = tmp_path / "copy"
    download(hub, copy, select=["subject=01"])
    here = set(contents(copy)) - set(OWN)
    assert not {path for path in here if "sub-02" in path or "annot-" in path or path.endswith(".parquet")}
    assert {path for path in contents(study / "dataset") if path.startswith("sub-01/")} <= here
    assert {"participants.tsv", "dataset_description.json", "stimuli/stimuli.tsv"} <= here
    report = verify_folder(copy)
    assert report.ok and len(report.not_downloaded) == 3
    download(hub, copy, select=["level=story"])
    more = set(contents(copy)) - set(OWN)
    assert "stimuli/annotations/story.parquet" in more and "stimuli/annotations/object.parquet" not in more
    assert here < more and verify_folder(copy).ok


@pytest.mark.parametrize("reference", [f"datasets/{REFERENCE}", REFERENCE, f"lab/{NAME}"])
def test_a_dataset_is_found_with_and_without_its_type(study: Path, hub: LocalHub, tmp_path: Path, reference: str):
    publish(study, hub)
    assert download(hub, tmp_path / "copy", reference).release.index == REPO


def damage(folder: Path, how: str) -> None:
    """Do one thing to a download that nobody would see in a listing of names."""
    path, other = folder / BOLD, folder / BOLD.replace("run-01", "run-02")
    if how == "flip":
        data = bytearray(path.read_bytes())
        data[-20] ^= 1
        path.write_bytes(data)
    elif how == "truncate":
        path.write_bytes(path.read_bytes()[:-1])
    elif how == "drop":
        path.unlink()
    elif how == "rename":
        path.rename(path.with_name("sub-01_task-film_run-03_bold.nii.gz"))
    elif how == "swap":
        path.rename(folder / "x")
        other.rename(path)
        (folder / "x").rename(other)
    elif how == "add":
        shutil.copy(folder / "participants.tsv", folder / "sub-01" / "participants.tsv")
    elif how == "annotation":
        table = next(iter(sorted(folder.glob("stimuli/*storyA01_events.tsv"))))
        table.write_text(table.read_text().replace("at 4 s", "at 5 s"))


@pytest.mark.parametrize("how", ["flip", "truncate", "drop", "rename", "swap", "add", "annotation"])
def test_damage_to_a_download_is_found_and_healed_from_the_hub(study: Path, hub: LocalHub, tmp_path: Path, how: str):
    publish(study, hub)
    copy = tmp_path / "copy"
    download(hub, copy)
    before = contents(copy)
    damage(copy, how)
    assert not verify_folder(copy).ok
    with HubClient(hub.endpoint) as client:
        release = open_remote(client, parse_reference(REFERENCE))
        repair(inspect(copy, VerifyOptions()), release, client)
    assert verify_folder(copy).ok and contents(copy) == before


def test_what_a_hub_lost_is_seen_from_its_listing(study: Path, hub: LocalHub):
    publish(study, hub)
    with HubClient(hub.endpoint) as client:
        release = open_remote(client, parse_reference(REFERENCE))
        assert verify_remote(client, release).ok
        assert verify_remote(client, release, select=["subject=01"]).ok
        client.delete_tag(REPO, "v1.0.0")
        assert [found.code for found in verify_remote(client, release).differences] == ["tag"]


def test_files_of_somebody_else_in_the_repo_are_not_touched(study: Path, hub: LocalHub):
    with HubClient(hub.endpoint) as client:
        client.create_repo(REPO)
        files = [send_file("participants.tsv", b"participant_id\nsub-99\n")]
        client.commit(REPO, "main", NewCommit(title="mine", files=files, parent=client.resolve(REPO, "main")))
    with pytest.raises(PublishError, match=r"participants\.tsv"):
        publish(study, hub)
    assert on_hub(hub) == {"participants.tsv"}


def test_a_version_keeps_its_data_and_takes_corrections_of_its_card(study: Path, hub: LocalHub, tmp_path: Path):
    publish(study, hub)
    card = study / "release" / "index" / "README.md"
    card.write_text(card.read_text().replace("hand-written notes -->\n", "hand-written notes -->\nA correction.\n"))
    build(study)
    publish(study, hub)
    download(hub, tmp_path / "copy")
    assert "A correction." in (tmp_path / "copy" / "README.md").read_text() and verify_folder(tmp_path / "copy").ok
    dataset = study.parent / "dataset"
    (dataset / "participants.tsv").write_text("participant_id\nsub-01\nsub-02\n")
    write_release_study(dataset, study, search=NAMES)
    build(study)
    with pytest.raises(PublishError, match=r"index/participants\.tsv"):
        publish(study, hub)


def test_a_new_version_drops_what_is_gone_and_the_old_one_stays_readable(study: Path, hub: LocalHub, tmp_path: Path):
    publish(study, hub)
    copy, old = tmp_path / "copy", contents(study / "dataset")
    download(hub, copy)
    dataset = study.parent / "dataset"
    shutil.rmtree(dataset / "sub-02")
    write_release_study(dataset, study, version="1.1.0", search=NAMES)
    build(study)
    publish(study, hub)
    new = f"lab/{NAME}@v1.1.0"
    assert on_hub(hub) == {path for path in old if not path.startswith("sub-02/")} | set(OWN)
    assert on_hub(hub, "v1.0.0") == set(old) | set(OWN)
    with pytest.raises(UsageError, match="would be mixed"):
        download(hub, copy, new)
    removed = download(hub, copy, new, update=True).removed
    assert removed and all(path.startswith("sub-02/") for path in removed)
    assert not (copy / "sub-02").exists() and verify_folder(copy).ok
    download(hub, tmp_path / "former")
    assert verify_folder(tmp_path / "former").ok and (tmp_path / "former" / "sub-02").is_dir()


def test_files_that_changed_since_the_build_are_not_published(study: Path, hub: LocalHub):
    path = study / "dataset" / BOLD
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(PublishError, match=r"run-01_bold\.nii\.gz \(changed\)"):
        publish(study, hub)
    assert not hub.requests or n_writes(hub) == 0


@pytest.mark.parametrize("select", [(), ("subject=02",)], ids=["all", "one-subject"])
def test_a_download_passes_the_reference_validator(study: Path, hub: LocalHub, tmp_path: Path, select: tuple):
    publish(study, hub)
    download(hub, tmp_path / "copy", select=select)
    verdict = run_reference(tmp_path / "copy", "", headers=True)
    assert verdict.crash is None and verdict.exit_code == 0 and verdict.n_files > 15
    assert [found for found in verdict.findings if found.severity == "error"] == []


def test_the_cache_of_the_clients_holds_the_dataset_and_is_verified_there(study: Path, hub: LocalHub, tmp_path: Path):
    publish(study, hub)
    report = download(hub, tmp_path / "cache", into_cache=True)
    assert report.folder.parent.name == "snapshots" and "datasets--lab--two-films" in str(report.folder)
    assert verify_folder(report.folder).ok
    snapshot = {path: sha for path, sha in contents(report.folder).items() if path not in (*OWN, "README.md")}
    original = contents(study / "dataset")
    assert snapshot == {path: sha for path, sha in original.items() if path != "README.md"}


CLIENT = """
import json, sys
from datasets import get_dataset_config_names, load_dataset
name = sys.argv[1]
found = {config: load_dataset(name, config, revision="v1.0.0", split="train").to_list()
         for config in get_dataset_config_names(name, revision="v1.0.0")}
print(json.dumps(found))
"""


@pytest.mark.slow
def test_each_level_loads_by_name_with_the_client_of_the_hub(study: Path, hub: LocalHub, tmp_path: Path):
    import pyarrow.parquet as pq

    publish(study, hub)
    environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")}
    environment = {key: value for key, value in environment.items() if not key.endswith("_OFFLINE")}
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, f"lab/{NAME}"], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout.strip().splitlines()[-1])
    folder = study / "dataset" / "stimuli" / "annotations"
    assert loaded == {level: pq.read_table(folder / f"{level}.parquet").to_pylist() for level in ("object", "story")}


def test_damage_is_named_by_where_it_lies_in_the_download(study: Path, hub: LocalHub, tmp_path: Path):
    publish(study, hub)
    copy = tmp_path / "copy"
    download(hub, copy)
    (copy / BOLD).write_bytes(b"X" + (copy / BOLD).read_bytes()[1:])
    (copy / "participants.tsv").rename(copy / "people.tsv")
    (copy / "sub-01" / "extra.tsv").write_text("extra")
    told = {(one.code, one.where, one.other) for one in verify_folder(copy).differences}
    assert told == {
        ("changed", BOLD, None), ("renamed", "participants.tsv", "people.tsv"), ("extra", "sub-01/extra.tsv", None)
    }  # fmt: skip
    assert "lies under another name: people.tsv" in verify_folder(copy).text()
