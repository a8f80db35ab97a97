"""The half of the Hub client that changes things: repos, objects, commits, branches, tags, collections.

Every call can be repeated: what exists already is no error, and a commit whose reply was lost is looked for before it
is sent again.
"""

import base64
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from release_kit.hub.channel import Channel
from release_kit.hub.errors import AbsurdReplyError, AccessError, ConflictError, NotFoundError
from release_kit.hub.reference import Repo
from release_kit.hub.remote import commit_id
from release_kit.hub.replies import Reply
from release_kit.hub.upload import (
    BATCH_FILES,
    PIECE_BYTES,
    NewCommit,
    OnBytes,
    SendFile,
    ask_upload,
    commit_length,
    commit_pieces,
    iter_batches,
    upload_object,
)

TITLE_CHARACTERS = 60
DESCRIPTION_CHARACTERS = 150
"""What the Hub takes for the title and the description of a collection."""


@dataclass(frozen=True, kw_only=True)
class Collection:
    """A collection and the repos in it."""

    slug: str
    title: str
    items: frozenset[Repo]


class HubWriter:
    """Changes a Hub; ``HubClient`` adds reading."""

    _channel: Channel

    def create_repo(self, repo: Repo, *, private: bool = False) -> bool:
        """Make a repo unless it exists.

        Returns:
            Whether it was made now.

        Raises:
            AccessError: the token may not make it, and it does not exist.
        """
        wish: dict[str, Any] = {"name": repo.name, "organization": repo.namespace}
        if repo.type != "model":
            wish["type"] = repo.type
        if private:
            wish["visibility"] = "private"
        try:
            self._channel.send_json("POST", "/api/repos/create", wish, what=f"making the repo {repo}")
        except ConflictError:
            return False
        except AccessError:
            if not self._can_see(repo):
                raise
            return False
        return True

    def _can_see(self, repo: Repo) -> bool:
        try:
            self._channel.request("GET", f"{repo.api_path}/refs", what=f"refs of {repo}")
        except (NotFoundError, AccessError):
            return False
        return True

    def ask_large(self, repo: Repo, branch: str, files: Sequence[SendFile]) -> frozenset[str]:
        """Return the paths that the Hub wants as large files; only needed when it refused what was decided here."""
        where = f"kinds of files of {repo}"
        large: set[str] = set()
        for start in range(0, len(files), BATCH_FILES):
            wish = {"files": [_sample(file) for file in files[start : start + BATCH_FILES]]}
            path = f"{repo.api_path}/preupload/{quote(branch, safe='')}"
            answers = self._channel.send_json("POST", path, wish, what=where, writes=False).mapping().get("files")
            if not isinstance(answers, list) or not all(isinstance(answer, dict) for answer in answers):
                raise AbsurdReplyError("the Hub's answer names no files", where=where)
            large |= {str(answer.get("path")) for answer in answers if answer.get("uploadMode") == "lfs"}
        return frozenset(large & {file.path for file in files})

    def ask_upload(self, repo: Repo, files: Iterable[SendFile]) -> list[tuple[SendFile, dict[str, Any]]]:
        """Return ``(file, actions)`` for the objects that the Hub lacks; each content is asked for once."""
        return [pair for batch in iter_batches(files) for pair in ask_upload(self._channel, repo, batch)]

    def upload_object(self, file: SendFile, actions: dict[str, Any], on_bytes: OnBytes | None = None) -> None:
        """Send one object to where ``ask_upload`` said; hashed again on the way."""
        upload_object(self._channel, file, actions, on_bytes)

    def upload(self, repo: Repo, files: Iterable[SendFile], on_bytes: OnBytes | None = None) -> int:
        """Send the objects that the Hub lacks, batch after batch.

        Returns:
            How many bytes were sent; objects that the Hub has already are not sent.
        """
        sent = 0
        for batch in iter_batches(files):
            for file, actions in ask_upload(self._channel, repo, batch):
                upload_object(self._channel, file, actions, on_bytes)
                sent += file.size_bytes
        return sent

    def commit(
        self,
        repo: Repo,
        branch: str,
        commit: NewCommit,
        *,
        find_applied: Callable[[], str | None] | None = None,
    ) -> str:
        """Make one commit and return its id.

        Args:
            repo: the repo.
            branch: an existing branch.
            commit: what changes; with ``parent`` the Hub refuses when the branch is elsewhere.
            find_applied: looks whether the branch already is as this commit makes it; asked before a commit whose
                reply was lost is sent again, so that it is not made twice.

        Raises:
            MovedError: the branch is not at ``commit.parent``.
        """
        where = f"commit to {repo}@{branch}"
        length = commit_length(commit)
        body: Any = (lambda: commit_pieces(commit)) if length > PIECE_BYTES else b"".join(commit_pieces(commit))

        def look() -> Reply | None:
            found = find_applied() if find_applied else None
            if found is None:
                return None
            return Reply(status=200, headers={}, body=json.dumps({"commitOid": found}).encode(), where=where)

        reply = self._channel.request(
            "POST",
            f"{repo.api_path}/commit/{quote(branch, safe='')}",
            what=where,
            body=body,
            length=length,
            headers={"content-type": "application/x-ndjson"},
            before_repeat=look,
        )
        return commit_id(reply.mapping().get("commitOid"), where)

    def create_branch(self, repo: Repo, branch: str, start: str) -> bool:
        """Make a branch at a commit; False when a branch of that name exists."""
        path = f"{repo.api_path}/branch/{quote(branch, safe='')}"
        return self._create(path, {"startingPoint": start}, f"making the branch {branch} of {repo}")

    def create_tag(self, repo: Repo, tag: str, commit: str, message: str = "") -> bool:
        """Make a tag at a commit; False when a tag of that name exists, wherever it points."""
        wish = {"tag": tag} | ({"message": message} if message else {})
        path = f"{repo.api_path}/tag/{quote(commit, safe='')}"
        return self._create(path, wish, f"making the tag {tag} of {repo}")

    def delete_tag(self, repo: Repo, tag: str) -> None:
        """Remove a tag; that there is none is fine."""
        path = f"{repo.api_path}/tag/{quote(tag, safe='')}"
        try:
            self._channel.request("DELETE", path, what=f"removing the tag {tag} of {repo}")
        except NotFoundError:
            return

    def _create(self, path: str, wish: dict[str, Any], what: str) -> bool:
        try:
            self._channel.send_json("POST", path, wish, what=what)
        except ConflictError:
            return False
        return True

    def find_collection(self, namespace: str, title: str) -> str | None:
        """Return the slug of the account's collection with this title, or None."""
        query = urlencode({"owner": namespace, "limit": 100})
        where = f"collections of {namespace}"
        for page in self._channel.pages(f"/api/collections?{query}", what=where):
            for item in page:
                if isinstance(item, dict) and item.get("title") == title[:TITLE_CHARACTERS]:
                    return _slug(item, where)
        return None

    def create_collection(self, namespace: str, title: str, description: str, *, private: bool = False) -> str:
        """Make a collection and return its slug; the slug of the existing one when the Hub says that there is one."""
        where = f"making the collection {title!r}"
        wish = {
            "title": title[:TITLE_CHARACTERS],
            "namespace": namespace,
            "description": description[:DESCRIPTION_CHARACTERS],
            "private": private,
        }
        try:
            return _slug(self._channel.send_json("POST", "/api/collections", wish, what=where).mapping(), where)
        except ConflictError as error:
            slug = error.slug or self.find_collection(namespace, title)
            if slug is None:
                raise
            return _slug({"slug": slug}, where)

    def read_collection(self, slug: str) -> Collection:
        """Return a collection with its items."""
        where = f"collection {slug}"
        value = self._channel.request("GET", f"/api/collections/{quote(slug)}", what=where).mapping()
        items = value.get("items") or []
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise AbsurdReplyError("the items of the collection are not a list of mappings", where=where)
        repos = frozenset(Repo(str(item.get("id")), str(item.get("type") or item.get("repoType"))) for item in items)
        return Collection(slug=_slug(value, where), title=str(value.get("title")), items=repos)

    def add_to_collection(self, slug: str, repo: Repo, note: str = "") -> bool:
        """Put a repo into a collection; False when it is in it."""
        wish: dict[str, Any] = {"item": {"id": repo.id, "type": repo.type}} | ({"note": note} if note else {})
        path = f"/api/collections/{quote(slug)}/items"
        return self._create(path, wish, f"adding {repo} to the collection {slug}")


def _sample(file: SendFile) -> dict[str, Any]:
    sample = next(file.pieces(size=512), b"")[:512]
    return {"path": file.path, "size": file.size_bytes, "sample": base64.b64encode(sample).decode()}


def _slug(value: dict[str, Any], where: str) -> str:
    slug = value.get("slug")
    if not isinstance(slug, str) or not 0 < len(slug) < 300 or ".." in slug:
        raise AbsurdReplyError("the Hub named no collection", where=where)
    return slug
