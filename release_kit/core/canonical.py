"""Canonical JSON: one value, one byte string, one digest.

Owns the bytes under every identity in release_kit (cell ids, manifests, signatures). Keys sorted, no spaces, UTF-8
unescaped, floats as Python's shortest round-trip form, NaN and infinities refused. Knows nothing of records.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from release_kit.core.errors import RecordError

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_bytes(value: Any) -> bytes:
    """Return the one byte string of a JSON value; equal values give equal bytes.

    Raises:
        RecordError: the value holds NaN, an infinity, or something that JSON has no form for.
    """
    try:
        return _ENCODER.encode(value).encode("utf-8")
    except (TypeError, ValueError) as error:
        raise RecordError(f"this value has no canonical JSON form: {error}") from error


def document_bytes(value: Any) -> bytes:
    """Return the bytes of a JSON file that people may open: sorted keys, one space of indent, final newline."""
    try:
        text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
        return (text + "\n").encode("utf-8")
    except (TypeError, ValueError) as error:
        raise RecordError(f"this value has no JSON form: {error}") from error


def digest(value: Any) -> str:
    """Return the sha256 (64 hex digits) of the canonical bytes of ``value``."""
    return hashlib.sha256(canonical_bytes(value)).hexdigest()


def parse_json(data: bytes | str, where: str) -> Any:
    """Parse JSON strictly: duplicate keys, NaN and broken UTF-8 are refused with their place.

    Raises:
        RecordError: ``data`` is not strict JSON; ``where`` names the file.
    """
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        return json.loads(text, object_pairs_hook=_unique_pairs, parse_constant=_refuse_constant)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise RecordError(f"not valid JSON ({error})", where=where, next_step="restore or remove the file") from error


def read_json(path: Path) -> Any:
    """Read one strict JSON file.

    Raises:
        RecordError: the file is missing, unreadable or not strict JSON.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(f"cannot be read ({error.strerror})", where=str(path)) from error
    return parse_json(data, str(path))


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"key {twice!r} stands twice in one object")
    return result


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
