"""RO-Crate 1.1: the release as a research object, every file with its size and sha256, every cell with its levels.

Written without the rocrate library and read by it in the tests. The roc-validator tool fetches its profiles from the
network, so nothing here calls it.
"""

import json
import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from release_kit.core.canonical import document_bytes
from release_kit.core.files import write_atomic
from release_kit.core.grid import describe
from release_kit.core.manifest import CellEntry
from release_kit.release.export.bag import FolderReport
from release_kit.release.export.contents import INDEX_CARD, Contents, ExportFile, card_facts
from release_kit.release.export.placing import new_folder, place_file

METADATA_FILE = "ro-crate-metadata.json"
_VERSION = "https://w3id.org/ro/crate/1.1"
_TERMS = {"sha256": "http://schema.org/sha256"}
"""Not among the terms of the 1.1 context."""

_TYPES = {".safetensors": "application/octet-stream", ".parquet": "application/vnd.apache.parquet",
          ".md": "text/markdown", ".yaml": "application/yaml", ".json": "application/json"}  # fmt: skip


def write_crate(contents: Contents, folder: Path, *, date: str, link: bool = True) -> FolderReport:
    """Write a crate: the release tree (hard links where possible) and ``ro-crate-metadata.json`` at its root.

    Args:
        contents: the release.
        folder: new folder of the crate.
        date: ``datePublished``, ``YYYY-MM-DD``.
        link: hard links where possible, else copies.

    Raises:
        UsageError: ``folder`` is there and not empty.
        ReleaseKitError: it cannot be written.
    """
    n_linked = 0
    with new_folder(folder) as target:
        for file in contents.files:
            n_linked += place_file(file.path, target / file.place, link=link)
        write_atomic(target / METADATA_FILE, crate_bytes(contents, date=date))
    return FolderReport(folder=folder, n_files=len(contents.files), n_linked=n_linked)


def crate_bytes(contents: Contents, *, date: str) -> bytes:
    """Return the JSON-LD graph of the crate; paths are those of the release tree, in a dataset those of the dataset."""
    files = {file.tree_path: _file_entity(file) for file in contents.files}
    places = {file.tree_path: file.place for file in contents.files}
    folders = [_cell_entity(cell, places, is_folder=not contents.manifest.is_dataset) for cell in contents.cells]
    inside = {f"cells/{cell.name}/{entry.path}" for cell in contents.cells for entry in cell.files}
    loose = [entity["@id"] for path, entity in files.items() if path not in inside]
    descriptor = {
        "@id": METADATA_FILE,
        "@type": "CreativeWork",
        "conformsTo": {"@id": _VERSION},
        "about": {"@id": "./"},
    }
    root = _root_entity(contents, date) | {
        "hasPart": [{"@id": part} for part in [*(folder["@id"] for folder in folders), *loose]]
    }
    levels = {key: entity for cell in contents.cells for key, entity in _level_entities(cell).items()}
    graph = [descriptor, root, *folders, *files.values(), *levels.values()]
    return document_bytes({"@context": [f"{_VERSION}/context", _TERMS], "@graph": graph})


def _root_entity(contents: Contents, date: str) -> dict[str, Any]:
    manifest, facts = contents.manifest, card_facts(contents, INDEX_CARD)
    n_bytes = sum(file.size_bytes for file in contents.files)
    entity = {
        "@id": "./",
        "@type": "Dataset",
        "name": facts.get("heading") or f"{manifest.study} {manifest.version}",
        "description": f"{manifest.study} {manifest.version}: {len(contents.cells)} of {len(manifest.cells)} cells, "
        f"{len(contents.files)} files, {n_bytes} bytes.",
        "version": manifest.version,
        "identifier": f"sha256:{manifest.root}",
        "datePublished": date,
        "license": facts.get("license"),
    }
    return {key: value for key, value in entity.items() if value is not None}


def _cell_entity(cell: CellEntry, places: Mapping[str, str], *, is_folder: bool) -> dict[str, Any]:
    """Return a cell; the parts of a dataset lie among each other and have no folder."""
    return {
        "@id": _uri(f"cells/{cell.name}/") if is_folder else f"#part-{quote(cell.name)}",
        "@type": "Dataset",
        "name": cell.name,
        "identifier": cell.cell_id,
        "description": f"{cell.kind}: {describe(cell.levels)}",
        "variableMeasured": [{"@id": key} for key in _level_entities(cell)],
        "hasPart": [{"@id": _uri(places[f"cells/{cell.name}/{entry.path}"])} for entry in cell.files],
    }


def _level_entities(cell: CellEntry) -> dict[str, dict[str, Any]]:
    """Return one PropertyValue for each level, shared by all cells that have it."""
    entities = {}
    for factor, level in cell.levels.items():
        key = f"#{quote(factor)}={quote(json.dumps(level))}"
        entities[key] = {"@id": key, "@type": "PropertyValue", "name": factor, "value": level}
    return entities


def _file_entity(file: ExportFile) -> dict[str, Any]:
    suffix = Path(file.tree_path).suffix
    kind = _TYPES.get(suffix) or mimetypes.guess_type(file.tree_path)[0] or "application/octet-stream"
    return {
        "@id": _uri(file.place),
        "@type": "File",
        "name": file.tree_path.rsplit("/", 1)[-1],
        "contentSize": str(file.size_bytes),
        "encodingFormat": kind,
        "sha256": file.sha256,
    }


def _uri(path: str) -> str:
    return quote(path, safe="/!$&'()*+,;=:@-._~")
