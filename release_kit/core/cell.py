"""``cells/<cell_id>/cell.json``: one cell, what it was made from and where its artifact lies.

Written last of all files of a cell: its presence means that the cell is complete. Format: ``docs/formats/cell.md``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import RecordError
from release_kit.core.files import safe_relative_path, write_atomic
from release_kit.core.grid import cell_id_of
from release_kit.core.records import Fields, check_schema_version
from release_kit.core.study import Level

SCHEMA_VERSION = 1
CELL_FILE = "cell.json"
CELLS_FOLDER = "cells"
MODEL_FOLDER = "model"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell as it was made. ``from_dict(to_dict(cell)) == cell``."""

    cell_id: str
    levels: Mapping[str, Level]
    config: Mapping[str, Any]
    """The canonical configuration; ``cell_id`` is the first 12 hex digits of its digest."""
    artifact_path: str | None = None
    """Folder of the artifact relative to the study (``runs/a/checkpoint-30``); None means ``cells/<id>/model``."""
    files: tuple[str, ...] | None = None
    """The files of that folder that are the artifact, for parts of a dataset; None means all of them."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Free, known keys: code_commit, data {name: sha256}, base_model {name, digest}, seed, versions, hardware,
    started_at, seconds, train_loss …; the only place where clocks and host facts may stand."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, keys as on disk."""
        result: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "cell_id": self.cell_id,
            "levels": dict(self.levels),
            "config": dict(self.config),
            "provenance": dict(self.provenance),
        }
        if self.artifact_path is not None:
            result["artifact_path"] = self.artifact_path
        if self.files is not None:
            result["files"] = list(self.files)
        return result

    @classmethod
    def from_dict(cls, value: Any, where: str = CELL_FILE) -> "Cell":
        """Read the JSON form.

        Raises:
            RecordError: wrong shape, unknown key, or a ``cell_id`` that is not the digest of ``config``.
        """
        fields = Fields(value, where)
        check_schema_version(fields, (SCHEMA_VERSION,))
        path = fields.take("artifact_path", str, None)
        files = fields.take_list("files", str, None)
        cell = cls(
            cell_id=fields.take("cell_id", str),
            levels=fields.take("levels", dict),
            config=fields.take("config", dict),
            artifact_path=None if path is None else safe_relative_path(path, where=where),
            files=None if files is None else tuple(safe_relative_path(file, where=where) for file in files),
            provenance=fields.take("provenance", dict, {}),
        )
        fields.done()
        expected = cell_id_of(cell.config)
        if cell.cell_id != expected:
            raise fields.error("cell_id", f"is {cell.cell_id!r}, but the digest of `config` begins with {expected!r}")
        if cell.config.get("levels") != cell.levels:
            raise fields.error("levels", "differ from `config.levels`")
        return cell


def cell_folder(study_folder: Path, cell_id: str) -> Path:
    """Return ``<study>/cells/<cell_id>``."""
    return study_folder / CELLS_FOLDER / cell_id


def artifact_folder(study_folder: Path, cell: Cell) -> Path:
    """Return the folder that holds the cell's weights; it need not exist (results-only cells)."""
    if cell.artifact_path is not None:
        return study_folder / cell.artifact_path
    return cell_folder(study_folder, cell.cell_id) / MODEL_FOLDER


def write_cell(study_folder: Path, cell: Cell) -> Path:
    """Write ``cell.json``; call this after everything else of the cell is on disk."""
    path = cell_folder(study_folder, cell.cell_id) / CELL_FILE
    write_atomic(path, canonical.document_bytes(cell.to_dict()))
    return path


def read_cell(path: Path) -> Cell:
    """Read one ``cell.json``.

    Raises:
        RecordError: unreadable or not a valid cell.
    """
    return Cell.from_dict(canonical.read_json(path), str(path))


def iter_cell_files(study_folder: Path) -> Iterator[Path]:
    """Yield the ``cell.json`` of every complete cell on disk, sorted by cell id."""
    folder = study_folder / CELLS_FOLDER
    if not folder.is_dir():
        return
    for child in sorted(folder.iterdir()):
        if (child / CELL_FILE).is_file():
            yield child / CELL_FILE


def read_cells(study_folder: Path) -> tuple[dict[str, Cell], list[RecordError]]:
    """Return ``({cell_id: cell}, problems)`` of all complete cells; one broken file hides no other."""
    cells: dict[str, Cell] = {}
    problems: list[RecordError] = []
    for path in iter_cell_files(study_folder):
        try:
            cell = read_cell(path)
            if cell.cell_id != path.parent.name:
                raise RecordError(f"lies in a folder of another name than its id {cell.cell_id!r}", where=str(path))
            cells[cell.cell_id] = cell
        except RecordError as problem:
            problems.append(problem)
    return cells, problems
