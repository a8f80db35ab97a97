"""Which cells, and which of their files, belong to a release.

Pure decisions over what lies on disk; nothing is read but names and ``cell.json``.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from release_kit.core.annexed import pointer_key
from release_kit.core.cell import CELL_FILE, Cell, read_cells
from release_kit.core.dataset_record import read_dataset
from release_kit.core.dataset_tree import DATASET_KIND, check_dataset_paths
from release_kit.core.errors import ArtifactError, StudyError, UnsafePathError
from release_kit.core.files import STATE_FOLDER, TEMPORARY_PREFIX, iter_files, safe_relative_path
from release_kit.core.grid import cell_config, cell_id_of, describe, is_results_only, iter_levels
from release_kit.core.manifest import TENSORS_FILE
from release_kit.core.study import Study
from release_kit.release.tree import EVAL_PREFIX, cell_origin

LEFT_OUT = frozenset(
    {"optimizer.pt", "scheduler.pt", "training_args.bin", "README.md", CELL_FILE, TENSORS_FILE, ".gitattributes"}
)
"""Files of an artifact folder that never belong to a release: trainer state, and what release_kit writes itself."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One cell on its way into a release; ``files`` are its unbuilt files, as (path inside the cell, file)."""

    cell_id: str
    levels: dict
    cell: Cell | None
    kind: str
    files: tuple[tuple[str, Path], ...]


def find_sources(study: Study, with_results: set[str]) -> tuple[list[Source], int]:
    """Return the cells that go into the release, in the order of the grid, and how many declared ones do not.

    Raises:
        StudyError: a ``cell.json`` is broken, or there is nothing to release.
        ArtifactError: the folder of an artifact is not there, or files cannot go into a release under their names.
    """
    cells, problems = read_cells(study.folder)
    if problems:
        listed = "; ".join(str(problem) for problem in problems[:5])
        raise StudyError(f"{len(problems)} cells cannot be read: {listed}", next_step="restore or remove them")
    sources, n_missing, unfit = [], 0, []
    for levels in iter_levels(study):
        cell_id = cell_id_of(cell_config(study, levels))
        cell = cells.get(cell_id)
        results_only = is_results_only(study, levels)
        if cell is None and not (results_only and cell_id in with_results):
            n_missing += 1
            continue
        files = () if cell is None else tuple(_cell_files(study, cell, results_only))
        unfit += [text for path, file in files if (text := why_unfit(path, file, study.folder))]
        kind = DATASET_KIND if study.is_dataset else "results-only" if results_only else _kind(files)
        sources.append(Source(cell_id=cell_id, levels=levels, cell=cell, kind=kind, files=files))
    _refuse(unfit)
    if not sources:
        raise StudyError(
            "no declared cell is on disk and none has results",
            where=str(study.folder),
            next_step=f"train or import checkpoints, then see: release-kit plan {study.folder}",
        )
    return sources, n_missing


def find_shared(study: Study, sources: Sequence[Source]) -> Source:
    """Return what all parts of a dataset share, as a source without a cell.

    Raises:
        StudyError: the study has no record of its dataset.
        ArtifactError: files cannot go into a release.
        RecordError: two parts hold one path, or a file lies where none may.
    """
    record = read_dataset(study.folder)
    files = tuple((path, study.folder / record.folder / path) for path in record.shared)
    _refuse([text for path, file in files if (text := why_unfit(path, file, study.folder))])
    listed = [path for source in sources for path, _ in source.files]
    check_dataset_paths([*listed, *record.shared], str(study.folder))
    return Source(cell_id="", levels={}, cell=None, kind=DATASET_KIND, files=files)


def _refuse(unfit: Sequence[str]) -> None:
    if unfit:
        raise ArtifactError(
            f"{len(unfit)} files cannot go into a release: " + "; ".join(unfit[:5]) + ("; …" if len(unfit) > 5 else ""),
            next_step="rename or remove them, restore what links lead to, then build again",
        )


