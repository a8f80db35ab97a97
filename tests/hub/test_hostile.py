"""An endpoint that lies: nothing of what it says is used, no token leaves, the message is fit to read."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hostile_hub import HostileHub
from publish_hub import QUICK, send_file

from release_kit.core.errors import HubError, UnsafePathError
from release_kit.hub.client import HubClient
from release_kit.hub.errors import AbsurdReplyError, RefusedError, UnreachableError
from release_kit.hub.pacing import Patience
from release_kit.hub.reference import Repo
from release_kit.hub.upload import NewCommit

REPO = Repo("lab/model")
SECRET = "hf_thisIsTheSecretOfTheTest"
WEIGHTS = send_file("model.safetensors", b"0123456789")
OID, SHA = "a" * 40, "b" * 64


def reply(value, **headers):
    """Return an answer that is good JSON."""
    return 200, {"content-type": "application/json"} | headers, json.dumps(value).encode()


def entry(**changes):
    """Return one entry of a listing."""
    return {"type": "file", "path": "a.txt", "size": 1, "oid": OID} | changes


def client_of(hub: HostileHub) -> HubClient:
    return HubClient(hub.endpoint, token=SECRET, patience=QUICK)


@pytest.mark.parametrize(
    "path", ["../evil", "/etc/passwd", "a/../../b", "a\\b", "a//b", "C:/x", "a\x00b", ".", "", "a/./b", "x\ny"]
)
def test_listing_with_a_path_that_leaves_its_folder_is_refused_whole(path):
    files = [entry(), entry(path=path)]
    with HostileHub(lambda *request: reply(files)) as hub, client_of(hub) as client, pytest.raises(UnsafePathError):
        client.list_tree(REPO, "main")


@pytest.mark.parametrize(
    "files",
    [
        [entry(size=-1)],
        [entry(size=1 << 60)],
        [entry(size="12")],
        [entry(size=True)],
        [entry(oid="xyz")],
        [entry(lfs={"oid": "short", "size": 3})],
        [entry(lfs={"oid": SHA, "size": -3})],
        [entry(), entry()],
        ["a.txt"],
        [entry(path=7)],
        {"error": "no list"},
    ],
)
def test_listing_that_cannot_be_true_is_refused(files):
    with (
        HostileHub(lambda *request: reply(files)) as hub,
        client_of(hub) as client,
        pytest.raises(AbsurdReplyError),
    ):
        client.list_tree(REPO, "main")


def test_listing_without_end_is_refused():
    same = {"link": '</api/models/lab/model/tree/main?cursor=1>; rel="next"'}
    with HostileHub(lambda *request: reply([], **same)) as hub, client_of(hub) as client:
        with pytest.raises(AbsurdReplyError, match="does not end"):
            client.list_tree(REPO, "main")
        assert len(hub.seen) <= 3


def test_next_page_on_another_host_is_not_asked_for():
    with HostileHub(lambda *request: reply([])) as other:
        elsewhere = {"link": f'<{other.endpoint}/page2>; rel="next"'}
        with (
            HostileHub(lambda *request: reply([], **elsewhere)) as hub,
            client_of(hub) as client,
            pytest.raises(AbsurdReplyError, match="on another host"),
        ):
            client.list_tree(REPO, "main")
        assert other.seen == []


def test_answer_without_end_is_cut_off():
    def answer(method, path, headers):
        return 200, {}, b"x" * 3_000_000

    with (
        HostileHub(answer) as hub,
        client_of(hub) as client,
        pytest.raises(AbsurdReplyError, match="longer than 1000000 bytes"),
    ):
        client.read_bytes(REPO, "main", "a.txt", limit_bytes=1_000_000)


@pytest.mark.parametrize("body", [b"<html>", b"", b'{"a":', b"[" * 100_000, b"\xff\xfe", b"null", b'"text"'])
def test_answers_that_are_no_json_are_refused(body):
    with HostileHub(lambda *request: (200, {}, body)) as hub, client_of(hub) as client:
        for ask in (client.list_refs, client.resolve):
            with pytest.raises(AbsurdReplyError) as caught:
                ask(REPO)
            assert f"({hub.endpoint}/api/models/lab/model/re" in caught.value.what
            assert "--endpoint" in caught.value.next_step


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_change_that_is_sent_elsewhere_is_not_taken_for_done(status):
    answer = (status, {"location": "https://elsewhere.example/x?signature=secret"}, b"")
    with HostileHub(lambda *request: answer) as hub, client_of(hub) as client:
        changes = (
            lambda: client.create_repo(REPO),
            lambda: client.create_tag(REPO, "v1", OID),
            lambda: client.create_branch(REPO, "other", OID),
            lambda: client.delete_tag(REPO, "v1"),
        )
        for change in changes:
            with pytest.raises(RefusedError, match=r"https://elsewhere\.example/x; ") as caught:
                change()
            assert "secret" not in str(caught.value)


@pytest.mark.parametrize("sha", ["main", "../x", 5, None, "A" * 40, OID + "0"])
def test_a_commit_id_that_is_none_is_refused(sha):
    with (
        HostileHub(lambda *request: reply({"sha": sha})) as hub,
        client_of(hub) as client,
        pytest.raises(AbsurdReplyError, match="as a commit"),
    ):
        client.resolve(REPO)


def test_refs_are_read_strictly():
    for refs in (
        {"branches": [{"name": "main", "targetCommit": "../../x"}]},
        {"branches": "all"},
        {"tags": [{"targetCommit": OID}]},
    ):
        with (
            HostileHub(lambda *request, refs=refs: reply(refs)) as hub,
            client_of(hub) as client,
            pytest.raises(AbsurdReplyError),
        ):
            client.list_refs(REPO)


def test_token_stays_with_the_endpoint_on_redirect_and_upload():
    with HostileHub(lambda *request: (200, {}, b"x")) as other:

        def answer(method, path, headers):
            if "/resolve/" in path:
                return 302, {"location": f"{other.endpoint}/blob"}, b""
            href = {"href": f"{other.endpoint}/put"}
            return reply({"objects": [{"oid": WEIGHTS.sha256, "size": 1, "actions": {"upload": href, "verify": href}}]})

        for transport in ("direct", "session"):
            with (
                HostileHub(answer) as hub,
                HubClient(hub.endpoint, token=SECRET, patience=QUICK, transport=transport) as client,
            ):
                assert client.read_bytes(REPO, "main", "a.txt") == b"x"
                client.upload(REPO, [WEIGHTS])
        assert {method for method, _, _ in other.seen} == {"GET", "PUT", "POST"}
        assert all("authorization" not in headers for _, _, headers in other.seen)
        assert SECRET not in repr(other.seen)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x", "http://"])
def test_redirects_and_uploads_to_something_else_than_http_are_refused(location):
    def answer(method, path, headers):
        if method == "GET":
            return 302, {"location": location}, b""
        upload = {"upload": {"href": location}}
        return reply({"objects": [{"oid": WEIGHTS.sha256, "size": 1, "actions": upload}]})

    with HostileHub(answer) as hub, client_of(hub) as client:
        with pytest.raises((HubError, UnreachableError)):
            client.read_bytes(REPO, "main", "a.txt")
        with pytest.raises((HubError, UnreachableError)):
            client.upload(REPO, [WEIGHTS])


@pytest.mark.parametrize(
    "objects",
    [
        [],
        [{"oid": SHA, "size": 1}],
        [{"oid": WEIGHTS.sha256, "actions": {"upload": {"href": 5}}}],
        [{"oid": WEIGHTS.sha256, "actions": {"upload": {"href": "/x", "header": {"chunk_size": "0", "1": "/p"}}}}],
        [{"oid": WEIGHTS.sha256, "actions": {"upload": {"href": "/x", "header": {"chunk_size": "9", "1": "/p"}}}}],
        "none",
    ],
)
def test_upload_addresses_that_make_no_sense_are_refused(objects):
    with (
        HostileHub(lambda *request: reply({"objects": objects})) as hub,
        client_of(hub) as client,
        pytest.raises(AbsurdReplyError),
    ):
        client.upload(REPO, [WEIGHTS])


def test_refused_object_is_named():
    refused = [{"oid": WEIGHTS.sha256, "size": 1, "error": {"code": 413, "message": "too large"}}]
    with (
        HostileHub(lambda *request: reply({"objects": refused})) as hub,
        client_of(hub) as client,
        pytest.raises(RefusedError, match=r"refuses model.safetensors: too large"),
    ):
        client.upload(REPO, [WEIGHTS])


def test_messages_hold_neither_token_nor_control_characters():
    text = f"no \x1b[31m way, {SECRET}, Bearer abcdefghijkl, hf_AnotherToken123 " + "x" * 5000

    def answer(method, path, headers):
        return 400, {}, json.dumps({"error": text}).encode()

    with HostileHub(answer) as hub, client_of(hub) as client, pytest.raises(RefusedError) as caught:
        client.commit(REPO, "main", NewCommit(title="x", files=[]))
    message = str(caught.value)
    assert "hf_" not in message and "abcdefghijkl" not in message and "\x1b" not in message
    assert len(message) < 1000


def test_waits_that_a_hostile_hub_asks_for_are_bounded():
    headers = {"retry-after": "99999999"}
    with HostileHub(lambda *request: (429, headers, b"{}")) as hub, client_of(hub) as client:
        with pytest.raises(UnreachableError, match="more waiting"):
            client.list_refs(REPO)
        assert len(hub.seen) == 1


def test_a_hub_that_ignores_ranges_is_noticed():
    with HostileHub(lambda *request: (200, {}, b"0123456789")) as hub, client_of(hub) as client:
        with (
            pytest.raises(AbsurdReplyError, match="parts of files"),
            client.stream(REPO, "main", "a.bin", start=3) as pieces,
        ):
            b"".join(pieces)
        with client.stream(REPO, "main", "a.bin", end=4) as pieces:
            assert b"".join(pieces) == b"0123"


def test_connections_that_were_closed_while_idle_cost_one_try_not_all():
    gate = threading.Barrier(8, timeout=10)

    def answer(method, path, headers):
        if path.endswith("/refs"):
            gate.wait()
        return reply({"sha": OID})

    patience = Patience(tries=2, base_s=0.01)
    with HostileHub(answer, hang_up=True) as hub, HubClient(hub.endpoint, patience=patience) as client:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: client.list_refs(REPO), range(8)))
        assert client.resolve(REPO) == OID
