"""What lies on disk of a study, gathered once, so that every family of checks is a pure function of it.

Reads cells, artifact listings, digests (remembered ones where there are any), small JSON files and results. Decides
nothing: what is wrong with them is said by the families.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from release_kit.core.cell import Cell, artifact_folder, read_cells
from release_kit.core.collect import collect_results
from release_kit.core.collected import Undeclared
from release_kit.core.digest_cache import DigestCache, digest_files
from release_kit.core.errors import ArtifactError, RecordError, ReleaseKitError
from release_kit.core.files import iter_files
from release_kit.core.grid import Levels, cell_config, cell_id_of, describe, iter_levels, level_text, matches
from release_kit.core.hashing import FileDigest, TensorDigest
from release_kit.core.results import Result
from release_kit.core.study import Level, Study
from release_kit.release.contents import belongs, is_results_only

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".npz", ".h5", ".msgpack", ".onnx")
MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
"""Larger JSON files are not taken apart."""


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

    @property
    def released(self) -> bool:
        """Whether the file goes into the release (trainer state does not)."""
        return belongs(self.inner)

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
    """The local folder of a base model, as far as the study names one."""

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
    bases: Mapping[Level, BaseView] = field(default_factory=dict)
    results: tuple[Result, ...] = ()
    result_problems: tuple[ReleaseKitError, ...] = ()
    result_notes: tuple[ReleaseKitError, ...] = ()
    undeclared_results: tuple[Undeclared, ...] = ()

    @cached_property
    def results_by_cell(self) -> dict[str, list[Result]]:
        """The rows of each cell."""
        grouped: dict[str, list[Result]] = {}
        for row in self.results:
            grouped.setdefault(row.cell_id, []).append(row)
        return grouped

    @cached_property
    def missing(self) -> dict[str, Levels]:
        """The declared cells that are neither on disk nor in the results."""
        return {
            cell_id: levels
            for cell_id, levels in self.declared.items()
            if cell_id not in self.cells and cell_id not in self.results_by_cell
        }

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


def survey_study(
    study: Study,
    *,
    cache: DigestCache | None = None,
    workers: int | None = None,
    on_stage: Callable[[str, int | None], None] | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> Survey:
    """Gather everything of ``study``; nothing that is wrong on disk raises.

    Args:
        study: the declared study.
        cache: remembered digests; None reads every byte.
        workers: hashing threads.
        on_stage: told the name of each stage and its size in bytes, where it has one.
        on_bytes: told the size of every file that is hashed or remembered.
    """
    stage = on_stage or (lambda label, total: None)
    stage("reading cells", None)
    cells, broken = read_cells(study.folder)
    listings = {cell_id: _listing(artifact_folder(study.folder, cell)) for cell_id, cell in cells.items()}
    base_folders = dict(_base_folders(study))
    base_listings = {level: _listing(folder) for level, folder in base_folders.items()}
    paths = [file for files in [*listings.values(), *base_listings.values()] for _, file, _ in files or ()]
    sizes = [size for files in [*listings.values(), *base_listings.values()] for _, _, size in files or ()]
    stage("hashing", sum(sizes))
    outcomes = digest_files(paths, cache=cache, values=True, workers=workers, on_bytes=on_bytes)
    digests = dict(zip(paths, outcomes, strict=True))
    stage("collecting results", None)
    collected = collect_results(study)
    reader = _DocumentReader()
    return Survey(
        study=study,
        declared={cell_id_of(cell_config(study, levels)): levels for levels in iter_levels(study)},
        cells={cell_id: _view(study, cell, listings[cell_id], digests, reader) for cell_id, cell in cells.items()},
        broken_cells=tuple(broken),
        bases=_bases(study, base_folders, base_listings, digests, reader),
        results=tuple(collected.rows),
        result_problems=tuple(collected.problems),
        result_notes=tuple(collected.notes),
        undeclared_results=tuple(collected.undeclared),
    )


_Listing = list[tuple[str, Path, int]]


def _listing(folder: Path) -> _Listing | None:
    """Return ``(inner path, file, size)`` of every file; None when the folder is not there or not readable."""
    try:
        return [(inner, folder / inner, stat.st_size) for inner, stat in iter_files(folder)]
    except OSError:
        return None


def _view(
    study: Study, cell: Cell, listing: _Listing | None, digests: Mapping[Path, Any], reader: "_DocumentReader"
) -> CellView:
    folder = artifact_folder(study.folder, cell)
    inside_study = folder.relative_to(study.folder).as_posix()
    files = tuple(
        ArtifactFile(inner=inner, path=f"{inside_study}/{inner}", file=file, size_bytes=size, digest=digests[file])
        for inner, file, size in listing or ()
    )
    documents, broken = reader.read_all(files)
    return CellView(
        cell=cell,
        folder=folder,
        folder_exists=listing is not None,
        results_only=is_results_only(study, cell.levels),
        baseline=study.baseline is not None and matches(cell.levels, study.baseline),
        files=files,
        documents=documents,
        broken_documents=broken,
    )


class _DocumentReader:
    """Parses the small JSON files of artifacts; equal contents are parsed once."""

    def __init__(self) -> None:
        self._by_sha256: dict[str, Any] = {}

    def read_all(self, files: tuple[ArtifactFile, ...]) -> tuple[dict[str, Any], dict[str, str]]:
        documents, broken = {}, {}
        for file in files:
            if "/" in file.inner or not file.inner.endswith(".json") or not _wanted(file):
                continue
            try:
                documents[file.inner] = self._read(file)
            except (OSError, ValueError, RecursionError) as error:
                broken[file.inner] = str(getattr(error, "strerror", None) or error)
        return documents, broken

    def _read(self, file: ArtifactFile) -> Any:
        key = file.sha256
        if key is None:
            return None
        if key not in self._by_sha256:
            # Trainers write NaN into their logs, so these foreign files are not held to strict JSON.
            self._by_sha256[key] = json.loads(file.file.read_bytes())
        return self._by_sha256[key]


def _wanted(file: ArtifactFile) -> bool:
    ends = ("config.json", "trainer_state.json", ".index.json")
    return file.inner.endswith(ends) and file.size_bytes <= MAX_DOCUMENT_BYTES


def _base_folders(study: Study):
    """Yield ``(level, folder)`` of every base model whose ``path`` the study gives."""
    factor = study.factor_with_role("base_model")
    for level in factor.levels if factor else ():
        path = factor.properties.get(level, {}).get("path")
        if isinstance(path, str) and path:
            yield level, study.folder / path


def _bases(
    study: Study, folders: Mapping, listings: Mapping, digests: Mapping[Path, Any], reader: _DocumentReader
) -> dict[Level, BaseView]:
    factor = study.factor_with_role("base_model")
    result = {}
    for level in factor.levels if factor else ():
        files = tuple(
            ArtifactFile(inner=inner, path=inner, file=file, size_bytes=size, digest=digests[file])
            for inner, file, size in listings.get(level) or ()
        )
        documents, _ = reader.read_all(files)
        config = documents.get("config.json")
        tensors = {tensor.name: tensor for file in files for tensor in file.tensors}
        result[level] = BaseView(
            level=level,
            properties=factor.properties.get(level, {}),
            folder=folders.get(level),
            tensors=tensors,
            config=config if isinstance(config, dict) else {},
            problem=_base_problem(level in folders, listings.get(level), files, tensors),
        )
    return result


def _base_problem(declared: bool, listing: _Listing | None, files: tuple[ArtifactFile, ...], tensors: Mapping):
    if not declared or tensors:
        return None
    if listing is None:
        return "the folder does not exist or cannot be read"
    for file in files:
        if isinstance(file.digest, ArtifactError):
            return str(file.digest)
        if isinstance(file.digest, FileDigest) and file.digest.problem:
            return f"{file.inner} {file.digest.problem}"
    return "it holds no safetensors file"