def _cell_files(study: Study, cell: Cell, results_only: bool) -> Iterable[tuple[str, Path]]:
    """Yield ``(path inside the cell, file)`` of everything of a cell that is not built."""
    origin = cell_origin(study.folder, cell)
    if not results_only:
        if not origin.artifact.is_dir():
            raise ArtifactError(
                "the folder of its artifact does not exist",
                where=f"cell {cell.cell_id} ({describe(cell.levels)}): {origin.artifact}",
                next_step="restore the folder, or remove cells/<cell_id>/cell.json",
            )
        if cell.files is not None:
            yield from ((path, origin.artifact / path) for path in cell.files)
            return
        for path in _listed(origin.artifact):
            if belongs(path):
                if path.startswith(EVAL_PREFIX):
                    raise ArtifactError(
                        f"{EVAL_PREFIX!r} inside an artifact would hide the evaluations of the cell",
                        where=str(origin.artifact),
                        next_step=f"rename the folder, or move its files to {origin.evaluations}",
                    )
                yield path, origin.artifact / path
    if origin.evaluations.is_dir():
        for path in _listed(origin.evaluations):
            yield EVAL_PREFIX + path, origin.evaluations / path


def _listed(folder: Path) -> list[str]:
    """Return every file of a folder and whatever else lies in it that is no folder: nothing is left out in silence."""
    found = {path for path, _ in iter_files(folder)}
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        found.update(Path(parent, name).relative_to(folder).as_posix() for name in [*names, *links] if _is_ours(name))
        folders[:] = [name for name in folders if name != STATE_FOLDER]
    return sorted(found)


def _is_ours(name: str) -> bool:
    return name != STATE_FOLDER and not name.startswith(TEMPORARY_PREFIX)


def why_unfit(path: str, file: Path, study_folder: Path) -> str | None:
    """Return why an entry cannot go into a release: its name, what it is, or where a link leads."""
    shown = repr(str(file))
    try:
        safe_relative_path(path)
    except UnsafePathError:
        return f"{shown} has a name that is no plain relative path on every system"
    if not file.exists():
        if not file.is_symlink():
            return f"{shown} does not exist"
        return f"{shown} is a symbolic link to nothing" + (NOT_GOT if is_annexed(os.readlink(file)) else "")
    if not file.is_file():
        return f"{shown} is not a plain file"
    if pointer_key(file) is not None:
        return f"{shown} is a pointer to its content" + NOT_GOT
    if file.is_symlink() and not _stays(file, path, study_folder):
        return f"{shown} is a symbolic link that leaves the study, to {os.path.realpath(file)!r}"
    return None


NOT_GOT = ": git-annex has not got its content here (git annex get, or release-kit bids get)"


def is_annexed(text: str) -> bool:
    """Return whether a link leads into the objects of git-annex."""
    return "/annex/objects/" in text


def _stays(file: Path, path: str, study_folder: Path) -> bool:
    """Return whether a link leads to a file of the study, or of the place that an import was allowed to follow.

    A snapshot in the client's cache is such a place: its files are links to ``blobs`` two folders above.
    """
    real = os.path.realpath(file)
    artifact = Path(os.path.realpath(str(file)[: -len(path) - 1]))
    roots = [os.path.realpath(study_folder)]
    if not str(artifact).startswith(roots[0] + os.sep):
        roots.append(str(artifact.parent.parent if artifact.parent.name == "snapshots" else artifact))
    return any(real.startswith(root + os.sep) for root in roots)


def belongs(path: str) -> bool:
    """Return whether a file of an artifact folder belongs to the release."""
    parts = path.split("/")
    hidden = any(part in (".git", ".cache") for part in parts[:-1])
    random_state = parts[-1].startswith("rng_state") and parts[-1].endswith(".pth")
    return not hidden and not random_state and path not in LEFT_OUT


def _kind(files: Sequence[tuple[str, Path]]) -> str:
    return "adapter" if any(path == "adapter_config.json" for path, _ in files) else "weights"
