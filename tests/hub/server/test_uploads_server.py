"""Content that arrives is verified before it has a name: in one piece, in parts, through Xet; served to everybody."""

import hashlib
import json
import random
from pathlib import Path

import pytest

from release_kit.hub.server import LocalHub, check_folder
from release_kit.hub.server.xet import parse_shard


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def wish(content: bytes, *transfers: str) -> dict:
    answer = {"operation": "upload", "objects": [{"oid": sha256(content), "size": len(content)}]}
    return answer | ({"transfers": list(transfers)} if transfers else {})


def upload_action(ask, repo: str, content: bytes, *transfers: str) -> dict:
    answer = ask("POST", f"/{repo}.git/info/lfs/objects/batch", json=wish(content, *transfers))
    assert answer.status == 200
    return answer.json["objects"][0]["actions"]["upload"]


def commit_large(ask, repo: str, path: str, content: bytes):
    value = {"path": path, "algo": "sha256", "oid": sha256(content), "size": len(content)}
    rows = [{"key": "header", "value": {"summary": "large"}}, {"key": "lfsFile", "value": value}]
    return ask("POST", f"/api/models/{repo}/commit/main", body=b"\n".join(json.dumps(row).encode() for row in rows))


@pytest.mark.parametrize("size", [1, 50_000, 70_000, 3_000_000])
def test_upload_commit_and_download(ask, repo, size):
    content = random.Random(size).randbytes(size)
    assert ask("PUT", upload_action(ask, repo, content)["href"], body=content).status == 200
    assert "actions" not in ask("POST", f"/{repo}.git/info/lfs/objects/batch", json=wish(content)).json["objects"][0]
    assert commit_large(ask, repo, "w.bin", content).status == 200
    answer = ask("GET", f"/{repo}/resolve/main/w.bin")
    assert answer.body == content
    assert answer.headers["x-linked-etag"] == f'"{sha256(content)}"'
    assert answer.headers["x-linked-size"] == str(size)
    assert "x-xet-hash" not in answer.headers
    info = ask("POST", f"/api/models/{repo}/paths-info/main", json={"paths": ["w.bin"]}).json[0]
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(content)}\nsize {size}\n".encode()
    assert info["lfs"] == {"oid": sha256(content), "size": size, "pointerSize": len(pointer)}
    assert info["oid"] == hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest()


@pytest.mark.parametrize("size", [5_000, 500_000])
@pytest.mark.parametrize("damage", ["flipped", "short", "long"])
def test_content_that_is_not_what_was_announced_is_refused(ask, repo, tmp_path, size, damage):
    content = random.Random(size).randbytes(size)
    href = upload_action(ask, repo, content)["href"]
    wrong = {"flipped": bytes([content[0] ^ 1]) + content[1:], "short": content[:-1], "long": content + b"x"}[damage]
    assert ask("PUT", href, body=wrong).status in (400, 413)
    assert commit_large(ask, repo, "w.bin", content).status == 400
    assert list((tmp_path / "hub" / "tmp").iterdir()) == []
    assert ask("PUT", href, body=content).status == 200
    assert commit_large(ask, repo, "w.bin", content).status == 200


def test_upload_address_cannot_be_used_for_something_else(ask, repo):
    content, other = b"a" * 1000, b"b" * 1000
    href = upload_action(ask, repo, content)["href"]
    assert ask("PUT", href.replace(sha256(content), sha256(other)), body=other).status == 403
    assert ask("PUT", href.replace("size=1000", "size=2000"), body=b"a" * 2000).status == 403
    assert ask("PUT", href.partition("?")[0], body=content).status == 403


def test_wrong_size_in_a_commit_is_refused(ask, repo):
    content = b"a" * 1000
    ask("PUT", upload_action(ask, repo, content)["href"], body=content)
    value = {"path": "w.bin", "algo": "sha256", "oid": sha256(content), "size": 999}
    rows = [{"key": "header", "value": {"summary": "large"}}, {"key": "lfsFile", "value": value}]
    answer = ask("POST", f"/api/models/{repo}/commit/main", body=b"\n".join(json.dumps(row).encode() for row in rows))
    assert answer.status == 400
    assert "1000 bytes" in answer.json["error"]


