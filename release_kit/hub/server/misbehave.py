"""Carries out the faults of a plan on one request.

Owns how a fault looks on the wire. Which fault strikes is decided in ``faults``.
"""

import asyncio
import contextlib

from release_kit.hub.server.content import PendingContent
from release_kit.hub.server.context import Hub
from release_kit.hub.server.faults import Fault
from release_kit.hub.server.http import Request, Send
from release_kit.hub.server.index import NewCommit, Repo
from release_kit.hub.server.replies import HttpError, Reply, rate_limit_headers
from release_kit.hub.server.requested import PLURALS

SOMEBODY_ELSE = "somebody-else"
BODY_FAULTS = ("truncate-body", "corrupt-body")
MOVED_FILE = "moved-by-somebody-else.txt"


def cause_side_effect(hub: Hub, request: Request, fault: Fault) -> None:
    """Change the repository behind the client's back."""
    repo = _repo_of(hub, fault.repo.split("/") if fault.repo else request.segments)
    if repo is None:
        return
    if fault.kind == "move-main":
        _move_branch(hub, repo, fault.branch)
    elif fault.place == "content":
        _lose_content(hub, repo, fault.branch, fault.file or _file_of(request.segments))
    else:
        _remove_file(hub, repo, fault.branch, fault.file or _file_of(request.segments))


def _move_branch(hub: Hub, repo: Repo, branch: str) -> None:
    content = PendingContent(hub.content)
    entry = content.add_regular(f"{hub.index.ref(repo, 'branch', branch)}\n".encode())
    new = NewCommit(
        changes={MOVED_FILE: entry}, author=SOMEBODY_ELSE, title="Work of somebody else", record_content=content.record
    )
    hub.index.commit(repo, branch, new)


def _remove_file(hub: Hub, repo: Repo, branch: str, path: str) -> None:
    new = NewCommit(changes={path: None}, author=SOMEBODY_ELSE, title=f"Delete {path}")
    hub.index.commit(repo, branch, new)


def _lose_content(hub: Hub, repo: Repo, branch: str, path: str) -> None:
    entry = hub.trees.lookup(hub.index.resolve(repo, branch).tree, path)
    if entry is not None and entry.sha256:
        hub.content.lose(entry.sha256)
        hub.xet.forget(entry.sha256)


def _repo_of(hub: Hub, segments: list[str]) -> Repo | None:
    rest = segments[1:] if segments[0] == "api" else segments
    repo_type = PLURALS.get(rest[0], "model")
    names = rest[1:3] if rest[0] in PLURALS else rest[:2]
    return hub.index.find_repo(repo_type, names[0], names[1].removesuffix(".git")) if len(names) == 2 else None


def _file_of(segments: list[str]) -> str:
    return "/".join(segments[segments.index("resolve") + 2 :]) if "resolve" in segments else ""


def error_reply(fault: Fault) -> Reply:
    """Return the answer of a ``status`` fault."""
    headers = []
    if fault.retry_after_s is not None:
        headers.append((b"retry-after", str(fault.retry_after_s).encode()))
    if fault.rate_limit_reset_s is not None:
        headers += rate_limit_headers("api", 0, fault.rate_limit_reset_s, 1000, 300)
    return HttpError(fault.status, f"Fault plan: {fault.status} on purpose", headers=headers).reply()


async def read_some(request: Request, n_bytes: int | None) -> None:
    """Read the first ``n_bytes`` of the body, or all of it, and throw them away."""
    with contextlib.suppress(ConnectionResetError):
        async for _ in request.pieces():
            if n_bytes is not None and request.n_bytes_in >= n_bytes:
                return


async def drop(request: Request, *, flush: bool) -> None:
    """Close the connection and let the server notice."""
    request.scope["drop_connection"](flush=flush)
    for _ in range(3):
        await asyncio.sleep(0)


class BodyFault:
    """A ``send`` that spoils the body of the answer on its way out.

    Args:
        send: the real one.
        fault: ``truncate-body`` or ``corrupt-body``.
        length: bytes of the whole body.
    """

    def __init__(self, send: Send, fault: Fault, length: int):
        self._send, self._fault = send, fault
        self._at = min(length // 2 if fault.at_byte is None else fault.at_byte, max(0, length - 1))
        self._seen = 0
        self.n_bytes = self._at if fault.kind == "truncate-body" and length else length
        self.ended_early = False

    async def __call__(self, message: dict) -> None:
        """Pass one ASGI message on."""
        if message["type"] != "http.response.body" or self.ended_early:
            if not self.ended_early:
                await self._send(message)
            return
        body = message.get("body", b"")
        start, self._seen = self._seen, self._seen + len(body)
        if not start <= self._at < self._seen:
            await self._send(message)
        elif self._fault.kind == "corrupt-body":
            index = self._at - start
            await self._send(message | {"body": body[:index] + bytes([body[index] ^ 0x01]) + body[index + 1 :]})
        else:
            self.ended_early = True
            await self._send(message | {"body": body[: self._at - start], "more_body": True})
