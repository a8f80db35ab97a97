"""The client against the local Hub over HTTP, through both transports: reading, changing, and every fault."""

import hashlib
import socket

import pytest
from publish_hub import QUICK, files_at, send_file

from release_kit.core.errors import HubError, PublishError, UsageError
from release_kit.hub.client import HubClient
from release_kit.hub.errors import (
    AccessError,
    MovedError,
    NotFoundError,
    RateLimitedError,
    UnreachableError,
)
from release_kit.hub.pacing import Patience
from release_kit.hub.reference import Repo
from release_kit.hub.server import LocalHub
from release_kit.hub.server.auth import Access, User
from release_kit.hub.server.faults import Fault
from release_kit.hub.upload import NewCommit, SendFile

REPO = Repo("lab/model")
SECRET = "hf_thisIsTheSecretOfTheTest"


def put(client: HubClient, files: list[SendFile], repo: Repo = REPO, **options) -> str:
    """Upload and commit."""
    large = [file for file in files if file.is_large]
    client.upload(repo, large)
    names = frozenset(file.path for file in large)
    return client.commit(repo, "main", NewCommit(title="Add", files=files, large=names), **options)


@pytest.fixture
def hub(tmp_path):
    """Serve an empty Hub that splits uploads into parts of 1 MB."""
    with LocalHub(tmp_path / "hub", part_bytes=1_000_000, page_entries=7) as served:
        yield served


@pytest.fixture(params=["direct", "session"])
def client(request, hub):
    """Return a client of each transport, with a repo to work on."""
    with HubClient(hub.endpoint, token=SECRET, transport=request.param, patience=QUICK) as made:
        made.create_repo(REPO)
        hub.clear_requests()
        yield made


WEIGHTS = send_file("model.safetensors", bytes(range(256)) * 40)
CARD = send_file("README.md", b"# A card\n")


def test_what_was_sent_is_read_back(client):
    head = put(client, [WEIGHTS, CARD, send_file("sub/empty.json", b"")])
    assert client.resolve(REPO) == client.resolve(REPO, head) == head
    files = {file.path: file for file in client.list_tree(REPO, head)}
    assert files["model.safetensors"].lfs_sha256 == WEIGHTS.sha256
    assert files["README.md"].git_oid == CARD.git_sha1
    assert client.read_bytes(REPO, head, "README.md") == CARD.source
    with client.stream(REPO, head, "model.safetensors", start=100, end=1100) as pieces:
        assert b"".join(pieces) == WEIGHTS.source[100:1100]
    assert [file.path for file in client.list_tree(REPO, head, "sub")] == ["sub/empty.json"]


def test_listing_follows_all_pages(client, hub):
    put(client, [send_file(f"f/{n:03d}.json", b"%d" % n) for n in range(50)])
    hub.clear_requests()
    assert len(client.list_tree(REPO, "main")) == 51
    assert len(hub.requests) == 8


def test_large_file_goes_up_in_parts_and_is_not_sent_twice(client, hub):
    big = send_file("big.bin", b"0123456789abcdef" * 200_000)
    put(client, [big])
    assert sum(r.method == "PUT" for r in hub.requests) == 4
    hub.clear_requests()
    assert client.upload(REPO, [big]) == 0
    assert not any(r.method == "PUT" for r in hub.requests)


def test_making_things_twice_is_no_error(client):
    head = put(client, [CARD])
    assert client.create_repo(REPO) is False
    assert (client.create_tag(REPO, "v1", head), client.create_tag(REPO, "v1", head)) == (True, False)
    assert (client.create_branch(REPO, "b", head), client.create_branch(REPO, "b", head)) == (True, False)
    refs = client.list_refs(REPO)
    assert (refs.tags, refs.branches) == ({"v1": head}, {"main": head, "b": head})
    client.delete_tag(REPO, "v1")
    client.delete_tag(REPO, "v1")
    assert client.list_refs(REPO).tags == {}


def test_collections(client):
    slug = client.create_collection("lab", "A grid", "x" * 500)
    assert client.create_collection("lab", "A grid", "") == slug == client.find_collection("lab", "A grid")
    assert (client.add_to_collection(slug, REPO), client.add_to_collection(slug, REPO)) == (True, False)
    assert client.read_collection(slug).items == {REPO}
    assert client.find_collection("lab", "Another") is None


def test_what_is_not_there_says_so(client):
    for ask in (
        lambda: client.resolve(Repo("lab/none")),
        lambda: client.resolve(REPO, "v9"),
        lambda: client.list_tree(REPO, "main", "none"),
        lambda: client.read_bytes(REPO, "main", "none.txt"),
    ):
        with pytest.raises(NotFoundError, match="not found"):
            ask()


def test_commit_for_another_head_is_refused(client):
    first = client.resolve(REPO)
    put(client, [CARD])
    with pytest.raises(MovedError):
        client.commit(REPO, "main", NewCommit(title="Late", files=[CARD], parent=first))


