"""Requests that read files: listings, metadata of chosen paths, and the bytes with ranges."""

import re
from itertools import islice
from urllib.parse import parse_qs, quote

from release_kit.hub.server.context import Hub
from release_kit.hub.server.files import file_json, next_page_header
from release_kit.hub.server.history import last_commits
from release_kit.hub.server.http import Request, parse_mapping
from release_kit.hub.server.index import Commit, Repo
from release_kit.hub.server.replies import FileSpan, Headers, HttpError, Reply, entry_not_found, json_reply
from release_kit.hub.server.requested import iso_time, readable_repo, revision_of
from release_kit.hub.server.trees import Entry

EXPANDED_PAGE = 50
MAX_PATHS = 1000
_RANGE = re.compile(r"bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})")
TEXT = b"text/plain; charset=utf-8"
CONTENT_TYPES = {
    "json": b"application/json",
    "md": TEXT,
    "txt": TEXT,
    "yaml": TEXT,
    "csv": TEXT,
    "tsv": TEXT,
    "py": TEXT,
    "png": b"image/png",
    "jpg": b"image/jpeg",
    "jpeg": b"image/jpeg",
    "gif": b"image/gif",
    "webp": b"image/webp",
    "svg": b"image/svg+xml",
}
"""What a browser may show; everything else, web pages above all, is only downloaded."""


async def list_tree(hub: Hub, request: Request, names: list[str], rest: list[str]) -> Reply:
    """GET /api/models/R/tree/REV[/PATH]?recursive=&expand=&cursor="""
    repo = readable_repo(hub, request, *names)
    commit, path = revision_of(hub, repo, rest)
    folder = hub.trees.lookup(commit.tree, path)
    if folder is None or not folder.is_folder:
        raise entry_not_found(path, commit.id)
    expand = request.flag("expand")
    size = EXPANDED_PAGE if expand else hub.settings.page_entries
    walk = hub.trees.walk(
        folder.oid,
        prefix=f"{path}/" if path else "",
        recursive=request.flag("recursive"),
        after=request.argument("cursor") or None,
    )
    found = list(islice(walk, size + 1))
    items = _items(hub, request, repo, commit, found[:size], expand)
    headers: Headers = [(b"x-repo-commit", commit.id.encode())]
    if len(found) > size:
        seen = found[size - 1][0]
        headers.append(next_page_header(request, cursor=seen[len(path) + 1 :] if path else seen))
    return json_reply(items, headers=headers)


async def paths_info(hub: Hub, request: Request, names: list[str], rest: list[str]) -> Reply:
    """POST /api/models/R/paths-info/REV with form or JSON fields ``paths`` and ``expand``"""
    repo = readable_repo(hub, request, *names)
    commit, _ = revision_of(hub, repo, rest)
    paths, expand = _wanted_paths(await request.body())
    if len(paths) > MAX_PATHS:
        raise HttpError(413, f"Too many paths: {len(paths)}, at most {MAX_PATHS} in one request")
    found = [(path.strip("/"), hub.trees.lookup(commit.tree, path.strip("/"))) for path in paths]
    there = [(path, entry) for path, entry in found if entry and path]
    return json_reply(_items(hub, request, repo, commit, there, expand))


def _wanted_paths(body: bytes) -> tuple[list[str], bool]:
    if body.startswith(b"{"):
        wish = parse_mapping(body)
        paths = wish.get("paths", [])
        paths = [paths] if isinstance(paths, str) else paths
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise HttpError(400, "`paths` must be a list of texts")
        return paths, wish.get("expand") is True
    form = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return form.get("paths", []), form.get("expand", [""])[0].lower() in ("true", "1")


