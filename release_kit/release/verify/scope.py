"""What a verification covers: which files the manifest expects here, and which folders to look through.

Tells apart the places in which a release can lie: a download, a built study, a snapshot in the Hugging Face cache, a
clone of an index repo, one cell's or the results' folder. All of them are brought to the paths of the release tree;
what is then compared is the same for all.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from release_kit.core.dataset_tree import HOME_FOLDER, local_path
from release_kit.core.errors import ArtifactError, UsageError
from release_kit.core.files import STATE_FOLDER, TEMPORARY_PREFIX
from release_kit.core.manifest import CellEntry, FileEntry, Manifest
from release_kit.core.records import nearest
from release_kit.release.download.state import Selection

Found = tuple[str, os.stat_result]
"""A file that is there: where it lies on this disk, and its stat (symbolic links followed)."""

ToTree = Callable[[str], str | None]
"""From the path inside a folder to the path in the release tree; None for what is no part of any release."""

BESIDE = frozenset({"manifest.json", "placement.json", "manifest.sigstore.json"})
"""Files at the top of a release that the manifest cannot list."""

_OF_THE_HUB = frozenset({".gitattributes"})
"""What a Hub puts into every repo."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One folder to look through."""

    folder: Path
    to_tree: ToTree


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What is to be verified and where it lies."""

    kind: str
    root: Path
    manifest: Manifest
    manifest_path: Path
    cells: tuple[CellEntry, ...]
    """The cells whose files must be here."""
    groups: tuple[str, ...] = ("index", "results")
    """Which of ``index`` and ``results`` must be here."""
    optional: tuple[CellEntry, ...] = ()
    """Cells that need not be here; they are checked when any of their files is."""
    folders: tuple[Listed, ...] = ()
    singles: Mapping[str, Path] = field(default_factory=dict)
    """Tree path → file, for files in folders that hold other things as well."""
    locate: Callable[[str], Path] = field(kw_only=True)
    """Where a file of the release tree lies, or would lie."""
    selection: Selection | None = None
    """What the download was asked for, where that is recorded."""


def cell_files(cell: CellEntry) -> dict[str, FileEntry]:
    """Return ``{tree path: entry}`` of one cell."""
    return {f"cells/{cell.name}/{entry.path}": entry for entry in cell.files}


def expected_files(scope: Scope, found: Mapping[str, Found]) -> tuple[dict[str, FileEntry], list[CellEntry]]:
    """Return what must be here and the cells that it covers; optional cells count when any file of theirs is here."""
    here = {path.split("/", 2)[1] for path in found if path.startswith("cells/")}
    cells = [*scope.cells, *(cell for cell in scope.optional if cell.name in here)]
    expected: dict[str, FileEntry] = {}
    for cell in cells:
        expected.update(cell_files(cell))
    for group in scope.groups:
        expected.update((f"{group}/{entry.path}", entry) for entry in getattr(scope.manifest, group))
    return expected, cells


def list_found(scope: Scope) -> dict[str, Found]:
    """Return ``{tree path: (file, stat)}`` of every file in the scope's folders.

    Raises:
        ArtifactError: a folder cannot be listed.
    """
    found: dict[str, Found] = {}
    for listed in scope.folders:
        try:
            _list(listed.folder, "", listed.to_tree, found)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ArtifactError(f"cannot be listed ({error.strerror})", where=str(error.filename)) from error
    for tree_path, path in scope.singles.items():
        if path.is_file():
            found[tree_path] = (str(path), path.stat())
    return found


def _list(folder: Path | str, prefix: str, to_tree: ToTree, found: dict[str, Found]) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name == STATE_FOLDER or entry.name.startswith(TEMPORARY_PREFIX):
                continue
            if entry.is_dir(follow_symlinks=False):
                if f"{prefix}{entry.name}" not in (".git", ".cache") and not _client_cache(entry):
                    _list(entry.path, f"{prefix}{entry.name}/", to_tree, found)
            elif _is_file(entry) and (tree_path := to_tree(prefix + entry.name)) is not None:
                found[tree_path] = (entry.path, entry.stat())


def _is_file(entry: os.DirEntry) -> bool:
    """Return whether an entry is a file or leads to one; a link in a circle is none."""
    try:
        return entry.is_file()
    except OSError:
        return False


def _client_cache(entry: os.DirEntry) -> bool:
    return entry.name == ".cache" and os.path.isdir(os.path.join(entry.path, "huggingface"))


def tree_path_in_download(path: str) -> str | None:
    """Return the tree path of a file in a download: the same, less what stands beside the release."""
    return None if path in BESIDE else path


def tree_path_in_dataset(manifest: Manifest) -> ToTree:
    """Return the mapping for a dataset, in which every file lies at its own path."""
    known = {local_path(path, dataset=True): path for path, _ in manifest.iter_files()}

    def to_tree(path: str) -> str | None:
        if path in _OF_THE_HUB or path.startswith(f"{HOME_FOLDER}/"):
            return None
        return known.get(path, f"index/{path}")

    return to_tree


def tree_path_in_index_repo(path: str) -> str | None:
    """Return the tree path of a file in a snapshot of the index repo, whose root is the ``index`` group."""
    if path in BESIDE or path in _OF_THE_HUB:
        return None
    return path if path.startswith("cells/") else f"index/{path}"


def tree_path_under(prefix: str) -> ToTree:
    """Return the mapping for a folder that holds one group, ``prefix`` ending with ``/``."""

    def to_tree(path: str) -> str | None:
        return None if path in _OF_THE_HUB or path in BESIDE else prefix + path

    return to_tree


def named_cell(manifest: Manifest, name: str) -> CellEntry:
    """Return the cell with this name or id.

    Raises:
        UsageError: the release has none, with the nearest name.
    """
    for cell in manifest.cells:
        if name in (cell.name, cell.cell_id):
            return cell
    step = nearest(name, [cell.name for cell in manifest.cells])
    raise UsageError(f"the release has no cell {name!r}{step}", where="--cell")


def selected_names(manifest: Manifest, terms: Sequence[str]) -> tuple[str, ...] | None:
    """Return the names of the cells that ``--select`` terms mean; None when there are no terms.

    Raises:
        UsageError: an unknown factor or level, or no cell is left.
    """
    if not terms:
        return None
    from release_kit.core.grid import matches, parse_selection

    factors: dict[str, list] = {}
    for cell in manifest.cells:
        for factor, level in cell.levels.items():
            known = factors.setdefault(factor, [])
            if not any(level == other and type(level) is type(other) for other in known):
                known.append(level)
    partial = parse_selection(terms, factors)
    names = tuple(cell.name for cell in manifest.cells if matches(cell.levels, partial))
    if not names:
        raise UsageError("no cell of the release has all of these levels", where="--select " + " ".join(terms))
    return names