def test_file_that_changed_since_it_was_hashed_is_not_sent(client, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(WEIGHTS.source[:-1] + b"x")
    for data in (WEIGHTS, CARD):
        path.write_bytes(data.source[:-1] + b"x")
        changed = SendFile(path=data.path, size_bytes=data.size_bytes, sha256=data.sha256, source=path)
        with pytest.raises(PublishError, match="has changed since"):
            put(client, [changed])
    assert files_at(client, REPO, "main").keys() == {".gitattributes"}


FAULTS = {
    "429 with Retry-After": Fault(kind="status", status=429, retry_after_s=0, nth=(1, 2)),
    "429 without headers": Fault(kind="status", status=429, nth=(1,)),
    "503": Fault(kind="status", status=503, nth=(1, 2)),
    "500": Fault(kind="status", status=500, nth=(1,)),
    "reset": Fault(kind="reset", nth=(1, 2)),
    "lost reply": Fault(kind="lost-reply", nth=(1,)),
    "truncated": Fault(kind="truncate-body", nth=(1,)),
}
CALLS = {
    "create_repo": lambda c, head: c.create_repo(Repo("lab/other")),
    "list_refs": lambda c, head: c.list_refs(REPO),
    "resolve": lambda c, head: c.resolve(REPO),
    "list_tree": lambda c, head: c.list_tree(REPO, "main"),
    "list_repos": lambda c, head: c.list_repos("lab"),
    "read_bytes": lambda c, head: c.read_bytes(REPO, head, "README.md"),
    "upload": lambda c, head: c.upload(REPO, [WEIGHTS]),
    "commit": lambda c, head: c.commit(REPO, "main", NewCommit(title="x", files=[send_file("b.json", b"{}")])),
    "create_tag": lambda c, head: c.create_tag(REPO, "v1", head),
    "delete_tag": lambda c, head: c.delete_tag(REPO, "v1"),
    "create_branch": lambda c, head: c.create_branch(REPO, "b", head),
    "create_collection": lambda c, head: c.create_collection("lab", "T", ""),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("call", CALLS)
def test_every_call_outlives_every_passing_fault(hub, client, call, fault):
    head = put(client, [CARD])
    hub.set_faults([FAULTS[fault]])
    CALLS[call](client, head)
    assert hub.fired_faults


def test_a_lost_reply_does_not_lead_to_a_second_commit(hub, client):
    start = client.resolve(REPO)
    hub.set_faults([Fault(kind="lost-reply", path="/commit/", nth=(1,))])
    looked = []

    def applied():
        looked.append(client.resolve(REPO))
        return looked[-1] if looked[-1] != start else None

    made = put(client, [CARD], find_applied=applied)
    assert looked == [made]
    assert len(client.list_commits(REPO)) == 2


def test_a_range_goes_on_where_it_broke_off(hub, client):
    head = put(client, [WEIGHTS])
    hub.set_faults([Fault(kind="truncate-body", path="/resolve/", nth=(1,), at_byte=4000)])
    got = b""
    with (
        pytest.raises(UnreachableError, match="broke off"),
        client.stream(REPO, head, WEIGHTS.path) as pieces,
    ):
        for piece in pieces:
            got += piece
    with client.stream(REPO, head, WEIGHTS.path, start=len(got)) as pieces:
        got += b"".join(pieces)
    assert got == WEIGHTS.source


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(kind="status", status=503), UnreachableError),
        (Fault(kind="reset"), UnreachableError),
        (Fault(kind="status", status=429, retry_after_s=3), RateLimitedError),
    ],
)
def test_a_hub_that_never_recovers_is_given_up_with_a_next_step(hub, fault, error):
    patience = Patience(tries=3, base_s=0.001, wait_s=2)
    hub.set_faults([fault])
    with HubClient(hub.endpoint, patience=patience) as client, pytest.raises(error, match="run the same command again"):
        client.list_refs(REPO)


def test_nobody_at_the_endpoint():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    for transport in ("direct", "session"):
        with (
            HubClient(endpoint, patience=QUICK, transport=transport) as client,
            pytest.raises(UnreachableError, match=r"no answer from http://127.0.0.1.*check the address"),
        ):
            client.resolve(REPO)


def test_tokens_decide_and_never_show(tmp_path):
    users = {
        hashlib.sha256(token.encode()).hexdigest(): User(name="lab", role=role)
        for token, role in ((SECRET, "write"), (SECRET + "Read", "read"))
    }
    with LocalHub(tmp_path / "hub", access=Access(users=users)) as hub:
        for token, text in ((False, "there is no token"), (SECRET + "Read", "no right"), (SECRET + "Bad", "no right")):
            with HubClient(hub.endpoint, token=token) as client, pytest.raises(AccessError, match=text) as caught:
                client.create_repo(REPO)
            assert SECRET not in str(caught.value) and SECRET not in repr(caught.value.to_dict())
            assert "HF_TOKEN" in str(caught.value)
        with HubClient(hub.endpoint, token=SECRET) as client:
            assert client.create_repo(REPO) is True


@pytest.mark.parametrize("endpoint", ["ftp://x", "hub.example.org", "http://user:password@h", "file:///etc"])
def test_an_endpoint_that_is_none_is_refused_without_its_password(endpoint):
    with pytest.raises(UsageError) as caught:
        HubClient(endpoint)
    assert "password" not in str(caught.value).replace("without user or password", "")


def test_an_unknown_tier_is_refused():
    with pytest.raises(UsageError, match="not an account tier"):
        HubClient("http://127.0.0.1:1", tier="gold")


def test_requests_are_counted_with_repeats(hub, client):
    hub.set_faults([Fault(kind="reset", nth=(1, 2))])
    before = client.request_count
    client.list_refs(REPO)
    assert client.request_count - before == 3
    assert isinstance(UnreachableError("x"), HubError)
