"""What every page of a repository shows beside its own content, and how sizes and times are written."""

import re
from datetime import UTC, datetime
from urllib.parse import quote

from release_kit.hub.server.context import Hub
from release_kit.hub.server.http import Request
from release_kit.hub.server.index import Commit, Repo


def repo_address(repo: Repo) -> str:
    """Return the path of a repository's page."""
    prefix = "" if repo.type == "model" else f"/{repo.type}s"
    return f"{prefix}/{repo.repo_id}"


def short_time(seconds: float) -> str:
    """Return UTC time for people."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def short_size(n_bytes: int) -> str:
    """Return a size with three digits and a decimal unit."""
    if n_bytes < 1000:
        return f"{n_bytes} B"
    size, units = float(n_bytes), ["kB", "MB", "GB", "TB"]
    for unit in units:
        size /= 1000
        if size < 999.5 or unit == units[-1]:
            break
    return f"{size:.3g} {unit}" if size < 999.5 else f"{size:,.0f} {unit}"


def natural_order(name: str) -> list[tuple[bool, int, str]]:
    """Return a sorting key that puts ``step2000`` before ``step10000``, and ``main`` before everything."""
    parts = re.split(r"(\d+)", name)
    return [(name != "main", 0, "")] + [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def crumbs(repo: Repo, at: str, path: str) -> list[tuple[str, str]]:
    """Return name and address of every folder above ``path``, and of ``path`` itself."""
    base = f"{repo_address(repo)}/tree/{at}"
    out = [(repo.name, base)]
    parts = path.split("/") if path else []
    for index, part in enumerate(parts):
        out.append((part, f"{base}/{quote('/'.join(parts[: index + 1]))}"))
    return out


def repo_values(hub: Hub, request: Request, repo: Repo, commit: Commit, revision: str, tab: str) -> dict:
    """Return the values that the template ``repo`` needs."""
    base, at = repo_address(repo), quote(revision, safe="")
    refs = sorted(hub.index.refs(repo), key=lambda ref: natural_order(ref.name))
    groups = [
        (label, [(ref.name, f"{base}/tree/{quote(ref.name, safe='')}") for ref in refs if ref.kind == kind])
        for label, kind in (("Branches", "branch"), ("Tags", "tag"))
    ]
    return {
        "title": repo.repo_id,
        "endpoint": request.base_url,
        "repo": repo,
        "commit": commit,
        "tab": tab,
        "revision": revision[:12] if revision == commit.id else revision,
        "when": short_time(commit.created_s),
        "ref_groups": groups,
        "tags": [],
        "type_option": "" if repo.type == "model" else f" --repo-type {repo.type}",
        "tabs": [
            ("card", "Card", f"{base}?revision={at}"),
            ("files", "Files", f"{base}/tree/{at}"),
            ("commits", "Commits", f"{base}/commits/{at}"),
        ],
    }
