"""A built study as a ``Scope``: built files under ``release/``, artifacts where training put them.

The only part of verify that needs a study's own records; kept apart so that verifying a download never loads them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from release_kit.core.cell import CELL_FILE
from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import inside
from release_kit.core.manifest import RELEASE_FOLDER, CellEntry, Manifest
from release_kit.release.contents import belongs
from release_kit.release.tree import EVAL_PREFIX, SOURCES_PREFIX, CellOrigin, cell_origin
from release_kit.release.verify.scope import Listed, Scope, tree_path_in_download


def study_scope(root: Path, manifest: Manifest, manifest_path: Path, wants: Callable[[str], bool]) -> Scope:
    """Return the scope of the built study in ``root``; ``wants`` says which cells must be there."""
    origins = {cell.name: origin for cell in manifest.cells if (origin := _origin(root, cell)) is not None}
    folders = [Listed(folder=root / RELEASE_FOLDER, to_tree=tree_path_in_download)]
    for cell in manifest.cells:
        if cell.name in origins:
            folders += _folders(cell, origins[cell.name])
    if manifest.is_dataset:
        return _dataset_scope(root, manifest, manifest_path, wants, origins)
    sources = [f"results/{entry.path}" for entry in manifest.results]
    singles = {
        path: inside(root, path.removeprefix(SOURCES_PREFIX)) for path in sources if path.startswith(SOURCES_PREFIX)
    }

    def locate(tree_path: str) -> Path:
        if tree_path in singles:
            return singles[tree_path]
        group, _, rest = tree_path.partition("/")
        name, _, inner = rest.partition("/")
        unbuilt = group == "cells" and name in origins and (inner.startswith(EVAL_PREFIX) or _unbuilt(inner))
        return origins[name].locate(inner) if unbuilt else inside(root / RELEASE_FOLDER, tree_path)

    return Scope(
        kind="study",
        root=root,
        manifest=manifest,
        manifest_path=manifest_path,
        cells=tuple(cell for cell in manifest.cells if wants(cell.name)),
        optional=tuple(cell for cell in manifest.cells if not wants(cell.name)),
        folders=tuple(folders),
        singles=singles,
        locate=locate,
    )


def _dataset_scope(
    root: Path,
    manifest: Manifest,
    manifest_path: Path,
    wants: Callable[[str], bool],
    origins: Mapping[str, CellOrigin],
) -> Scope:
    """Return the scope of a study that releases a dataset: the files that its cells and ``dataset.json`` list."""
    from release_kit.core.dataset_record import read_dataset

    release, record = root / RELEASE_FOLDER, read_dataset(root)
    places = {f"index/{entry.path}": root / record.folder / entry.path for entry in manifest.index}
    places |= {
        f"cells/{cell.name}/{entry.path}": origins[cell.name].locate(entry.path)
        for cell in manifest.cells
        if cell.name in origins
        for entry in cell.files
    }
    singles = {path: file for path, file in places.items() if not inside(release, path).is_file()}
    return Scope(
        kind="study",
        root=root,
        manifest=manifest,
        manifest_path=manifest_path,
        cells=tuple(cell for cell in manifest.cells if wants(cell.name)),
        optional=tuple(cell for cell in manifest.cells if not wants(cell.name)),
        folders=(Listed(folder=release, to_tree=tree_path_in_download),),
        singles=singles,
        locate=lambda path: singles.get(path) or inside(release, path),
    )


def _unbuilt(inner: str) -> bool:
    return belongs(inner) and not inner.startswith(".eval_results/")


def _folders(cell: CellEntry, origin: CellOrigin) -> list[Listed]:
    prefix = f"cells/{cell.name}/"
    listed = [Listed(folder=origin.evaluations, to_tree=lambda path: prefix + EVAL_PREFIX + path)]
    if cell.kind != "results-only":
        listed.append(Listed(folder=origin.artifact, to_tree=lambda path: prefix + path if _unbuilt(path) else None))
    return listed


def _origin(root: Path, cell: CellEntry) -> CellOrigin | None:
    """Return where a cell's files lie; None when its ``cell.json`` is gone or damaged, so that they are missing."""
    from release_kit.core.cell import cell_folder, read_cell

    try:
        return cell_origin(root, read_cell(cell_folder(root, cell.cell_id) / CELL_FILE))
    except ReleaseKitError:
        return None
