"""YAML of strangers: refused before it is built when it is small as text and ruinous as a value."""

from typing import Any

MAX_DEPTH = 50


def check_foreign_yaml(text: str) -> None:
    """Refuse nesting so deep that libyaml's reader ends the process, and aliases, which are endless once written out.

    Raises:
        ValueError: too deep, or an alias.
        yaml.YAMLError: broken YAML.
    """
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=fast_loader()):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} levels in one another")
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("aliases (`*name`) are not supported in a card")


def fast_loader() -> Any:
    """Return the safe loader of libyaml, or the one in Python where there is no libyaml."""
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)
