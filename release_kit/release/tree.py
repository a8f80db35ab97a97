"""Where each file of a release lies on this disk: in a study that was built, or in a download.

The tree's paths are those of the manifest (``cells/<name>/<file>``, ``index/<file>``, ``results/<file>``); in a study
the artifacts stay where training put them, in a download everything lies under one folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from release_kit.core import canonical
from release_kit.core.cell import CELL_FILE, Cell, artifact_folder, cell_folder
from release_kit.core.dataset_record import read_dataset
from release_kit.core.dataset_tree import local_path
from release_kit.core.errors import RecordError, ReleaseKitError
from release_kit.core.files import inside
from release_kit.core.manifest import MANIFEST_FILE, RELEASE_FOLDER, Manifest, own_folder, read_manifest
from release_kit.core.study import STUDY_FILE

SOURCES_PREFIX = "results/sources/"
"""Tables that results came from are published here under their path in the study."""

EVAL_PREFIX = "eval/"
"""What the evaluation harness wrote for a cell, unchanged, inside the cell's folder of the tree."""


@dataclass(frozen=True, kw_only=True)
class CellOrigin:
    """Where the unbuilt files of one cell lie in a study."""

    artifact: Path
    evaluations: Path

    def locate(self, inner: str) -> Path:
        """Return where the file ``inner`` of the cell lies."""
        if inner.startswith(EVAL_PREFIX):
            return self.evaluations / inner.removeprefix(EVAL_PREFIX)
        return self.artifact / inner


@dataclass(frozen=True, kw_only=True)
class ReleaseTree:
    """A release on disk."""

    root: Path
    """The study's folder, or the folder of the download."""
    kind: str
    """``study`` or ``download``."""
    manifest: Manifest
    manifest_path: Path
    origins: Mapping[str, CellOrigin]
    """Cell name → where its unbuilt files lie; empty for a download."""
    shared: Path | None = None
    """The dataset that holds what its parts share, in a study that releases one."""

    def locate(self, tree_path: str) -> Path:
        """Return where the file ``tree_path`` lies, or would lie.

        Raises:
            UnsafePathError: the path leaves the release.
        """
        if self.kind == "download":
            return inside(self.root, local_path(tree_path, dataset=self.manifest.is_dataset))
        built = inside(self.root / RELEASE_FOLDER, tree_path)
        if built.is_file():
            return built
        if tree_path.startswith(SOURCES_PREFIX):
            return inside(self.root, tree_path.removeprefix(SOURCES_PREFIX))
        group, _, rest = tree_path.partition("/")
        if group == "index" and self.shared is not None:
            return self.shared / rest
        name, _, inner = rest.partition("/")
        origin = self.origins.get(name) if group == "cells" else None
        return built if origin is None or not inner else origin.locate(inner)


def open_tree(path: Path) -> ReleaseTree:
    """Open a built study or a download.

    Raises:
        ReleaseKitError: ``path`` holds neither; the message says what to do.
        RecordError: the manifest or a ``cell.json`` is not valid.
    """
    if (path / STUDY_FILE).is_file() and (path / RELEASE_FOLDER / MANIFEST_FILE).is_file():
        manifest_path = path / RELEASE_FOLDER / MANIFEST_FILE
        manifest = read_manifest(manifest_path)
        origins = {cell.name: _origin(path, cell.cell_id) for cell in manifest.cells}
        known = {name: origin for name, origin in origins.items() if origin is not None}
        shared = path / read_dataset(path).folder if manifest.is_dataset else None
        return ReleaseTree(
            root=path, kind="study", manifest=manifest, manifest_path=manifest_path, origins=known, shared=shared
        )
    if (own_folder(path) / MANIFEST_FILE).is_file():
        manifest_path = own_folder(path) / MANIFEST_FILE
        manifest = read_manifest(manifest_path)
        return ReleaseTree(root=path, kind="download", manifest=manifest, manifest_path=manifest_path, origins={})
    step = f"run: release-kit build {path}" if (path / STUDY_FILE).is_file() else "name a built study or a download"
    raise ReleaseKitError(f"holds no {MANIFEST_FILE}", where=str(path), next_step=step)


def cell_origin(study_folder: Path, cell: Cell) -> CellOrigin:
    """Return where the unbuilt files of ``cell`` lie."""
    evaluations = cell_folder(study_folder, cell.cell_id) / EVAL_PREFIX.rstrip("/")
    return CellOrigin(artifact=artifact_folder(study_folder, cell), evaluations=evaluations)


def _origin(study_folder: Path, cell_id: str) -> CellOrigin | None:
    path = cell_folder(study_folder, cell_id) / CELL_FILE
    if not path.is_file():
        return None
    cell = Cell.from_dict(canonical.read_json(path), str(path))
    if cell.cell_id != cell_id:
        raise RecordError(f"holds the cell {cell.cell_id!r}", where=str(path))
    return cell_origin(study_folder, cell)
