"""An autoencoder that was read from somebody's file, written in our layout with a word on where it came from."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from release_kit.sae.formats.imported import Imported
from release_kit.sae.formats.saelens import WEIGHTS_FILE, write_saelens


def import_sae(found: Imported, source: Path, out: Path) -> dict[str, Any]:
    """Write an imported autoencoder and return what it is, as JSON.

    Args:
        found: as ``read_sae`` gives it.
        source: what was read; only its name is kept.
        out: folder to write to.

    Raises:
        ReleaseKitError: the folder cannot be written.
    """
    facts = {name: value for name, value in found.facts.items() if _is_said(value)}
    where = {"layout": found.layout, "name": source.name, "notes": list(found.notes)}
    write_saelens(found.sae, out, {**facts, "imported_from": where})
    config = found.sae.config
    return {
        "layout": found.layout, "folder": str(out), "architecture": config.architecture, "d_in": config.d_in,
        "n_features": config.n_features, "k": config.k, "normalise": config.normalise,
        "subtract_decoder_bias": config.subtract_decoder_bias, "facts": facts, "notes": list(found.notes),
        "weights_sha256": hashlib.sha256((out / WEIGHTS_FILE).read_bytes()).hexdigest(),
    }  # fmt: skip


def _is_said(value: Any) -> bool:
    """Return whether a fact can stand in JSON and says something."""
    if isinstance(value, Mapping):
        return all(isinstance(name, str) and _is_said(one) for name, one in value.items())
    if isinstance(value, list | tuple):
        return all(_is_said(one) for one in value)
    return isinstance(value, str | int | float | bool)
