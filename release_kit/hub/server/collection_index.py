"""Collections: named, ordered lists of repositories with a note on each.

Owns the tables ``collections`` and ``collection_items``; every change is one transaction.
"""

import re
import secrets
from typing import NamedTuple

from release_kit.hub.server.database import Database
from release_kit.hub.server.index import Clock
from release_kit.hub.server.replies import HttpError

MAX_TITLE, MAX_DESCRIPTION, MAX_NOTE = 60, 150, 500
MAX_POSITION = 1_000_000
THEMES = ("orange", "blue", "green", "purple", "pink", "indigo")
ITEM_TYPES = ("model", "dataset", "space", "paper", "collection", "bucket")
_COLUMNS = "id, slug, namespace, title, description, private, theme, position, updated_s"


class Collection(NamedTuple):
    """One collection; ``updated_s`` is seconds since the epoch."""

    id: int
    slug: str
    namespace: str
    title: str
    description: str | None
    private: int
    theme: str
    position: int
    updated_s: float


class Item(NamedTuple):
    """One entry of a collection; ``id`` names the entry, ``item_id`` what it leads to."""

    id: str
    item_type: str
    item_id: str
    position: int
    note: str | None


class CollectionIndex:
    """The collections of one Hub."""

    def __init__(self, database: Database, clock: Clock):
        self._database, self._query, self._clock = database, database.query, clock

    def find(self, slug: str) -> Collection:
        """Return a collection; the 24 hex digits at the end of the slug decide, as titles change.

        Raises:
            HttpError: 404 when there is none.
        """
        tail = slug[-25:] if re.fullmatch(r".+-[0-9a-f]{24}", slug) else None
        sql = f"SELECT {_COLUMNS} FROM collections WHERE slug = ? OR substr(slug, -25) = ?"
        row = self._query(sql, (slug, tail)).fetchone()
        if row is None:
            raise HttpError(404, f"Collection not found: {slug}")
        return Collection(*row)

    def search(self, *, owner: str | None, item: tuple[str, str] | None) -> list[Collection]:
        """Return collections, last changed first; ``item`` keeps those that hold it."""
        sql, values = f"SELECT {_COLUMNS} FROM collections WHERE 1", []
        if owner:
            sql, values = sql + " AND namespace = ?", [owner]
        if item:
            sql += " AND id IN (SELECT collection FROM collection_items WHERE item_type = ? AND item_id = ?)"
            values += item
        return [Collection(*row) for row in self._query(sql + " ORDER BY updated_s DESC, id DESC", values)]

    def items(self, collection: Collection) -> list[Item]:
        """Return the entries in order."""
        columns = "id, item_type, item_id, position, note"
        sql = f"SELECT {columns} FROM collection_items WHERE collection = ? ORDER BY position"
        return [Item(*row) for row in self._query(sql, (collection.id,))]

    def create(self, namespace: str, title: object, description: object, *, private: bool) -> Collection:
        """Make a collection.

        Raises:
            HttpError: 409 with the slug when the namespace has one of this title, 400 for bad texts.
        """
        title = _text(title, "title", MAX_TITLE, required=True)
        description = _text(description, "description", MAX_DESCRIPTION)
        self._refuse_taken(namespace, title)
        slug = f"{namespace}/{_slug_of(title)}-{secrets.token_hex(12)}"
        values = (slug, namespace, title, description, int(private), THEMES[0], 0, self._clock())
        with self._database.transaction():
            sql = (
                "INSERT INTO collections (slug, namespace, title, description, private, theme, position, updated_s) "
                "VALUES (?,?,?,?,?,?,?,?)"
            )
            self._query(sql, values)
        return self.find(slug)

    def update(self, collection: Collection, wish: dict) -> Collection:
        """Change title, description, theme, position or visibility; absent keys keep their value.

        Raises:
            HttpError: 409 when the namespace has another collection of the new title, 400 for bad values.
        """
        title, theme = wish.get("title", collection.title), wish.get("theme", collection.theme)
        title = _text(title, "title", MAX_TITLE, required=True)
        self._refuse_taken(collection.namespace, title, except_for=collection.id)
        description = _text(wish.get("description", collection.description), "description", MAX_DESCRIPTION)
        if theme not in THEMES:
            raise HttpError(400, f"`theme` must be one of {', '.join(THEMES)}")
        private = wish.get("private", bool(collection.private))
        position = wish.get("position", collection.position)
        if not isinstance(private, bool) or not isinstance(position, int) or abs(position) > MAX_POSITION:
            raise HttpError(400, "`private` must be true or false and `position` a number")
        slug = f"{collection.namespace}/{_slug_of(title)}{collection.slug[-25:]}"
        with self._database.transaction():
            sql = (
                "UPDATE collections SET slug=?, title=?, description=?, private=?, theme=?, position=?, updated_s=? "
                "WHERE id=?"
            )
            self._query(sql, (slug, title, description, int(private), theme, position, self._clock(), collection.id))
        return self.find(slug)

    def delete(self, collection: Collection) -> None:
        """Remove a collection, not what it lists."""
        with self._database.transaction():
            self._query("DELETE FROM collection_items WHERE collection = ?", (collection.id,))
            self._query("DELETE FROM collections WHERE id = ?", (collection.id,))

    def add_item(self, collection: Collection, item_type: object, item_id: object, note: object) -> None:
        """Append an entry.

        Raises:
            HttpError: 409 when it is there already, 400 for bad values.
        """
        if item_type not in ITEM_TYPES or not isinstance(item_id, str) or not item_id:
            raise HttpError(400, f"An item needs an id and a type out of {', '.join(ITEM_TYPES)}")
        note = _text(note, "note", MAX_NOTE)
        sql = "SELECT 1 FROM collection_items WHERE collection = ? AND item_type = ? AND item_id = ?"
        if self._query(sql, (collection.id, item_type, item_id)).fetchone():
            raise HttpError(409, f"{item_id} is in the collection already")
        with self._database.transaction():
            row = self._query("SELECT max(position) FROM collection_items WHERE collection = ?", (collection.id,))
            last = row.fetchone()[0]
            position = 0 if last is None else last + 1
            values = (secrets.token_hex(12), collection.id, item_type, item_id, position, note)
            self._query("INSERT INTO collection_items VALUES (?,?,?,?,?,?)", values)
            self._touch(collection)

    def update_item(self, collection: Collection, object_id: str, wish: dict) -> None:
        """Change the note of an entry or move it to another position."""
        items = self.items(collection)
        item = _one_item(items, object_id)
        note = _text(wish.get("note", item.note), "note", MAX_NOTE)
        position = wish.get("position", item.position)
        if not isinstance(position, int) or position < 0:
            raise HttpError(400, "`position` must be a number from 0 on")
        items.remove(item)
        items.insert(position, item)
        with self._database.transaction():
            self._query("UPDATE collection_items SET note = ? WHERE id = ?", (note, item.id))
            for index, other in enumerate(items):
                if index != other.position:
                    self._query("UPDATE collection_items SET position = ? WHERE id = ?", (index, other.id))
            self._touch(collection)

    def delete_item(self, collection: Collection, object_id: str) -> None:
        """Remove an entry."""
        item = _one_item(self.items(collection), object_id)
        with self._database.transaction():
            self._query("DELETE FROM collection_items WHERE id = ?", (item.id,))
            self._touch(collection)

    def _refuse_taken(self, namespace: str, title: str, *, except_for: int = 0) -> None:
        sql = "SELECT slug FROM collections WHERE namespace = ? AND title = ? AND id != ?"
        row = self._query(sql, (namespace, title, except_for)).fetchone()
        if row:
            raise HttpError(409, f"{namespace} has a collection of this title already", body={"slug": row[0]})

    def _touch(self, collection: Collection) -> None:
        self._query("UPDATE collections SET updated_s = ? WHERE id = ?", (self._clock(), collection.id))


def _one_item(items: list[Item], object_id: str) -> Item:
    for item in items:
        if item.id == object_id:
            return item
    raise HttpError(404, f"The collection has no item {object_id[:100]}")


def _text(value: object, name: str, limit: int, *, required: bool = False) -> str | None:
    if value is None and not required:
        return None
    if not isinstance(value, str) or len(value) > limit or (required and not value.strip()):
        raise HttpError(400, f"`{name}` must be a text of at most {limit} characters")
    return value


def _slug_of(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "collection"