def test_verify_tells_whether_the_content_is_there(ask, repo):
    content = b"v" * 100
    asked = {"oid": sha256(content), "size": 100}
    assert ask("POST", f"/{repo}.git/info/lfs/verify", json=asked).status == 404
    ask("PUT", upload_action(ask, repo, content)["href"], body=content)
    assert ask("POST", f"/{repo}.git/info/lfs/verify", json=asked).status == 200
    assert ask("POST", f"/{repo}.git/info/lfs/verify", json=asked | {"size": 99}).status == 404


@pytest.fixture
def parted(tmp_path, ask_at):
    with LocalHub(root=tmp_path / "parted", part_bytes=1 << 20) as hub:
        ask = ask_at(hub.endpoint)
        ask("POST", "/api/repos/create", json={"name": "m", "organization": "lab"})
        yield ask


def test_an_absurd_size_is_refused_at_once(parted):
    wish = {"operation": "upload", "transfers": ["basic", "multipart"], "objects": [{"oid": "0" * 64, "size": 10**18}]}
    assert parted("POST", "/lab/m.git/info/lfs/objects/batch", json=wish).status == 422


def test_upload_in_parts(parted):
    content = random.Random(3).randbytes(2_500_000)
    action = upload_action(parted, "lab/m", content, "basic", "multipart")
    chunk = int(action["header"]["chunk_size"])
    assert sorted(action["header"]) == ["1", "2", "3", "chunk_size"]
    etags = {}
    for number in (3, 1, 1, 2):
        piece = content[(number - 1) * chunk : number * chunk]
        etags[number] = parted("PUT", action["header"][str(number)], body=piece).headers["etag"]
    done = {"oid": sha256(content), "parts": [{"partNumber": n, "etag": etags[n]} for n in (1, 2, 3)]}
    assert parted("POST", action["href"], json=done).status == 200
    assert parted("POST", action["href"], json=done).status == 200, "a repeated completion changes nothing"
    assert commit_large(parted, "lab/m", "w.bin", content).status == 200
    assert parted("GET", "/lab/m/resolve/main/w.bin").body == content


def test_parts_that_do_not_make_the_content_are_refused(parted):
    content = random.Random(3).randbytes(1_500_000)
    action = upload_action(parted, "lab/m", content, "multipart")
    assert parted("PUT", action["header"]["1"], body=content[: 1 << 20]).status == 200
    assert parted("PUT", action["header"]["2"], body=b"short").status == 400
    done = {"oid": sha256(content), "parts": [{"partNumber": 1}, {"partNumber": 2}]}
    assert parted("POST", action["href"], json=done).status == 400
    assert parted("PUT", action["header"]["2"], body=content[1 << 20 :]).status == 200
    assert parted("POST", action["href"], json=done).status == 400, "the first part went with the refused upload"
    for number, piece in ((1, content[: 1 << 20]), (2, content[1 << 20 :])):
        parted("PUT", action["header"][str(number)], body=piece)
    assert parted("POST", action["href"], json=done).status == 200


def xet_upload(hub: LocalHub, repo: str, path: str, content: bytes) -> None:
    """Upload through the client's default path."""
    from huggingface_hub import HfApi

    HfApi(endpoint=hub.endpoint, token=False).upload_file(repo_id=repo, path_or_fileobj=content, path_in_repo=path)
    assert any("xet-write-token" in record.path for record in hub.requests)


