"""A table of keys and values as they stand in a JSON or YAML file: settings, provenance, what an artifact says."""

from collections.abc import Iterator, Mapping
from typing import Any

from release_kit.core.grid import level_text
from release_kit.release.cards.markdown import code, escaped
from release_kit.release.cards.trace import NumberRow, NumbersTable

MAX_LIST, MAX_TEXT = 24, 160


def fact_table(name: str, facts: Mapping[str, Any], source: str) -> NumbersTable:
    """Return a table of keys and values as they stand in a JSON or YAML file.

    Args:
        name: name of the table.
        facts: key → value; mappings are written with dotted keys.
        source: the file, and the place inside it, that holds the facts.
    """
    rows = [
        NumberRow(keys=(escaped(key),), shown=(code(shown),))
        for top, value in facts.items()
        for key, shown in _flattened(top, value)
    ]
    return NumbersTable(name=name, keys=("Key",), columns=("Value",), rows=rows, align="left", source=source)


def _flattened(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield dotted keys and texts; what is unknown (null) or too long to read is left to ``cell.json``."""
    if isinstance(value, dict):
        for inner in sorted(value, key=str):
            yield from _flattened(f"{key}.{inner}", value[inner])
    elif isinstance(value, list):
        if 0 < len(value) <= MAX_LIST and not any(isinstance(item, (dict, list)) for item in value):
            yield key, ", ".join(map(_plain, value))
    elif value is not None and value != "":
        yield key, _plain(value)


def _plain(value: Any) -> str:
    shown = level_text(value) if isinstance(value, bool) else str(value)
    return shown if len(shown) <= MAX_TEXT else shown[: MAX_TEXT - 1] + "…"
