"""The JSON Schema of ``recipe.yaml``, made of the grammar, for editors that complete and underline while one types.

Shipped as ``bids/recipe.schema.json``; a test holds the file against this function. It refuses no less than an editor
can see: labels that must exist elsewhere are judged by reading only.
"""

from typing import Any

from release_kit.bids.recipe.grammar import RECIPE
from release_kit.bids.recipe.model import SCHEMA_VERSION
from release_kit.core.grammar.kinds import Flag, Free, Key, Kind, Many, Named, Number, Numbers, Record, Text, Texts

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SCHEMA_FILE = "recipe.schema.json"

_FREE: dict[bool, dict[str, Any]] = {True: {"type": ["string", "number", "null"]}, False: {}}


def recipe_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a recipe."""
    schema = record_schema(RECIPE)
    properties = schema["properties"]
    properties["schema_version"] = {"const": SCHEMA_VERSION, "description": "Version of this format."}
    subjects = properties["subjects"]
    table = {
        "type": "object",
        "properties": {"from": {"type": "string", "description": "TSV of pseudonyms, relative to the recipe."}},
        "required": ["from"],
        "additionalProperties": False,
    }
    listed = {name: value for name, value in subjects.items() if name != "description"}
    properties["subjects"] = {"description": subjects["description"], "oneOf": [table, listed]}
    return {"$schema": DIALECT, "title": "release_kit recipe", **schema}


def schema_bytes() -> bytes:
    """Return the bytes of ``bids/recipe.schema.json``: keys in the order of the grammar."""
    import json

    return (json.dumps(recipe_schema(), indent=1, ensure_ascii=False) + "\n").encode()


def _of_key(key: Key) -> dict[str, Any]:
    value = {**_of_kind(key.kind), "description": key.doc}
    default = list(key.default) if isinstance(key.default, tuple) else key.default
    return value if key.default is None else value | {"default": default}


def _of_kind(kind: Kind) -> dict[str, Any]:
    match kind:
        case Text(choices=choices) if choices:
            return {"enum": list(choices)}
        case Text(pattern=pattern):
            return {"type": "string", **({"pattern": f"^(?:{pattern})$"} if pattern else {"minLength": 1})}
        case Number(above=above, least=least, whole=whole):
            bounds = {"exclusiveMinimum": above, "minimum": least}
            known = {name: bound for name, bound in bounds.items() if bound is not None}
            return {"type": "integer" if whole else "number", **known}
        case Flag():
            return {"type": "boolean"}
        case Texts(least=least):
            return {"type": "array", "items": {"type": "string", "minLength": 1}, **_least("minItems", least)}
        case Numbers(number=number, least=least):
            return {"type": "array", "items": _of_kind(number), **_least("minItems", least)}
        case Free(texts=True):
            return {"type": "object", "additionalProperties": {"type": "string", "minLength": 1}}
        case Free(scalars=scalars):
            return {"type": "object", "additionalProperties": _FREE[scalars]}
        case Record():
            return record_schema(kind)
        case Many(record=record, least=least):
            return {"type": "array", "items": record_schema(record), **_least("minItems", least)}
        case Named(value=value, pattern=pattern, least=least):
            inner = {"patternProperties": {f"^(?:{pattern})$": _of_kind(value)}, "additionalProperties": False}
            return {"type": "object", **inner, **_least("minProperties", least)}
    raise TypeError(f"no schema for {type(kind).__name__}")


def record_schema(record: Record) -> dict[str, Any]:
    """Return the JSON Schema of a mapping of known keys."""
    required = [name for name, key in record.keys.items() if key.required]
    others: dict[str, Any] | bool = _FREE[record.others.scalars] if record.others else False
    return {
        "type": "object",
        "properties": {name: _of_key(key) for name, key in record.keys.items()},
        **({"required": required} if required else {}),
        "additionalProperties": others,
    }


def _least(name: str, least: int) -> dict[str, int]:
    return {name: least} if least else {}