def test_xet_content_is_served_to_plain_http(hub, ask, repo, tmp_path):
    content = random.Random(4).randbytes(3_000_000)
    xet_upload(hub, repo, "w.bin", content)
    assert list((tmp_path / "hub" / "blobs").rglob("*")) == []
    head = ask("HEAD", f"/{repo}/resolve/main/w.bin")
    assert len(head.headers["x-xet-hash"]) == 64
    assert f"/api/models/{repo}/xet-read-token/" in head.headers["x-xet-refresh-route"]
    assert ask("GET", f"/{repo}/resolve/main/w.bin", headers={"Range": "bytes=1000-1999"}).body == content[1000:2000]
    assert ask("GET", f"/{repo}/resolve/main/w.bin").body == content
    assert (tmp_path / "hub" / "blobs" / sha256(content)[:2] / sha256(content)[2:]).read_bytes() == content


def test_lfs_content_is_served_to_xet_clients(hub, ask, repo, tmp_path):
    from huggingface_hub import hf_hub_download

    content = random.Random(5).randbytes(500_000)
    ask("PUT", upload_action(ask, repo, content)["href"], body=content)
    commit_large(ask, repo, "w.bin", content)
    path = hf_hub_download(repo, "w.bin", endpoint=hub.endpoint, token=False, cache_dir=tmp_path / "cache")
    assert Path(path).read_bytes() == content
    assert not any("xet" in record.path for record in hub.requests)


def test_xet_content_is_found_by_a_restarted_server(tmp_path, ask_at):
    content = random.Random(6).randbytes(400_000)
    root = tmp_path / "hub with space"
    with LocalHub(root=root, durability="full") as hub:
        ask_at(hub.endpoint)("POST", "/api/repos/create", json={"name": "m", "organization": "lab"})
        xet_upload(hub, "lab/m", "w.bin", content)
    report = check_folder(root)
    assert report.problems == ()
    assert report.n_objects == 2
    with LocalHub(root=root) as hub:
        assert ask_at(hub.endpoint)("GET", "/lab/m/resolve/main/w.bin").body == content


def test_fsck_names_content_that_xet_cannot_rebuild(tmp_path, ask_at):
    content = random.Random(7).randbytes(400_000)
    with LocalHub(root=tmp_path / "hub") as hub:
        ask_at(hub.endpoint)("POST", "/api/repos/create", json={"name": "m", "organization": "lab"})
        xet_upload(hub, "lab/m", "w.bin", content)
    for block in (tmp_path / "hub/xet/xet/xorbs/xorbs").glob("default.*"):
        if block.suffix != ".tagset":
            block.unlink()
    problems = check_folder(tmp_path / "hub").problems
    assert len(problems) == 1
    assert sha256(content) in problems[0]


def test_damaged_shard_is_read_as_far_as_it_is_whole(hub, repo, tmp_path):
    xet_upload(hub, repo, "w.bin", random.Random(8).randbytes(200_000))
    shard = next((tmp_path / "hub/xet/xet/xorbs/shards").glob("*.mdb")).read_bytes()
    assert len(parse_shard(shard)) == 1
    for length in range(0, len(shard), 7):
        assert len(parse_shard(shard[:length])) <= 1


@pytest.mark.parametrize("damage", ["flip", "remove", "truncate"])
def test_fsck_names_damaged_content(tmp_path, ask_at, damage):
    content = random.Random(9).randbytes(100_000)
    with LocalHub(root=tmp_path / "hub") as hub:
        ask = ask_at(hub.endpoint)
        ask("POST", "/api/repos/create", json={"name": "m", "organization": "lab"})
        ask("PUT", upload_action(ask, "lab/m", content)["href"], body=content)
        commit_large(ask, "lab/m", "w.bin", content)
    blob = tmp_path / "hub/blobs" / sha256(content)[:2] / sha256(content)[2:]
    if damage == "remove":
        blob.unlink()
    else:
        blob.write_bytes(content[:-1] if damage == "truncate" else bytes([content[0] ^ 1]) + content[1:])
    problems = check_folder(tmp_path / "hub").problems
    assert len(problems) == 1
    assert sha256(content) in problems[0]
    assert (check_folder(tmp_path / "hub", deep=False).problems == ()) is (damage == "flip")
