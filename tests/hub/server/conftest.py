"""A running local Hub, and one plain HTTP request at a time against it, for the tests of the server."""

import base64
import http.client
import json
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

    def commit(repo: str, files: dict[str, bytes | None], *, parent: str | None = None, branch: str = "main",
               title: str = "change") -> Answer:
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


def encode(value: Any) -> bytes:
    """Return JSON bytes."""
    return json.dumps(value).encode()
