"""What the server answers: replies, and errors in the form that huggingface_hub turns into its own exceptions.

Owns the shape of answers and error codes; which error is meant is decided where it is raised.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Headers = list[tuple[bytes, bytes]]
JSON_TYPE = (b"content-type", b"application/json; charset=utf-8")
HTML_TYPE = (b"content-type", b"text/html; charset=utf-8")


@dataclass(frozen=True, kw_only=True, slots=True)
class FileSpan:
    """A part of a file on disk that is sent as the body, piece by piece.

    Args:
        path: the file.
        start: first byte.
        length: number of bytes.
    """

    path: Path
    start: int
    length: int


@dataclass(kw_only=True, slots=True)
class Reply:
    """One answer: status, headers, and a body in memory or on disk."""

    status: int = 200
    body: bytes = b""
    headers: Headers = field(default_factory=list)
    span: FileSpan | None = None

    @property
    def length(self) -> int:
        """Number of bytes in the body."""
        return self.span.length if self.span else len(self.body)


class HttpError(Exception):
    """A request that is answered with an error; ``code`` is what the client maps to its exception classes."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        headers: Headers | None = None,
        body: dict | None = None,
    ):
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.headers, self.body = headers or [], body or {}

    def reply(self) -> Reply:
        """Return the JSON answer with ``X-Error-Message`` and, where there is one, ``X-Error-Code``."""
        headers = [JSON_TYPE, (b"x-error-message", header_text(self.message)), *self.headers]
        if self.code:
            headers.append((b"x-error-code", self.code.encode()))
        return Reply(status=self.status, headers=headers, body=encode_json({"error": self.message, **self.body}))


def repo_not_found(repo_id: str) -> HttpError:
    """Return the answer for a repository that does not exist or may not be seen."""
    return HttpError(404, f"Repository not found: {repo_id}", code="RepoNotFound")


def revision_not_found(repo_id: str, revision: str) -> HttpError:
    """Return the answer for an unknown branch, tag or commit."""
    return HttpError(404, f"Invalid rev id: {revision} (repository {repo_id})", code="RevisionNotFound")


def entry_not_found(path: str, commit: str) -> HttpError:
    """Return the answer for a path that is not in a commit; carries the commit, as clients remember absences."""
    headers = [(b"x-repo-commit", commit.encode())]
    return HttpError(404, f"Entry not found: {path}", code="EntryNotFound", headers=headers)


def json_reply(value: Any, *, status: int = 200, headers: Headers | None = None) -> Reply:
    """Return ``value`` as a JSON answer."""
    return Reply(status=status, headers=[JSON_TYPE, *(headers or [])], body=encode_json(value))


def html_reply(text: str, *, status: int = 200) -> Reply:
    """Return a page that loads nothing from elsewhere and runs no script."""
    policy = b"default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; form-action 'self'; base-uri 'none'"
    safety = [(b"content-security-policy", policy), (b"x-content-type-options", b"nosniff")]
    return Reply(status=status, headers=[HTML_TYPE, *safety], body=text.encode("utf-8", "replace"))


def rate_limit_headers(resource: str, left: int, reset_s: int, limit: int, window_s: int) -> Headers:
    """Return the Hub's two headers about the rate limit."""
    return [
        (b"ratelimit", f'"{resource}";r={left};t={reset_s}'.encode()),
        (b"ratelimit-policy", f'"fixed window";"{resource}";q={limit};w={window_s}'.encode()),
    ]


def encode_json(value: Any) -> bytes:
    """Return compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def header_text(text: str) -> bytes:
    """Return ``text`` as one header line: everything outside printable ASCII becomes a question mark."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)[:500].encode()
