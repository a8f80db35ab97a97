"""A server that is killed at any moment has, when it is back, everything that it had confirmed, and nothing half."""

import base64
import hashlib
import http.client
import json
import random
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from release_kit.hub.server import check_folder

LOST = (OSError, http.client.HTTPException)


@dataclass
class Uploader:
    """Publishes one repository after the other until the server is gone; remembers what was confirmed."""

    ask: object
    number: int
    confirmed: dict[str, dict[str, str]] = field(default_factory=dict)
    n_requests: int = 0

    def run(self) -> None:
        try:
            for count in range(1_000_000):
                self._publish(f"r{self.number}-{count}")
        except LOST:
            return

    def _send(self, method: str, path: str, **named):
        self.n_requests += 1
        answer = self.ask(method, path, **named)
        assert answer.status == 200, answer.body
        return answer

    def _publish(self, name: str) -> None:
        self._send("POST", "/api/repos/create", json={"name": name, "organization": "lab"})
        self.confirmed[name] = {}
        large = [random.randbytes(size) for size in (20_000, 200_000)]
        self._upload(name, large)
        lines = [{"key": "header", "value": {"summary": name}}]
        value = {"path": "README.md", "content": base64.b64encode(name.encode()).decode(), "encoding": "base64"}
        lines.append({"key": "file", "value": value})
        for index, content in enumerate(large):
            value = {"path": f"w{index}.bin", "algo": "sha256", "oid": sha256(content), "size": len(content)}
            lines.append({"key": "lfsFile", "value": value})
        body = b"\n".join(json.dumps(line).encode() for line in lines)
        commit = self._send("POST", f"/api/models/lab/{name}/commit/main", body=body).json["commitOid"]
        self.confirmed[name] = {"main": commit}
        self._send("POST", f"/api/models/lab/{name}/tag/main", json={"tag": "v1"})
        self.confirmed[name]["v1"] = commit

    def _upload(self, name: str, contents: list[bytes]) -> None:
        objects = [{"oid": sha256(content), "size": len(content)} for content in contents]
        answer = self._send(
            "POST", f"/lab/{name}.git/info/lfs/objects/batch", json={"operation": "upload", "objects": objects}
        )
        for item, content in zip(answer.json["objects"], contents, strict=True):
            self._send("PUT", item["actions"]["upload"]["href"], body=content)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def kill_once(start_server, ask_at, root: Path, durability: str, delay_s: float) -> Uploader:
    """Start a server, upload with two clients, kill it after ``delay_s``, return what was confirmed."""
    server = start_server(root, "--durability", durability)
    uploaders = [Uploader(ask_at(server.endpoint), random.getrandbits(60)) for _ in range(2)]
    threads = [threading.Thread(target=uploader.run) for uploader in uploaders]
    for thread in threads:
        thread.start()
    threads[0].join(timeout=delay_s)
    server.kill()
    for thread in threads:
        thread.join()
    first, second = uploaders
    return Uploader(None, 0, first.confirmed | second.confirmed, first.n_requests + second.n_requests)


def check_confirmed(ask, confirmed: dict[str, dict[str, str]]) -> None:
    for name, refs in confirmed.items():
        assert ask("GET", f"/api/models/lab/{name}").status == 200
        for ref, commit in refs.items():
            assert ask("GET", f"/api/models/lab/{name}/revision/{ref}").json["sha"] == commit


def check_kills(n_kills: int, start_server, ask_at, root: Path, capsys) -> None:
    random.seed(n_kills)
    confirmed: dict[str, dict[str, str]] = {}
    n_requests = 0
    for number in range(n_kills):
        durability = "fast" if number % 2 else "full"
        result = kill_once(start_server, ask_at, root, durability, random.uniform(0.0, 0.25))
        confirmed |= result.confirmed
        n_requests += result.n_requests
        report = check_folder(root, deep=number == n_kills - 1)
        assert report.problems == ()
        assert report.n_repos >= len(confirmed)
    server = start_server(root)
    check_confirmed(ask_at(server.endpoint), confirmed)
    assert list((root / "tmp").iterdir()) == []
    with capsys.disabled():
        print(f"\n{n_kills} kills during {n_requests} requests: {len(confirmed)} confirmed repositories, none lost")


def test_nothing_confirmed_is_lost_by_kills(start_server, ask_at, tmp_path, capsys):
    check_kills(4, start_server, ask_at, tmp_path / "hub", capsys)


@pytest.mark.slow
def test_nothing_confirmed_is_lost_by_many_kills(start_server, ask_at, tmp_path, capsys):
    check_kills(40, start_server, ask_at, tmp_path / "hub", capsys)


def test_upload_that_was_cut_by_a_kill_can_be_repeated(start_server, ask_at, tmp_path):
    root = tmp_path / "hub"
    content = random.Random(1).randbytes(3_000_000)
    server = start_server(root)
    ask = ask_at(server.endpoint)
    ask("POST", "/api/repos/create", json={"name": "m", "organization": "lab"})
    connection, path = begin_upload(server.endpoint, ask, content)
    connection.send(content[:1_000_000])
    server.kill()
    connection.close()
    server = start_server(root)
    assert list((root / "tmp").iterdir()) == []
    answer = ask_at(server.endpoint)("PUT", path, body=content)
    assert answer.status == 200, "the signed address outlives the server"
    server.stop()
    assert check_folder(root).n_orphans == 1


def begin_upload(endpoint: str, ask, content: bytes) -> tuple[http.client.HTTPConnection, str]:
    wish = {"operation": "upload", "objects": [{"oid": sha256(content), "size": len(content)}]}
    href = ask("POST", "/lab/m.git/info/lfs/objects/batch", json=wish).json["objects"][0]["actions"]["upload"]["href"]
    path = href.removeprefix(endpoint)
    connection = http.client.HTTPConnection(endpoint.removeprefix("http://"))
    connection.putrequest("PUT", path)
    connection.putheader("Content-Length", str(len(content)))
    connection.endheaders()
    return connection, path
