"""Pages for people with a browser: repositories, cards, files, commits, collections. They only read.

Owns which page an address means and what is on it. The look is in ``page_templates``.
"""

import json
from itertools import islice
from typing import Any
from urllib.parse import quote, urlencode

from release_kit.hub.server import browse_files
from release_kit.hub.server.cards import front_matter, split_card, tags
from release_kit.hub.server.context import Hub
from release_kit.hub.server.files import read_small
from release_kit.hub.server.http import Request
from release_kit.hub.server.index import Commit, Repo
from release_kit.hub.server.markdown import render_markdown
from release_kit.hub.server.page_templates import render
from release_kit.hub.server.page_values import repo_address, repo_values, short_time
from release_kit.hub.server.replies import HttpError, Reply, html_reply
from release_kit.hub.server.requested import PLURALS, readable_repo

PAGE = 100
MAX_CARD_BYTES = 1 << 20


async def page(hub: Hub, request: Request, segments: list[str]) -> Reply:
    """Answer GET of any address that is not the API.

    Raises:
        HttpError: 404; browsers get it as a page.
    """
    try:
        return html_reply(_page(hub, request, [segment for segment in segments if segment]))
    except HttpError as error:
        if "text/html" not in (request.header(b"accept") or ""):
            raise
        values = {"title": f"{error.status}", "message": error.message, "endpoint": request.base_url}
        return html_reply(render("problem", **values), status=error.status)


def _page(hub: Hub, request: Request, segments: list[str]) -> str:
    if not segments:
        return _list(hub, request)
    if segments[0] == "collections":
        return _collection(hub, request, segments[1:]) if segments[1:] else _collections(hub, request)
    repo_type = PLURALS.get(segments[0], "model")
    rest = segments[1:] if segments[0] in PLURALS else segments
    if len(rest) < 2:
        return _list(hub, request, author=rest[0] if rest else "", repo_type=repo_type if not rest else "")
    repo = readable_repo(hub, request, repo_type, rest[0], rest[1])
    return _repo_page(hub, request, repo, rest[2:])


def _repo_page(hub: Hub, request: Request, repo: Repo, rest: list[str]) -> str:
    tab = rest[0] if rest else "card"
    pages = {
        "tree": browse_files.tree,
        "blob": browse_files.blob,
        "commits": browse_files.commits,
        "commit": browse_files.one_commit,
    }
    revision = rest[1] if len(rest) > 1 else request.argument("revision", "main")
    commit = hub.index.resolve(repo, revision)
    if tab == "card" or (tab not in pages and not rest[1:]):
        return _card(hub, request, repo, commit, revision)
    if tab not in pages:
        raise HttpError(404, f"There is no page {request.path[:200]}")
    return pages[tab](hub, request, repo, commit, revision, "/".join(rest[2:]))


def _list(hub: Hub, request: Request, author: str = "", repo_type: str = "") -> str:
    wanted, search = repo_type or request.argument("type"), request.argument("search")
    repos = [
        repo
        for name in PLURALS.values()
        if wanted in ("", name)
        for repo in hub.index.list_repos(name, author=author or None, search=search or None)
        if not repo.private or request.user.known
    ]
    repos.sort(key=lambda repo: -repo.updated_s)
    text = request.argument("start", "0")
    start = int(text) if text.isdigit() and len(text) < 9 else 0
    rows = [
        {
            "type": repo.type,
            "id": repo.repo_id,
            "url": repo_address(repo),
            "private": repo.private,
            "when": short_time(repo.updated_s),
        }
        for repo in repos[start : start + PAGE]
    ]
    query = {"type": wanted, "search": search, "start": start + PAGE}
    more = "?" + urlencode({key: value for key, value in query.items() if value})
    return render(
        "list",
        title=author or "Repositories",
        total=len(repos),
        repos=rows,
        endpoint=request.base_url,
        search=search,
        next_page=more if start + PAGE < len(repos) else "",
    )


def _card(hub: Hub, request: Request, repo: Repo, commit: Commit, revision: str) -> str:
    entry = hub.trees.lookup(commit.tree, "README.md")
    readable = entry is not None and not entry.is_folder and entry.size <= MAX_CARD_BYTES
    text = (read_small(hub, entry) or b"").decode("utf-8", "replace") if readable else ""
    error, card = "", {}
    try:
        card = front_matter(text)
    except ValueError as problem:
        error = f"The front matter is not valid YAML: {problem}"
    _, body = split_card(text)
    base, at = repo_address(repo), quote(revision, safe="")
    html = render_markdown(body, file_base=f"{base}/resolve/{at}/", page_base=f"{base}/blob/{at}/") if body else ""
    meta = [(key, _meta_text(value)) for key, value in card.items()]
    values = repo_values(hub, request, repo, commit, revision, "card") | {"tags": tags(repo.type, card)[:40]}
    return render("card", **values, error=error, meta=meta, html=html)


def _meta_text(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)


def _collections(hub: Hub, request: Request) -> str:
    entries = [
        entry for entry in hub.collections.search(owner=None, item=None) if not entry.private or request.user.known
    ]
    rows = [entry._asdict() | {"n_items": len(hub.collections.items(entry))} for entry in islice(entries, 1000)]
    return render("collections", title="Collections", collections=rows, endpoint=request.base_url)


def _collection(hub: Hub, request: Request, rest: list[str]) -> str:
    entry = hub.collections.find("/".join(rest))
    if entry.private and not request.user.known:
        raise HttpError(404, f"Collection not found: {entry.slug}")
    prefix = {"model": "/", "dataset": "/datasets/", "space": "/spaces/"}
    items = [
        {
            "type": item.item_type,
            "id": item.item_id,
            "note": item.note,
            "url": quote(prefix.get(item.item_type, "/") + item.item_id),
        }
        for item in hub.collections.items(entry)
    ]
    return render("collection", title=entry.title, entry=entry, items=items, endpoint=request.base_url)
