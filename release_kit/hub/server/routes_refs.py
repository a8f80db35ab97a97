"""Requests about branches, tags and the history of commits."""

import html
from itertools import islice

from release_kit.hub.server.context import Hub
from release_kit.hub.server.files import next_page_header
from release_kit.hub.server.http import Request
from release_kit.hub.server.index import Ref
from release_kit.hub.server.replies import HttpError, Reply, json_reply
from release_kit.hub.server.requested import iso_time, readable_repo, revision_of, writable_repo

COMMITS_PAGE = 50


async def list_refs(hub: Hub, request: Request, names: list[str], rest: list[str]) -> Reply:
    """GET /api/models/R/refs"""
    refs = hub.index.refs(readable_repo(hub, request, *names))
    answer = {
        "branches": [_ref_json(ref, "refs/heads/") for ref in refs if ref.kind == "branch"],
        "tags": [_ref_json(ref, "refs/tags/") for ref in refs if ref.kind == "tag"],
        "converts": [],
    }
    if request.argument("include_prs"):
        answer["pullRequests"] = []
    return json_reply(answer)


def _ref_json(ref: Ref, prefix: str) -> dict:
    return {"name": ref.name, "ref": prefix + ref.name, "targetCommit": ref.commit_id}


async def create_branch(hub: Hub, request: Request, names: list[str], rest: list[str]) -> Reply:
    """POST /api/models/R/branch/NAME {startingPoint?, overwrite?}"""
    repo = writable_repo(hub, request, *names)
    wish = await request.json()
    start = hub.index.resolve(repo, str(wish.get("startingPoint") or "main"))
    hub.index.create_ref(repo, "branch", "/".join(rest), start.id, overwrite=wish.get("overwrite") is True)
    return json_reply({"name": "/".join(rest), "targetCommit": start.id})


async def delete_branch(hub: Hub, request: Request, names: list[str], rest: list[str]) -> Reply:
    """DELETE /api/models/R/branch/NAME"""
    hub.index.delete_ref(writable_repo(hub, request, *names), "branch", "/".join(rest))
    return json_reply({})


async def create_tag(hub: Hub, request: Request, names: list[str], rest: list[str]) -> Reply:
    """POST /api/models/R/tag/REV {tag, message?}"""
    repo = writable_repo(hub, request, *names)
    wish = await request.json()
    commit, _ = revision_of(hub, repo, ["/".join(rest)])
    message = wish.get("message")
    if message is not None and not isinstance(message, str):
        raise HttpError(400, "`message` must be text")
    hub.index.create_ref(repo, "tag", wish.get("tag"), commit.id, message=message)
    return json_reply({"name": wish["tag"], "targetCommit": commit.id})


async def delete_tag(hub: Hub, request: Request, names: list[str], rest: list[str]) -> Reply:
    """DELETE /api/models/R/tag/NAME"""
    hub.index.delete_ref(writable_repo(hub, request, *names), "tag", "/".join(rest))
    return json_reply({})


async def list_commits(hub: Hub, request: Request, names: list[str], rest: list[str]) -> Reply:
    """GET /api/models/R/commits/REV?p="""
    repo = readable_repo(hub, request, *names)
    commit, _ = revision_of(hub, repo, rest)
    text = request.argument("p", "0")
    if not text.isdigit() or len(text) > 9:
        raise HttpError(400, f"`p` must be a number, got {text[:50]!r}")
    page = int(text)
    start = page * COMMITS_PAGE
    found = list(islice(hub.index.history(repo, commit), start, start + COMMITS_PAGE + 1))
    formatted = "formatted" in request.query.get("expand[]", [])
    items = [_commit_json(item, formatted) for item in found[:COMMITS_PAGE]]
    headers = [next_page_header(request, p=str(page + 1))] if len(found) > COMMITS_PAGE else []
    return json_reply(items, headers=headers)


def _commit_json(commit, formatted: bool) -> dict:
    item = {
        "id": commit.id,
        "title": commit.title,
        "message": commit.message,
        "date": iso_time(commit.created_s),
        "authors": [{"user": commit.author, "avatar": ""}],
    }
    if formatted:
        item["formatted"] = {"title": html.escape(commit.title), "message": html.escape(commit.message)}
    return item


async def squash(hub: Hub, request: Request, names: list[str], rest: list[str]) -> Reply:
    """POST /api/models/R/super-squash/BRANCH {message?}"""
    repo = writable_repo(hub, request, *names)
    branch = "/".join(rest)
    title = str((await request.json()).get("message") or f"Super-squash branch '{branch}' using huggingface_hub")
    commit = hub.index.squash(repo, branch, author=request.user.name, title=title)
    return json_reply({"commitOid": commit.id})
