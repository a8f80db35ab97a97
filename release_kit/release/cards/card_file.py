"""Reading a card that anybody wrote: its front matter with the line of every value, and its ``model-index``.

A card is foreign data: only plain YAML is read, aliases cannot blow it up, and nothing in it is taken on trust. What
is wrong with the values is judged in ``lint.py``, ``compare.py`` and ``foreign.py``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from release_kit.core.errors import RecordError
from release_kit.core.foreign_yaml import check_foreign_yaml, fast_loader

MAX_NODES, MAX_DEPTH = 200_000, 60
LIMIT_BYTES = 8 << 20
"""A larger front matter is not read."""

_PLAIN_TAGS = {"mapping": "tag:yaml.org,2002:map", "sequence": "tag:yaml.org,2002:seq"}

_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class FrontMatter:
    """The YAML block at the top of a card."""

    values: Mapping[str, Any]
    lines: Mapping[KeyPath, int]
    """Path of a key or item → its 1-based line in the card."""
    numbers: Mapping[KeyPath, str]
    """Path of a number → its text as it is written."""
    duplicates: tuple[tuple[str, int], ...]
    """Keys that stand twice in one mapping, as dotted path and line; YAML readers silently keep the last."""

    def line(self, *path: str | int) -> int:
        """Return the line of a value, or of the nearest thing around it."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return 1


@dataclass(frozen=True, kw_only=True)
class IndexedNumber:
    """One number of a ``model-index``."""

    model: str
    dataset_name: str
    dataset_type: str
    config: str
    n_shot: int | None
    metric: str
    value: Any
    text: str
    """The value as it is written; ``55.30`` says more than 55.3."""
    line: int

    @property
    def label(self) -> str:
        """How messages name it."""
        shots = "" if self.n_shot is None or "shot" in self.dataset_name.lower() else f" ({self.n_shot}-shot)"
        config = f" [{self.config}]" if self.config else ""
        return f"{self.dataset_name or self.dataset_type}{config}{shots} · {self.metric}"

    @property
    def key(self) -> tuple:
        """What no two numbers of one card may share."""
        return (self.model, self.dataset_type, self.dataset_name, self.config, self.n_shot, self.metric)


def split_front_matter(text: str) -> tuple[str | None, int]:
    """Return the YAML between the ``---`` lines (None without any) and the 1-based line on which it begins."""
    if not text.startswith("---"):
        return None, 1
    first, _, rest = text.partition("\n")
    if first.strip() != "---":
        return None, 1
    if rest.startswith("---"):
        return "", 2
    end = rest.find("\n---")
    return (None, 1) if end < 0 else (rest[: end + 1], 2)


def read_front_matter(text: str, where: str) -> FrontMatter | None:
    """Read the front matter of a card; None for a card without any.

    Raises:
        RecordError: broken YAML, something other than a mapping, or a structure that is absurdly large.
    """
    import yaml

    block, first_line = split_front_matter(text)
    if block is None:
        return None
    if len(block) > LIMIT_BYTES:
        raise RecordError("its front matter is absurdly large", where=where)
    loader = fast_loader()(block)
    try:
        check_foreign_yaml(block)
        node = loader.get_single_node()
        walk = _Walk(loader, first_line)
        values = {} if node is None else walk.value(node, ())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = first_line + mark.line if mark else first_line
        what = getattr(error, "problem", None) or " ".join(str(error).split())
        raise RecordError(f"its front matter is not valid YAML: {what}", where=f"{where}:{line}") from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"its front matter cannot be read: {error}", where=where) from error
    finally:
        loader.dispose()
    if not isinstance(values, dict):
        raise RecordError("its front matter is not a mapping of keys", where=f"{where}:{first_line}")
    return FrontMatter(values=values, lines=walk.lines, numbers=walk.numbers, duplicates=tuple(walk.duplicates))


def indexed_numbers(front: FrontMatter) -> list[IndexedNumber]:
    """Return the numbers of the ``model-index``; parts of another shape are left to the lint."""
    numbers: list[IndexedNumber] = []
    for m, model in enumerate(_list(front.values.get("model-index"))):
        for r, result in enumerate(_list(_get(model, "results"))):
            dataset = _get(result, "dataset")
            for k, metric in enumerate(_list(_get(result, "metrics"))):
                path = ("model-index", m, "results", r, "metrics", k)
                numbers.append(
                    IndexedNumber(
                        model=_text(_get(model, "name")),
                        dataset_name=_text(_get(dataset, "name")),
                        dataset_type=_text(_get(dataset, "type")),
                        config=_text(_get(dataset, "config")),
                        n_shot=shots_of(dataset, metric),
                        metric=_text(_get(metric, "type")) or _text(_get(metric, "name")),
                        value=_get(metric, "value"),
                        text=front.numbers.get((*path, "value"), _text(_get(metric, "value"))),
                        line=front.line(*path, "value"),
                    )
                )
    return numbers


def shots_of(dataset: Any, metric: Any) -> int | None:
    """Return the number of shots that a result names: in its arguments, else in a name like ``ARC (25-shot)``."""
    import re

    for holder in (dataset, metric):
        arguments = _get(holder, "args")
        for key in ("num_few_shot", "n_shot", "num_fewshot", "n_shots"):
            value = _get(arguments, key)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
    for holder in (dataset, metric):
        found = re.search(r"(\d+)[-_ ]?shots?\b", _text(_get(holder, "name")), re.IGNORECASE)
        if found:
            return int(found.group(1))
        if re.search(r"\bzero[-_ ]?shot\b", _text(_get(holder, "name")), re.IGNORECASE):
            return 0
    return None


class _Walk:
    """Turns YAML nodes into plain values, noting lines and keys that stand twice; bounded."""

    def __init__(self, loader: Any, first_line: int):
        self._loader, self._first_line, self._n_nodes = loader, first_line, 0
        self.lines: dict[KeyPath, int] = {}
        self.numbers: dict[KeyPath, str] = {}
        self.duplicates: list[tuple[str, int]] = []

    def value(self, node: Any, path: KeyPath) -> Any:
        self._n_nodes += 1
        if self._n_nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise ValueError("more parts than any card has")
        self.lines.setdefault(path, self._first_line + node.start_mark.line)
        if node.id in _PLAIN_TAGS and node.tag != _PLAIN_TAGS[node.id]:
            raise ValueError(f"it holds the tag {node.tag!r}; only plain YAML is read")
        if node.id == "mapping":
            return self._mapping(node, path)
        if node.id == "sequence":
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        if node.tag in _NUMBER_TAGS:
            self.numbers[path] = node.value
        return self._loader.construct_object(node)

    def _mapping(self, node: Any, path: KeyPath) -> dict:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(self._loader.construct_object(key_node, deep=True))
            line = self._first_line + key_node.start_mark.line
            if key in result:
                self.duplicates.append((".".join(map(str, (*path, key))), line))
            self.lines[(*path, key)] = line
            result[key] = self.value(value_node, (*path, key))
        return result


def _get(holder: Any, key: str) -> Any:
    return holder.get(key) if isinstance(holder, dict) else None


def _list(value: Any) -> list:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return "" if value is None else str(value)
