"""Requests about collections and their items."""

from release_kit.hub.server.auth import require_write
from release_kit.hub.server.collection_index import Collection, Item
from release_kit.hub.server.context import Hub
from release_kit.hub.server.http import Request
from release_kit.hub.server.names import check_repo_name
from release_kit.hub.server.replies import HttpError, Reply, json_reply, repo_not_found
from release_kit.hub.server.requested import PLURALS, iso_time, split_full_name


async def list_collections(hub: Hub, request: Request) -> Reply:
    """GET /api/collections?owner=&item=models/ns/name"""
    owner, item = request.argument("owner"), request.argument("item")
    plural, _, item_id = item.partition("/")
    wanted = (PLURALS.get(plural, plural), item_id) if item else None
    found = [
        entry
        for entry in hub.collections.search(owner=owner or None, item=wanted)
        if not entry.private or request.user.known
    ]
    return json_reply([_json(hub, entry, position) for position, entry in enumerate(found)])


async def create_collection(hub: Hub, request: Request) -> Reply:
    """POST /api/collections {title, namespace, description?, private, item?}"""
    wish = await request.json()
    namespace = check_repo_name(wish.get("namespace") or request.user.name, what="namespace")
    require_write(request.user, namespace)
    made = hub.collections.create(
        namespace, wish.get("title"), wish.get("description"), private=wish.get("private") is True
    )
    return json_reply(_json(hub, made))


async def one_collection(hub: Hub, request: Request, method: str, segments: list[str]) -> Reply:
    """GET, PATCH, DELETE /api/collections/SLUG and everything below /api/collections/SLUG/items"""
    if len(segments) < 2:
        raise HttpError(404, f"Collection not found: {'/'.join(segments)}")
    collection, rest = hub.collections.find("/".join(segments[:2])), segments[2:]
    if method == "GET" and not rest:
        if collection.private and not request.user.known:
            raise HttpError(404, f"Collection not found: {collection.slug}")
        return json_reply(_json(hub, collection))
    require_write(request.user, collection.namespace)
    if not rest:
        return await _change(hub, request, method, collection)
    if rest[0] == "items" and len(rest) <= 2:
        return await _change_items(hub, request, method, collection, rest[1:])
    raise HttpError(404, f"This local Hub has no {method} {request.path[:200]}")


async def _change(hub: Hub, request: Request, method: str, collection: Collection) -> Reply:
    if method == "PATCH":
        changed = hub.collections.update(collection, await request.json())
        return json_reply({"success": True, "data": _json(hub, changed)})
    if method == "DELETE":
        hub.collections.delete(collection)
        return json_reply({"success": True})
    raise HttpError(405, f"{method} is not possible on a collection")


async def _change_items(hub: Hub, request: Request, method: str, collection: Collection, rest: list[str]) -> Reply:
    if method == "POST" and not rest:
        return await _add_item(hub, request, collection)
    if method == "PATCH" and rest:
        hub.collections.update_item(collection, rest[0], await request.json())
    elif method == "DELETE" and rest:
        hub.collections.delete_item(collection, rest[0])
    else:
        raise HttpError(405, f"{method} is not possible on the items of a collection")
    return json_reply({"success": True})


async def _add_item(hub: Hub, request: Request, collection: Collection) -> Reply:
    wish = await request.json()
    item = wish.get("item")
    if not isinstance(item, dict):
        raise HttpError(400, "`item` must be a mapping with `id` and `type`")
    item_type, item_id = item.get("type"), item.get("id")
    if item_type in PLURALS.values():
        repo = hub.index.find_repo(item_type, *split_full_name(item_id, request.user))
        if repo is None or (repo.private and not request.user.known):
            raise repo_not_found(str(item_id))
    hub.collections.add_item(collection, item_type, item_id, wish.get("note"))
    return json_reply(_json(hub, hub.collections.find(collection.slug)))


def _json(hub: Hub, collection: Collection, position: int | None = None) -> dict:
    answer = {
        "slug": collection.slug,
        "title": collection.title,
        "description": collection.description,
        "owner": {"name": collection.namespace, "type": "user"},
        "lastUpdated": iso_time(collection.updated_s),
        "private": bool(collection.private),
        "theme": collection.theme,
        "upvotes": 0,
        "items": [_item_json(item) for item in hub.collections.items(collection)],
    }
    return answer if position is not None else answer | {"position": collection.position}


def _item_json(item: Item) -> dict:
    answer = {"_id": item.id, "id": item.item_id, "type": item.item_type, "position": item.position}
    if item.note is not None:
        answer["note"] = {"text": item.note, "html": ""}
    return answer
