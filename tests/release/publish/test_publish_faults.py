"""Publishing while the Hub fails in every way it knows: the same end state, or a clear refusal and no tag."""

import hashlib

import pytest
from publish_hub import QUICK, end_state, files_at, n_writes
from publish_states import undisturbed

from release_kit.core.errors import PublishError
from release_kit.core.study import LAYOUTS
from release_kit.hub.client import HubClient
from release_kit.hub.errors import AbsurdReplyError, AccessError, UnreachableError
from release_kit.hub.reference import Repo
from release_kit.hub.server import LocalHub
from release_kit.hub.server.auth import Access, User
from release_kit.hub.server.faults import Fault
from release_kit.release.publish.run import PublishOptions, publish_release
from release_kit.release.tree import open_tree

INDEX, CELL = Repo("lab/tiny-grid"), Repo("lab/tiny-llama-alpaca-lora-s0")

PASSING = {
    "rate limit now and then": [Fault(kind="status", status=429, retry_after_s=0, every=7)],
    "rate limit on making repos": [Fault(kind="status", status=429, path="/repos/create", nth=(1, 2, 4))],
    "failures now and then": [Fault(kind="status", status=503, every=6)],
    "connections reset": [Fault(kind="reset", every=6)],
    "uploads reset in the middle": [Fault(kind="reset", method="PUT", at_byte=500, nth=(1, 3))],
    "replies lost": [Fault(kind="lost-reply", every=5)],
    "commit replies lost": [Fault(kind="lost-reply", path="/commit/", nth=(1, 3, 4))],
    "tag replies lost": [Fault(kind="lost-reply", path="/tag/", nth=(1, 3))],
    "listings truncated": [Fault(kind="truncate-body", path="/tree/", nth=(1, 3, 5))],
    "everything at once": [
        Fault(kind="status", status=429, retry_after_s=0, every=9),
        Fault(kind="lost-reply", every=8),
        Fault(kind="reset", every=11),
        Fault(kind="status", status=500, every=13),
    ],
}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Return layout → end state of an undisturbed publication of the same study."""
    return undisturbed(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", PASSING)
def test_passing_faults_lead_to_the_same_end_state(hub, built, publish, expected, layout, name):
    hub.set_faults(PASSING[name])
    publish(built, layout)
    struck = hub.fired_faults
    hub.clear_faults()
    assert end_state(hub, "lab") == expected[layout]
    assert struck


@pytest.mark.parametrize("layout", LAYOUTS)
def test_main_moved_by_somebody_else_while_publishing_is_refused_and_never_tagged(hub, built, publish, layout):
    hub.set_faults([Fault(kind="move-main", path="/commit/", nth=(1,))])
    with pytest.raises(PublishError, match=r"foreign to this release: moved-by-somebody-else.txt"):
        publish(built, layout)
    hub.clear_faults()
    with HubClient(hub.endpoint) as client:
        assert "v1.0.0" not in client.list_refs(INDEX).tags
    with pytest.raises(PublishError, match=r"moved-by-somebody-else.txt.*--overwrite"):
        publish(built, layout)
    publish(built, layout, overwrite=True)
    with HubClient(hub.endpoint) as client:
        assert "moved-by-somebody-else.txt" not in files_at(client, INDEX, "v1.0.0")


def test_file_deleted_behind_our_back_is_sent_again(hub, built, publish):
    hub.set_faults(
        [Fault(kind="delete-file", path=f"/{CELL.id}/tree/", nth=(1,), repo=CELL.id, file="adapter_config.json")]
    )
    publish(built)
    hub.clear_faults()
    report = publish(built)
    assert any("put back" in note for note in report.notes)
    with HubClient(hub.endpoint) as client:
        assert files_at(client, CELL, "main") == files_at(client, CELL, "v1.0.0")


def test_listing_that_lies_about_a_file_stops_before_any_tag(hub, built, publish):
    publish(built, namespace="rehearsal")
    with HubClient(hub.endpoint) as client:
        listing = client._channel.request("GET", f"/api/models/rehearsal/{CELL.name}/tree/main", what="listing").body
    at_byte = listing.index(b'"lfs":{"oid":"') + 20
    hub.set_faults([Fault(kind="corrupt-body", path=f"/{CELL.id}/tree/", at_byte=at_byte)])
    with pytest.raises((PublishError, AbsurdReplyError)):
        publish(built)
    hub.clear_faults()
    with HubClient(hub.endpoint) as client:
        assert client.list_refs(INDEX).tags == {}
        assert client.list_refs(CELL).tags == {}


def test_hub_that_stays_down_is_named_and_the_next_run_continues(hub, built, publish, expected):
    hub.set_faults([Fault(kind="status", status=503, path="/commit/")])
    with pytest.raises(UnreachableError, match="run the same command again; it continues"):
        publish(built)
    hub.clear_faults()
    publish(built)
    assert end_state(hub, "lab") == expected["repos"]


@pytest.mark.parametrize(("token", "text"), [(False, "there is no token"), ("hf_readOnlyToken", "no right")])
def test_without_rights_nothing_is_sent(built, tmp_path, token, text):
    user = User(name="lab", role="read")
    access = Access(users={hashlib.sha256(b"hf_readOnlyToken").hexdigest(): user})
    with (
        LocalHub(tmp_path / "guarded", access=access) as hub,
        HubClient(hub.endpoint, token=token, patience=QUICK) as client,
    ):
        with pytest.raises(AccessError, match=text) as caught:
            publish_release(open_tree(built.folder), client, PublishOptions(namespace="lab", layout="repos"))
        assert "hf_readOnlyToken" not in str(caught.value)
        assert n_writes(hub) == 1
