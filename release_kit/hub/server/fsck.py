"""Whether a Hub folder holds everything that its index names, with the right size and sha256.

Works on the folder of a stopped server, also of one that was killed. Changes nothing but what interrupted uploads left
behind, which it clears like a starting server.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from release_kit.hub.server import gitids
from release_kit.hub.server.blobs import hash_file
from release_kit.hub.server.context import Hub, HubSettings
from release_kit.hub.server.trees import EMPTY_TREE, Entry


@dataclass(frozen=True, kw_only=True)
class FsckReport:
    """What was found.

    Args:
        problems: one sentence each, sorted; empty when the folder is good.
        n_repos: repositories.
        n_commits: commits of all repositories.
        n_objects: different contents that commits name.
        n_bytes: their size together.
        n_orphans: blobs that no commit names, such as uploads that were never committed; harmless.
    """

    problems: tuple[str, ...]
    n_repos: int
    n_commits: int
    n_objects: int
    n_bytes: int
    n_orphans: int

    def to_dict(self) -> dict:
        """Return the form for ``--json``."""
        return {
            "ok": not self.problems,
            "problems": list(self.problems),
            "repos": self.n_repos,
            "commits": self.n_commits,
            "objects": self.n_objects,
            "bytes": self.n_bytes,
            "orphans": self.n_orphans,
        }


def check_folder(root: Path, *, deep: bool = True) -> FsckReport:
    """Check everything in a Hub folder.

    Args:
        root: the folder.
        deep: read and hash all content; otherwise only its presence and size are checked.

    Raises:
        HubError: a server is using the folder.
    """
    hub = Hub(HubSettings(root=root))
    try:
        return _check(hub, deep)
    finally:
        hub.close()


def _check(hub: Hub, deep: bool) -> FsckReport:
    commits = hub.database.query("SELECT repo, id, parent, tree, author, created_s, title, message FROM commits")
    rows = commits.fetchall()
    known = {(repo, commit) for repo, commit, *_ in rows}
    problems = list(_ref_problems(hub, known))
    trees: set[str] = set()
    objects: dict[str, Entry] = {}
    for row in rows:
        problems += _commit_problems(row, known)
        problems += _tree_problems(hub, row[3], trees, objects)
    for sha256, entry in objects.items():
        problems += _object_problems(hub, sha256, entry, deep)
    n_repos = hub.database.query("SELECT count(*) FROM repos").fetchone()[0]
    orphans = sum(1 for name in hub.blobs.iter_names() if name not in objects)
    return FsckReport(
        problems=tuple(sorted(set(problems))),
        n_repos=n_repos,
        n_commits=len(rows),
        n_orphans=orphans,
        n_objects=len(objects),
        n_bytes=sum(entry.size for entry in objects.values()),
    )


def _ref_problems(hub: Hub, known: set[tuple[int, str]]) -> Iterator[str]:
    for repo, kind, name, commit in hub.database.query("SELECT repo, kind, name, commit_id FROM refs"):
        if (repo, commit) not in known:
            yield f"repository {repo}: the {kind} {name} leads to the unknown commit {commit}"
    sql = "SELECT id FROM repos WHERE id NOT IN (SELECT repo FROM refs WHERE kind = 'branch' AND name = 'main')"
    for (repo,) in hub.database.query(sql):
        yield f"repository {repo}: has no branch main"


def _commit_problems(row: tuple, known: set[tuple[int, str]]) -> Iterator[str]:
    repo, commit, parent, tree, author, seconds, title, message = row
    text = f"{title}\n\n{message}" if message else title
    expected = gitids.commit_id(tree=tree, parent=parent, author=author, seconds=seconds, message=text)
    if commit != expected:
        yield f"repository {repo}: commit {commit} has the content of {expected}"
    if parent and (repo, parent) not in known:
        yield f"repository {repo}: commit {commit} has the unknown parent {parent}"


def _tree_problems(hub: Hub, tree: str, seen: set[str], objects: dict[str, Entry]) -> Iterator[str]:
    if tree in seen or tree == EMPTY_TREE:
        return
    seen.add(tree)
    try:
        folder = hub.trees.folder(tree)
    except LookupError as error:
        yield str(error)
        return
    found = gitids.tree_id((name, entry.is_folder, entry.oid) for name, entry in folder.items())
    if found != tree:
        yield f"the folder {tree} has the content of {found}"
    for entry in folder.values():
        if entry.is_folder:
            yield from _tree_problems(hub, entry.oid, seen, objects)
        else:
            objects[entry.sha256] = entry


def _object_problems(hub: Hub, sha256: str, entry: Entry, deep: bool) -> Iterator[str]:
    stored = hub.content.find(sha256)
    if stored is None:
        yield f"content {sha256} is not in the index"
        return
    if stored.data is not None:
        found, n_bytes = hashlib.sha256(stored.data).hexdigest(), len(stored.data)
    elif (n_bytes := hub.blobs.size(sha256)) is not None:
        found = hash_file(hub.blobs.path(sha256))[0] if deep else sha256
    else:
        yield from _xet_problems(hub, sha256, entry, deep)
        return
    if (found, n_bytes) != (sha256, entry.size):
        yield f"content {sha256} ({entry.size} bytes) is {found} ({n_bytes} bytes) on disk"


def _xet_problems(hub: Hub, sha256: str, entry: Entry, deep: bool) -> Iterator[str]:
    found = hub.xet.find(sha256)
    if found is None:
        yield f"content {sha256} is neither in the blob folder nor in the Xet folder"
        return
    if not deep:
        return
    temporary = hub.blobs.temporary / f"fsck-{os.getpid()}"
    try:
        hub.xet.rebuild(found.xet_hash, found.size, temporary)
        rebuilt = hash_file(temporary)
    except OSError as error:
        yield f"content {sha256}: {error}"
        return
    finally:
        temporary.unlink(missing_ok=True)
    if rebuilt != (sha256, entry.size):
        yield f"content {sha256} ({entry.size} bytes) is {rebuilt[0]} ({rebuilt[1]} bytes) when rebuilt from Xet"
