"""Requests to one Hub, made safe: paced, retried, counted, bounded, with errors that people can act on.

Owns what happens around a request; what requests mean is ``client.py`` and ``upload.py``. A token never reaches a
message: every text that comes from outside is scrubbed first.
"""

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

from release_kit.core.errors import HubError
from release_kit.hub.errors import AbsurdReplyError, RateLimitedError, UnreachableError
from release_kit.hub.pacing import Pacer, Patience, asked_wait
from release_kit.hub.replies import Reply, refusal
from release_kit.hub.transport import ConnectionFailed, Incoming, Outgoing, Transport

JSON_LIMIT_BYTES = 64 * 1024 * 1024
RETRIED_STATUSES = (408, 500, 502, 503, 504)
_TOKEN = re.compile(r"(hf|api|api_org)_[A-Za-z0-9_-]{8,}|Bearer\s+\S+", re.IGNORECASE)

Body = bytes | Callable[[], Iterator[bytes]] | None


class Channel:
    """One Hub as seen by one client; usable from many threads.

    Args:
        endpoint: ``https://huggingface.co`` or another Hub.
        headers: sent with every request to the endpoint; holds the token.
        transport: sends requests.
        pacer: gives turns.
        patience: bounds on retries and waits.
        secret: the token, so that no message can hold it.
    """

    def __init__(
        self,
        endpoint: str,
        headers: dict[str, str],
        transport: Transport,
        pacer: Pacer,
        patience: Patience,
        secret: str | None = None,
    ):
        self.endpoint, self.transport, self.pacer, self.patience = endpoint, transport, pacer, patience
        self._headers, self._secret = headers, secret
        self._lock = threading.Lock()
        self.request_count = 0
        self.write_count = 0

    def request(
        self,
        method: str,
        path: str,
        *,
        what: str,
        body: Body = None,
        length: int | None = None,
        headers: dict[str, str] | None = None,
        limit_bytes: int = JSON_LIMIT_BYTES,
        writes: bool | None = None,
        before_repeat: Callable[[], Any] | None = None,
    ) -> Reply:
        """Send one request and return its complete reply.

        Args:
            method: HTTP method.
            path: path under the endpoint, or a whole URL that the Hub named.
            what: what is being done, for messages (``making the repo lab/x``).
            body: bytes, or a function that gives a fresh iterator of pieces for each try.
            length: number of bytes of a body that is made of pieces.
            headers: further headers.
            limit_bytes: a longer reply is refused.
            writes: whether the request changes the Hub; by default everything but GET and HEAD.
            before_repeat: called before the request is sent again after a failure that leaves open whether it was
                carried out; when it returns something other than None, that is taken as the reply.

        Raises:
            HubError: one of ``release_kit.hub.errors``.
        """
        attempt = _Attempt(self, what, kind_of(path))
        headers = {"content-length": "0"} | (headers or {}) if method != "GET" and body is None else headers or {}
        while True:
            attempt.turn()
            try:
                self._count(method, writes)
                with self.transport.open(self.outgoing(method, path, headers, body, length)) as incoming:
                    content = read_bounded(incoming, limit_bytes, what)
            except ConnectionFailed as failure:
                attempt.failed(str(failure))
            else:
                reply = self._reply(incoming, content, path, what)
                if incoming.status < 300:
                    self.pacer.heed(attempt.kind, incoming.headers)
                    return reply
                if attempt.refused(reply):
                    continue
            if before_repeat is not None and (known := before_repeat()) is not None:
                return known

    def get_json(self, path: str, *, what: str) -> Any:
        """Return the parsed reply of one GET."""
        return self.request("GET", path, what=what).json()

    def send_json(self, method: str, path: str, value: Any, *, what: str, **options: Any) -> Reply:
        """Send ``value`` as JSON."""
        body = json.dumps(value, separators=(",", ":")).encode()
        headers = {"content-type": "application/json"} | options.pop("headers", {})
        return self.request(method, path, what=what, body=body, headers=headers, **options)

    def pages(self, path: str, *, what: str, max_pages: int = 10_000) -> Iterator[list]:
        """Yield the lists of a paginated listing; ``Link: <…>; rel="next"`` is followed on the endpoint only.

        Raises:
            AbsurdReplyError: a page is not a list, pages repeat, leave the endpoint or never end.
        """
        seen: set[str] = set()
        while path:
            if path in seen or len(seen) >= max_pages:
                raise AbsurdReplyError(f"the listing does not end (page {len(seen) + 1})", where=what)
            seen.add(path)
            reply = self.request("GET", path, what=what)
            page = reply.json()
            if not isinstance(page, list):
                raise AbsurdReplyError("the Hub's listing is not a list", where=what)
            yield page
            path = self._next_page(reply.headers.get("link", ""), path, what)

    def _next_page(self, link: str, current: str, what: str) -> str:
        match = re.search(r'<([^<>]{1,4000})>\s*;[^,]*rel="?next"?', link)
        if match is None:
            return ""
        url = urljoin(self.endpoint + current, match.group(1))
        if urlsplit(url)[:2] != urlsplit(self.endpoint)[:2]:
            raise AbsurdReplyError("the next page of the listing is on another host", where=what)
        parts = urlsplit(url)
        return f"{parts.path}?{parts.query}"

    @contextlib.contextmanager
    def open(self, path: str, *, what: str, headers: dict[str, str] | None = None) -> Iterator[Incoming]:
        """Send one GET and yield the good reply with its body unread; only the opening is retried.

        Raises:
            HubError: one of ``release_kit.hub.errors``.
            ConnectionFailed: the body broke off; the caller decides whether to ask for the rest.
        """
        attempt = _Attempt(self, what, kind_of(path))
        while True:
            attempt.turn()
            self._count("GET", None)
            with contextlib.ExitStack() as stack:
                try:
                    incoming = stack.enter_context(self.transport.open(self.outgoing("GET", path, headers or {})))
                except ConnectionFailed as failure:
                    attempt.failed(str(failure))
                    continue
                if incoming.status < 300:
                    yield incoming
                    return
                try:
                    content = read_bounded(incoming, JSON_LIMIT_BYTES, what)
                except ConnectionFailed as failure:
                    attempt.failed(str(failure))
                    continue
                attempt.refused(self._reply(incoming, content, path, what))

    def _reply(self, incoming: Incoming, content: bytes, path: str, what: str) -> Reply:
        url = path if "://" in path else self.endpoint + path
        address = self.scrub(url.partition("?")[0])
        return Reply(status=incoming.status, headers=incoming.headers, body=content, where=what, address=address)

    def outgoing(
        self, method: str, path: str, headers: dict[str, str], body: Body = None, length: int | None = None
    ) -> Outgoing:
        """Return the request; the token goes to the endpoint and nowhere else."""
        url = path if "://" in path else self.endpoint + path
        parts, home = urlsplit(url), urlsplit(self.endpoint)
        if parts.scheme not in ("http", "https") or (home.scheme == "https" and parts.scheme != "https"):
            raise AbsurdReplyError(f"the Hub named an address with the scheme {parts.scheme!r}", where=self.endpoint)
        known = self._headers if parts[:2] == home[:2] else {"user-agent": self._headers.get("user-agent", "")}
        return Outgoing(method=method, url=url, headers=known | headers, body=body, length=length)

    def _count(self, method: str, writes: bool | None) -> None:
        with self._lock:
            self.request_count += 1
            self.write_count += method not in ("GET", "HEAD") if writes is None else writes

    def refusal(self, reply: Reply) -> HubError:
        """Return the error for a reply that refuses."""
        has_token = any(name.lower() == "authorization" for name in self._headers)
        return refusal(reply, endpoint=self.endpoint, has_token=has_token, scrub=self.scrub)

    def scrub(self, text: str) -> str:
        """Return foreign text without tokens and control characters, shortened."""
        if self._secret:
            text = text.replace(self._secret, "***")
        return "".join(c if c.isprintable() else " " for c in _TOKEN.sub("***", text))[:500].strip()


