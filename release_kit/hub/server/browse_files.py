"""Pages about what is inside a repository: folders, files, history, one commit."""

from collections.abc import Iterator
from itertools import islice
from urllib.parse import quote

from release_kit.hub.server.context import Hub
from release_kit.hub.server.files import read_small
from release_kit.hub.server.http import Request
from release_kit.hub.server.index import Commit, Repo
from release_kit.hub.server.page_templates import render
from release_kit.hub.server.page_values import crumbs, repo_address, repo_values, short_size, short_time
from release_kit.hub.server.patterns import is_binary
from release_kit.hub.server.replies import entry_not_found
from release_kit.hub.server.trees import EMPTY_TREE, Entry

PAGE = 500
MAX_SHOWN_BYTES = 200_000
MAX_CHANGES = 2000


def tree(hub: Hub, request: Request, repo: Repo, commit: Commit, revision: str, path: str) -> str:
    """Return the page of a folder."""
    folder = hub.trees.lookup(commit.tree, path)
    if folder is None or not folder.is_folder:
        raise entry_not_found(path, commit.id)
    at = quote(revision, safe="")
    after = request.argument("after") or None
    found = list(islice(hub.trees.walk(folder.oid, recursive=False, after=after), PAGE + 1))
    items = [_item(repo, at, f"{path}/{name}" if path else name, entry) for name, entry in found[:PAGE]]
    items.sort(key=lambda item: not item["folder"])
    more = f"?after={quote(found[PAGE - 1][0])}" if len(found) > PAGE else ""
    values = repo_values(hub, request, repo, commit, revision, "files")
    return render("files", **values, items=items, crumbs=crumbs(repo, at, path), next_page=more)


def _item(repo: Repo, at: str, path: str, entry: Entry) -> dict:
    base, name, address = repo_address(repo), path.rpartition("/")[2], quote(path)
    if entry.is_folder:
        return {"folder": True, "name": name, "url": f"{base}/tree/{at}/{address}", "size": "", "raw": "", "lfs": ""}
    return {
        "folder": False,
        "name": name,
        "url": f"{base}/blob/{at}/{address}",
        "size": short_size(entry.size),
        "raw": f"{base}/resolve/{at}/{address}",
        "lfs": f"sha256 {entry.sha256[:8]}" if entry.lfs else "",
    }


def blob(hub: Hub, request: Request, repo: Repo, commit: Commit, revision: str, path: str) -> str:
    """Return the page of a file; text is shown when there is not too much of it."""
    entry = hub.trees.lookup(commit.tree, path)
    if entry is None or entry.is_folder:
        raise entry_not_found(path, commit.id)
    at = quote(revision, safe="")
    text, why = _shown_text(hub, entry)
    facts = [("size", f"{entry.size:,} bytes"), ("sha256", entry.sha256), ("git id", entry.oid)]
    values = repo_values(hub, request, repo, commit, revision, "files")
    raw = f"{repo_address(repo)}/resolve/{at}/{quote(path)}"
    return render("file", **values, facts=facts, text=text, why=why, raw=raw, crumbs=crumbs(repo, at, path))


def _shown_text(hub: Hub, entry: Entry) -> tuple[str | None, str]:
    if entry.size > MAX_SHOWN_BYTES:
        return None, "Too large to be shown here."
    content = read_small(hub, entry)
    if content is None or is_binary(content):
        return None, "Not a text file."
    return content.decode("utf-8", "replace"), ""


def commits(hub: Hub, request: Request, repo: Repo, commit: Commit, revision: str, path: str) -> str:
    """Return the page of the history, newest first."""
    base = repo_address(repo)
    found = list(islice(hub.index.history(repo, commit), 101))
    rows = [
        {
            "title": item.title,
            "author": item.author,
            "id": item.id,
            "when": short_time(item.created_s),
            "url": f"{base}/commit/{item.id}",
        }
        for item in found[:100]
    ]
    more = f"{base}/commits/{found[100].id}" if len(found) > 100 else ""
    values = repo_values(hub, request, repo, commit, revision, "commits")
    return render("commits", **values, commits=rows, next_page=more)


def one_commit(hub: Hub, request: Request, repo: Repo, commit: Commit, revision: str, path: str) -> str:
    """Return the page of one commit with the paths that it changed."""
    before = next(islice(hub.index.history(repo, commit), 1, 2), None)
    changes = list(islice(_changes(hub, before.tree if before else EMPTY_TREE, commit.tree, ""), MAX_CHANGES))
    values = repo_values(hub, request, repo, commit, revision, "commits")
    parent = f"{repo_address(repo)}/commit/{commit.parent}" if before else ""
    return render("commit", **values, shown=commit, parent=parent, changes=changes)


def _changes(hub: Hub, old: str, new: str, prefix: str) -> Iterator[tuple[str, str, str]]:
    """Yield ``(what, path, size)`` of every file that differs; equal folders are not entered."""
    left, right = hub.trees.folder(old), hub.trees.folder(new)
    for name in sorted(left.keys() | right.keys()):
        before, after = left.get(name), right.get(name)
        if before == after:
            continue
        path = prefix + name
        folders = [entry.oid if entry and entry.is_folder else EMPTY_TREE for entry in (before, after)]
        if folders != [EMPTY_TREE, EMPTY_TREE]:
            yield from _changes(hub, *folders, f"{path}/")
        files = [entry if entry and not entry.is_folder else None for entry in (before, after)]
        if any(files):
            what = "removed" if files[1] is None else "changed" if files[0] else "added"
            yield what, path, short_size((files[1] or files[0]).size)
