"""Who may do what: tokens with roles, private repositories, and who is kept out of a Hub without tokens."""

import hashlib
import json

import pytest

from release_kit.core.errors import HubError, RecordError, ReleaseKitError, UsageError
from release_kit.hub.server import Access, LocalHub, RateLimits, RequestLog
from release_kit.hub.server.auth import read_tokens

READER, WRITER = "hf_reader_secret_1", "hf_writer_secret_2"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def tokens(tmp_path):
    digest = hashlib.sha256(WRITER.encode()).hexdigest()
    path = tmp_path / "tokens.json"
    path.write_text(
        json.dumps(
            {
                "tokens": [
                    {"user": "rita", "role": "read", "token": READER},
                    {"user": "will", "role": "write", "token_sha256": digest},
                ]
            }
        )
    )
    return path


@pytest.fixture
def guarded(tmp_path, tokens, ask_at):
    log = RequestLog(file=tmp_path / "access.jsonl")
    with LocalHub(root=tmp_path / "guarded", access=Access(users=read_tokens(tokens)), log=log) as hub:
        ask = ask_at(hub.endpoint)
        for name, private in (("open", False), ("secret", True)):
            wish = {"name": name, "organization": "lab", "private": private}
            assert ask("POST", "/api/repos/create", json=wish, headers=bearer(WRITER)).status == 200
        yield ask


WRITES = [
    ("POST", "/api/repos/create"),
    ("DELETE", "/api/repos/delete"),
    ("POST", "/api/models/lab/open/commit/main"),
    ("POST", "/api/models/lab/open/preupload/main"),
    ("POST", "/api/models/lab/open/tag/main"),
    ("DELETE", "/api/models/lab/open/tag/v1"),
    ("POST", "/api/models/lab/open/branch/b"),
    ("DELETE", "/api/models/lab/open/branch/b"),
    ("PUT", "/api/models/lab/open/settings"),
    ("POST", "/api/models/lab/open/super-squash/main"),
    ("GET", "/api/models/lab/open/xet-write-token/main"),
    ("POST", "/lab/open.git/info/lfs/objects/batch"),
    ("POST", "/lab/open.git/info/lfs/verify"),
    ("POST", "/api/repos/move"),
    ("POST", "/api/collections"),
    ("GET", "/api/models/lab/open/auth-check/write"),
]


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_writing_needs_a_write_token(guarded, method, path):
    body = {
        "name": "open",
        "organization": "lab",
        "fromRepo": "lab/open",
        "toRepo": "lab/x",
        "title": "t",
        "namespace": "lab",
    }
    assert guarded(method, path, json=body).status == 401
    assert guarded(method, path, json=body, headers=bearer("hf_unknown")).status == 401
    refused = guarded(method, path, json=body, headers=bearer(READER))
    assert refused.status == 403
    assert "read-only" in refused.json["error"]
    assert guarded(method, path, json=body, headers=bearer(WRITER)).status not in (401, 403)


@pytest.mark.parametrize(
    "path",
    [
        "/api/models/lab/secret",
        "/api/models/lab/secret/tree/main",
        "/lab/secret/resolve/main/.gitattributes",
        "/api/models/lab/secret/refs",
        "/api/models/lab/secret/xet-read-token/main",
        "/lab/secret",
        "/lab/secret/tree/main",
    ],
)
def test_private_repository_looks_absent_without_a_token(guarded, path):
    stranger = guarded("GET", path)
    assert stranger.status == 404
    assert stranger.headers["x-error-code"] == "RepoNotFound"
    assert guarded("GET", path, headers=bearer(READER)).status == 200
    assert guarded("GET", path.replace("secret", "open")).status == 200


def test_listings_leave_private_repositories_out(guarded):
    assert [item["id"] for item in guarded("GET", "/api/models").json] == ["lab/open"]
    assert len(guarded("GET", "/api/models", headers=bearer(READER)).json) == 2
    assert b"secret" not in guarded("GET", "/").body