class _Attempt:
    """The tries of one request: how many failures and how much waiting there were."""

    def __init__(self, channel: Channel, what: str, kind: str):
        self.channel, self.what, self.kind = channel, what, kind
        self.n_failures = self.n_waits = 0
        self.waited_s = 0.0

    def turn(self) -> None:
        self.channel.pacer.take_turn(self.kind)

    def failed(self, reason: str) -> None:
        """Pause before the next try.

        Raises:
            UnreachableError: there were enough tries.
        """
        self.n_failures += 1
        patience = self.channel.patience
        if self.n_failures >= patience.tries:
            raise UnreachableError(
                f"no answer from {self.channel.endpoint} after {self.n_failures} tries ({self.channel.scrub(reason)})",
                where=self.what,
                next_step="check the address and the connection, then run the same command again; it continues",
            )
        pause = patience.pause(self.n_failures)
        self.channel.pacer.pause(pause, f"{self.channel.scrub(reason)}; trying again")

    def refused(self, reply: Reply) -> bool:
        """Wait when the refusal passes with time.

        Returns:
            Whether it is certain that the request was not carried out.

        Raises:
            HubError: the refusal is final.
        """
        if reply.status == 429:
            self._wait(reply)
            return True
        if reply.status not in RETRIED_STATUSES:
            raise self.channel.refusal(reply)
        asked = asked_wait(reply.headers)
        if asked and asked <= self.channel.patience.pause_s:
            self.channel.pacer.pause(asked, f"the Hub answers {reply.status} and asks to wait")
        self.failed(f"the Hub answers {reply.status}")
        return False

    def _wait(self, reply: Reply) -> None:
        patience = self.channel.patience
        self.n_waits += 1
        seconds = asked_wait(reply.headers)
        seconds = patience.pause(self.n_waits + 1) if seconds is None else seconds
        self.waited_s += seconds
        if self.waited_s > patience.wait_s or self.n_waits > patience.waits:
            raise RateLimitedError(
                f"the Hub's rate limit asks for more waiting ({self.waited_s:.0f} s so far) than was allowed",
                where=self.what,
                next_step="run the same command again later; it continues where it stopped",
            )
        self.channel.pacer.hold(self.kind, seconds)
        if self.kind not in ("api", "resolvers"):
            self.channel.pacer.pause(seconds, "the Hub asks to wait (rate limit)")


def kind_of(path: str) -> str:
    """Return which of the Hub's budgets a request counts against."""
    if "/resolve/" in path:
        return "resolvers"
    return "storage" if "://" in path else "api"


def read_bounded(incoming: Incoming, limit_bytes: int, what: str) -> bytes:
    """Return the whole body.

    Raises:
        AbsurdReplyError: it is longer than ``limit_bytes``.
        ConnectionFailed: it broke off.
    """
    parts, size = [], 0
    for piece in incoming.pieces():
        size += len(piece)
        if size > limit_bytes:
            raise AbsurdReplyError(f"the Hub's answer is longer than {limit_bytes} bytes", where=what)
        parts.append(piece)
    return b"".join(parts)
