"""What the conditions of the BIDS schema mean: ``suffix == "bold"``, ``!("VolumeTiming" in sidecar)``.

Takes parsed conditions (bidsschematools parses them; ``schema.py``) and the names they speak of. Covers the part of the
language that conditions on sidecars use: comparison, membership, negation, ``&&``, ``||``, ``match``, ``intersects``,
``type`` and ``length``. Anything else is refused, so that a newer schema is never read wrongly.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from release_kit.core.errors import ReleaseKitError

_CONSTANTS = {"null": None, "true": True, "false": False}


def holds(condition: Any, context: Mapping[str, Any]) -> bool:
    """Return whether a parsed condition is true of ``context``; a name that is absent is null, and null is false."""
    return bool(evaluate(condition, context))


def evaluate(node: Any, context: Mapping[str, Any]) -> Any:
    """Return the value of a node of a parsed condition.

    Raises:
        ReleaseKitError: the condition uses a part of the language that is not covered here.
    """
    if not isinstance(node, str):
        kind = type(node).__name__
        if kind not in _NODES:
            raise _unknown(kind)
        return _NODES[kind](node, context)
    if node[:1] in ("'", '"'):
        return node[1:-1].replace("\\\\", "\\")
    return _CONSTANTS[node] if node in _CONSTANTS else context.get(node)


def _property(node: Any, context: Mapping[str, Any]) -> Any:
    owner = evaluate(node.name, context)
    return owner.get(node.field) if isinstance(owner, Mapping) else None


def _array(node: Any, context: Mapping[str, Any]) -> list:
    return [evaluate(element, context) for element in node.elements]


def _not(node: Any, context: Mapping[str, Any]) -> bool:
    if node.op != "!":
        raise _unknown(node.op)
    return not evaluate(node.rh, context)


def _binary(node: Any, context: Mapping[str, Any]) -> Any:
    if node.op in ("&&", "||"):
        left = evaluate(node.lh, context)
        return evaluate(node.rh, context) if bool(left) == (node.op == "&&") else left
    if node.op not in _COMPARE:
        raise _unknown(node.op)
    return _COMPARE[node.op](evaluate(node.lh, context), evaluate(node.rh, context))


def _call(node: Any, context: Mapping[str, Any]) -> Any:
    if node.name not in _FUNCTIONS:
        raise _unknown(f"{node.name}()")
    return _FUNCTIONS[node.name](*(evaluate(argument, context) for argument in node.args))


def _intersects(left: Any, right: Any) -> bool:
    """The schema also writes one value where a list of one is meant: ``intersects(suffix, [...])``."""
    sides = [set(side) if isinstance(side, (list, tuple)) else {side} for side in (left, right)]
    return bool((sides[0] & sides[1]) - {None})


def _type(value: Any) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", tuple: "array"}
    return "null" if value is None else names.get(type(value), "object")


def _match(text: Any, pattern: str) -> bool:
    return isinstance(text, str) and re.search(pattern, text) is not None


def _unknown(what: str) -> ReleaseKitError:
    step = "use the bidsschematools version that this release_kit was made for"
    return ReleaseKitError(f"the condition uses {what!r}, which is not known here", where="BIDS schema", next_step=step)


_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "in": lambda left, right: right is not None and left in right,
    "<": lambda left, right: None not in (left, right) and left < right,
    "<=": lambda left, right: None not in (left, right) and left <= right,
    ">": lambda left, right: None not in (left, right) and left > right,
    ">=": lambda left, right: None not in (left, right) and left >= right,
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "intersects": _intersects,
    "match": _match,
    "type": _type,
    "length": lambda value: None if value is None else len(value),
}
_NODES: Mapping[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "Property": _property,
    "Array": _array,
    "RightOp": _not,
    "BinOp": _binary,
    "Function": _call,
}
