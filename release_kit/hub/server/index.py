"""Branches, tags and commits: how a repository begins, what it holds at a revision, and how that changes.

Every change is one transaction. Folders are in ``trees``, bytes in ``content``, repositories as such in
``repo_index``.
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from release_kit.hub.server import gitids
from release_kit.hub.server.database import Database
from release_kit.hub.server.names import check_ref_name, check_repo_id
from release_kit.hub.server.replies import HttpError, revision_not_found
from release_kit.hub.server.repo_index import Clock, Repo, RepoIndex
from release_kit.hub.server.trees import EMPTY_TREE, Changes, TreeStore

_COMMIT_COLUMNS = "id, parent, tree, author, created_s, title, message"


class Commit(NamedTuple):
    """One immutable snapshot of a repository."""

    id: str
    parent: str | None
    tree: str
    author: str
    created_s: int
    title: str
    message: str


class Ref(NamedTuple):
    """A branch or a tag."""

    kind: str
    name: str
    commit_id: str
    message: str | None


@dataclass(frozen=True, kw_only=True)
class NewCommit:
    """What a commit is to contain.

    Args:
        changes: entries by path, None for removed paths.
        author: user name.
        title: first line of the message.
        message: the rest of the message.
        parent: refuse unless the branch is still at this commit.
        record_content: called inside the transaction, so that content and commit become known together.
    """

    changes: Changes
    author: str
    title: str
    message: str = ""
    parent: str | None = None
    record_content: Callable[[], None] | None = None


class Index(RepoIndex):
    """Repositories with their refs and commits."""

    def __init__(self, database: Database, trees: TreeStore, clock: Clock = time.time):
        super().__init__(database, clock)
        self.trees = trees

    def create_repo(
        self, repo_type: str, namespace: str, name: str, *, private: bool, sdk: str | None, first: NewCommit
    ) -> Repo:
        """Make a repository whose ``main`` holds the commit ``first``.

        Raises:
            HttpError: 409 when it exists (names differ in more than case), 400 for a bad name.
        """
        check_repo_id(namespace, name)
        self._refuse_taken(repo_type, namespace, name)
        with self.database.transaction():
            repo = self._insert_repo(repo_type, namespace, name, private=private, sdk=sdk)
            commit = self._write_commit(repo, None, first)
            self._set_ref(repo, "branch", "main", commit.id)
        return repo

    def refs(self, repo: Repo) -> list[Ref]:
        """Return all branches and tags, sorted by name."""
        sql = "SELECT kind, name, commit_id, message FROM refs WHERE repo = ? ORDER BY kind, name"
        return [Ref(*row) for row in self._query(sql, (repo.id,))]

    def ref(self, repo: Repo, kind: str, name: str) -> str | None:
        """Return the commit id that a branch or tag points to, or None."""
        sql = "SELECT commit_id FROM refs WHERE repo = ? AND kind = ? AND name = ?"
        row = self._query(sql, (repo.id, kind, name)).fetchone()
        return row[0] if row else None

    def create_ref(
        self, repo: Repo, kind: str, name: object, commit: str, *, message: str | None = None, overwrite: bool = False
    ) -> None:
        """Make a branch or tag.

        Raises:
            HttpError: 409 when it exists, 400 for a bad name.
        """
        name = check_ref_name(name, what=kind)
        if self.ref(repo, kind, name) is not None and not overwrite:
            raise HttpError(409, f"{kind.capitalize()} {name!r} already exists in {repo.repo_id}")
        with self.database.transaction():
            self._set_ref(repo, kind, name, commit, message)

    def delete_ref(self, repo: Repo, kind: str, name: str) -> None:
        """Remove a branch or tag; the commits stay.

        Raises:
            HttpError: 404 when it does not exist, 403 for ``main``.
        """
        if kind == "branch" and name == "main":
            raise HttpError(403, "The branch main cannot be deleted")
        with self.database.transaction():
            sql = "DELETE FROM refs WHERE repo = ? AND kind = ? AND name = ?"
            if self._query(sql, (repo.id, kind, name)).rowcount == 0:
                raise revision_not_found(repo.repo_id, name)

    def _set_ref(self, repo: Repo, kind: str, name: str, commit: str, message: str | None = None) -> None:
        self._query("INSERT OR REPLACE INTO refs VALUES (?,?,?,?,?)", (repo.id, kind, name, commit, message))

    def resolve(self, repo: Repo, revision: str) -> Commit:
        """Return the commit that a branch, tag, commit id or unique beginning of one means.

        Raises:
            HttpError: 404 when there is none.
        """
        return self._resolve_ref(repo, revision) or self._resolve_id(repo, revision)

    def _resolve_ref(self, repo: Repo, revision: str) -> Commit | None:
        kinds = (("branch", "refs/heads/"), ("tag", "refs/tags/"))
        columns = ", ".join("c." + name for name in _COMMIT_COLUMNS.split(", "))
        sql = (
            f"SELECT {columns} FROM refs r JOIN commits c ON c.repo = r.repo AND c.id = r.commit_id "
            "WHERE r.repo = ? AND r.kind = ? AND r.name = ?"
        )
        for kind, prefix in kinds:
            row = self._query(sql, (repo.id, kind, revision.removeprefix(prefix))).fetchone()
            if row:
                return Commit(*row)
        return None

    def _resolve_id(self, repo: Repo, revision: str) -> Commit:
        rows: list = []
        if re.fullmatch(r"[0-9a-fA-F]{7,40}", revision):
            low = revision.lower()
            sql = f"SELECT {_COMMIT_COLUMNS} FROM commits WHERE repo = ? AND id >= ? AND id < ? LIMIT 2"
            rows = self._query(sql, (repo.id, low, low + "g")).fetchall()
        if len(rows) != 1:
            raise revision_not_found(repo.repo_id, revision)
        return Commit(*rows[0])

    def history(self, repo: Repo, commit: Commit) -> Iterator[Commit]:
        """Yield ``commit`` and its ancestors, newest first."""
        sql = f"SELECT {_COMMIT_COLUMNS} FROM commits WHERE repo = ? AND id = ?"
        while True:
            yield commit
            row = self._query(sql, (repo.id, commit.parent)).fetchone() if commit.parent else None
            if row is None:
                return
            commit = Commit(*row)

    def commit(self, repo: Repo, branch: str, new: NewCommit) -> Commit:
        """Put a commit on a branch and return it; without a real change the branch's head is returned.

        Raises:
            HttpError: 412 when ``new.parent`` is given and the branch is elsewhere, 404 without such a branch.
        """
        head_id = self.ref(repo, "branch", branch.removeprefix("refs/heads/"))
        if head_id is None:
            raise revision_not_found(repo.repo_id, branch)
        head = self._resolve_id(repo, head_id)
        if new.parent is not None and not _is_at(head.id, new.parent):
            message = f"A commit has happened since. Please refresh and try again. (head is {head.id})"
            raise HttpError(412, message)
        with self.database.transaction():
            commit = self._write_commit(repo, head, new)
            if commit.id != head.id:
                self._set_ref(repo, "branch", branch.removeprefix("refs/heads/"), commit.id)
                self._query("UPDATE repos SET updated_s = ? WHERE id = ?", (self.clock(), repo.id))
                self._forget(repo)
        return commit

    def squash(self, repo: Repo, branch: str, *, author: str, title: str) -> Commit:
        """Replace the history of a branch by one commit with the same content."""
        head_id = self.ref(repo, "branch", branch)
        if head_id is None:
            raise revision_not_found(repo.repo_id, branch)
        head = self._resolve_id(repo, head_id)
        with self.database.transaction():
            commit = self._insert_commit(repo, None, head.tree, author, title, "")
            self._set_ref(repo, "branch", branch, commit.id)
        return commit

    def _write_commit(self, repo: Repo, head: Commit | None, new: NewCommit) -> Commit:
        if new.record_content:
            new.record_content()
        old_tree = head.tree if head else EMPTY_TREE
        tree = self.trees.apply(old_tree, new.changes)
        if head and tree == head.tree:
            return head
        return self._insert_commit(repo, head.id if head else None, tree, new.author, new.title, new.message)

    def _insert_commit(
        self, repo: Repo, parent: str | None, tree: str, author: str, title: str, message: str
    ) -> Commit:
        seconds = int(self.clock())
        text = f"{title}\n\n{message}" if message else title
        oid = gitids.commit_id(tree=tree, parent=parent, author=author, seconds=seconds, message=text)
        commit = Commit(oid, parent, tree, author, seconds, title, message)
        self._query("INSERT OR REPLACE INTO commits VALUES (?,?,?,?,?,?,?,?)", (repo.id, *commit))
        return commit


def _is_at(head: str, parent: str) -> bool:
    if not re.fullmatch(r"[0-9a-fA-F]{7,40}", parent):
        raise HttpError(400, f"`parentCommit` must be a commit id, got {parent[:50]!r}")
    return head.startswith(parent.lower())
