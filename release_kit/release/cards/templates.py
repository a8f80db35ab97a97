"""The words of the cards: Jinja templates and the table of facts that each section needs, shipped in ``dataset_cards``.

Owns loading them and turning facts into the generated text of a card. Templates do not escape: every fact is safe
Markdown before it comes here. A section whose facts are not all known does not appear.
"""

import functools
from collections.abc import Mapping
from typing import Any

import yaml

from release_kit.core.errors import ResourceError
from release_kit.core.resources import resource_root
from release_kit.release.cards.handwritten import block

FOLDER = "dataset_cards"
KINDS = ("cell", "index", "results", "dataset")
SLOTS = {name: block(name, "") for name in ("about", "limits", "notes")}
"""The hand-written sections that cards offer."""


def render(kind: str, facts: Mapping[str, Any]) -> str:
    """Return the generated text of a card, hand-written sections empty, without its trace.

    Args:
        kind: ``cell``, ``index``, ``results`` or ``dataset``.
        facts: what the templates name; a missing fact leaves out the sections that need it.
    """
    show = {section: all(_fact(facts, path) for path in needs) for section, needs in section_needs()[kind].items()}
    return _template(kind).render(facts, show=show, slot=SLOTS).rstrip("\n") + "\n\n"


@functools.cache
def section_needs() -> dict[str, dict[str, list[tuple[str, ...]]]]:
    """Return card kind → section → the facts that it needs, from ``fields.yaml``."""
    table = yaml.safe_load(_read("fields.yaml"))
    return {
        kind: {entry["section"]: [tuple(need.split(".")) for need in entry["needs"]] for entry in table[kind]}
        for kind in KINDS
    }


@functools.cache
def column_meanings() -> dict[str, Any]:
    """Return what the columns of the published tables mean, from ``columns.yaml``."""
    return yaml.safe_load(_read("columns.yaml"))


def _fact(facts: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = facts
    for part in path:
        value = value.get(part) if value else None
    return value


@functools.cache
def _template(kind: str):
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(_read(f"{kind}.md.jinja"))


def _read(name: str) -> str:
    file = resource_root(FOLDER).joinpath(name)
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        step = "install release-kit again"
        raise ResourceError(f"the card template {name!r} is missing", where=str(file), next_step=step) from error
