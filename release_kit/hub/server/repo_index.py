"""Repositories as such: their names, visibility and listing; and the memory that makes finding one cheap.

Owns the table ``repos``. What is inside a repository is in ``index``.
"""

from collections.abc import Callable
from typing import NamedTuple

from release_kit.hub.server.database import Database
from release_kit.hub.server.names import check_repo_id
from release_kit.hub.server.replies import HttpError, repo_not_found

Clock = Callable[[], float]
REMEMBERED_REPOS = 100_000
_REPO_COLUMNS = "id, type, namespace, name, private, gated, sdk, created_s, updated_s"
_SAME_NAME = "type = ? AND namespace = ? COLLATE NOCASE AND name = ? COLLATE NOCASE"
_SAME_ITEM = "item_type = ? AND item_id = ?"


class Repo(NamedTuple):
    """One repository; ``type`` is model, dataset or space, times are seconds since the epoch."""

    id: int
    type: str
    namespace: str
    name: str
    private: int
    gated: str | None
    sdk: str | None
    created_s: float
    updated_s: float

    @property
    def repo_id(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


class RepoIndex:
    """The repositories of one Hub."""

    def __init__(self, database: Database, clock: Clock):
        self.database, self.clock = database, clock
        self._query = database.query
        self._repos: dict[tuple[str, str, str], Repo] = {}
        database.on_undo.append(self._repos.clear)

    def find_repo(self, repo_type: str, namespace: str, name: str) -> Repo | None:
        """Return a repository, or None."""
        key = (repo_type, namespace, name)
        found = self._repos.get(key)
        if found is None:
            sql = f"SELECT {_REPO_COLUMNS} FROM repos WHERE {_SAME_NAME}"
            row = self._query(sql, key).fetchone()
            found = Repo(*row) if row and row[2:4] == (namespace, name) else None
            if found:
                self._remember(key, found)
        return found

    def _remember(self, key: tuple[str, str, str], repo: Repo) -> None:
        if len(self._repos) >= REMEMBERED_REPOS:
            self._repos.clear()
        self._repos[key] = repo

    def _forget(self, repo: Repo) -> None:
        self._repos.pop((repo.type, repo.namespace, repo.name), None)

    def repo(self, repo_type: str, namespace: str, name: str) -> Repo:
        """Return a repository.

        Raises:
            HttpError: 404 when it does not exist.
        """
        found = self.find_repo(repo_type, namespace, name)
        if found is None:
            raise repo_not_found(f"{namespace}/{name}")
        return found

    def delete_repo(self, repo: Repo) -> None:
        """Forget a repository; its content stays until the folder is cleaned."""
        with self.database.transaction():
            for table in ("refs", "commits"):
                self._query(f"DELETE FROM {table} WHERE repo = ?", (repo.id,))
            self._query("DELETE FROM repos WHERE id = ?", (repo.id,))
            self._query(f"DELETE FROM collection_items WHERE {_SAME_ITEM}", (repo.type, repo.repo_id))
        self._forget(repo)

    def update_repo(self, repo: Repo, *, private: bool | None = None, gated: str | None = None) -> None:
        """Change visibility or gating; None keeps what is set."""
        with self.database.transaction():
            sql = "UPDATE repos SET private = coalesce(?, private), gated = coalesce(?, gated) WHERE id = ?"
            self._query(sql, (None if private is None else int(private), gated, repo.id))
        self._forget(repo)

    def move_repo(self, repo: Repo, namespace: str, name: str) -> None:
        """Give a repository another name.

        Raises:
            HttpError: 409 when the name is taken, 400 when it is bad.
        """
        check_repo_id(namespace, name)
        self._refuse_taken(repo.type, namespace, name, except_for=repo.id)
        with self.database.transaction():
            self._query("UPDATE repos SET namespace = ?, name = ? WHERE id = ?", (namespace, name, repo.id))
            values = (f"{namespace}/{name}", repo.type, repo.repo_id)
            self._query(f"UPDATE OR IGNORE collection_items SET item_id = ? WHERE {_SAME_ITEM}", values)
        self._forget(repo)

    def list_repos(self, repo_type: str, *, author: str | None = None, search: str | None = None) -> list[Repo]:
        """Return repositories, newest first."""
        sql = f"SELECT {_REPO_COLUMNS} FROM repos WHERE type = ?"
        values: list[str] = [repo_type]
        if author:
            sql, values = sql + " AND namespace = ?", [*values, author]
        if search:
            sql, values = sql + " AND instr(lower(namespace || '/' || name), ?) > 0", [*values, search.lower()]
        return [Repo(*row) for row in self._query(sql + " ORDER BY updated_s DESC, id DESC", values)]

    def _refuse_taken(self, repo_type: str, namespace: str, name: str, *, except_for: int = 0) -> None:
        sql = f"SELECT namespace, name FROM repos WHERE {_SAME_NAME} AND id != ?"
        taken = self._query(sql, (repo_type, namespace, name, except_for)).fetchone()
        if taken:
            raise HttpError(409, f"You already created this {repo_type} repo: {'/'.join(taken)}")

    def _insert_repo(self, repo_type: str, namespace: str, name: str, *, private: bool, sdk: str | None) -> Repo:
        now = self.clock()
        values = (repo_type, namespace, name, int(private), None, sdk, now, now)
        columns = "(type, namespace, name, private, gated, sdk, created_s, updated_s)"
        row = self._query(f"INSERT INTO repos {columns} VALUES (?,?,?,?,?,?,?,?)", values)
        return Repo(int(row.lastrowid), *values)
