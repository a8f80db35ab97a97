"""Requests about repositories as such: make, delete, move, settings, describe, list; and who the user is."""

import hashlib

from release_kit.hub.server import patterns
from release_kit.hub.server.auth import require_write
from release_kit.hub.server.cards import cached_front_matter, front_matter, tags
from release_kit.hub.server.content import PendingContent
from release_kit.hub.server.context import Hub
from release_kit.hub.server.files import file_json, next_page_header, read_small
from release_kit.hub.server.http import Request
from release_kit.hub.server.index import Commit, NewCommit, Repo
from release_kit.hub.server.names import REPO_TYPES
from release_kit.hub.server.replies import HttpError, Reply, json_reply
from release_kit.hub.server.requested import (
    iso_time,
    readable_repo,
    repo_url,
    revision_of,
    split_full_name,
    writable_repo,
)

LIST_PAGE = 1000
MAX_CARD_BYTES = 1 << 20


async def create_repo(hub: Hub, request: Request) -> Reply:
    """POST /api/repos/create"""
    wish = await request.json()
    repo_type, namespace, name = _named(wish, request)
    require_write(request.user, namespace)
    existing = hub.index.find_repo(repo_type, namespace, name)
    if existing:
        url = repo_url(request, existing)
        raise HttpError(409, f"You already created this {repo_type} repo: {existing.repo_id}", body={"url": url})
    private = wish.get("visibility") == "private" or wish.get("private") is True
    sdk = wish.get("sdk") if isinstance(wish.get("sdk"), str) else None
    first = _first_commit(hub, request)
    repo = hub.index.create_repo(repo_type, namespace, name, private=private, sdk=sdk, first=first)
    return json_reply({"url": repo_url(request, repo), "name": repo.repo_id, "id": _id24(repo)})


def _first_commit(hub: Hub, request: Request) -> NewCommit:
    content = PendingContent(hub.content)
    entry = content.add_regular(patterns.DEFAULT_ATTRIBUTES)
    return NewCommit(
        changes={".gitattributes": entry},
        author=request.user.name,
        title="initial commit",
        record_content=content.record,
    )


async def delete_repo(hub: Hub, request: Request) -> Reply:
    """DELETE /api/repos/delete"""
    repo = writable_repo(hub, request, *_named(await request.json(), request))
    hub.index.delete_repo(repo)
    return json_reply({})


async def move_repo(hub: Hub, request: Request) -> Reply:
    """POST /api/repos/move"""
    wish = await request.json()
    repo_type = _repo_type(wish)
    source = split_full_name(wish.get("fromRepo"), request.user)
    target = split_full_name(wish.get("toRepo"), request.user)
    hub.index.move_repo(writable_repo(hub, request, repo_type, *source), *target)
    return json_reply({})


async def change_settings(hub: Hub, request: Request, names: list[str], rest: list[str]) -> Reply:
    """PUT /api/models/R/settings"""
    repo = writable_repo(hub, request, *names)
    wish = await request.json()
    private = wish.get("private")
    if wish.get("visibility") in ("public", "private"):
        private = wish["visibility"] == "private"
    gated = wish.get("gated")
    if private is not None and not isinstance(private, bool):
        raise HttpError(400, "`private` must be true or false")
    hub.index.update_repo(repo, private=private, gated=None if gated is None else str(gated))
    return json_reply({"private": bool(repo.private) if private is None else private, "gated": gated})


async def repo_info(hub: Hub, request: Request, names: list[str], rest: list[str]) -> Reply:
    """GET /api/models/R and /api/models/R/revision/REV"""
    repo = readable_repo(hub, request, *names)
    commit, _ = revision_of(hub, repo, rest or ["main"])
    info = describe(hub, repo, commit)
    blobs = request.flag("blobs")
    info["siblings"] = [
        _sibling(path, entry, blobs)
        for path, entry in hub.trees.walk(commit.tree, recursive=True)
        if not entry.is_folder
    ]
    return json_reply(_expanded(info, request))


async def auth_check(hub: Hub, request: Request, names: list[str], rest: list[str]) -> Reply:
    """GET /api/models/R/auth-check[/write]"""
    (writable_repo if rest == ["write"] else readable_repo)(hub, request, *names)
    return json_reply({})