def test_whoami_tells_user_and_role(guarded):
    assert guarded("GET", "/api/whoami-v2", headers=bearer(WRITER)).json["name"] == "will"
    assert guarded("GET", "/api/whoami-v2", headers=bearer(READER)).json["auth"]["accessToken"]["role"] == "read"
    assert guarded("GET", "/api/whoami-v2").status == 401


def test_tokens_are_in_no_file_and_no_log(guarded, tmp_path, tokens):
    guarded("GET", "/api/models", headers=bearer(READER))
    tokens.unlink()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert READER.encode() not in content, path
            assert WRITER.encode() not in content, path
    assert "hf_" not in repr(read_tokens_of(tmp_path))


def read_tokens_of(tmp_path):
    path = tmp_path / "again.json"
    path.write_text(json.dumps({"tokens": [{"user": "u", "role": "read", "token": "hf_x"}]}))
    return Access(users=read_tokens(path))


def test_other_hosts_need_tokens(tmp_path):
    with pytest.raises(UsageError, match="tokens"):
        LocalHub(root=tmp_path / "hub", host="0.0.0.0")
    assert not (tmp_path / "hub").exists()


def test_open_hub_answers_to_loopback_names_only(ask):
    assert ask("GET", "/api/models", headers={"Host": "evil.example:80"}).status == 403
    for host in ("localhost", "127.0.0.1:1234", "[::1]:80"):
        assert ask("GET", "/api/models", headers={"Host": host}).status == 200


def test_web_pages_of_others_cannot_change_anything(hub, ask):
    wish = {"name": "m", "organization": "lab"}
    refused = ask("POST", "/api/repos/create", json=wish, headers={"Origin": "https://evil.example"})
    assert refused.status == 403
    assert ask("POST", "/api/repos/create", json=wish, headers={"Origin": hub.endpoint}).status == 200


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], "no token"),
        ({"hf_secret": "write"}, "`tokens` expected a list"),
        (["hf_secret"], "`tokens[0]` expected a mapping"),
        ([{"user": "u", "role": "hf_secret", "token": "hf_secret"}], "`tokens[0].role` expected one of"),
        ([{"user": "u", "role": "read", "token": ["hf_secret"]}], "`tokens[0]` expected texts"),
        ([{"user": "u", "role": "read", "hf_secret": ""}], "`tokens[0]` expected texts"),
        ([{"user": "u", "role": "read"}], "exactly one"),
    ],
)
def test_bad_tokens_file_is_refused_without_showing_tokens(tmp_path, tokens, message):
    path = tmp_path / "tokens.json"
    path.write_text(json.dumps({"tokens": tokens}))
    with pytest.raises(RecordError) as caught:
        read_tokens(path)
    assert message in str(caught.value)
    assert "hf_secret" not in str(caught.value)


def test_a_folder_that_cannot_be_used_is_a_sentence_and_is_let_go(tmp_path):
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "hub.sqlite3").write_text("no database " * 1000)
    for _ in range(2):
        with pytest.raises(HubError, match="cannot be used as the index of a Hub"):
            LocalHub(root=tmp_path / "hub")
    (tmp_path / "file").touch()
    with pytest.raises(ReleaseKitError, match="cannot be written"):
        LocalHub(root=tmp_path / "file")


def test_second_server_on_one_folder_is_refused(hub, tmp_path):
    with pytest.raises(HubError, match="another local Hub"):
        LocalHub(root=tmp_path / "hub")


def test_rate_limits_count_by_kind_and_tell_when_to_come_back(tmp_path, ask_at):
    now = [1_000_000.0]
    limits = RateLimits(api=3, resolvers=2, window_s=300)
    with LocalHub(root=tmp_path / "limited", rate_limits=limits, clock=lambda: now[0]) as hub:
        ask = ask_at(hub.endpoint)
        answers = [ask("GET", "/api/models") for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        assert answers[0].headers["ratelimit"] == '"api";r=2;t=200'
        assert answers[3].headers["ratelimit"] == '"api";r=0;t=200'
        assert answers[3].headers["ratelimit-policy"] == '"fixed window";"api";q=3;w=300'
        assert ask("GET", "/lab/m/resolve/main/x").status == 404
        assert ask("GET", "/").status == 200
        now[0] += 200
        assert ask("GET", "/api/models").status == 200
