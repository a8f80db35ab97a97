"""A running local Hub, and one plain HTTP request at a time against it, for the tests of the server."""

import base64
import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from release_kit.hub.server import LocalHub


@dataclass
class Answer:
    """What came back: status, headers with lower-case names, body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(root=tmp_path / "hub") as running:
        yield running


@pytest.fixture
def ask(hub: LocalHub) -> Callable[..., Answer]:
    """Return ``ask(method, path, json=…|body=…, headers=…)`` against ``hub``."""
    return asker(hub.endpoint)


@pytest.fixture
def ask_at() -> Callable[[str], Callable[..., Answer]]:
    """Return ``ask_at(endpoint)``, which makes an ``ask`` for another server."""
    return asker


def asker(endpoint: str) -> Callable[..., Answer]:
    """Return a function that sends one request on its own connection and returns the answer."""
    address = endpoint.removeprefix("http://")

    def ask(method: str, path: str, *, json: Any = None, body: Any = None, headers: dict | None = None) -> Answer:
        connection = http.client.HTTPConnection(address, timeout=30)
        try:
            data = encode(json) if json is not None else body
            connection.request(method, path.removeprefix(endpoint), body=data, headers=headers or {})
            response = connection.getresponse()
            content = response.read()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, content)
        finally:
            connection.close()

    return ask


@pytest.fixture
def commit_files(ask: Callable[..., Answer]) -> Callable[..., Answer]:
    """Return ``commit_files(repo, {path: bytes | None}, parent=…, branch=…)``; None deletes."""

    def commit(
        repo: str,
        files: dict[str, bytes | None],
        *,
        parent: str | None = None,
        branch: str = "main",
        title: str = "change",
    ) -> Answer:
        lines: list[dict] = [{"key": "header", "value": {"summary": title, "parentCommit": parent}}]
        for path, content in files.items():
            if content is None:
                lines.append({"key": "deletedFile", "value": {"path": path}})
            else:
                value = {"path": path, "content": base64.b64encode(content).decode(), "encoding": "base64"}
                lines.append({"key": "file", "value": value})
        return ask("POST", f"/api/models/{repo}/commit/{branch}", body=b"\n".join(map(encode, lines)))

    return commit


@pytest.fixture
def repo(ask: Callable[..., Answer], commit_files: Callable[..., Answer]) -> str:
    """Return the id of a model repository with ``README.md`` and ``config.json``."""
    assert ask("POST", "/api/repos/create", json={"name": "m", "organization": "lab"}).status == 200
    assert commit_files("lab/m", {"README.md": b"# m\n", "config.json": b'{"a": 1}'}).status == 200
    return "lab/m"


@dataclass
class ServerProcess:
    """``release-kit hub serve`` as a program."""

    process: subprocess.Popen
    endpoint: str

    def kill(self) -> None:
        """End it as a power cut would, as far as a process can tell."""
        self.process.kill()
        self.process.communicate()

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """End it politely and return exit code and stderr."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


@pytest.fixture
def start_server() -> Iterator[Callable[..., ServerProcess]]:
    """Return ``start_server(root, *options)``; what still runs at the end is killed."""
    started: list[ServerProcess] = []

    def start(root: Path, *options: str) -> ServerProcess:
        script = Path(sys.executable).parent / "release-kit"
        command = [script, "hub", "serve", "--root", root, "--port", "0", "--json", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        started.append(ServerProcess(process, json.loads(line)["endpoint"]))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.kill()


def encode(value: Any) -> bytes:
    """Return JSON bytes."""
    return json.dumps(value).encode()
