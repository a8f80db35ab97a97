"""A Hub: everything release_kit asks of one, and the only place that imports huggingface_hub.

From huggingface_hub come the endpoint, the token, the headers and the session that users have configured; requests
themselves are paced and retried here (``channel.py``), because the library does not retry most of them. Changes are
made in ``writing.py``, bytes go up in ``upload.py``; what a release needs is decided in ``release/``.
"""

import contextlib
import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from release_kit import __version__
from release_kit.core.errors import UsageError
from release_kit.hub.channel import Channel
from release_kit.hub.errors import AbsurdReplyError, UnreachableError
from release_kit.hub.pacing import TIERS, OnWait, Pacer, Patience
from release_kit.hub.reference import Repo
from release_kit.hub.remote import Refs, RemoteFile, commit_id, parse_files, parse_refs, parse_repo_ids
from release_kit.hub.transport import ConnectionFailed, DirectTransport, SessionTransport, Transport
from release_kit.hub.upload import OnBytes, SendFile
from release_kit.hub.writing import HubWriter

READ_LIMIT_BYTES = 64 * 1024 * 1024


class HubClient(HubWriter):
    """One Hub, for one account; a context manager, usable from many threads.

    Args:
        endpoint: address of the Hub; default ``HF_ENDPOINT``, else the public one.
        token: default what huggingface_hub finds (``HF_TOKEN``, ``hf auth login``); False sends none.
        tier: key of ``pacing.TIERS``, ``none``, or None: ``none`` for a Hub on this machine, ``free`` elsewhere.
        on_wait: told ``(seconds, reason)`` for every wait of a second or more.
        patience: bounds on retries and waits.
        transport: ``session`` (huggingface_hub's), ``direct`` (plain http), or None: direct for plain http.

    Raises:
        UsageError: the endpoint is not an http(s) address or the tier is unknown.
        UnreachableError: ``HF_HUB_OFFLINE`` is set.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        token: str | bool | None = None,
        *,
        tier: str | None = None,
        on_wait: OnWait | None = None,
        patience: Patience | None = None,
        transport: str | None = None,
    ):
        from huggingface_hub import constants
        from huggingface_hub.utils import build_hf_headers

        self.endpoint = _checked_endpoint(endpoint or constants.ENDPOINT)
        if constants.is_offline_mode():
            raise UnreachableError(
                "HF_HUB_OFFLINE is set", where=self.endpoint, next_step="unset it to reach a Hub from here"
            )
        self.token = token
        patience = patience or Patience()
        headers = build_hf_headers(token=token, library_name="release_kit", library_version=__version__)
        secret = headers.get("authorization", "").removeprefix("Bearer ") or None
        pacer = Pacer(_checked_tier(tier, self.endpoint), on_wait=on_wait)
        kind = transport or ("direct" if self.endpoint.startswith("http://") else "session")
        self._channel = Channel(self.endpoint, headers, _transport(kind, patience), pacer, patience, secret)

    def __enter__(self) -> "HubClient":
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections."""
        self._channel.transport.close()

    @property
    def request_count(self) -> int:
        """How many requests were sent so far, repeated ones included."""
        return self._channel.request_count

    @property
    def write_count(self) -> int:
        """How many of them asked for a change."""
        return self._channel.write_count

    def resolve(self, repo: Repo, revision: str = "main") -> str:
        """Return the commit that a branch, tag or commit id means now.

        Raises:
            NotFoundError: there is no such repo or revision.
        """
        where = f"{repo}@{revision}"
        path = f"{repo.api_path}/revision/{quote(revision, safe='')}"
        value = self._channel.request("GET", path, what=where).mapping()
        return commit_id(value.get("sha"), where)

    def list_tree(self, repo: Repo, revision: str, prefix: str = "") -> list[RemoteFile]:
        """Return all files at ``revision`` (all pages), sorted by path; with ``prefix`` those under that folder.

        Raises:
            NotFoundError: there is no such repo, revision or folder.
            AbsurdReplyError: the listing cannot be true.
            UnsafePathError: the listing names a path that leaves its folder.
        """
        where = f"{repo}@{revision}"
        folder = f"/{quote(prefix.strip('/'))}" if prefix.strip("/") else ""
        path = f"{repo.api_path}/tree/{quote(revision, safe='')}{folder}?recursive=true&expand=false"
        items = (item for page in self._channel.pages(path, what=where) for item in page)
        return parse_files(items, where)

    def list_refs(self, repo: Repo) -> Refs:
        """Return branches and tags.

        Raises:
            NotFoundError: there is no such repo.
        """
        where = f"refs of {repo}"
        return parse_refs(self._channel.request("GET", f"{repo.api_path}/refs", what=where).mapping(), where)

    def list_repos(self, namespace: str, repo_type: str = "model") -> list[Repo]:
        """Return the repos of an account, sorted by id."""
        where = f"{repo_type}s of {namespace}"
        query = urlencode({"author": namespace, "limit": 1000})
        pages = self._channel.pages(f"/api/{repo_type}s?{query}", what=where)
        ids = parse_repo_ids((item for page in pages for item in page), where)
        return [Repo(found, repo_type) for found in sorted(set(ids)) if found.startswith(f"{namespace}/")]

    def list_commits(self, repo: Repo, revision: str = "main", *, limit: int = 50) -> list[dict[str, str]]:
        """Return the newest commits as ``{id, title, author}``."""
        where = f"commits of {repo}@{revision}"
        page = self._channel.get_json(f"{repo.api_path}/commits/{quote(revision, safe='')}", what=where)
        if not isinstance(page, list) or not all(isinstance(item, dict) for item in page):
            raise AbsurdReplyError("the Hub's list of commits is not a list", where=where)
        return [_commit_summary(item, where) for item in page[:limit]]

    def read_bytes(self, repo: Repo, revision: str, path: str, *, limit_bytes: int = READ_LIMIT_BYTES) -> bytes:
        """Return the whole content of a small file.

        Raises:
            NotFoundError: there is no such file.
            AbsurdReplyError: it is longer than ``limit_bytes``.
        """
        where = f"{repo}@{revision}/{path}"
        reply = self._channel.request(
            "GET", repo.file_path(revision, path), what=where, limit_bytes=limit_bytes, headers=_PLAIN
        )
        return reply.body

    def upload_xet(self, repo: Repo, branch: str, files: Sequence[SendFile], on_bytes: OnBytes | None = None) -> None:
        """Send large files the way huggingface_hub itself does: through Xet where the Hub offers it.

        Chunks that the Hub has are not sent. A file that the Hub does not want as a large one is left out.

        Raises:
            PublishError: a file is not what was hashed.
            UnreachableError: it failed several times.
        """
        from huggingface_hub import CommitOperationAdd, HfApi
        from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars

        if not are_progress_bars_disabled():
            disable_progress_bars()  # release_kit shows its own
        where = f"upload to {repo}"
        api = HfApi(endpoint=self.endpoint, token=self.token)
        for attempt in range(1, _XET_TRIES + 1):
            additions = [CommitOperationAdd(file.path, file.source) for file in files]
            try:
                api.preupload_lfs_files(repo.id, additions, repo_type=repo.type, revision=branch, free_memory=False)
                break
            except Exception as error:  # hf_xet raises plain RuntimeError, the library many classes of its own
                if attempt == _XET_TRIES:
                    raise UnreachableError(
                        f"sending through Xet failed {attempt} times ({self._channel.scrub(str(error))})",
                        where=where,
                        next_step="run the same command again, or without --xet",
                    ) from error
                self._channel.pacer.pause(self._channel.patience.pause(attempt + 1), "sending through Xet again")
        for file, addition in zip(files, additions, strict=True):
            if addition.upload_info.sha256.hex() != file.sha256:
                raise file.changed()
            if on_bytes:
                on_bytes(file.size_bytes)

    @contextlib.contextmanager
    def stream(
        self, repo: Repo, revision: str, path: str, *, start: int = 0, end: int | None = None
    ) -> Iterator[Iterator[bytes]]:
        """Yield an iterator over the bytes ``start`` … ``end`` (exclusive) of a file.

        Only the opening is retried. When the bytes break off, the iterator raises ``UnreachableError``; ask again
        with the ``start`` that was reached.

        Raises:
            NotFoundError: there is no such file.
            AbsurdReplyError: the Hub ignored the range.
        """
        where = f"{repo}@{revision}/{path}"
        ranged = start > 0 or end is not None
        headers = dict(_PLAIN)
        if ranged:
            headers["range"] = f"bytes={start}-{'' if end is None else end - 1}"
        with self._channel.open(repo.file_path(revision, path), what=where, headers=headers) as incoming:
            if ranged and incoming.status != 206 and not (incoming.status == 200 and start == 0):
                raise AbsurdReplyError("the Hub does not send parts of files", where=where)
            limit = None if end is None else end - start
            yield _guarded(incoming.pieces(), limit, where, self._channel)


