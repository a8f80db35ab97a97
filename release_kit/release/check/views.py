"""The records that a survey fills: files, cells, base models, and the whole of them. Families of checks read these.

Nothing here touches the disk; ``survey.py`` gathers, and what is wrong is said by the families.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from release_kit.core.cell import Cell
from release_kit.core.collected import Undeclared
from release_kit.core.errors import RecordError, ReleaseKitError
from release_kit.core.grid import Levels, describe, level_text, matches
from release_kit.core.hashing import FileDigest, TensorDigest
from release_kit.core.results import Result
from release_kit.core.study import Level, Study
from release_kit.release.contents import belongs

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".npz", ".h5", ".msgpack", ".onnx")


@dataclass(frozen=True, kw_only=True)
class ArtifactFile:
    """One file of an artifact folder."""

    inner: str
    """Path inside the artifact."""
    path: str
    """Path relative to the study."""
    file: Path
    size_bytes: int
    digest: FileDigest | ReleaseKitError
    listed: bool = False
    """Whether the cell lists it by name: the part of a dataset leaves nothing out."""

    @property
    def released(self) -> bool:
        """Whether the file goes into the release (trainer state does not)."""
        return self.listed or belongs(self.inner)

    @property
    def sha256(self) -> str | None:
        """The digest of the content; None where the file could not be read."""
        return self.digest.sha256 if isinstance(self.digest, FileDigest) else None

    @property
    def tensors(self) -> tuple[TensorDigest, ...]:
        """The tensors of a readable safetensors file; empty for everything else."""
        return (self.digest.tensors or ()) if isinstance(self.digest, FileDigest) else ()


@dataclass(frozen=True, kw_only=True)
class CellView:
    """One cell on disk and everything in its artifact folder."""

    cell: Cell
    folder: Path
    folder_exists: bool
    results_only: bool
    baseline: bool
    files: tuple[ArtifactFile, ...]
    documents: Mapping[str, Any]
    """Inner path → parsed JSON of the small configuration files."""
    broken_documents: Mapping[str, str]
    """Inner path → why a configuration file cannot be read."""

    @property
    def where(self) -> str:
        """How the cell is named in messages."""
        return describe(self.cell.levels)

    def file(self, inner: str) -> ArtifactFile | None:
        """Return the file at ``inner``, or None."""
        return self._by_inner.get(inner)

    def document(self, inner: str) -> dict[str, Any]:
        """Return the parsed mapping of a configuration file; empty when it is absent or broken."""
        value = self.documents.get(inner)
        return value if isinstance(value, dict) else {}

    @property
    def is_adapter(self) -> bool:
        """Whether the artifact is a PEFT adapter."""
        return "adapter_config.json" in self._by_inner

    @cached_property
    def weights(self) -> tuple[ArtifactFile, ...]:
        """The files that hold weights and go into the release."""
        return tuple(file for file in self.files if file.released and file.inner.endswith(WEIGHT_SUFFIXES))

    @cached_property
    def tensors(self) -> dict[str, TensorDigest]:
        """Every tensor of the cell by name."""
        return {tensor.name: tensor for file in self.weights for tensor in file.tensors}

    @cached_property
    def _by_inner(self) -> dict[str, ArtifactFile]:
        return {file.inner: file for file in self.files}


@dataclass(frozen=True, kw_only=True)
class BaseView:
    """What is on disk of a base model: the folder that the study names, or else the cell of the untouched base."""

    level: Level
    properties: Mapping[str, Any]
    folder: Path | None
    tensors: Mapping[str, TensorDigest]
    config: Mapping[str, Any]
    problem: str | None = None
    """Why the declared folder is of no use."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Everything that the families look at."""

    study: Study
    declared: Mapping[str, Levels]
    """cell_id → levels of the whole grid."""
    cells: Mapping[str, CellView]
    broken_cells: tuple[RecordError, ...] = ()
    unfinished: tuple[str, ...] = ()
    """Names of folders under ``cells/`` that hold files, but no ``cell.json``."""
    bases: Mapping[Level, BaseView] = field(default_factory=dict)
    results: tuple[Result, ...] = ()
    result_problems: tuple[ReleaseKitError, ...] = ()
    result_notes: tuple[ReleaseKitError, ...] = ()
    undeclared_results: tuple[Undeclared, ...] = ()

    @cached_property
    def results_by_cell(self) -> dict[str, list[Result]]:
        """The rows of each cell, cells in the order of the grid."""
        grouped: dict[str, list[Result]] = {}
        for row in self.results:
            grouped.setdefault(row.cell_id, []).append(row)
        return {cell_id: grouped[cell_id] for cell_id in (*(i for i in self.declared if i in grouped), *grouped)}

    @cached_property
    def missing(self) -> dict[str, Levels]:
        """The declared cells that are neither on disk nor in the results."""
        return {
            cell_id: levels
            for cell_id, levels in self.declared.items()
            if cell_id not in self.cells and cell_id not in self.results_by_cell
        }

    @cached_property
    def shared_folders(self) -> list[list[str]]:
        """Groups of cells that take their weights from one folder."""
        owners: dict[Path, list[str]] = {}
        for cell_id, view in self.cells.items():
            if view.folder_exists and view.cell.artifact_path is not None and view.cell.files is None:
                owners.setdefault(view.folder.resolve(), []).append(cell_id)
        return [cell_ids for cell_ids in owners.values() if len(cell_ids) > 1]

    @cached_property
    def explained(self) -> frozenset[str]:
        """Declared cells whose absence has a known cause: unfinished, broken, or made with other settings."""
        broken = {Path(error.where or "").parent.name for error in self.broken_cells}
        strange = {describe(v.cell.levels) for cell_id, v in self.cells.items() if cell_id not in self.declared}
        other = {cell_id for cell_id, levels in self.declared.items() if strange and describe(levels) in strange}
        return frozenset(broken | set(self.unfinished) | other)

    def base_of(self, view: CellView) -> BaseView | None:
        """Return what is known of the base model of a cell."""
        factor = self.study.factor_with_role("base_model")
        return self.bases.get(view.cell.levels.get(factor.name)) if factor else None

    def name(self, cell_id: str) -> str:
        """Return how the cell is named in messages."""
        if cell_id in self.declared:
            return describe(self.declared[cell_id])
        return self.cells[cell_id].where if cell_id in self.cells else cell_id

    def levels(self, cell_id: str) -> Levels:
        """Return the levels of a cell that is declared or on disk."""
        return self.declared[cell_id] if cell_id in self.declared else self.cells[cell_id].cell.levels

    def other(self, cell_id: str, seen_from: str) -> str:
        """Name a cell by the levels in which it differs from another: ``the cell with seed=1``."""
        mine, theirs = self.levels(cell_id), self.levels(seen_from)
        different = {name: level for name, level in mine.items() if theirs.get(name) != level}
        return f"the cell with {describe(different or mine)}"

    def one_baseline(self, one: str, other: str) -> bool:
        """Whether two cells are both the untouched base, of one base model: they are equal by intention."""
        partial = self.study.baseline
        factor = self.study.factor_with_role("base_model")
        if partial is None or not all(matches(self.levels(cell_id), partial) for cell_id in (one, other)):
            return False
        return factor is None or self.levels(one)[factor.name] == self.levels(other)[factor.name]

    def place(self, cell_ids: Sequence[str]) -> str:
        """Name one cell, or several by the levels that they have in common: ``method=lora (20 cells)``."""
        if len(cell_ids) == 1:
            return self.name(cell_ids[0])
        levels = [self.levels(cell_id) for cell_id in cell_ids]
        varying = [factor for factor in self.study.factors if len(factor.levels) > 1]
        common = {
            factor.name: levels[0][factor.name]
            for factor in varying
            if len({level_text(each.get(factor.name, "")) for each in levels}) == 1
        }
        every = len(cell_ids) == len(self.declared)
        counted = f"all {len(cell_ids)} cells" if every else f"{len(cell_ids)} cells"
        return f"{describe(common)} ({counted})" if common else counted

    def relative(self, where: str | None) -> str:
        """Return a path as the study sees it."""
        return (where or "").removeprefix(f"{self.study.folder}/")

    @property
    def n_files(self) -> int:
        """Files of all artifacts."""
        return sum(len(view.files) for view in self.cells.values())
