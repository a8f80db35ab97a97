"""Recognise what a folder is — download, study, snapshot, clone, cell, results — and open it as a ``Scope``.

Reads the manifest and what stands beside it (selection, placement), and says when these contradict each other.
Looks at no file of the release.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from release_kit.core import canonical
from release_kit.core.dataset_tree import local_path
from release_kit.core.errors import RecordError, ReleaseKitError, UsageError
from release_kit.core.files import inside
from release_kit.core.manifest import MANIFEST_FILE, RELEASE_FOLDER, CellEntry, Manifest, own_folder
from release_kit.core.placement import PLACEMENT_FILE, Placement
from release_kit.core.words import STUDY_FILE
from release_kit.release.download.cache import snapshot_at
from release_kit.release.download.state import Selection, read_selection, selection_path
from release_kit.release.verify.report import Difference
from release_kit.release.verify.scope import (
    Listed,
    Scope,
    named_cell,
    selected_names,
    tree_path_in_dataset,
    tree_path_in_download,
    tree_path_under,
)

Wants = Callable[[str], bool]


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A target that was recognised."""

    scope: Scope
    manifest_bytes: bytes
    differences: tuple[Difference, ...] = ()
    """What the files beside the manifest say against it."""
    notes: tuple[str, ...] = ()


def open_target(
    path: Path, *, manifest: Path | None = None, cell: str | None = None, select: Sequence[str] = ()
) -> Opened:
    """Recognise ``path`` and return what is to be verified there.

    Args:
        path: a download, a built study, a snapshot or clone of a release's repo, or a folder with one cell.
        manifest: the release's manifest, for folders that have none of their own.
        cell: name or id of the one cell that ``path`` holds.
        select: ``factor=level`` terms; other cells need not be there.

    Raises:
        RecordError: nothing there, no manifest, or a manifest that is not valid.
        UsageError: ``cell`` or ``select`` name what the release does not have.
    """
    if not path.is_dir():
        raise no_manifest(path)
    manifest_path = manifest or _own_manifest(path)
    data = _read(manifest_path)
    read = Manifest.from_dict(canonical.parse_json(data, str(manifest_path)), str(manifest_path))
    scope = _scope(path, read, manifest_path, cell, select, own=manifest is None)
    differences, notes = _beside(path, scope, hashlib.sha256(data).hexdigest()) if manifest is None else ((), ())
    return Opened(scope=scope, manifest_bytes=data, differences=differences, notes=notes)


def no_manifest(path: Path) -> ReleaseKitError:
    """Return the error for a folder without a manifest, with the step that fits."""
    if not path.exists():
        return RecordError("does not exist", where=str(path), next_step="name a download, a built study or a snapshot")
    selection = read_selection(selection_path(path)) if path.is_dir() else None
    if selection is not None:
        step = f"run again: release-kit download {selection.repo_id}@{selection.revision} {path}"
        return RecordError("the download into this folder was interrupted", where=str(path), next_step=step)
    if (path / STUDY_FILE).is_file():
        return RecordError("the study is not built", where=str(path), next_step=f"run: release-kit build {path}")
    return RecordError(
        "holds no manifest, so that nothing can be verified",
        where=str(path),
        next_step="download the release again, or give its manifest with --manifest FILE",
    )


