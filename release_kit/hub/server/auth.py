"""Who may do what: tokens with roles, private repositories, and strangers' web pages kept out.

Without tokens, whoever reaches the server may do everything; that is allowed on loopback only. Token values are
compared by digest and never stored, shown or logged.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from release_kit.core.canonical import read_json
from release_kit.core.errors import UsageError
from release_kit.core.records import Fields
from release_kit.hub.server.http import Request
from release_kit.hub.server.index import Repo
from release_kit.hub.server.replies import HttpError, repo_not_found

LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")
LOCAL_USER = "local"
ROLES = ("read", "write")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, kw_only=True, slots=True)
class User:
    """Who sent a request; ``role`` is read or write, ``known`` is False for somebody without a token."""

    name: str
    role: str
    known: bool = True


EVERYBODY = User(name=LOCAL_USER, role="write")
STRANGER = User(name="anonymous", role="read", known=False)


@dataclass(frozen=True, kw_only=True)
class Access:
    """The tokens of one Hub.

    Args:
        users: user by sha256 of the token; empty means that everybody may do everything.
        check_host: refuse requests for another host name than the loopback ones (DNS rebinding).
    """

    users: dict[str, User] = field(default_factory=dict, repr=False)
    check_host: bool = True

    @property
    def open_to_all(self) -> bool:
        """True without tokens."""
        return not self.users

    def identify(self, request: Request) -> User:
        """Return who sent ``request``.

        Raises:
            HttpError: 401 for an unknown token, 403 for a foreign host name or web page.
        """
        self._refuse_foreign_pages(request)
        if self.open_to_all:
            return EVERYBODY
        header = request.header(b"authorization")
        if header is None:
            return STRANGER
        token = header.removeprefix("Bearer ").strip()
        user = self.users.get(hashlib.sha256(token.encode()).hexdigest())
        if user is None:
            raise HttpError(401, "Invalid credentials in Authorization header")
        return user

    def _refuse_foreign_pages(self, request: Request) -> None:
        host = request.header(b"host") or ""
        if self.open_to_all and self.check_host and _host_name(host) not in LOOPBACK_HOSTS:
            raise HttpError(403, f"This Hub answers on loopback only, not as {host!r}")
        origin = request.header(b"origin")
        if origin is not None and request.method not in SAFE_METHODS and origin != f"http://{host}":
            raise HttpError(403, f"A web page of {origin!r} may not change this Hub")


def require_write(user: User, namespace: str) -> None:
    """Refuse a user who may not write.

    Raises:
        HttpError: 401 without a token, 403 with a read-only one.
    """
    if not user.known:
        raise HttpError(401, f"Writing to {namespace} needs a token")
    if user.role != "write":
        raise HttpError(403, f"Forbidden: the token of {user.name!r} is read-only; {namespace} needs a write token")


def require_read(user: User, repo: Repo) -> None:
    """Hide a private repository from somebody without a token.

    Raises:
        HttpError: 404, the same answer as for a repository that does not exist.
    """
    if repo.private and not user.known:
        raise repo_not_found(repo.repo_id)


def read_tokens(path: Path) -> dict[str, User]:
    """Read a tokens file: ``{"tokens": [{"user": …, "role": "read"|"write", "token": … | "token_sha256": …}]}``.

    Returns:
        Users by sha256 of their token.

    Raises:
        RecordError: the file does not have this form.
    """
    fields = Fields(read_json(path), str(path))
    users: dict[str, User] = {}
    # Whatever stands in the wrong place of this file may be a token, so no message shows a value or an unknown key.
    if not isinstance(fields.raw("tokens"), list):
        raise fields.error("tokens", "expected a list of mappings with user, role and token or token_sha256")
    for entry in fields.children("tokens"):
        values = [entry.raw(name, "") for name in ("user", "role", "token", "token_sha256")]
        if not all(isinstance(value, str) for value in values) or not values[0] or entry.unknown():
            raise entry.error("", "expected texts: user, role, and token or token_sha256; nothing else")
        name, role, token, digest = values
        if role not in ROLES:
            raise entry.error("role", f"expected one of {', '.join(ROLES)}")
        if bool(token) == bool(digest):
            raise entry.error("token", "expected exactly one of token and token_sha256")
        users[digest.lower() or hashlib.sha256(token.encode()).hexdigest()] = User(name=name, role=role)
    fields.done()
    if not users:
        raise fields.error("tokens", "holds no token")
    return users


def check_binding(host: str, access: Access) -> None:
    """Refuse to serve without tokens where others can reach the server.

    Raises:
        UsageError: ``host`` is not loopback and there are no tokens.
    """
    if access.open_to_all and host not in LOOPBACK_HOSTS:
        raise UsageError(
            f"serving on {host} without tokens would let everybody on the network change everything",
            next_step="pass --tokens FILE, or serve on 127.0.0.1",
        )


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host
