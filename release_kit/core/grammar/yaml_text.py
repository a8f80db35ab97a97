"""The text of a YAML file that is read by a grammar: where each key stands, and how large it would grow.

Used by every file that ``values.py`` reads; owns no key.
"""

from collections.abc import Callable
from typing import Any

from release_kit.core.errors import RecordError
from release_kit.core.grammar.values import BROKEN

MAX_NODES = 1_000_000
"""Values that a file may hold once its aliases are followed."""


def refuse_swelling(text: str, where: str) -> None:
    """Refuse aliases of aliases that are small as text and endless once every one of them is followed."""
    import yaml

    if "*" not in text:
        return
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = MAX_NODES + 1  # an alias inside of what it names has no end
            inner = node.value if isinstance(node, yaml.CollectionNode) else ()
            parts = (part for item in inner for part in (item if isinstance(item, tuple) else (item,)))
            sizes[id(node)] = 1 + sum(size(part) for part in parts)
        return sizes[id(node)]

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        swollen = root is not None and size(root) > MAX_NODES
    except (yaml.YAMLError, ValueError, RecursionError):
        return  # what is broken is said by the reader
    if swollen:
        raise RecordError(f"its aliases stand for more than {MAX_NODES:,} values", where=where)


def is_broken(value: Any) -> bool:
    """Return whether anything inside of ``value`` was refused."""
    if isinstance(value, dict):
        return any(is_broken(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(is_broken(item) for item in value)
    return value is BROKEN


def places_of(text: str, where: str) -> Callable[[str], str]:
    """Return a function from a dotted key to ``file:line``; a key that is not there has the line of what holds it."""
    import yaml

    lines: dict[str, int] = {}

    def walk(node: yaml.Node, key: str) -> None:
        lines.setdefault(key, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                inner = f"{key}.{name.value}" if key else str(name.value)
                lines[inner] = name.start_mark.line + 1
                walk(value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                walk(value, f"{key}[{index}]")

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is not None:
        walk(root, "")

    def place(key: str) -> str:
        while key and key not in lines:
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return f"{where}:{lines.get(key, 1)}"

    return place
