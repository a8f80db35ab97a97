"""Every fault of a plan happens on the wire as its description says."""

import http.client
import json
from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

from release_kit.core.errors import RecordError, UsageError
from release_kit.hub.server import Fault
from release_kit.hub.server.faults import read_faults

CONNECTION_LOST = (http.client.RemoteDisconnected, ConnectionResetError, http.client.IncompleteRead)


@pytest.fixture
def api(hub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=False)


def head_of(ask, repo: str) -> str:
    return ask("GET", f"/api/models/{repo}").json["sha"]


def test_status_fault_answers_with_its_headers_and_changes_nothing(hub, ask, repo, commit_files):
    head = head_of(ask, repo)
    hub.set_faults(
        [Fault(kind="status", method="POST", path="/commit/", status=429, retry_after_s=3, rate_limit_reset_s=7)]
    )
    answer = commit_files(repo, {"new.txt": b"x"})
    assert answer.status == 429
    assert answer.headers["retry-after"] == "3"
    assert answer.headers["ratelimit"] == '"api";r=0;t=7'
    assert "q=1000;w=300" in answer.headers["ratelimit-policy"]
    assert head_of(ask, repo) == head


def test_only_the_named_occurrences_fail(hub, ask, repo):
    hub.set_faults([Fault(kind="status", path="/refs$", nth=(2,)), Fault(kind="status", path="/revision/", every=2)])
    assert [ask("GET", f"/api/models/{repo}/refs").status for _ in range(4)] == [200, 503, 200, 200]
    assert [ask("GET", f"/api/models/{repo}/revision/main").status for _ in range(4)] == [200, 503, 200, 503]
    assert len(hub.fired_faults) == 3
    hub.clear_faults()
    assert ask("GET", f"/api/models/{repo}/refs").status == 200


def test_client_retries_a_listing_that_was_rate_limited(hub, api, repo):
    hub.set_faults([Fault(kind="status", path="/tree/", status=429, rate_limit_reset_s=0, nth=(1,))])
    assert len(list(api.list_repo_tree(repo))) == 3
    assert [record.status for record in hub.requests if "/tree/" in record.path] == [429, 200]


def test_client_does_not_retry_a_tag(hub, api, repo):
    hub.set_faults([Fault(kind="status", path="/tag/", status=429, nth=(1,))])
    with pytest.raises(HfHubHTTPError, match="429"):
        api.create_tag(repo, tag="v1")


def test_reset_drops_the_connection_before_anything_happens(hub, ask, repo, commit_files):
    head = head_of(ask, repo)
    hub.set_faults([Fault(kind="reset", path="/commit/")])
    with pytest.raises(CONNECTION_LOST):
        commit_files(repo, {"new.txt": b"x"})
    hub.clear_faults()
    assert head_of(ask, repo) == head
    assert hub.requests[-2].status == 0


def test_reset_in_the_middle_of_an_upload_stores_nothing(hub, ask, repo, tmp_path):
    content = b"w" * 3_000_000
    href = upload_address(ask, repo, content)
    hub.set_faults([Fault(kind="reset", method="PUT", at_byte=1_000_000)])
    with pytest.raises((*CONNECTION_LOST, BrokenPipeError)):
        ask("PUT", href, body=content)
    assert 1_000_000 <= hub.requests[-1].n_bytes_in < len(content)
    assert list((tmp_path / "hub" / "blobs").rglob("*")) == []


def test_lost_reply_applies_the_commit_and_answers_nothing(hub, ask, repo, commit_files):
    head = head_of(ask, repo)
    hub.set_faults([Fault(kind="lost-reply", path="/commit/", nth=(1,))])
    with pytest.raises(CONNECTION_LOST):
        commit_files(repo, {"new.txt": b"x"}, parent=head)
    moved = head_of(ask, repo)
    assert moved != head
    assert commit_files(repo, {"new.txt": b"x"}, parent=head).status == 412
    assert commit_files(repo, {"new.txt": b"x"}).json["commitOid"] == moved


def test_truncated_body_announces_the_whole_length(hub, ask, repo, commit_files):
    commit_files(repo, {"data.txt": b"0123456789" * 100})
    hub.set_faults([Fault(kind="truncate-body", method="GET", path="/resolve/", at_byte=400, nth=(1,))])
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask("GET", f"/{repo}/resolve/main/data.txt")
    assert len(caught.value.partial) == 400
    assert ask("GET", f"/{repo}/resolve/main/data.txt").body == b"0123456789" * 100