async def list_repos(hub: Hub, request: Request, repo_type: str) -> Reply:
    """GET /api/models?author=&search=&filter=&limit="""
    author, search = request.argument("author"), request.argument("search")
    repos = [
        repo
        for repo in hub.index.list_repos(repo_type, author=author or None, search=search or None)
        if not repo.private or request.user.known
    ]
    wanted = {tag for value in request.query.get("filter", []) for tag in value.split(",") if tag}
    limit, start = _number(request, "limit", LIST_PAGE), _number(request, "cursor", 0)
    items, seen = [], start
    for repo in repos[start:]:
        if len(items) >= max(1, min(limit, LIST_PAGE)):
            break
        seen += 1
        item = describe(hub, repo, hub.index.resolve(repo, "main"))
        if wanted <= set(item["tags"]):
            items.append(_expanded(item, request))
    headers = [next_page_header(request, cursor=str(seen))] if seen < len(repos) else []
    return json_reply(items, headers=headers)


def describe(hub: Hub, repo: Repo, commit: Commit) -> dict:
    """Return what the Hub says about a repository at a commit, without its files."""
    readme = hub.trees.lookup(commit.tree, "README.md")
    card: dict = {}
    if readme is not None and not readme.is_folder and readme.size <= MAX_CARD_BYTES:
        text = read_small(hub, readme)
        card = cached_front_matter(text.decode("utf-8", "replace")) if text else {}
    info = {
        "_id": _id24(repo),
        "id": repo.repo_id,
        "author": repo.namespace,
        "sha": commit.id,
        "lastModified": iso_time(commit.created_s),
        "createdAt": iso_time(repo.created_s),
        "private": bool(repo.private),
        "gated": {None: False, "False": False}.get(repo.gated, repo.gated),
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": tags(repo.type, card),
        "cardData": card or None,
    }
    if repo.type == "model":
        info |= {
            "modelId": repo.repo_id,
            "library_name": card.get("library_name"),
            "pipeline_tag": card.get("pipeline_tag"),
        }
        if card.get("model-index"):
            info["model-index"] = card["model-index"]
    elif repo.type == "space":
        info["sdk"] = repo.sdk or card.get("sdk")
    return info


async def validate_card(hub: Hub, request: Request) -> Reply:
    """POST /api/validate-yaml"""
    wish = await request.json()
    content = wish.get("content")
    if not isinstance(content, str):
        raise HttpError(400, "`content` must be text")
    try:
        card = front_matter(content)
    except ValueError as error:
        message = {"message": f"Invalid YAML: {error}"}
        return json_reply({"error": "Invalid metadata", "errors": [message], "warnings": []}, status=400)
    warnings = [] if card else [{"message": "empty or missing yaml metadata in repo card"}]
    return json_reply({"errors": [], "warnings": warnings})


async def whoami(hub: Hub, request: Request) -> Reply:
    """GET /api/whoami-v2"""
    user = request.user
    if not user.known:
        raise HttpError(401, "Invalid username or password.")
    token = {"displayName": "local", "role": user.role}
    return json_reply(
        {
            "type": "user",
            "id": user.name,
            "name": user.name,
            "fullname": user.name,
            "orgs": [],
            "isPro": False,
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


def _sibling(path: str, entry, blobs: bool) -> dict:
    if not blobs:
        return {"rfilename": path}
    item = file_json(path, entry)
    out = {"rfilename": path, "blobId": item["oid"], "size": item["size"]}
    if entry.lfs:
        out["lfs"] = {"sha256": entry.sha256, "size": entry.size, "pointerSize": item["lfs"]["pointerSize"]}
    return out


def _expanded(info: dict, request: Request) -> dict:
    wanted = request.query.get("expand", []) + request.query.get("expand[]", [])
    if not wanted:
        return info
    return {key: value for key, value in info.items() if key in wanted or key in ("_id", "id", "modelId")}


def _named(wish: dict, request: Request) -> tuple[str, str, str]:
    namespace = wish.get("organization") or request.user.name
    name = wish.get("name")
    if isinstance(name, str) and "/" in name and not wish.get("organization"):
        namespace, _, name = name.partition("/")
    return _repo_type(wish), namespace, name


def _repo_type(wish: dict) -> str:
    repo_type = wish.get("type") or "model"
    if repo_type not in REPO_TYPES:
        raise HttpError(400, f"Invalid repository type {repo_type!r}; this Hub has {', '.join(REPO_TYPES)}")
    return repo_type


def _number(request: Request, name: str, default: int) -> int:
    text = request.argument(name)
    if not text:
        return default
    if not text.isdigit() or len(text) > 9:
        raise HttpError(400, f"`{name}` must be a number, got {text[:50]!r}")
    return int(text)


def _id24(repo: Repo) -> str:
    return hashlib.sha256(f"{repo.type}:{repo.id}:{repo.created_s}".encode()).hexdigest()[:24]
