"""Run by test_conformance_server.py in its own process: everything that an unmodified huggingface_hub asks of a Hub."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    ModelCard,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

work = Path(sys.argv[1])
api = HfApi()
REPO = "lab/model-a"
WEIGHTS = hashlib.shake_256(b"weights").digest(12_000_000)
xet = os.environ["HF_HUB_DISABLE_XET"] == "0"


def raises(kind, call, *args, **named):
    try:
        call(*args, **named)
    except kind as error:
        return error
    raise AssertionError(f"{call} did not raise {kind}")


def status_of(call, *args, **named):
    return raises(HfHubHTTPError, call, *args, **named).response.status_code


def make_folder() -> Path:
    folder = work / "model"
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\nlibrary_name: transformers\ntags: [tiny]\n---\n# Model A\n")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "config.json").write_text('{"hidden_size": 8}')
    (folder / "empty.txt").write_bytes(b"")
    (folder / "sub" / "deep" / "with space ü.txt").write_text("text")
    return folder


def create_repo_twice():
    url = api.create_repo(REPO)
    assert (url.repo_id, url.repo_type) == (REPO, "model")
    assert api.create_repo(REPO, exist_ok=True).repo_id == REPO
    assert status_of(api.create_repo, REPO) == 409
    assert api.repo_exists(REPO)
    assert not api.repo_exists("lab/nothing")


def upload_folder():
    info = api.upload_folder(repo_id=REPO, folder_path=make_folder(), commit_message="All of it")
    assert info.oid == api.model_info(REPO).sha
    assert info.repo_url.repo_id == REPO


def upload_folder_again_makes_no_commit():
    before = api.model_info(REPO).sha
    assert api.upload_folder(repo_id=REPO, folder_path=work / "model").oid == before


def upload_file_and_delete_it():
    api.upload_file(repo_id=REPO, path_or_fileobj=b"{}", path_in_repo="extra/one.json")
    assert api.file_exists(REPO, "extra/one.json")
    api.delete_file("extra/one.json", REPO)
    assert not api.file_exists(REPO, "extra/one.json")
    api.upload_file(repo_id=REPO, path_or_fileobj=b"{}", path_in_repo="extra/two.json")
    api.delete_folder("extra", REPO)
    assert not [path for path in api.list_repo_files(REPO) if path.startswith("extra/")]


def upload_large_bytes_from_memory():
    content = os.urandom(300_000)
    api.upload_file(repo_id=REPO, path_or_fileobj=content, path_in_repo="blob.bin")
    assert Path(hf_hub_download(REPO, "blob.bin")).read_bytes() == content


def copy_and_rename():
    operations = [
        CommitOperationCopy("blob.bin", "copies/blob.bin"),
        CommitOperationCopy("config.json", "copies/c.json"),
        CommitOperationDelete("blob.bin"),
    ]
    api.create_commit(REPO, operations, commit_message="Move")
    files = api.list_repo_files(REPO)
    assert "copies/blob.bin" in files
    assert "copies/c.json" in files
    assert "blob.bin" not in files


def parent_commit_is_compared():
    head = api.model_info(REPO).sha
    operation = CommitOperationAdd("note.txt", b"one")
    first = api.create_commit(REPO, [operation], commit_message="One", parent_commit=head)
    operation = CommitOperationAdd("note.txt", b"two")
    assert status_of(api.create_commit, REPO, [operation], commit_message="Two", parent_commit=head) == 412
    assert api.model_info(REPO).sha == first.oid


def tags_and_branches():
    head = api.model_info(REPO).sha
    api.create_tag(REPO, tag="v1.0", tag_message="first")
    assert status_of(api.create_tag, REPO, tag="v1.0") == 409
    api.create_tag(REPO, tag="v1.0", exist_ok=True)
    api.create_branch(REPO, branch="exp/step-1", revision="v1.0")
    api.create_branch(REPO, branch="exp/step-1", exist_ok=True)
    api.upload_file(repo_id=REPO, path_or_fileobj=b"1", path_in_repo="step.txt", revision="exp/step-1")
    refs = api.list_repo_refs(REPO)
    assert [branch.name for branch in refs.branches] == ["exp/step-1", "main"]
    assert [(tag.name, tag.target_commit) for tag in refs.tags] == [("v1.0", head)]
    assert api.file_exists(REPO, "step.txt", revision="exp/step-1")
    assert not api.file_exists(REPO, "step.txt")
    api.create_tag(REPO, tag="gone")
    api.delete_tag(REPO, tag="gone")
    raises(RevisionNotFoundError, api.delete_tag, REPO, tag="gone")
    api.create_branch(REPO, branch="gone")
    api.delete_branch(REPO, branch="gone")
    assert len(api.list_repo_refs(REPO).branches) == 2


def commits_in_order():
    commits = api.list_repo_commits(REPO, revision="v1.0", formatted=True)
    assert commits[-1].title == "initial commit"
    assert "All of it" in [commit.title for commit in commits]
    assert commits[0].authors == ["local"]
    assert commits[0].commit_id == api.model_info(REPO, revision="v1.0").sha


def info_with_files():
    info = api.model_info(REPO, revision="v1.0", files_metadata=True)
    files = {file.rfilename: file for file in info.siblings}
    assert files["model.safetensors"].lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert files["model.safetensors"].size == len(WEIGHTS)
    assert files["empty.txt"].blob_id == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert info.card_data.license == "mit"
    assert {"license:mit", "tiny", "transformers"} <= set(info.tags)
    assert info.library_name == "transformers"


def paths_info_and_tree():
    found = api.get_paths_info(REPO, ["model.safetensors", "sub", "nowhere"], revision="v1.0", expand=True)
    assert [entry.path for entry in found] == ["model.safetensors", "sub"]
    assert found[0].last_commit.title == "All of it"
    assert (found[0].xet_hash is not None) is xet
    tree = list(api.list_repo_tree(REPO, "sub", recursive=True, revision="v1.0"))
    assert [entry.path for entry in tree] == ["sub/deep", "sub/deep/with space ü.txt"]
    assert len(list(api.list_repo_tree(REPO, "sub/deep", revision="v1.0"))) == 1
    raises(EntryNotFoundError, list, api.list_repo_tree(REPO, "nowhere"))


def download_at_tag_and_commit():
    by_tag = Path(snapshot_download(REPO, revision="v1.0"))
    assert (by_tag / "model.safetensors").read_bytes() == WEIGHTS
    assert (by_tag / "sub/deep/with space ü.txt").read_text() == "text"
    sha = api.model_info(REPO, revision="v1.0").sha
    into = work / "by-commit"
    snapshot_download(REPO, revision=sha, local_dir=into, allow_patterns=["*.json", "*.txt"])
    assert (into / "empty.txt").read_bytes() == b""
    assert not (into / "model.safetensors").exists()


def verify_checksums():
    report = api.verify_repo_checksums(REPO, revision="v1.0")
    assert report.checked_count >= 5
    assert not report.mismatches
    assert not report.missing_paths
    shown = command("cache", "verify", REPO, "--revision", "v1.0")
    assert "match" in shown.lower()


def command_line():
    shown = command("upload", "lab/from-cli", str(work / "model"), "inner", "--commit-message", "By command")
    assert "lab/from-cli" in shown
    assert "inner/model.safetensors" in api.list_repo_files("lab/from-cli")
    command("download", "lab/from-cli", "--local-dir", str(work / "cli"))
    assert (work / "cli/inner/model.safetensors").read_bytes() == WEIGHTS


def command(*words: str) -> str:
    hf = Path(sys.executable).parent / "hf"
    done = subprocess.run([hf, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def missing_things_have_their_own_errors():
    raises(RepositoryNotFoundError, api.model_info, "lab/nothing")
    raises(RepositoryNotFoundError, api.upload_file, repo_id="lab/nothing", path_or_fileobj=b"x", path_in_repo="x")
    raises(RevisionNotFoundError, api.model_info, REPO, revision="v9")
    raises(EntryNotFoundError, hf_hub_download, REPO, "nothing.json")
    raises(EntryNotFoundError, api.delete_file, "nothing.json", REPO)
    raises(BadRequestError, api.create_tag, REPO, tag="bad tag")


def collections():
    made = api.create_collection("My models", namespace="lab", description="All of them")
    assert api.create_collection("My models", namespace="lab", exists_ok=True).slug == made.slug
    api.add_collection_item(made.slug, REPO, "model", note="the first")
    full = api.add_collection_item(made.slug, "lab/from-cli", "model")
    assert [item.item_id for item in full.items] == [REPO, "lab/from-cli"]
    assert status_of(api.add_collection_item, made.slug, REPO, "model") == 409
    api.add_collection_item(made.slug, REPO, "model", exists_ok=True)
    api.update_collection_item(made.slug, full.items[1].item_object_id, position=0, note="now first")
    got = api.get_collection(made.slug)
    assert [(item.item_id, item.note) for item in got.items] == [("lab/from-cli", "now first"), (REPO, "the first")]
    api.delete_collection_item(made.slug, got.items[0].item_object_id)
    changed = api.update_collection_metadata(made.slug, title="Other name", description="d")
    assert changed.slug.startswith("lab/other-name-")
    assert [entry.title for entry in api.list_collections(owner="lab")] == ["Other name"]
    assert len(api.get_collection(made.slug).items) == 1
    api.delete_collection(changed.slug)
    api.delete_collection(changed.slug, missing_ok=True)
    assert list(api.list_collections(owner="lab")) == []


def listings():
    assert {model.id for model in api.list_models(author="lab")} == {REPO, "lab/from-cli"}
    assert [model.id for model in api.list_models(search="MODEL-A")] == [REPO]
    assert [model.id for model in api.list_models(author="lab", filter="license:mit")] == [REPO]
    assert [model.id for model in api.list_models(author="lab", limit=1)] == ["lab/from-cli"]
    assert list(api.list_models(author="nobody")) == []


def cards():
    card = ModelCard("---\nlicense: apache-2.0\nbase_model: lab/model-a\n---\n# Card\n")
    card.validate()
    api.create_repo("lab/carded")
    card.push_to_hub("lab/carded")
    assert ModelCard.load("lab/carded").data.license == "apache-2.0"
    assert "base_model:lab/model-a" in api.model_info("lab/carded").tags
    broken = b"---\nlicense: [\n---\n"
    raises(ValueError, api.upload_file, repo_id="lab/carded", path_or_fileobj=broken, path_in_repo="README.md")


def datasets_and_spaces():
    api.create_repo("lab/table", repo_type="dataset", private=True)
    api.upload_file(repo_id="lab/table", repo_type="dataset", path_or_fileobj=b"a\n1\n", path_in_repo="t.csv")
    assert api.dataset_info("lab/table").private is True
    api.update_repo_settings("lab/table", repo_type="dataset", private=False)
    assert api.dataset_info("lab/table").private is False
    api.create_repo("lab/show", repo_type="space", space_sdk="static")
    api.upload_file(repo_id="lab/show", repo_type="space", path_or_fileobj=b"<p>", path_in_repo="index.html")
    assert api.space_info("lab/show").sdk == "static"
    assert Path(hf_hub_download("lab/table", "t.csv", repo_type="dataset")).read_bytes() == b"a\n1\n"


def move_squash_and_delete():
    api.move_repo("lab/carded", "lab/renamed")
    api.super_squash_history("lab/renamed")
    assert len(api.list_repo_commits("lab/renamed")) == 1
    api.delete_repo("lab/renamed")
    raises(RepositoryNotFoundError, api.delete_repo, "lab/renamed")
    api.delete_repo("lab/renamed", missing_ok=True)
    assert api.whoami(token="hf_anything")["name"] == "local"


STEPS = [
    create_repo_twice,
    upload_folder,
    upload_folder_again_makes_no_commit,
    upload_file_and_delete_it,
    upload_large_bytes_from_memory,
    copy_and_rename,
    parent_commit_is_compared,
    tags_and_branches,
    commits_in_order,
    info_with_files,
    paths_info_and_tree,
    download_at_tag_and_commit,
    verify_checksums,
    command_line,
    missing_things_have_their_own_errors,
    collections,
    listings,
    cards,
    datasets_and_spaces,
    move_squash_and_delete,
]

for step in STEPS:
    step()
    print("passed", step.__name__, flush=True)
