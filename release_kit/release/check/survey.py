"""Gathering what lies on disk of a study, once, so that every family of checks is a pure function of it.

Reads cells, artifact listings, digests (remembered ones where there are any), small JSON files and results. Decides
nothing: what is wrong with them is said by the families.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from release_kit.core.cell import CELL_FILE, CELLS_FOLDER, Cell, artifact_folder, read_cells
from release_kit.core.collect import collect_results
from release_kit.core.digest_cache import DigestCache, digest_files
from release_kit.core.errors import ArtifactError
from release_kit.core.files import iter_files
from release_kit.core.grid import cell_config, cell_id_of, iter_levels, matches
from release_kit.core.hashing import FileDigest
from release_kit.core.study import Level, Study
from release_kit.release.check.views import ArtifactFile, BaseView, CellView, Survey
from release_kit.release.contents import is_results_only

MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
"""Larger JSON files are not taken apart."""


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
    declared = {cell_id_of(cell_config(study, levels)): levels for levels in iter_levels(study)}
    on_disk, broken = read_cells(study.folder)
    cells = {cell_id: on_disk[cell_id] for cell_id in [*(i for i in declared if i in on_disk), *on_disk]}
    listings = {cell_id: _artifact(study, cell) for cell_id, cell in cells.items()}
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
    views = {cell_id: _view(study, cell, listings[cell_id], digests, reader) for cell_id, cell in cells.items()}
    bases = _bases(study, base_folders, base_listings, digests, reader)
    return Survey(
        study=study,
        declared=declared,
        cells=views,
        broken_cells=tuple(broken),
        unfinished=_unfinished(study.folder / CELLS_FOLDER),
        bases={level: _from_baseline(study, base, views.values()) for level, base in bases.items()},
        results=tuple(collected.rows),
        result_problems=tuple(collected.problems),
        result_notes=tuple(collected.notes),
        undeclared_results=tuple(collected.undeclared),
    )


def _unfinished(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        return ()
    children = [child for child in sorted(folder.iterdir()) if child.is_dir() and not (child / CELL_FILE).exists()]
    return tuple(child.name for child in children if any(child.iterdir()))


_Listing = list[tuple[str, Path, int]]


def _listing(folder: Path) -> _Listing | None:
    """Return ``(inner path, file, size)`` of every file; None when the folder is not there or not readable."""
    try:
        return [(inner, folder / inner, stat.st_size) for inner, stat in iter_files(folder)]
    except OSError:
        return None


def _artifact(study: Study, cell: Cell) -> _Listing | None:
    """Return the listing of a cell's artifact; a part of a dataset is what its ``cell.json`` lists."""
    folder = artifact_folder(study.folder, cell)
    if cell.files is None or not folder.is_dir():
        return _listing(folder)
    files = ((inner, folder / inner) for inner in cell.files)
    return [(inner, file, file.stat().st_size if file.is_file() else 0) for inner, file in files]


def _view(
    study: Study, cell: Cell, listing: _Listing | None, digests: Mapping[Path, Any], reader: "_DocumentReader"
) -> CellView:
    folder = artifact_folder(study.folder, cell)
    inside_study = folder.relative_to(study.folder).as_posix()
    files = tuple(
        ArtifactFile(
            inner=inner, path=f"{inside_study}/{inner}", file=file, size_bytes=size, digest=digests[file],
            listed=cell.files is not None,
        )
        for inner, file, size in listing or ()
    )  # fmt: skip
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


def _from_baseline(study: Study, base: BaseView, views: Iterable[CellView]) -> BaseView:
    """Where no folder is declared for a base model, the cell of the untouched base stands in for it."""
    factor = study.factor_with_role("base_model")
    if base.folder is not None or factor is None:
        return base
    for view in views:
        if view.baseline and view.cell.levels.get(factor.name) == base.level and view.tensors and not view.is_adapter:
            return replace(base, folder=view.folder, tensors=view.tensors, config=view.document("config.json"))
    return base


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
