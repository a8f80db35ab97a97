"""A Hub that fails or lies: what could be seen is judged, the rest is named, and nothing is claimed about it."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hub_replica import put_release, pythia

from release_kit.core.errors import HubError, UsageError
from release_kit.hub.client import HubClient
from release_kit.hub.errors import NotFoundError, UnreachableError
from release_kit.hub.reference import Repo
from release_kit.hub.server.faults import Fault
from release_kit.release.audit import AuditOptions, audit_releases
from release_kit.release.audit.facts import parse_facts

STEPS = tuple(range(1000, 7000, 1000))


def test_branch_that_cannot_be_listed_is_named_and_the_others_are_judged(client, hub):
    repo = Repo("lab/one-branch-gone")
    release = pythia(STEPS)
    release["step2000"] = dict(release["step3000"])
    put_release(client, repo, release)
    commit = client.resolve(repo, "step5000")
    hub.set_faults([Fault(kind="status", status=404, path=f"/tree/{commit}")])
    try:
        report = audit_releases(client, [repo.id])
    finally:
        hub.clear_faults()
    assert sorted(finding.code for finding in report.findings) == ["identical-payload", "missing-label", "unreadable"]
    unreadable = next(finding for finding in report.findings if finding.code == "unreadable")
    assert unreadable.where == "lab/one-branch-gone@step5000"
    assert not report.ok


def test_small_file_that_cannot_be_read_stops_nothing(client, hub):
    repo = Repo("lab/card-gone")
    put_release(client, repo, pythia(STEPS))
    hub.set_faults([Fault(kind="status", status=404, path="resolve/.*README.md")])
    try:
        report = audit_releases(client, [repo.id])
    finally:
        hub.clear_faults()
    assert [finding.code for finding in report.findings] == ["card-invalid"]
    assert "cannot be read" in report.findings[0].what


def test_hub_that_keeps_failing_is_an_error_not_a_clean_report(client, hub):
    repo = Repo("lab/failing")
    put_release(client, repo, pythia(STEPS[:2]))
    hub.set_faults([Fault(kind="status", status=503, path="/tree/")])
    try:
        with pytest.raises(UnreachableError):
            audit_releases(client, [repo.id])
    finally:
        hub.clear_faults()


def test_repo_that_does_not_exist_is_named(client):
    with pytest.raises(NotFoundError, match="lab/nothing-here"):
        audit_releases(client, ["lab/nothing-here"])


def test_account_without_models_is_refused(client):
    with pytest.raises(HubError, match="nobody-here"):
        audit_releases(client, ["nobody-here"])


def test_branch_that_this_token_may_not_list_is_named_and_the_others_are_judged(client, hub):
    repo = Repo("lab/one-branch-closed")
    put_release(client, repo, pythia(STEPS))
    hub.set_faults([Fault(kind="status", status=403, path=f"/tree/{client.resolve(repo, 'step5000')}")])
    try:
        report = audit_releases(client, [repo.id])
    finally:
        hub.clear_faults()
    assert [f.where for f in report.findings if f.code == "unreadable"] == ["lab/one-branch-closed@step5000"]
    assert report.n_revisions == len(STEPS)


def test_nan_in_the_log_of_a_trainer_hides_no_step():
    facts = parse_facts(b'{"global_step": 5, "log_history": [{"loss": NaN}]}', "trainer_state.json")
    assert (facts.problem, facts.step) == (None, 5)


@pytest.mark.parametrize("target", ["a/b/c/d", "../etc", "", "lab/"])
def test_malformed_target_is_refused_before_any_request(client, hub, target):
    hub.clear_requests()
    with pytest.raises(UsageError):
        audit_releases(client, [target])
    assert hub.requests == []


def test_contradicting_options_are_refused():
    with pytest.raises(UsageError, match="--series"):
        AuditOptions(expect="1:3")
    with pytest.raises(UsageError, match="--expect"):
        AuditOptions(series="step{n}", expect="x")


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("model.safetensors.index.json", b"[]"),
        ("model.safetensors.index.json", b'{"weight_map": {"a": 3}}'),
        ("model.safetensors.index.json", b"\xff"),
        ("config.json", b"[" * 100_000),
        ("trainer_state.json", b'{"epoch": 1' + b"0" * 400 + b"}"),
        ("model.safetensors.index.json", b'{"weight_map": {}, "metadata": {"total_size": 1e999}}'),
        ("README.md", b"---\na: " + b"[" * 5000 + b"\n---\n"),
        ("README.md", b"---\n!!python/object/apply:os.system [id]\n---\n"),
        ("README.md", b"---\n- a list\n---\n"),
        ("README.md", b"\xff\xfe"),
    ],
)
def test_malformed_file_says_so_and_runs_nothing(path, data):
    assert parse_facts(data, path).problem


@pytest.mark.parametrize(
    "front",
    [
        {"model-index": "text"},
        {"model-index": [{"results": "text"}]},
        {"model-index": [{"results": [{"metrics": 3}, "text"]}, 7]},
        {"tags": {"a": 1}, "license": ["mit"], "base_model": {"x": 1}},
    ],
)
def test_odd_front_matter_of_any_shape_is_judged_without_a_traceback(client, front):
    name = f"lab/odd-{abs(hash(json.dumps(front))) % 10**8}"
    release = pythia(STEPS[:2])
    release["main"]["README.md"] = f"---\n{json.dumps(front)}\n---\n# Card\n".encode()
    put_release(client, Repo(name), release)
    assert isinstance(audit_releases(client, [name]).to_dict(), dict)


GOOD_FILE = {"type": "file", "path": "model.safetensors", "size": 9, "oid": "a" * 40}


@contextmanager
def lying_hub(entries: list[dict]) -> Iterator[str]:
    """Serve one repo with one branch, whose listing is whatever a hostile Hub likes."""
    refs = {"branches": [{"name": "main", "targetCommit": "c" * 40}], "tags": []}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(refs if self.path.endswith("/refs") else entries).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "entry",
    [
        {"path": "../../etc/passwd"},
        {"path": "/etc/passwd"},
        {"path": "a/../../b"},
        {"path": "a\\b"},
        {"path": 7},
        {"size": -1},
        {"size": 10**30},
        {"size": "big"},
        {"oid": "not a digest"},
        {"lfs": {"oid": "x", "size": 3}},
        {},
    ],
)
def test_listing_that_lies_is_refused_whole_and_said_to_be(entry):
    lie = GOOD_FILE | entry
    with lying_hub([GOOD_FILE, lie]) as endpoint, HubClient(endpoint) as client:
        report = audit_releases(client, ["lab/evil"])
    (finding,) = report.findings
    assert (finding.code, finding.where, report.n_files) == ("unreadable", "lab/evil@main", 0)
    assert not report.ok