def _items(
    hub: Hub, request: Request, repo: Repo, commit: Commit, found: list[tuple[str, Entry]], expand: bool
) -> list[dict]:
    items = [file_json(path, entry, hub.xet_hash(request, entry) if entry.lfs else None) for path, entry in found]
    if expand:
        latest = last_commits(hub, repo, commit, dict(found))
        for item in items:
            last = latest[item["path"]]
            item["lastCommit"] = {"id": last.id, "title": last.title, "date": iso_time(last.created_s)}
    return items


async def resolve(hub: Hub, request: Request, names: list[str], rest: list[str]) -> Reply:
    """GET and HEAD /[datasets/]R/resolve/REV/PATH"""
    repo = readable_repo(hub, request, *names)
    commit, path = revision_of(hub, repo, rest)
    entry = hub.trees.lookup(commit.tree, path)
    if entry is None or entry.is_folder:
        raise entry_not_found(path, commit.id)
    headers = _file_headers(hub, request, repo, commit, path, entry)
    if request.header(b"if-none-match") == f'"{_etag(entry)}"':
        return Reply(status=304, headers=headers)
    return await _content_reply(hub, request, entry, headers)


def _etag(entry: Entry) -> str:
    return entry.sha256 if entry.lfs else entry.oid


def _file_headers(hub: Hub, request: Request, repo: Repo, commit: Commit, path: str, entry: Entry) -> Headers:
    name = path.rpartition("/")[2]
    ascii_name = re.sub(r'[^ -~]|["\\]', "_", name)
    disposition = f"inline; filename*=UTF-8''{quote(name)}; filename=\"{ascii_name}\";"
    kind = CONTENT_TYPES.get(name.rpartition(".")[2].lower(), b"application/octet-stream")
    headers: Headers = [
        (b"x-repo-commit", commit.id.encode()),
        (b"etag", f'"{_etag(entry)}"'.encode()),
        (b"accept-ranges", b"bytes"),
        (b"content-type", kind),
        (b"content-disposition", disposition.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", b"default-src 'none'; sandbox"),
    ]
    if entry.lfs:
        headers += [(b"x-linked-etag", f'"{entry.sha256}"'.encode()), (b"x-linked-size", str(entry.size).encode())]
        xet_hash = hub.xet_hash(request, entry)
        if xet_hash:
            headers += _xet_headers(request, repo, commit, xet_hash)
    return headers


def _xet_headers(request: Request, repo: Repo, commit: Commit, xet_hash: str) -> Headers:
    route = f"{request.base_url}/api/{repo.type}s/{repo.repo_id}/xet-read-token/{commit.id}"
    return [
        (b"x-xet-hash", xet_hash.encode()),
        (b"x-xet-refresh-route", route.encode()),
        (b"link", f'<{route}>; rel="xet-auth"'.encode()),
    ]


async def _content_reply(hub: Hub, request: Request, entry: Entry, headers: Headers) -> Reply:
    start, length, status = _range(request.header(b"range"), entry.size)
    if status == 206:
        headers.append((b"content-range", f"bytes {start}-{start + length - 1}/{entry.size}".encode()))
    if request.method == "HEAD":
        span = FileSpan(path=hub.settings.root, start=start, length=length)
        return Reply(status=status, headers=headers, span=span)
    stored = hub.content.find(entry.sha256)
    if stored is not None and stored.data is not None:
        return Reply(status=status, headers=headers, body=stored.data[start : start + length])
    path = await hub.local_file(entry)
    return Reply(status=status, headers=headers, span=FileSpan(path=path, start=start, length=length))


def _range(header: str | None, size: int) -> tuple[int, int, int]:
    """Return first byte, length and status; headers that are not one plain range are ignored, as HTTP allows."""
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return 0, size, 200
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size - 1
        bad = int(last) == 0 or size == 0
    else:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
        bad = start >= size or (bool(last) and int(last) < start)
    if bad:
        headers: Headers = [(b"content-range", f"bytes */{size}".encode())]
        raise HttpError(416, f"The range {header!r} is outside the {size} bytes of the file", headers=headers)
    return start, end - start + 1, 206
