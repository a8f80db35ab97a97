"""Requests that arrive together, folders that cannot be written, and what becomes of entries when things move."""

import asyncio
import hashlib
import http.client
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from release_kit.hub.server import LocalHub
from release_kit.hub.server.database import Database


def test_blocks_of_one_turn_become_final_together(tmp_path):
    async def write_three() -> None:
        database.share_waits()
        database.query("CREATE TABLE t (x UNIQUE)")
        for value in (1, 2):
            with database.transaction():
                database.query("INSERT INTO t VALUES (?)", (value,))
        with pytest.raises(sqlite3.IntegrityError), database.transaction():
            database.query("INSERT INTO t VALUES (3)")
            database.query("INSERT INTO t VALUES (1)")
        assert database.connection.in_transaction
        await database.settle()
        assert not database.connection.in_transaction

    database = Database(tmp_path, durable=True)
    asyncio.run(write_three())
    database.close()
    again = Database(tmp_path, durable=True)
    assert again.query("SELECT x FROM t ORDER BY x").fetchall() == [(1,), (2,)]
    again.close()


def test_many_clients_at_once_lose_nothing(tmp_path, ask_at):
    with LocalHub(root=tmp_path / "hub", durability="full") as hub:
        ask = ask_at(hub.endpoint)
        statuses: list[int] = []

        def create(number: int) -> None:
            for index in range(10):
                wish = {"name": f"m{number}-{index}", "organization": "lab"}
                statuses.append(ask("POST", "/api/repos/create", json=wish).status)

        run_together(create, 8)
        assert statuses == [200] * 80
        assert len(ask("GET", "/api/models?author=lab").json) == 80


def test_one_of_many_commits_on_one_parent_wins(hub, ask, repo, commit_files):
    head = ask("GET", f"/api/models/{repo}").json["sha"]
    statuses: list[int] = []
    run_together(lambda n: statuses.append(commit_files(repo, {f"f{n}": b"x"}, parent=head).status), 6)
    assert sorted(statuses) == [200] + [412] * 5
    assert len(ask("GET", f"/api/models/{repo}/commits/main").json) == 3


def test_one_of_many_creations_of_one_name_wins(ask):
    statuses: list[int] = []
    wish = {"name": "m", "organization": "lab"}
    run_together(lambda _: statuses.append(ask("POST", "/api/repos/create", json=wish).status), 6)
    assert sorted(statuses) == [200] + [409] * 5


def run_together(work, n_threads: int) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_full_disk_is_said_and_survived(tmp_path, ask_at):
    """The size of the server's files is limited, which fails like a disk without space."""
    root = tmp_path / "hub"
    script = Path(sys.executable).parent / "release-kit"
    command = f"ulimit -f 2000; exec {script} hub serve --root {root} --port 0"
    process = subprocess.Popen(["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        ask = ask_at(process.stdout.readline().strip())
        assert ask("POST", "/api/repos/create", json={"name": "m", "organization": "lab"}).status == 200
        assert upload(ask, os.urandom(3_000_000)) == 507
        assert list((root / "tmp").iterdir()) == []
        assert upload(ask, os.urandom(300_000)) == 200
        assert ask("GET", "/api/models/lab/m").status == 200
    finally:
        process.terminate()
        errors = process.communicate()[1]
    assert process.returncode == 0
    assert "Traceback" not in errors


def upload(ask, content: bytes) -> int:
    wish = {"operation": "upload", "objects": [{"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}]}
    answer = ask("POST", "/lab/m.git/info/lfs/objects/batch", json=wish)
    try:
        return ask("PUT", answer.json["objects"][0]["actions"]["upload"]["href"], body=content).status
    except (BrokenPipeError, ConnectionResetError, http.client.HTTPException):
        return 507


def test_collections_follow_repositories(ask, repo):
    slug = ask("POST", "/api/collections", json={"title": "t", "namespace": "lab"}).json["slug"]
    ask("POST", f"/api/collections/{slug}/items", json={"item": {"id": repo, "type": "model"}})
    ask("POST", "/api/repos/move", json={"fromRepo": repo, "toRepo": "lab/M2", "type": "model"})
    assert [item["id"] for item in ask("GET", f"/api/collections/{slug}").json["items"]] == ["lab/M2"]
    assert ask("POST", "/api/repos/move", json={"fromRepo": "lab/M2", "toRepo": "lab/m2"}).status == 200
    ask("DELETE", "/api/repos/delete", json={"name": "m2", "organization": "lab"})
    assert ask("GET", f"/api/collections/{slug}").json["items"] == []


@pytest.mark.parametrize("slug", ["lab/%25", "lab/_", "lab/%25-" + "0" * 24])
def test_a_slug_is_no_pattern(ask, repo, slug):
    ask("POST", "/api/collections", json={"title": "t", "namespace": "lab"})
    assert ask("DELETE", f"/api/collections/{slug}").status == 404
    assert len(ask("GET", "/api/collections").json) == 1


def test_a_collection_keeps_its_address_when_its_title_changes_and_takes_no_title_of_another(ask):
    old, other = (ask("POST", "/api/collections", json={"title": t, "namespace": "lab"}).json["slug"] for t in "ab")
    new = ask("PATCH", f"/api/collections/{old}", json={"title": "c"}).json["data"]["slug"]
    assert ask("GET", f"/api/collections/{old}").json["slug"] == new == old.replace("/a-", "/c-")
    assert ask("PATCH", f"/api/collections/{old}", json={"title": "c"}).status == 200
    taken = ask("PATCH", f"/api/collections/{old}", json={"title": "b"})
    assert (taken.status, taken.json["slug"]) == (409, other)
    assert ask("PATCH", f"/api/collections/{old}", json={"position": 10**30}).status == 400


def test_the_number_of_a_deleted_repository_is_not_given_to_another(hub, ask, repo):
    """A commit that is still arriving for the deleted one must not land in the new one."""
    before = hub.server.hub.index.repo("model", "lab", "m")
    ask("DELETE", "/api/repos/delete", json={"name": "m", "organization": "lab"})
    ask("POST", "/api/repos/create", json={"name": "other", "organization": "lab"})
    assert hub.server.hub.index.repo("model", "lab", "other").id != before.id


def test_repository_of_a_deleted_name_starts_empty(ask, repo):
    ask("POST", f"/api/models/{repo}/tag/main", json={"tag": "v1"})
    ask("DELETE", "/api/repos/delete", json={"name": "m", "organization": "lab"})
    assert ask("GET", f"/{repo}/resolve/v1/README.md").status == 404
    ask("POST", "/api/repos/create", json={"name": "m", "organization": "lab"})
    assert ask("GET", f"/api/models/{repo}/refs").json["tags"] == []
    assert [item["path"] for item in ask("GET", f"/api/models/{repo}/tree/main").json] == [".gitattributes"]


@pytest.mark.parametrize("parent", ["main", "abc", "0" * 6, "../x"])
def test_parent_that_is_no_commit_id_is_refused(repo, commit_files, parent):
    assert commit_files(repo, {"x": b"1"}, parent=parent).status == 400
