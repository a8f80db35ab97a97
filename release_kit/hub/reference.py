"""References to repos and releases as people write them: ``lab/study@v1.0.0``, ``datasets/lab/table``, a URL.

Pure text. What a reference points to is asked of the Hub by ``client.py``.
"""

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from release_kit.core.errors import UsageError

REPO_TYPES = ("model", "dataset", "space")
_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,95}\Z")


@dataclass(frozen=True, slots=True, order=True)
class Repo:
    """A repo on a Hub: ``id`` is ``namespace/name``, ``type`` is model, dataset or space."""

    id: str
    type: str = "model"

    @property
    def namespace(self) -> str:
        """The account that the repo belongs to."""
        return self.id.partition("/")[0]

    @property
    def name(self) -> str:
        """The name inside the namespace."""
        return self.id.partition("/")[2]

    @property
    def api_path(self) -> str:
        """Path of the repo's API under an endpoint: ``/api/models/ns/name``."""
        return f"/api/{self.type}s/{self.id}"

    @property
    def page_path(self) -> str:
        """Path of the repo's page under an endpoint: ``/ns/name``, ``/datasets/ns/name``."""
        return f"/{self.id}" if self.type == "model" else f"/{self.type}s/{self.id}"

    def file_path(self, revision: str, path: str) -> str:
        """Return the path under an endpoint from which the file's bytes are read."""
        return f"{self.page_path}/resolve/{quote(revision, safe='')}/{quote(path)}"

    def __str__(self) -> str:
        return self.page_path[1:]


@dataclass(frozen=True, slots=True)
class Reference:
    """A repo, perhaps at a revision, perhaps at an endpoint of its own."""

    repo: Repo
    revision: str | None = None
    endpoint: str | None = None

    def __str__(self) -> str:
        text = f"{self.repo}@{self.revision}" if self.revision else str(self.repo)
        return f"{self.endpoint}/{text}" if self.endpoint else text


def parse_reference(text: str) -> Reference:
    """Parse a reference; ``parse_reference(str(reference)) == reference``.

    Accepted: ``ns/name``, ``ns/name@revision``, ``datasets/ns/name@revision``, the same after an endpoint
    (``http://127.0.0.1:8080/ns/name@v1``), a page copied from a browser (``…/ns/name/tree/v1``), ``hf://ns/name``.

    Raises:
        UsageError: it is none of these.
    """
    endpoint, rest = _split_endpoint(text.strip())
    path, _, revision = rest.partition("@")
    parts = [unquote(part) for part in path.strip("/").split("/")]
    repo_type = "model"
    if parts and parts[0] in ("models", "datasets", "spaces"):
        repo_type = parts.pop(0)[:-1]
    if len(parts) > 3 and parts[2] in ("tree", "commit") and not revision:
        revision = "/".join(parts[3:])
        parts = parts[:2]
    if len(parts) != 2 or not all(_NAME.match(part) for part in parts) or (rest.endswith("@")):
        raise UsageError(
            f"{text!r} is not a reference to a repo or release",
            next_step="write namespace/name, namespace/name@v1.0.0, datasets/namespace/name or a URL of these",
        )
    return Reference(Repo("/".join(parts), repo_type), unquote(revision) or None, endpoint)


def looks_like_reference(text: str) -> bool:
    """Return whether ``text`` could be a reference, by its form alone (a folder ``ns/name`` looks the same)."""
    try:
        parse_reference(text)
    except UsageError:
        return False
    return True


def _split_endpoint(text: str) -> tuple[str | None, str]:
    if text.startswith("hf://"):
        return None, text.removeprefix("hf://")
    url = urlsplit(text)
    if url.scheme in ("http", "https") and url.netloc:
        if "@" in url.netloc:
            raise UsageError("a reference holds a password; use HF_TOKEN or `hf auth login` instead")
        return f"{url.scheme}://{url.netloc}", url.path
    return None, text
