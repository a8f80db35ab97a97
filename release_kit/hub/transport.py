"""Sending one HTTP request and reading its reply, with bodies streamed both ways. No retries, no meaning.

Two ways with one interface: ``SessionTransport`` is huggingface_hub's own session (proxies, certificates, a client
factory set by the user) and serves every https endpoint; ``DirectTransport`` keeps plain connections to a Hub on this
machine or network, where it costs a third of the processor time (``docs/log.md``).
"""

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

from release_kit.hub.pacing import Patience

CHUNK_BYTES = 1 << 20
MAX_REDIRECTS = 5


class ConnectionFailed(Exception):
    """No complete reply came; the request may or may not have been carried out."""


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """One request; ``body`` is bytes or makes a fresh iterator of pieces for each try (then ``length`` is needed)."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | Callable[[], Iterator[bytes]] | None = None
    length: int | None = None


class Incoming(Protocol):
    """One reply whose body has not been read yet; header names are in lower case."""

    status: int
    headers: dict[str, str]

    def pieces(self) -> Iterator[bytes]:
        """Yield the body; raises ``ConnectionFailed`` when it ends too early."""


class Transport(Protocol):
    """Sends requests."""

    def open(self, request: Outgoing) -> contextlib.AbstractContextManager[Incoming]:
        """Send and yield the reply; raises ``ConnectionFailed``."""

    def close(self) -> None:
        """Close idle connections."""


class SessionTransport:
    """Requests through an httpx session that somebody else owns."""

    def __init__(self, session: Any, patience: Patience):
        import httpx2

        self._session, self._errors = session, (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL)
        self._timeout = httpx2.Timeout(patience.read_s, connect=patience.connect_s)

    @contextlib.contextmanager
    def open(self, request: Outgoing) -> Iterator[Incoming]:
        """Send and yield the reply."""
        headers = dict(request.headers)
        body = request.body
        if callable(body):
            headers["content-length"] = str(request.length)
            body = body()
        try:
            stream = self._session.stream(
                request.method, request.url, headers=headers, content=body, timeout=self._timeout
            )
            with stream as reply:
                names = {name.lower(): value for name, value in reply.headers.items()}
                yield _SessionReply(reply, reply.status_code, names, self._errors)
        except self._errors as error:
            raise ConnectionFailed(str(error) or type(error).__name__) from error

    def close(self) -> None:
        """Leave the session open: it is shared."""


class _SessionReply:
    def __init__(self, reply: Any, status: int, headers: dict[str, str], errors: tuple):
        self._reply, self.status, self.headers, self._errors = reply, status, headers, errors

    def pieces(self) -> Iterator[bytes]:
        try:
            yield from self._reply.iter_bytes(CHUNK_BYTES)
        except self._errors as error:
            raise ConnectionFailed(str(error) or type(error).__name__) from error


class _OnePacket:
    """Lets an HTTPConnection send head and small body together: one system call, one wake-up of the server."""

    _held: list[bytes] | None = None

    def send(self, data) -> None:
        if self._held is not None and isinstance(data, bytes):
            self._held.append(data)
        else:
            super().send(data)  # type: ignore[misc]

    def send_together(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> None:
        self._held = []
        try:
            self.request(method, path, body=body, headers=headers)  # type: ignore[attr-defined]
            whole = b"".join(self._held)
        finally:
            self._held = None
        self.send(whole)


class _Plain(_OnePacket, http.client.HTTPConnection):
    pass


class _Secure(_OnePacket, http.client.HTTPSConnection):
    pass


class DirectTransport:
    """Plain keep-alive connections, one idle set for all threads."""

    def __init__(self, patience: Patience):
        self._patience = patience
        self._idle: dict[tuple[str, str], list[_Plain | _Secure]] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def open(self, request: Outgoing) -> Iterator[Incoming]:
        """Send, follow redirects of reading requests, and yield the reply."""
        for _ in range(MAX_REDIRECTS + 1):
            url = urlsplit(request.url)
            origin = (url.scheme, url.netloc)
            connection = self._connection(origin)
            reply = None
            try:
                reply = self._send(connection, request, url)
                target = _redirect(request, reply)
                if target is None:
                    yield reply
                    return
                for _ in reply.pieces():
                    pass
                request = target
            except ConnectionFailed:
                self._forget(origin)
                raise
            finally:
                self._give_back(origin, connection, reply)
        raise ConnectionFailed(f"more than {MAX_REDIRECTS} redirects")

    def _connection(self, origin: tuple[str, str]) -> _Plain | _Secure:
        with self._lock:
            if idle := self._idle.get(origin):
                return idle.pop()
        scheme, netloc = origin
        kind = {"http": _Plain, "https": _Secure}.get(scheme)
        if kind is None or "@" in netloc:
            raise ConnectionFailed(f"refused to follow an address that is not plain http or https: {scheme}://…")
        try:
            return kind(netloc, timeout=self._patience.connect_s)
        except (http.client.InvalidURL, ValueError) as error:
            raise ConnectionFailed(f"not a usable address: {netloc[:100]}") from error

    def _send(self, connection: _Plain | _Secure, request: Outgoing, url: Any) -> "_DirectReply":
        path = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
        headers = request.headers
        body = request.body
        if callable(body):
            headers = {**headers, "content-length": str(request.length)}
            body = body()
        try:
            if connection.sock is None:
                connection.connect()
                connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.sock.settimeout(self._patience.read_s)
            with contextlib.suppress(BrokenPipeError):  # a server that refuses early still sends its reply
                if body is None or isinstance(body, bytes):
                    connection.send_together(request.method, path, body, headers)
                else:
                    connection.request(request.method, path, body=body, headers=headers)
            return _DirectReply(connection.getresponse())
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise ConnectionFailed(str(error) or type(error).__name__) from error

    def _give_back(self, origin: tuple[str, str], connection: _Plain | _Secure, reply: Any) -> None:
        if reply is None or not reply.finished:
            connection.close()
            return
        with self._lock:
            self._idle.setdefault(origin, []).append(connection)

    def _forget(self, origin: tuple[str, str]) -> None:
        """Close what is idle: when one connection was closed by the server, the others of its age were too."""
        with self._lock:
            idle = self._idle.pop(origin, [])
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """Close the idle connections."""
        for origin in list(self._idle):
            self._forget(origin)


class _DirectReply:
    def __init__(self, reply: http.client.HTTPResponse):
        self._reply, self.status = reply, reply.status
        self.headers = {name.lower(): value for name, value in reply.getheaders()}

    @property
    def finished(self) -> bool:
        return self._reply.isclosed() and not self._reply.will_close

    def pieces(self) -> Iterator[bytes]:
        try:
            while piece := self._reply.read(CHUNK_BYTES):
                yield piece
            if self._reply.length:
                raise ConnectionFailed(f"the reply ended {self._reply.length} bytes too early")
            self._reply.close()
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionFailed(str(error) or type(error).__name__) from error


def _redirect(request: Outgoing, reply: _DirectReply) -> Outgoing | None:
    location = reply.headers.get("location")
    if reply.status not in (301, 302, 303, 307, 308) or not location or request.method not in ("GET", "HEAD"):
        return None
    url = urljoin(request.url, location)
    headers = dict(request.headers)
    if urlsplit(url)[:2] != urlsplit(request.url)[:2]:
        headers.pop("authorization", None)
    return Outgoing(method=request.method, url=url, headers=headers)
