"""From method and path to the function that answers: dictionaries instead of a list of patterns.

Owns which address means what. Every new address of the Hub's API is entered here.
"""

from collections.abc import Awaitable, Callable

from release_kit.hub.server import (
    routes_collections,
    routes_commit,
    routes_files,
    routes_refs,
    routes_repos,
    routes_upload,
)
from release_kit.hub.server.context import Hub
from release_kit.hub.server.http import Request
from release_kit.hub.server.replies import HttpError, Reply
from release_kit.hub.server.requested import PLURALS

Handler = Callable[..., Awaitable[Reply]]

PLAIN: dict[tuple[str, str], Handler] = {
    ("POST", "repos/create"): routes_repos.create_repo,
    ("DELETE", "repos/delete"): routes_repos.delete_repo,
    ("POST", "repos/move"): routes_repos.move_repo,
    ("POST", "validate-yaml"): routes_repos.validate_card,
    ("GET", "whoami-v2"): routes_repos.whoami,
    ("GET", "collections"): routes_collections.list_collections,
    ("POST", "collections"): routes_collections.create_collection,
}

REPO: dict[tuple[str, str], Handler] = {
    ("GET", ""): routes_repos.repo_info,
    ("GET", "revision"): routes_repos.repo_info,
    ("GET", "auth-check"): routes_repos.auth_check,
    ("PUT", "settings"): routes_repos.change_settings,
    ("GET", "refs"): routes_refs.list_refs,
    ("POST", "branch"): routes_refs.create_branch,
    ("DELETE", "branch"): routes_refs.delete_branch,
    ("POST", "tag"): routes_refs.create_tag,
    ("DELETE", "tag"): routes_refs.delete_tag,
    ("GET", "commits"): routes_refs.list_commits,
    ("POST", "super-squash"): routes_refs.squash,
    ("GET", "tree"): routes_files.list_tree,
    ("POST", "paths-info"): routes_files.paths_info,
    ("GET", "resolve"): routes_files.resolve,
    ("GET", "xet-write-token"): routes_upload.xet_write_token,
    ("GET", "xet-read-token"): routes_upload.xet_read_token,
    ("POST", "preupload"): routes_upload.preupload,
    ("POST", "commit"): routes_commit.commit,
}

UPLOAD: dict[tuple[str, str], Handler] = {
    ("PUT", "put"): routes_upload.put_object,
    ("PUT", "part"): routes_upload.put_part,
    ("POST", "join"): routes_upload.join_parts,
}

LFS: dict[tuple[str, ...], Handler] = {
    ("objects", "batch"): routes_upload.lfs_batch,
    ("verify",): routes_upload.verify_object,
}


async def answer(hub: Hub, request: Request) -> Reply:
    """Return the reply to ``request``.

    Raises:
        HttpError: whatever is wrong with it.
    """
    method = "GET" if request.method == "HEAD" else request.method
    segments = request.segments
    if segments[0] == "-" and len(segments) == 4 and segments[1] == "upload":
        handler = UPLOAD.get((method, segments[2])) or _refuse(request)
        return await handler(hub, request, segments[3])
    request.user = hub.access.identify(request)
    if segments[0] == "api":
        return await _api(hub, request, method, segments[1:])
    return await _site(hub, request, method, segments)


async def _api(hub: Hub, request: Request, method: str, segments: list[str]) -> Reply:
    handler = PLAIN.get((method, "/".join(segments)))
    if handler:
        return await handler(hub, request)
    repo_type = PLURALS.get(segments[0])
    if repo_type:
        return await _repo_api(hub, request, method, repo_type, segments[1:])
    if segments[0] == "collections":
        return await routes_collections.one_collection(hub, request, method, segments[1:])
    raise _no_such_address(request)


async def _repo_api(hub: Hub, request: Request, method: str, repo_type: str, rest: list[str]) -> Reply:
    if not rest or rest == [""]:
        if method != "GET":
            raise _no_such_address(request)
        return await routes_repos.list_repos(hub, request, repo_type)
    namespace, name = (rest[0], rest[1]) if len(rest) > 1 else ("", rest[0])
    verb = rest[2] if len(rest) > 2 else ""
    handler = REPO.get((method, verb)) or _refuse(request)
    return await handler(hub, request, [repo_type, namespace, name], rest[3:])


async def _site(hub: Hub, request: Request, method: str, segments: list[str]) -> Reply:
    repo_type = PLURALS.get(segments[0], "model")
    rest = segments[1:] if segments[0] in PLURALS else segments
    if len(rest) > 3 and rest[2] == "resolve" and method == "GET":
        return await routes_files.resolve(hub, request, [repo_type, *rest[:2]], rest[3:])
    if len(rest) > 4 and rest[1].endswith(".git") and rest[2:4] == ["info", "lfs"] and method == "POST":
        handler = LFS.get(tuple(rest[4:])) or _refuse(request)
        return await handler(hub, request, [repo_type, rest[0], rest[1].removesuffix(".git")], [])
    if method == "GET":
        from release_kit.hub.server import browse

        return await browse.page(hub, request, segments)
    raise _no_such_address(request)


def _no_such_address(request: Request) -> HttpError:
    return HttpError(404, f"This local Hub has no {request.method} {request.path[:200]}")


def _refuse(request: Request) -> Handler:
    raise _no_such_address(request)
