"""One HTTP request and the way its answer goes out; streams in both directions, holds no file in memory.

Owns the conversation with the ASGI server. Routing is in ``app``, meaning in the ``routes_*`` modules.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formatdate
from functools import lru_cache
from time import time
from typing import Any
from urllib.parse import parse_qs, unquote

from release_kit.hub.server.replies import FileSpan, HttpError, Reply

Send = Callable[[dict], Awaitable[None]]
MAX_JSON_BYTES = 32 << 20
SEND_PIECE_BYTES = 1 << 20
INLINE_READ_BYTES = 256 * 1024


class Request:
    """One request: decoded path segments, headers, query, and the body as it arrives.

    A ``%2F`` inside a segment stays inside it, as clients send branch names like ``feature%2Fx`` that way.
    """

    __slots__ = ("_headers", "_query", "_receive", "method", "n_bytes_in", "path", "scope", "segments", "user")

    def __init__(self, scope: dict, receive: Callable[[], Awaitable[dict]]):
        self.scope, self._receive = scope, receive
        self.method: str = scope["method"]
        self.path: str = scope["raw_path"].decode("latin-1")
        parts = self.path[1:].split("/")
        self.segments = [unquote(part) for part in parts] if "%" in self.path else parts
        self.n_bytes_in = 0
        self.user: Any = None
        self._headers: dict[bytes, bytes] | None = None
        self._query: dict[str, list[str]] | None = None

    def header(self, name: bytes) -> str | None:
        """Return a header by its lower-case name."""
        if self._headers is None:
            self._headers = dict(self.scope["headers"])
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def query(self) -> dict[str, list[str]]:
        """The query string, every value in a list."""
        if self._query is None:
            text = self.scope["query_string"].decode("latin-1")
            self._query = parse_qs(text, keep_blank_values=True) if text else {}
        return self._query

    def argument(self, name: str, default: str = "") -> str:
        """Return the first value of a query argument."""
        return self.query.get(name, (default,))[0]

    def flag(self, name: str) -> bool:
        """Return whether a query argument says yes; the client sends ``true``, ``True`` and ``1``."""
        return self.argument(name).lower() in ("1", "true", "yes")

    @property
    def base_url(self) -> str:
        """The address under which the client reached this server."""
        return f"http://{self.header(b'host') or 'localhost'}"

    @property
    def is_local(self) -> bool:
        """Whether the client runs on this machine."""
        client = self.scope.get("client")
        return bool(client) and (client[0].startswith("127.") or client[0] == "::1")

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives.

        Raises:
            ConnectionResetError: the client went away in the middle.
        """
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError("the client closed the connection during its upload")
            piece = message.get("body", b"")
            self.n_bytes_in += len(piece)
            more = message.get("more_body", False)
            if piece:
                yield piece

    async def body(self, limit: int = MAX_JSON_BYTES) -> bytes:
        """Return the whole body.

        Raises:
            HttpError: 413 when it is larger than ``limit`` bytes.
        """
        parts, n_bytes = [], 0
        async for piece in self.pieces():
            n_bytes += len(piece)
            if n_bytes > limit:
                raise HttpError(413, f"The request body is larger than {limit} bytes")
            parts.append(piece)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def json(self) -> dict:
        """Return the body as a JSON mapping; an empty body is an empty mapping.

        Raises:
            HttpError: 400 when it is anything else.
        """
        return parse_mapping(await self.body())


def parse_mapping(data: bytes) -> dict:
    """Parse a JSON mapping.

    Raises:
        HttpError: 400 when ``data`` is not one.
    """
    try:
        value = json.loads(data) if data else {}
    except (ValueError, RecursionError) as error:
        raise HttpError(400, f"The request is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise HttpError(400, "The request is not a JSON mapping")
    return value


async def send_reply(send: Send, reply: Reply, *, head_only: bool) -> None:
    """Send an answer, piece by piece when its body is a file."""
    headers = [(b"date", _date(int(time()))), (b"content-length", str(reply.length).encode()), *reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if head_only or reply.span is None:
        body = b"" if head_only else reply.body
        await send({"type": "http.response.body", "body": body})
    else:
        await _send_span(send, reply.span)


async def _send_span(send: Send, span: FileSpan) -> None:
    with open(span.path, "rb", buffering=0) as stream:
        stream.seek(span.start)
        left = span.length
        while left > 0:
            wanted = min(left, SEND_PIECE_BYTES)
            small = span.length <= INLINE_READ_BYTES
            piece = stream.read(wanted) if small else await asyncio.to_thread(stream.read, wanted)
            if not piece:
                raise OSError(f"{span.path} is shorter than the index says")
            left -= len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": left > 0})
    if span.length == 0:
        await send({"type": "http.response.body", "body": b""})


@lru_cache(maxsize=4)
def _date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode()
