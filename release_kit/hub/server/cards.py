"""What a README's front matter says about a repository: card data and the tags that clients filter by.

Reads YAML without trusting it. Rendering for people is in ``browse``.
"""

import json
import re
from functools import lru_cache
from typing import Any

from release_kit.core.foreign_yaml import check_foreign_yaml, fast_loader

MAX_FRONT_MATTER_BYTES = 1 << 20
_FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)(?:^---[ \t]*\r?$\n?|\Z)", re.DOTALL | re.MULTILINE)


def split_card(text: str) -> tuple[str | None, str]:
    """Return the YAML text of the front matter (None when there is none) and the Markdown behind it."""
    match = _FRONT_MATTER.match(text)
    return (match.group(1), text[match.end() :]) if match else (None, text)


def front_matter(text: str) -> dict:
    """Return the front matter as a JSON-like mapping; empty when it is absent or not a mapping.

    Raises:
        ValueError: the YAML is broken; the message says where.
    """
    source, _ = split_card(text[:MAX_FRONT_MATTER_BYTES])
    if source is None:
        return {}
    import yaml

    try:
        check_foreign_yaml(source)
        value = yaml.load(source, Loader=fast_loader())
        text = json.dumps(value, default=str)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return json.loads(text) if isinstance(value, dict) else {}


@lru_cache(maxsize=4096)
def cached_front_matter(text: str) -> dict:
    """Return the front matter, empty when it is broken; callers must not change the result."""
    try:
        return front_matter(text)
    except ValueError:
        return {}


def tags(repo_type: str, card: dict) -> list[str]:
    """Return the tags of a repository in the Hub's spelling (``license:mit``, ``base_model:a/b``, …)."""
    found = [*_texts(card.get("tags"))]
    if repo_type == "model":
        found += _texts(card.get("library_name")) + _texts(card.get("pipeline_tag"))
    found += [f"license:{name}" for name in _texts(card.get("license"))]
    found += [f"dataset:{name}" for name in _texts(card.get("datasets"))]
    found += [f"base_model:{name}" for name in _texts(card.get("base_model"))]
    prefix = "" if repo_type == "model" else "language:"
    found += [f"{prefix}{name}" for name in _texts(card.get("language"))]
    for key in ("task_categories", "size_categories"):
        found += [f"{key}:{name}" for name in _texts(card.get(key))]
    return list(dict.fromkeys(found))


def _texts(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str) and item]
