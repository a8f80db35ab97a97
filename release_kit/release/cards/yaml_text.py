"""Front matter and ``.eval_results`` as YAML text: one value, one text, read alike by YAML 1.1 and 1.2.

An own small writer, because cards are made by the thousand and their bytes must not depend on the version of a YAML
library. Reading stays with PyYAML (``lint.py``).
"""

import json
import math
import re
from functools import lru_cache
from typing import Any

from release_kit.core.errors import RecordError

_PLAIN = re.compile(r"^[A-Za-z][A-Za-z0-9_./+-]*(?: [A-Za-z0-9_./+-]+)*\Z")
_WORDS = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"])
_CONTROL = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def yaml_lines(value: Any, indent: str = "") -> list[str]:
    """Return the lines of ``value`` in block style.

    Args:
        value: mappings, lists, text, numbers, booleans; keys keep their order.
        indent: put before every line.

    Raises:
        RecordError: NaN, an infinity, or something that YAML has no form for here.
    """
    if isinstance(value, dict):
        return [line for key, item in value.items() for line in _entry(f"{indent}{scalar(key)}:", item, indent)]
    return [line for item in value for line in _item(item, indent)]


def _entry(head: str, item: Any, indent: str) -> list[str]:
    if isinstance(item, dict) and item:
        return [head, *yaml_lines(item, indent + "  ")]
    if isinstance(item, (list, tuple)) and item:
        return [head, *yaml_lines(list(item), indent)]
    return [f"{head} {scalar(item)}"]


def _item(item: Any, indent: str) -> list[str]:
    if isinstance(item, (dict, list, tuple)) and item:
        first, *rest = yaml_lines(item, indent + "  ")
        return [f"{indent}- {first[len(indent) + 2 :]}", *rest]
    return [f"{indent}- {scalar(item)}"]


def scalar(value: Any) -> str:
    """Return one YAML scalar (or an empty collection)."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return number(value)
    if value in ({}, [], ()):
        return "{}" if value == {} else "[]"
    raise RecordError(f"{value!r} has no form in a card's front matter")


def number(value: float) -> str:
    """Return the shortest text that reads back as exactly this float in YAML 1.1 and 1.2.

    Raises:
        RecordError: NaN or an infinity.
    """
    if not math.isfinite(value):
        raise RecordError(f"{value} is not a number that a card may hold")
    shown = repr(float(value))
    mantissa, e, exponent = shown.partition("e")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{exponent}" if e else shown


@lru_cache(maxsize=65536)
def text(value: str) -> str:
    """Return ``value`` as a plain scalar where every YAML reader takes it for text, otherwise in double quotes."""
    if _PLAIN.match(value) and value.lower() not in _WORDS and len(value) < 200:
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return _CONTROL.sub(lambda match: f"\\u{ord(match.group()):04x}", quoted)
