"""Files of a commit as clients see them: their JSON, their bytes, and the pages of a listing."""

from urllib.parse import urlencode

from release_kit.hub.server import gitids
from release_kit.hub.server.context import Hub
from release_kit.hub.server.http import Request
from release_kit.hub.server.trees import Entry


def file_json(path: str, entry: Entry, xet_hash: str | None = None) -> dict:
    """Return a file or folder in the form of the Hub's tree listing."""
    if entry.is_folder:
        return {"type": "directory", "oid": entry.oid, "size": 0, "path": path}
    item = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
    if entry.lfs:
        item["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": pointer_size(entry.size)}
        if xet_hash:
            item["xetHash"] = xet_hash
    return item


def pointer_size(size: int) -> int:
    """Return the length in bytes of the LFS pointer of a file with ``size`` bytes."""
    return len(gitids.pointer_text("0" * 64, size))


def read_small(hub: Hub, entry: Entry) -> bytes | None:
    """Return the bytes of a small file, None when they are not on this disk."""
    stored = hub.content.find(entry.sha256) if entry.sha256 else None
    if stored is None:
        return None
    if stored.data is not None:
        return stored.data
    try:
        return hub.blobs.path(entry.sha256).read_bytes()
    except OSError:
        return None


def next_page_header(request: Request, **changes: str) -> tuple[bytes, bytes]:
    """Return the ``Link`` header that leads to the next page of a listing."""
    query = {name: values for name, values in request.query.items() if name not in changes} | changes
    url = f"{request.base_url}{request.path}?{urlencode(query, doseq=True)}"
    return b"link", f'<{url}>; rel="next"'.encode()
