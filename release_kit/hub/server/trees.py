"""Folders as immutable, content-addressed records: a commit stores only the folders that changed.

A thousand branches with equal folders share them, and a commit into a repository of 100,000 files rewrites the
folders on the changed paths and nothing else. Owns the table ``trees``.
"""

import json
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from release_kit.hub.server import gitids
from release_kit.hub.server.database import Database
from release_kit.hub.server.replies import HttpError

EMPTY_TREE = gitids.tree_id([])
CACHE_ENTRIES = 400_000


class Entry(NamedTuple):
    """One name in a folder.

    Args:
        oid: git id: of the file, of the LFS pointer, or of the folder.
        size: bytes of the content, 0 for a folder.
        sha256: content digest of a file, None for a folder.
        lfs: whether a pointer stands for the content in git.
    """

    oid: str
    size: int
    sha256: str | None
    lfs: bool

    @property
    def is_folder(self) -> bool:
        """True for a folder."""
        return self.sha256 is None


Folder = dict[str, Entry]
Changes = dict[str, "Entry | None"]
"""New entries by path; None removes the file or folder at that path."""


class TreeStore:
    """Reads, changes and walks folders."""

    def __init__(self, database: Database):
        self._query = database.query
        self._cache: OrderedDict[str, Folder] = OrderedDict()
        self._names: dict[str, list[str]] = {}
        self._n_cached = 0

    def folder(self, tree: str) -> Folder:
        """Return the entries of one folder by name, sorted by name; callers must not change it."""
        if tree == EMPTY_TREE:
            return {}
        found = self._cache.get(tree)
        if found is not None:
            self._cache.move_to_end(tree)
            return found
        row = self._query("SELECT entries FROM trees WHERE id = ?", (tree,)).fetchone()
        if row is None:
            raise LookupError(f"the index has no folder {tree}")
        return self._remember(tree, {name: Entry(*rest) for name, *rest in json.loads(row[0])})

    def lookup(self, tree: str, path: str) -> Entry | None:
        """Return what lies at ``path`` ("" is the root itself), None when there is nothing."""
        entry = Entry(tree, 0, None, False)
        for name in path.split("/") if path else ():
            if not entry.is_folder:
                return None
            found = self.folder(entry.oid).get(name)
            if found is None:
                return None
            entry = found
        return entry

    def walk(
        self, tree: str, *, prefix: str = "", recursive: bool, after: str | None = None
    ) -> Iterator[tuple[str, Entry]]:
        """Yield ``(path, entry)`` in a fixed order, a folder before its content.

        Args:
            tree: the folder to start in.
            prefix: path of that folder, with a final slash.
            recursive: enter folders.
            after: relative path already seen; the walk goes on behind it without visiting what lies before.
        """
        folder = self.folder(tree)
        names = self._sorted_names(tree, folder)
        start = 0
        if after:
            first, _, rest = after.partition("/")
            start = bisect_right(names, first)
            entry = folder.get(first)
            if recursive and entry is not None and entry.is_folder:
                yield from self.walk(entry.oid, prefix=f"{prefix}{first}/", recursive=True, after=rest or None)
        for name in names[start:] if start else names:
            entry = folder[name]
            yield prefix + name, entry
            if recursive and entry.sha256 is None:
                yield from self.walk(entry.oid, prefix=f"{prefix}{name}/", recursive=True)

    def apply(self, tree: str, changes: Changes) -> str:
        """Store the folder that results from ``changes`` and return its id; call inside a transaction.

        Raises:
            HttpError: 400 when a file would lie inside a file, or replace a folder.
        """
        return self._apply(tree, "", changes)

    def _apply(self, tree: str, prefix: str, changes: Changes) -> str:
        folder = dict(self.folder(tree))
        below: dict[str, Changes] = {}
        for path, entry in changes.items():
            name, slash, rest = path.partition("/")
            if slash:
                below.setdefault(name, {})[rest] = entry
            elif entry is None:
                folder.pop(name, None)
            else:
                _refuse_replaced_folder(folder, name, prefix)
                folder[name] = entry
        for name, inner in below.items():
            self._apply_below(folder, name, prefix, inner)
        return self._store(folder)

    def _apply_below(self, folder: Folder, name: str, prefix: str, inner: Changes) -> None:
        old = folder.get(name)
        if old is not None and not old.is_folder:
            raise HttpError(400, f"{prefix}{name} is a file; nothing can be stored below it")
        new = self._apply(old.oid if old else EMPTY_TREE, f"{prefix}{name}/", inner)
        if new == EMPTY_TREE:
            folder.pop(name, None)
        else:
            folder[name] = Entry(new, 0, None, False)

    def _store(self, folder: Folder) -> str:
        folder = dict(sorted(folder.items()))
        tree = gitids.tree_id((name, entry.is_folder, entry.oid) for name, entry in folder.items())
        if self._query("SELECT 1 FROM trees WHERE id = ?", (tree,)).fetchone() is None:
            rows = json.dumps([[name, *entry] for name, entry in folder.items()], separators=(",", ":"))
            self._query("INSERT INTO trees VALUES (?, ?)", (tree, rows))
        return tree

    def _sorted_names(self, tree: str, folder: Folder) -> list[str]:
        names = self._names.get(tree)
        if names is None:
            names = list(folder)
            if tree in self._cache:
                self._names[tree] = names
        return names

    def _remember(self, tree: str, folder: Folder) -> Folder:
        self._cache[tree] = folder
        self._n_cached += len(folder)
        while self._n_cached > CACHE_ENTRIES and len(self._cache) > 1:
            old, dropped = self._cache.popitem(last=False)
            self._names.pop(old, None)
            self._n_cached -= len(dropped)
        return folder


def _refuse_replaced_folder(folder: Folder, name: str, prefix: str) -> None:
    old = folder.get(name)
    if old is not None and old.is_folder:
        raise HttpError(400, f"{prefix}{name} is a folder; a file cannot take its name")
