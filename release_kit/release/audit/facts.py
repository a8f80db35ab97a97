"""What an audit takes from small files: indexes, configs, trainer states, cards. Each distinct content is read once.

Only names, numbers and front matter are kept; a file that cannot be parsed says so and nothing is guessed from it.
The Hub's own identities tell which files are the same, so that 154 branches with one card cost one request.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from release_kit.core.errors import HubError, ReleaseKitError
from release_kit.core.foreign_json import parse_foreign_json
from release_kit.core.foreign_yaml import check_foreign_yaml, fast_loader
from release_kit.core.hashing import map_ordered
from release_kit.hub.client import HubClient
from release_kit.hub.errors import RateLimitedError, UnreachableError
from release_kit.hub.remote import RemoteFile
from release_kit.release.audit.units import Listing
from release_kit.release.cards.trace import TRACE_OPEN

CARD = "README.md"
TRAINER_STATE = "trainer_state.json"
ADAPTER_CONFIG = "adapter_config.json"
READ_NAMES = (CARD, TRAINER_STATE, ADAPTER_CONFIG, "config.json")
INDEX_SUFFIX = ".index.json"
MOST_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What one small file says; only the fields of its kind are filled."""

    problem: str | None = None
    """Why it could not be read or parsed."""
    front: Mapping[str, Any] = field(default_factory=dict)
    """Front matter of a card."""
    heading: str = ""
    traced: bool = False
    """Whether a card ends, as release_kit's do, with a record of where each number comes from."""
    shards: frozenset[str] = frozenset()
    """Files that an index names."""
    total_size: int | None = None
    """Bytes of all tensors, as an index says."""
    step: int | None = None
    """``global_step`` of a trainer state."""
    epoch: float | None = None
    name_or_path: str = ""
    base_model: str = ""
    """``base_model_name_or_path`` of an adapter's config."""


class FactBook:
    """Facts of small files by the Hub's identity of their content."""

    def __init__(self, known: Mapping[str, Facts]):
        self._known = known

    def of(self, file: RemoteFile | None) -> Facts | None:
        """Return what a file says; None when it is not there or was not read."""
        return None if file is None else self._known.get(file.identity)


def read_facts(
    client: HubClient,
    listings: Iterable[Listing],
    *,
    workers: int = 8,
    on_read: Callable[[], None] = lambda: None,
) -> FactBook:
    """Read every small file that an audit wants, one request for each distinct content.

    Raises:
        UnreachableError: the Hub went away.
    """
    wanted: dict[str, tuple[Listing, RemoteFile]] = {}
    for listing in listings:
        for file in listing.files:
            if is_wanted(file.path) and file.size_bytes <= MOST_BYTES:
                wanted.setdefault(file.identity, (listing, file))

    def work(item: tuple[Listing, RemoteFile]) -> Facts:
        listing, file = item
        facts = _read(client, listing, file)
        on_read()
        return facts

    found = map_ordered(work, wanted.values(), workers)
    return FactBook(dict(zip(wanted, found, strict=True)))


def n_wanted(listings: Iterable[Listing]) -> int:
    """Return how many requests ``read_facts`` will make."""
    return len({f.identity for one in listings for f in one.files if is_wanted(f.path) and f.size_bytes <= MOST_BYTES})


def is_wanted(path: str) -> bool:
    """Return whether an audit reads the file at ``path``."""
    name = path.rsplit("/", 1)[-1]
    return name in READ_NAMES or name.endswith(INDEX_SUFFIX)


def parse_facts(data: bytes, path: str) -> Facts:
    """Return what a small file says; a malformed one gives facts with a ``problem``."""
    name = path.rsplit("/", 1)[-1]
    try:
        if name == CARD:
            return _card(data.decode("utf-8"))
        value = parse_foreign_json(data, path)
        if not isinstance(value, dict):
            return Facts(problem="is not a JSON object")
        return _index(value) if name.endswith(INDEX_SUFFIX) else _config(value)
    except UnicodeDecodeError:
        return Facts(problem="is not UTF-8 text")
    except OverflowError:
        return Facts(problem="holds a number that is too large to be one")
    except ReleaseKitError as error:
        return Facts(problem=error.what)


def _read(client: HubClient, listing: Listing, file: RemoteFile) -> Facts:
    try:
        data = client.read_bytes(listing.repo, listing.commit, file.path, limit_bytes=MOST_BYTES)
    except (UnreachableError, RateLimitedError):
        raise
    except HubError as error:
        return Facts(problem=f"cannot be read: {error.what}")
    return parse_facts(data, file.path)


def _card(text: str) -> Facts:
    import yaml

    front = re.match(r"\A\ufeff?---[ \t]*\r?\n(.*?\r?\n)---[ \t]*(?:\r?\n|\Z)", text, re.DOTALL)
    body = text[front.end() :] if front else text
    heading = re.search(r"^#[ \t]+(.+?)[ \t]*$", body, re.MULTILINE)
    try:
        value = _loaded(front.group(1)) if front else {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return Facts(problem=f"its front matter is not YAML ({' '.join(str(error).split())[:160]})")
    if not isinstance(value, dict):
        return Facts(problem="its front matter is not a mapping")
    return Facts(front=value, heading=heading.group(1) if heading else "", traced=TRACE_OPEN in body)


def _loaded(text: str) -> Any:
    import yaml

    check_foreign_yaml(text)
    return yaml.load(text, Loader=fast_loader())


def _index(value: dict[str, Any]) -> Facts:
    weight_map = value.get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        return Facts(problem="has no `weight_map` from tensors to files")
    metadata = value.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    is_number = isinstance(total, (int, float)) and not isinstance(total, bool)
    return Facts(shards=frozenset(weight_map.values()), total_size=int(total) if is_number else None)


def _config(value: dict[str, Any]) -> Facts:
    step, epoch = value.get("global_step"), value.get("epoch")
    return Facts(
        step=step if isinstance(step, int) and not isinstance(step, bool) else None,
        epoch=float(epoch) if isinstance(epoch, (int, float)) and not isinstance(epoch, bool) else None,
        name_or_path=_text(value.get("_name_or_path")),
        base_model=_text(value.get("base_model_name_or_path")),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