_PLAIN = {"accept-encoding": "identity"}
_XET_TRIES = 3


def _guarded(pieces: Iterator[bytes], limit: int | None, where: str, channel: Channel) -> Iterator[bytes]:
    """Pass pieces on, at most ``limit`` bytes; a connection that breaks becomes an error that people can read."""
    left = limit
    try:
        for piece in pieces:
            if left is not None:
                piece = piece[:left]
                left -= len(piece)
            if piece:
                yield piece
            if left == 0:
                return
    except ConnectionFailed as failure:
        raise UnreachableError(f"the bytes broke off ({channel.scrub(str(failure))})", where=where) from failure


def _commit_summary(item: dict, where: str) -> dict[str, str]:
    authors = item.get("authors")
    first = authors[0] if isinstance(authors, list) and authors and isinstance(authors[0], dict) else {}
    texts = {"title": item.get("title"), "author": first.get("user")}
    clean = {key: "".join(c for c in str(text or "") if c.isprintable())[:120] for key, text in texts.items()}
    return {"id": commit_id(item.get("id"), where)} | clean


def _transport(kind: str, patience: Patience) -> Transport:
    if kind == "direct":
        return DirectTransport(patience)
    from huggingface_hub.utils import get_session

    return SessionTransport(get_session(), patience)


def _checked_endpoint(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc:
        raise UsageError(
            f"{endpoint.rpartition('@')[2][:200]!r} is not the address of a Hub",
            next_step="write http://host:port or https://host, without user or password",
        )
    return endpoint.rstrip("/")


def _checked_tier(tier: str | None, endpoint: str) -> str:
    if tier is None:
        return "none" if is_local(endpoint) else "free"
    if tier not in TIERS and tier != "none":
        raise UsageError(f"{tier!r} is not an account tier", next_step=f"use one of: {', '.join(TIERS)}, none")
    return tier


def is_local(endpoint: str) -> bool:
    """Return whether an endpoint is on this machine."""
    host = urlsplit(endpoint).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