def _own_manifest(path: Path) -> Path:
    nested = path / RELEASE_FOLDER / MANIFEST_FILE
    if (path / STUDY_FILE).is_file() and nested.is_file():
        return nested
    if (own_folder(path) / MANIFEST_FILE).is_file():
        return own_folder(path) / MANIFEST_FILE
    raise no_manifest(path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordError(f"cannot be read ({error.strerror})", where=str(path)) from error


def _scope(
    path: Path, manifest: Manifest, manifest_path: Path, cell: str | None, select: Sequence[str], *, own: bool
) -> Scope:
    names = selected_names(manifest, select)
    if manifest.is_dataset and manifest_path.parent != path / RELEASE_FOLDER:
        return _dataset_scope(path, manifest, manifest_path, names, cell, own=own)
    if cell is not None:
        return _cell_scope(_folder_of(path, manifest, named_cell(manifest, cell)), manifest, manifest_path, cell)
    selection = read_selection(selection_path(path)) if own else None

    def wants(name: str) -> bool:
        return (names is None or name in names) and (selection is None or selection.wants(name))

    if own and manifest_path.parent.name == RELEASE_FOLDER and manifest_path.parent.parent == path:
        from release_kit.release.verify.study import study_scope

        return study_scope(path, manifest, manifest_path, wants)
    if own and selection is None and not (path / "index").is_dir() and (placement := _placement(path)) is not None:
        from release_kit.release.verify.snapshot import index_repo_scope

        return index_repo_scope(path, manifest, manifest_path, placement, wants)
    if own or (path / "cells").is_dir() or (path / "index").is_dir():
        return _download_scope(path, manifest, manifest_path, wants, selection)
    if (path / "cell.json").is_file():
        found = _cell_id(path / "cell.json")
        return _cell_scope(path, manifest, manifest_path, found)
    if (path / "results.parquet").is_file():
        return _results_scope(path, manifest, manifest_path)
    raise UsageError(
        "it is not clear which part of the release this folder holds",
        where=str(path),
        next_step="name the cell with --cell NAME",
    )


def _dataset_scope(
    path: Path,
    manifest: Manifest,
    manifest_path: Path,
    names: Sequence[str] | None,
    cell: str | None,
    *,
    own: bool,
) -> Scope:
    """Return the scope of a dataset: a download, a clone of its repo or a snapshot in the cache."""
    cached = snapshot_at(path)
    record = selection_path(path) if cached is None else cached.selection_file
    selection = read_selection(record) if own else None
    wanted = names if cell is None else (named_cell(manifest, cell).name,)

    def wants(name: str) -> bool:
        return (wanted is None or name in wanted) and (selection is None or selection.wants(name))

    return Scope(
        kind="cache" if cached is not None else "download" if selection is not None else "repo",
        root=path,
        manifest=manifest,
        manifest_path=manifest_path,
        cells=tuple(found for found in manifest.cells if wants(found.name)),
        optional=tuple(found for found in manifest.cells if not wants(found.name)),
        groups=("index",),
        folders=(Listed(folder=path, to_tree=tree_path_in_dataset(manifest)),),
        locate=lambda tree_path: inside(path, local_path(tree_path, dataset=True)),
        selection=selection,
    )


def _cell_id(path: Path) -> str:
    from release_kit.core.cell import read_cell

    return read_cell(path).cell_id


def _folder_of(path: Path, manifest: Manifest, cell: CellEntry) -> Path:
    """Return where the named cell lies: in ``path`` itself, or in its folder of a download or clone."""
    nested = path / "cells" / cell.name
    return nested if nested.is_dir() else path


def _download_scope(
    root: Path, manifest: Manifest, manifest_path: Path, wants: Wants, selection: Selection | None
) -> Scope:
    return Scope(
        kind="download",
        root=root,
        manifest=manifest,
        manifest_path=manifest_path,
        cells=tuple(cell for cell in manifest.cells if wants(cell.name)),
        optional=tuple(cell for cell in manifest.cells if not wants(cell.name)),
        folders=(Listed(folder=root, to_tree=tree_path_in_download),),
        locate=lambda path: inside(root, path),
        selection=selection,
    )


def _cell_scope(root: Path, manifest: Manifest, manifest_path: Path, name: str) -> Scope:
    cell = named_cell(manifest, name)
    prefix = f"cells/{cell.name}/"
    return Scope(
        kind="cell",
        root=root,
        manifest=manifest,
        manifest_path=manifest_path,
        cells=(cell,),
        groups=(),
        folders=(Listed(folder=root, to_tree=tree_path_under(prefix)),),
        locate=lambda path: inside(root, path.removeprefix(prefix)),
    )


def _results_scope(root: Path, manifest: Manifest, manifest_path: Path) -> Scope:
    return Scope(
        kind="results",
        root=root,
        manifest=manifest,
        manifest_path=manifest_path,
        cells=(),
        groups=("results",),
        folders=(Listed(folder=root, to_tree=tree_path_under("results/")),),
        locate=lambda path: inside(root, path.removeprefix("results/")),
    )


def _placement(path: Path) -> Placement | None:
    file = own_folder(path) / PLACEMENT_FILE
    return Placement.from_dict(canonical.read_json(file), str(file)) if file.is_file() else None


def _beside(path: Path, scope: Scope, manifest_sha256: str) -> tuple[tuple[Difference, ...], tuple[str, ...]]:
    """Compare the manifest with the placement and the selection that stand beside it."""
    found: list[Difference] = []
    step = "run the download again into an empty folder"
    try:
        placement = _placement(path)
    except RecordError as error:
        found.append(Difference(code="placement", where=PLACEMENT_FILE, what=error.what, next_step=step))
        placement = None
    if placement is not None and placement.manifest_sha256 != manifest_sha256:
        what = f"belongs to the manifest {placement.manifest_sha256[:12]}…, this one is {manifest_sha256[:12]}…"
        found.append(Difference(code="placement", where=PLACEMENT_FILE, what=what, next_step=step))
    selection = scope.selection
    if selection is not None and not selection.complete:
        again = f"run again: release-kit download {selection.repo_id}@{selection.revision} {path}"
        found.append(Difference(code="incomplete", where=str(path), what="was interrupted", next_step=again))
    elif selection is not None and selection.manifest_sha256 != manifest_sha256:
        what = f"is not the one that was downloaded ({selection.manifest_sha256[:12]}…, now {manifest_sha256[:12]}…)"
        found.append(Difference(code="manifest", where=MANIFEST_FILE, what=what, next_step=step))
    return tuple(found), ()
