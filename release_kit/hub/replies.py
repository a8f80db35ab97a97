"""What a Hub answered: a complete reply, and the error that a refusal stands for."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from release_kit.core.errors import HubError
from release_kit.hub.errors import (
    AbsurdReplyError,
    AccessError,
    ConflictError,
    MovedError,
    NotFoundError,
    RefusedError,
)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A complete good reply; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes
    where: str
    address: str = ""
    """Which address was asked, without its query: that may hold a signature."""

    def json(self) -> Any:
        """Return the parsed body.

        Raises:
            AbsurdReplyError: it is not JSON.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise self._absurd("is not JSON") from error

    def mapping(self) -> dict[str, Any]:
        """Return the parsed body, which must be a mapping."""
        value = self.json()
        if not isinstance(value, dict):
            raise self._absurd("is not a mapping")
        return value

    def _absurd(self, what: str) -> AbsurdReplyError:
        return AbsurdReplyError(
            f"the Hub's answer {what} ({self.address or 'no address'})",
            where=self.where,
            next_step="see what answers at that address (a proxy or its login page?); "
            "name another Hub with --endpoint or HF_ENDPOINT",
        )


def refusal(reply: Reply, *, endpoint: str, has_token: bool, scrub: Callable[[str], str]) -> HubError:
    """Return the error for a reply with a 3xx or 4xx status."""
    if reply.status < 400:
        target = scrub(reply.headers.get("location", "").partition("?")[0]) or "nowhere"
        return RefusedError(
            f"the Hub answers {reply.status} and sends the request on to {target}; changes are not sent on",
            where=reply.where,
            next_step="if you trust that address, name its Hub with --endpoint or HF_ENDPOINT",
        )
    message = scrub(_message_of(reply)) or f"status {reply.status}"
    code = reply.headers.get("x-error-code", "")
    if code in ("RepoNotFound", "RevisionNotFound", "EntryNotFound") or reply.status in (404, 410):
        error = NotFoundError(f"not found at {endpoint}: {message}", where=reply.where)
        error.code = code
        return error
    if reply.status in (401, 403):
        state = "this token has no right to do it" if has_token else "there is no token"
        return AccessError(
            f"the Hub refused ({reply.status}, {message}): {state}",
            where=reply.where,
            next_step="set HF_TOKEN to a token with write access to this namespace, or run `hf auth login`",
        )
    if reply.status in (409, 412):
        kind = MovedError if reply.status == 412 else ConflictError
        error = kind(f"the Hub refused ({reply.status}): {message}", where=reply.where)
        error.slug = _text_in(reply, "slug")
        return error
    error = RefusedError(f"the Hub refused ({reply.status}): {message}", where=reply.where)
    error.status = reply.status
    return error


def _message_of(reply: Reply) -> str:
    return reply.headers.get("x-error-message") or _text_in(reply, "error")


def _text_in(reply: Reply, key: str) -> str:
    try:
        value = json.loads(reply.body)
    except (ValueError, RecursionError):
        return ""
    text = value.get(key) if isinstance(value, dict) else None
    return text if isinstance(text, str) else ""
