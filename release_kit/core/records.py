"""A strict reader for records: it names the file and the dotted key of whatever is wrong.

``Fields`` takes one mapping apart; every key must be asked for, and a key nobody asked for is refused with the
nearest known one. Records themselves live with the room that owns them.
"""

import difflib
from typing import Any

from release_kit.core.errors import RecordError

_MISSING = object()


class Fields:
    """One mapping being read, with the place it came from.

    Args:
        value: what the file holds at this place.
        where: the file.
        key: the dotted key of this mapping inside the file (``cells[3].files[0]``), empty at the top.
    """

    def __init__(self, value: Any, where: str, key: str = ""):
        self.where, self.key = where, key
        if not isinstance(value, dict):
            raise self.error("", f"expected a mapping, got {_kind(value)}")
        self._value = value
        self._asked: list[str] = []

    def take(self, name: str, kind: type | tuple[type, ...], default: Any = _MISSING) -> Any:
        """Return the value at ``name``, checked to be of ``kind``; ``default`` when the key is absent or null.

        Raises:
            RecordError: the key is missing without a default, or holds another type (a bool is not an int).
        """
        self._asked.append(name)
        value = self._value.get(name, _MISSING)
        if value is _MISSING or (value is None and default is not _MISSING):
            if default is _MISSING:
                close = difflib.get_close_matches(name, [str(key) for key in self._value], n=1, cutoff=0.8)
                raise self.error(name, f"is missing; did you mean it with {close[0]!r}?" if close else "is missing")
            return default
        if not _is(value, kind):
            raise self.error(name, f"expected {_names(kind)}, got {_kind(value)} {str(value)[:60]!r}")
        return value

    def take_list(self, name: str, kind: type | tuple[type, ...], default: Any = _MISSING) -> list:
        """Return the list at ``name`` with every item checked to be of ``kind``."""
        items = self.take(name, list, default)
        for index, item in enumerate(items or ()):
            if not _is(item, kind):
                raise self.error(f"{name}[{index}]", f"expected {_names(kind)}, got {_kind(item)}")
        return items

    def child(self, name: str, default: Any = _MISSING) -> "Fields":
        """Return a reader for the mapping at ``name``."""
        return Fields(self.take(name, dict, default), self.where, self._dotted(name))

    def children(self, name: str, default: Any = _MISSING) -> list["Fields"]:
        """Return readers for the list of mappings at ``name``."""
        items = self.take(name, list, default)
        return [Fields(item, self.where, self._dotted(f"{name}[{i}]")) for i, item in enumerate(items)]

    def raw(self, name: str, default: Any = None) -> Any:
        """Return whatever stands at ``name`` without a check of its type."""
        self._asked.append(name)
        return self._value.get(name, default)

    def done(self) -> None:
        """Refuse keys that nobody asked for.

        Raises:
            RecordError: an unknown key, with the nearest known one.
        """
        for name in self.unknown():
            raise self.error(str(name), f"is not a known key{nearest(str(name), self._asked)}")

    def unknown(self) -> list:
        """Return the keys that nobody asked for."""
        return [name for name in self._value if name not in self._asked]

    def error(self, name: str, what: str) -> RecordError:
        """Return the error for the key ``name`` of this mapping."""
        dotted = self._dotted(name) if name else self.key
        return RecordError(f"`{dotted}` {what}" if dotted else what, where=self.where)

    def _dotted(self, name: str) -> str:
        return f"{self.key}.{name}" if self.key else name


def nearest(name: str, known: list[str] | tuple[str, ...]) -> str:
    """Return `` (did you mean 'x'?)`` for the closest known name, or the list of names when none is close."""
    close = difflib.get_close_matches(name, [str(k) for k in known], n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    shown = ", ".join(sorted(map(str, known))[:12])
    return f"; known here: {shown}" if shown else ""


def check_schema_version(fields: Fields, known: tuple[int, ...]) -> int:
    """Return ``schema_version``, refused when this version of release_kit does not know it."""
    version = fields.take("schema_version", int)
    if version not in known:
        raise fields.error("schema_version", f"is {version}; this release_kit reads {list(known)}; update release_kit")
    return version


def _is(value: Any, kind: type | tuple[type, ...]) -> bool:
    """Like ``isinstance``, but true and false are not numbers."""
    if isinstance(value, bool):
        return bool in (kind if isinstance(kind, tuple) else (kind,))
    return isinstance(value, kind)


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _names(kind: type | tuple[type, ...]) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join({"dict": "mapping"}.get(k.__name__, k.__name__) for k in kinds)
