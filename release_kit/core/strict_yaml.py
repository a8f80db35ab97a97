"""YAML read strictly: keys that stand twice or are no plain values, and numbers that are none, are refused.

Apart from ``study.py`` so that commands which need a study's words only, not its file, start without a YAML reader.
"""

import math
from typing import Any

import yaml

from release_kit.core.errors import RecordError


def parse_yaml(text: str, where: str) -> Any:
    """Return the value of a YAML text.

    Raises:
        RecordError: broken YAML, a key that stands twice, ``.nan`` or ``.inf``; ``where`` names the file.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # PyYAML calls the text "<unicode string>", which names no file; ``where`` does.
        said = " ".join(str(error).split()).replace('in "<unicode string>", ', "in ")
        raise RecordError(f"not valid YAML: {said}", where=where) from error


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice (YAML would silently keep the last)."""


def _strict_mapping(loader: _StrictLoader, node: yaml.MappingNode, deep: bool = False) -> dict:
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, (str, int, float, bool)):
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is not text", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


def _finite_number(loader: _StrictLoader, node: yaml.ScalarNode) -> float:
    value = loader.construct_yaml_float(node)
    if not math.isfinite(value):
        raise yaml.constructor.ConstructorError(None, None, f"{node.value} is not a finite number", node.start_mark)
    return value


_StrictLoader.add_constructor("tag:yaml.org,2002:float", _finite_number)
_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _strict_mapping)