def test_client_repeats_a_truncated_download(hub, ask, repo, commit_files, tmp_path):
    content = bytes(range(256)) * 200
    commit_files(repo, {"data.txt": content})
    hub.set_faults([Fault(kind="truncate-body", method="GET", path="/resolve/", nth=(1,))])
    path = hf_hub_download(repo, "data.txt", endpoint=hub.endpoint, token=False, cache_dir=tmp_path / "cache")
    assert Path(path).read_bytes() == content
    sent = [record.n_bytes_out for record in hub.requests if record.method == "GET" and "/resolve/" in record.path]
    assert sent == [len(content) // 2, len(content)]


def test_corrupted_body_has_the_right_size_and_one_wrong_byte(hub, ask, repo, commit_files):
    content = b"abc" * 1000
    commit_files(repo, {"data.txt": content})
    hub.set_faults([Fault(kind="corrupt-body", method="GET", path="data.txt", at_byte=5)])
    body = ask("GET", f"/{repo}/resolve/main/data.txt").body
    assert [index for index, (left, right) in enumerate(zip(content, body, strict=True)) if left != right] == [5]


def test_client_accepts_a_corrupted_body_without_a_word(hub, repo, commit_files, tmp_path):
    """The reason why release_kit checks digests itself."""
    commit_files(repo, {"data.txt": b"abc" * 1000})
    hub.set_faults([Fault(kind="corrupt-body", method="GET", path="data.txt")])
    path = hf_hub_download(repo, "data.txt", endpoint=hub.endpoint, token=False, cache_dir=tmp_path / "cache")
    assert len(Path(path).read_bytes()) == 3000
    assert Path(path).read_bytes() != b"abc" * 1000


def test_moved_main_refuses_a_commit_that_names_its_parent(hub, ask, repo, commit_files):
    head = head_of(ask, repo)
    hub.set_faults([Fault(kind="move-main", method="POST", path="/commit/", nth=(1,))])
    refused = commit_files(repo, {"new.txt": b"x"}, parent=head)
    assert refused.status == 412
    assert "has happened since" in refused.headers["x-error-message"]
    commits = ask("GET", f"/api/models/{repo}/commits/main").json
    assert commits[0]["authors"][0]["user"] == "somebody-else"
    assert commit_files(repo, {"new.txt": b"x"}, parent=commits[0]["id"]).status == 200


def test_deleted_file_is_gone_from_the_branch(hub, ask, repo):
    hub.set_faults([Fault(kind="delete-file", method="GET", path="/tree/", file="config.json", nth=(1,))])
    names = [item["path"] for item in ask("GET", f"/api/models/{repo}/tree/main").json]
    assert names == [".gitattributes", "README.md"]


def test_lost_content_stays_in_the_listing(hub, ask, repo):
    hub.set_faults([Fault(kind="delete-file", path="/resolve/", place="content", nth=(1,))])
    answer = ask("GET", f"/{repo}/resolve/main/config.json")
    assert answer.status == 404
    assert "missing from this Hub" in answer.json["error"]
    assert "config.json" in [item["path"] for item in ask("GET", f"/api/models/{repo}/tree/main").json]


def test_several_faults_strike_one_request(hub, ask, repo):
    hub.set_faults(
        [Fault(kind="status", path="/refs"), Fault(kind="move-main", path="/refs"), Fault(kind="reset", path="/refs")]
    )
    assert ask("GET", f"/api/models/{repo}/refs").status == 503
    assert [fired.fault.kind for fired in hub.fired_faults] == ["move-main", "status"]


def test_plan_file_round_trip(tmp_path):
    faults = [Fault(kind="status", path="/x", nth=(1, 3), status=429, retry_after_s=0), Fault(kind="reset", every=4)]
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"faults": [fault.to_dict() for fault in faults]}))
    assert read_faults(plan) == faults


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"kind": "rest"}, "reset"),
        ({"kind": "reset", "nht": [1]}, "nth"),
        ({"kind": "reset", "nth": [0]}, "nth >= 1"),
        ({"kind": "reset", "path": "("}, "regular expression"),
        ({"kind": "status", "status": 200}, "400-599"),
        ({"kind": "reset", "nth": ["x"]}, "numbers"),
    ],
)
def test_bad_plan_is_refused_with_its_place(tmp_path, entry, message):
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"faults": [entry]}))
    with pytest.raises(RecordError, match=message) as caught:
        read_faults(plan)
    assert "plan.json" in str(caught.value)
    assert "faults[0]" in str(caught.value)


def test_fault_made_in_code_is_checked_too():
    with pytest.raises(UsageError, match="place"):
        Fault(kind="delete-file", place="disk")


def upload_address(ask, repo: str, content: bytes) -> str:
    import hashlib

    wish = {"operation": "upload", "objects": [{"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}]}
    return ask("POST", f"/{repo}.git/info/lfs/objects/batch", json=wish).json["objects"][0]["actions"]["upload"]["href"]
