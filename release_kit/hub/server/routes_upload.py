"""Requests that bring content: which files are large, where to put them, and the bytes themselves.

An upload address carries its own signature, because the client sends no token with the bytes. The content is
hashed while it arrives and refused when it is not what was announced.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable
from urllib.parse import urlencode

from release_kit.hub.server import patterns
from release_kit.hub.server.blobs import check_content, is_sha256
from release_kit.hub.server.content import INLINE_BYTES
from release_kit.hub.server.context import Hub
from release_kit.hub.server.files import read_small
from release_kit.hub.server.http import Request
from release_kit.hub.server.names import check_path
from release_kit.hub.server.parts import PartedUpload
from release_kit.hub.server.replies import HttpError, Reply, json_reply
from release_kit.hub.server.requested import readable_repo, revision_of, writable_repo
from release_kit.hub.server.trees import Entry

LFS_TYPE = (b"content-type", b"application/vnd.git-lfs+json")
UPLOAD_SECONDS = 24 * 3600
XET_TOKEN_SECONDS = 3600
MAX_OBJECTS = 10_000
MAX_PARTS = 10_000
MAX_QUICK_BYTES = 256 * 1024


async def preupload(hub: Hub, request: Request, names: list[str], rest: list[str]) -> Reply:
    """POST /api/models/R/preupload/REV {files: [{path, sample, size}], gitIgnore?}"""
    repo = writable_repo(hub, request, *names)
    commit, _ = revision_of(hub, repo, ["/".join(rest)])
    wish = await request.json()
    attributes = _text_file(hub, commit.tree, ".gitattributes")
    gitignore = wish.get("gitIgnore")
    if not isinstance(gitignore, str):
        gitignore = _text_file(hub, commit.tree, ".gitignore")
    files = wish.get("files")
    if not isinstance(files, list) or not all(isinstance(item, dict) for item in files):
        raise HttpError(400, "`files` must be a list of mappings")
    answers = [_upload_mode(hub, commit.tree, item, attributes, gitignore) for item in files]
    return json_reply({"files": answers})


def _upload_mode(hub: Hub, tree: str, item: dict, attributes: str, gitignore: str) -> dict:
    path, size, sample = check_path(item.get("path")), item.get("size"), item.get("sample", "")
    if not isinstance(size, int) or size < 0 or not isinstance(sample, str):
        raise HttpError(400, f"{path}: `size` must be a number and `sample` text")
    try:
        head = base64.b64decode(sample, validate=True)
    except binascii.Error as error:
        raise HttpError(400, f"{path}: `sample` is not base64") from error
    large = patterns.is_large(path, size, head, attributes)
    ignored = bool(gitignore) and patterns.last_match(patterns.ignore_matcher(gitignore), path) is True
    answer = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": ignored}
    old = hub.trees.lookup(tree, path)
    if old is not None and not old.is_folder:
        answer["oid"] = old.sha256 if old.lfs else old.oid
    return answer


def _text_file(hub: Hub, tree: str, name: str) -> str:
    entry: Entry | None = hub.trees.folder(tree).get(name)
    content = read_small(hub, entry) if entry and not entry.is_folder and entry.size <= 1 << 20 else None
    return content.decode("utf-8", "replace") if content else ""


async def lfs_batch(hub: Hub, request: Request, names: list[str], rest: list[str]) -> Reply:
    """POST /[datasets/]R.git/info/lfs/objects/batch"""
    wish = await request.json()
    repo = writable_repo(hub, request, *names)
    if wish.get("operation") != "upload":
        raise HttpError(501, "Only the LFS operation 'upload' is supported; download through /resolve/")
    objects = wish.get("objects")
    if not isinstance(objects, list) or len(objects) > MAX_OBJECTS:
        raise HttpError(400, f"`objects` must be a list of at most {MAX_OBJECTS}")
    base = f"{request.base_url}/{'' if repo.type == 'model' else repo.type + 's/'}{repo.repo_id}.git/info/lfs"
    answers = [_lfs_answer(hub, request, base, item, wish.get("transfers") or ["basic"]) for item in objects]
    parted = any("chunk_size" in item.get("actions", {}).get("upload", {}).get("header", {}) for item in answers)
    return json_reply({"transfer": "multipart" if parted else "basic", "objects": answers}, headers=[LFS_TYPE])


def _lfs_answer(hub: Hub, request: Request, base: str, item: dict, transfers: list) -> dict:
    oid, size = (item.get("oid"), item.get("size")) if isinstance(item, dict) else (None, None)
    if not is_sha256(oid) or not isinstance(size, int) or size < 0:
        raise HttpError(422, f"An LFS object needs a sha256 oid and a size, got {str(item)[:120]}")
    stored = hub.content.find(oid)
    if stored is not None:
        if stored.size != size:
            error = {"code": 422, "message": f"{oid} has {stored.size} bytes, not {size}"}
            return {"oid": oid, "size": size, "error": error}
        return {"oid": oid, "size": size}
    if size > hub.settings.part_bytes and "multipart" in transfers:
        upload = _parted_action(hub, request, oid, size)
    else:
        upload = {"href": _signed(hub, request, "put", oid, size)}
    return {
        "oid": oid,
        "size": size,
        "authenticated": True,
        "actions": {"upload": upload, "verify": {"href": f"{base}/verify"}},
    }


def _parted_action(hub: Hub, request: Request, oid: str, size: int) -> dict:
    n_parts = -(-size // hub.settings.part_bytes)
    if n_parts > MAX_PARTS:
        raise HttpError(422, f"{oid}: {size} bytes need more than {MAX_PARTS} parts of {hub.settings.part_bytes} bytes")
    header = {str(n): _signed(hub, request, "part", oid, size, n) for n in range(1, n_parts + 1)}
    header["chunk_size"] = str(hub.settings.part_bytes)
    return {"href": _signed(hub, request, "join", oid, size), "header": header}


def _signed(hub: Hub, request: Request, action: str, oid: str, size: int, part: int = 0) -> str:
    until = int(time.time()) + UPLOAD_SECONDS
    fields = {"size": size, "part": part, "until": until}
    signature = _signature(hub, action, oid, size, part, until)
    return f"{request.base_url}/-/upload/{action}/{oid}?{urlencode(fields | {'signature': signature})}"


def _signature(hub: Hub, action: str, oid: str, *numbers: int) -> str:
    text = ":".join((action, oid, *map(str, numbers)))
    return hmac.new(hub.upload_key, text.encode(), "sha256").hexdigest()


def _check_signature(hub: Hub, request: Request, action: str, oid: str) -> tuple[int, int]:
    texts = [request.argument(name) for name in ("size", "part", "until")]
    if not all(text.isdigit() and len(text) < 20 for text in texts):
        raise HttpError(403, "This upload address is not complete")
    size, part, until = map(int, texts)
    expected = _signature(hub, action, oid, size, part, until)
    if not hmac.compare_digest(expected, request.argument("signature")) or until < time.time():
        raise HttpError(403, "This upload address is not valid, or not any more; ask for a new one")
    return size, part


async def put_object(hub: Hub, request: Request, oid: str) -> Reply:
    """PUT /-/upload/put/OID"""
    size, _ = _check_signature(hub, request, "put", oid)
    if size <= INLINE_BYTES:
        await _take_small(hub, request, oid, size)
    else:
        await _take_large(hub, request, oid, size)
    return Reply(headers=[(b"etag", f'"{oid}"'.encode())])


async def _take_small(hub: Hub, request: Request, oid: str, size: int) -> None:
    data = await request.body(limit=size)
    check_content(hashlib.sha256(data).hexdigest(), len(data), sha256=oid, size=size)
    with hub.database.transaction():
        hub.content.record(oid, size, data=data)


async def _take_large(hub: Hub, request: Request, oid: str, size: int) -> None:
    sink = hub.blobs.open_sink()
    try:
        async for piece in _larger_pieces(request):
            if sink.n_bytes + len(piece) > size:
                raise HttpError(400, f"The upload is longer than the announced {size} bytes; nothing was stored")
            await _maybe_in_thread(len(piece), sink.write, piece)
        await _maybe_in_thread(size if not hub.blobs.durable else MAX_QUICK_BYTES, sink.finish, sha256=oid, size=size)
    finally:
        sink.discard()


async def _maybe_in_thread(n_bytes: int, work: Callable, *args: object, **named: object) -> None:
    """Do small work at once: asking a thread takes longer than hashing a quarter of a megabyte."""
    if n_bytes < MAX_QUICK_BYTES:
        work(*args, **named)
    else:
        await asyncio.to_thread(work, *args, **named)


async def _larger_pieces(request: Request):
    """Yield the body in pieces of about a megabyte, so that a thread is asked rarely."""
    waiting: list[bytes] = []
    n_bytes = 0
    async for piece in request.pieces():
        waiting.append(piece)
        n_bytes += len(piece)
        if n_bytes >= 1 << 20:
            yield b"".join(waiting)
            waiting, n_bytes = [], 0
    if waiting:
        yield b"".join(waiting)


async def put_part(hub: Hub, request: Request, oid: str) -> Reply:
    """PUT /-/upload/part/OID?part="""
    size, part = _check_signature(hub, request, "part", oid)
    upload = PartedUpload(hub.blobs, oid, size, hub.settings.part_bytes)
    with upload.open_part(part) as sink:
        async for piece in _larger_pieces(request):
            await asyncio.to_thread(sink.write, piece)
    return Reply(headers=[(b"etag", f'"{sink.etag()}"'.encode())])


async def join_parts(hub: Hub, request: Request, oid: str) -> Reply:
    """POST /-/upload/join/OID {oid, parts: [{partNumber, etag}]}"""
    size, _ = _check_signature(hub, request, "join", oid)
    wish = await request.json()
    if hub.blobs.size(oid) != size:
        upload = PartedUpload(hub.blobs, oid, size, hub.settings.part_bytes)
        await asyncio.to_thread(upload.join, wish.get("parts"))
    return json_reply({"oid": oid, "size": size})


async def verify_object(hub: Hub, request: Request, names: list[str], rest: list[str]) -> Reply:
    """POST /[datasets/]R.git/info/lfs/verify {oid, size}"""
    writable_repo(hub, request, *names)
    wish = await request.json()
    stored = hub.content.find(wish["oid"]) if is_sha256(wish.get("oid")) else None
    if stored is None or stored.size != wish.get("size"):
        raise HttpError(404, f"The object {str(wish.get('oid'))[:64]} was not uploaded with this size")
    return json_reply({"oid": wish["oid"], "size": stored.size}, headers=[LFS_TYPE])


async def xet_write_token(hub: Hub, request: Request, names: list[str], rest: list[str]) -> Reply:
    """GET /api/models/R/xet-write-token/REV"""
    writable_repo(hub, request, *names)
    return _xet_token(hub, request)


async def xet_read_token(hub: Hub, request: Request, names: list[str], rest: list[str]) -> Reply:
    """GET /api/models/R/xet-read-token/REV"""
    readable_repo(hub, request, *names)
    return _xet_token(hub, request)


def _xet_token(hub: Hub, request: Request) -> Reply:
    if not hub.offers_xet(request):
        raise HttpError(404, "This Hub offers Xet to clients on its own machine only; set HF_HUB_DISABLE_XET=1")
    until, token = int(time.time()) + XET_TOKEN_SECONDS, "local"
    headers = [
        (b"x-xet-cas-url", hub.xet.url.encode()),
        (b"x-xet-access-token", token.encode()),
        (b"x-xet-token-expiration", str(until).encode()),
    ]
    return json_reply({"casUrl": hub.xet.url, "accessToken": token, "exp": until}, headers=headers)
