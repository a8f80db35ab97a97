"""From a request to the repository and commit it speaks of, with the rights checked on the way.

Shared by all ``routes_*`` modules; answers nothing itself.
"""

from datetime import UTC, datetime

from release_kit.hub.server.auth import User, require_read, require_write
from release_kit.hub.server.context import Hub
from release_kit.hub.server.http import Request
from release_kit.hub.server.index import Commit, Repo
from release_kit.hub.server.replies import HttpError, repo_not_found

PLURALS = {"models": "model", "datasets": "dataset", "spaces": "space"}


def readable_repo(hub: Hub, request: Request, repo_type: str, namespace: str, name: str) -> Repo:
    """Return a repository that the user may read.

    Raises:
        HttpError: 404 when there is none, or it is private and the user unknown.
    """
    repo = hub.index.repo(repo_type, namespace, name)
    if repo.private:
        require_read(request.user, repo)
    return repo


def writable_repo(hub: Hub, request: Request, repo_type: str, namespace: str, name: str) -> Repo:
    """Return a repository that the user may change.

    Raises:
        HttpError: 404 when there is none, 401 or 403 without the right.
    """
    repo = readable_repo(hub, request, repo_type, namespace, name)
    require_write(request.user, namespace)
    return repo


def revision_of(hub: Hub, repo: Repo, rest: list[str]) -> tuple[Commit, str]:
    """Return the commit named by the first segment of ``rest``, and the path behind it."""
    if not rest:
        raise HttpError(404, "The address lacks a revision")
    return hub.index.resolve(repo, rest[0]), "/".join(rest[1:]).strip("/")


def repo_url(request: Request, repo: Repo) -> str:
    """Return the address of a repository's page."""
    prefix = "" if repo.type == "model" else f"{repo.type}s/"
    return f"{request.base_url}/{prefix}{repo.repo_id}"


def split_full_name(full_name: object, user: User) -> tuple[str, str]:
    """Return namespace and name of ``namespace/name`` or of a bare name of the user's own.

    Raises:
        HttpError: 404 for anything else.
    """
    parts = full_name.split("/") if isinstance(full_name, str) else []
    if len(parts) == 1:
        return user.name, parts[0]
    if len(parts) != 2:
        raise repo_not_found(str(full_name))
    return parts[0], parts[1]


def iso_time(seconds: float) -> str:
    """Return UTC time as the Hub writes it, with milliseconds."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
