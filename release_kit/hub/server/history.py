"""Which commit touched which path last, found by comparing neighbouring snapshots."""

from release_kit.hub.server.context import Hub
from release_kit.hub.server.index import Commit, Repo
from release_kit.hub.server.trees import Entry


def last_commits(hub: Hub, repo: Repo, commit: Commit, entries: dict[str, Entry]) -> dict[str, Commit]:
    """Return, for each path of ``commit``, the newest commit that gave it the content it has there.

    Args:
        entries: what lies at the paths in ``commit``; folders count as changed when anything below changed.
    """
    pending, found = dict(entries), {}
    newer = commit
    for older in hub.index.history(repo, commit):
        for path in [path for path, entry in pending.items() if not _same(hub, older, path, entry)]:
            found[path] = newer
            del pending[path]
        if not pending:
            break
        newer = older
    return found | dict.fromkeys(pending, newer)


def _same(hub: Hub, commit: Commit, path: str, entry: Entry) -> bool:
    other = hub.trees.lookup(commit.tree, path)
    return other is not None and other.oid == entry.oid and other.is_folder == entry.is_folder
