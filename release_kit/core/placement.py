"""``placement.json``: where on the Hub each part of a release lies, pinned by commit.

Written by publish beside the manifest in the index repo, last of all; read by download, verify and audit. The manifest
says what the bytes are, the placement says where to get them. Format: ``docs/formats/placement.md``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from release_kit.core import canonical
from release_kit.core.dataset_tree import TREE_LAYOUT
from release_kit.core.records import Fields, check_schema_version
from release_kit.core.words import LAYOUTS

SCHEMA_VERSION = 1
PLACEMENT_FILE = "placement.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A folder inside a repo at one commit; ``prefix`` is empty or ends with ``/``."""

    repo_id: str
    repo_type: str
    revision: str
    prefix: str = ""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a release lies. ``Placement.from_dict(p.to_dict()) == p``."""

    study: str
    version: str
    layout: str
    manifest_sha256: str
    """sha256 of the bytes of ``manifest.json`` that belong to this placement."""
    cells: Mapping[str, Place]
    """Cell name → place."""
    results: Place | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, keys as on disk."""
        return {
            "schema_version": SCHEMA_VERSION,
            "study": self.study,
            "version": self.version,
            "layout": self.layout,
            "manifest_sha256": self.manifest_sha256,
            "cells": {name: _place_dict(place) for name, place in self.cells.items()},
            "results": None if self.results is None else _place_dict(self.results),
        }

    def to_bytes(self) -> bytes:
        """Return the canonical bytes of the placement file."""
        return canonical.canonical_bytes(self.to_dict()) + b"\n"

    @classmethod
    def from_dict(cls, value: Any, where: str = PLACEMENT_FILE) -> "Placement":
        """Read the JSON form strictly.

        Raises:
            RecordError: wrong shape, unknown key or unknown layout.
        """
        fields = Fields(value, where)
        check_schema_version(fields, (SCHEMA_VERSION,))
        places = fields.child("cells")
        results = fields.take("results", dict, None)
        placement = cls(
            study=fields.take("study", str),
            version=fields.take("version", str),
            layout=fields.take("layout", str),
            manifest_sha256=fields.take("manifest_sha256", str),
            cells={name: _place_from(places.child(name)) for name in list(fields.raw("cells"))},
            results=None if results is None else _place_from(fields.child("results")),
        )
        fields.done()
        if placement.layout not in (*LAYOUTS, TREE_LAYOUT):
            raise fields.error("layout", f"is {placement.layout!r}; expected one of {[*LAYOUTS, TREE_LAYOUT]}")
        return placement


def _place_dict(place: Place) -> dict[str, str]:
    return {
        "repo_id": place.repo_id,
        "repo_type": place.repo_type,
        "revision": place.revision,
        "prefix": place.prefix,
    }


def _place_from(fields: Fields) -> Place:
    place = Place(**{key: fields.take(key, str) for key in ("repo_id", "repo_type", "revision", "prefix")})
    fields.done()
    if place.prefix and not place.prefix.endswith("/"):
        raise fields.error("prefix", "does not end with '/'")
    return place
