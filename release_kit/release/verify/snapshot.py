"""A release in the Hugging Face cache, or a clone of its index repo, as a ``Scope``.

In the index repo the root is the ``index`` group. In the ``folders`` layout the cells lie in it; in the other layouts
the cache holds them as snapshots of their own, which are found through the placement.
"""

from collections.abc import Callable
from pathlib import Path

from release_kit.core.files import inside
from release_kit.core.manifest import Manifest
from release_kit.core.placement import Place, Placement
from release_kit.release.download.cache import snapshot_at, snapshot_folder
from release_kit.release.download.state import read_selection
from release_kit.release.verify.scope import Listed, Scope, tree_path_in_index_repo, tree_path_under


def index_repo_scope(
    root: Path, manifest: Manifest, manifest_path: Path, placement: Placement, wants: Callable[[str], bool]
) -> Scope:
    """Return the scope of a snapshot or clone of an index repo.

    Cells and results in repos of their own are covered where the cache has them at the commit of the placement.
    """
    cached = snapshot_at(root)
    selection = None if cached is None else read_selection(cached.selection_file)
    own: dict[str, Path] = {}
    for name, place in placement.cells.items():
        folder = None if cached is None or place.prefix else _snapshot(cached.cache, place)
        if folder is not None:
            own[name] = folder
    results = _snapshot(cached.cache, placement.results) if cached is not None and placement.results else None
    folders = [Listed(folder=root, to_tree=tree_path_in_index_repo)]
    folders += [Listed(folder=folder, to_tree=tree_path_under(f"cells/{name}/")) for name, folder in own.items()]
    if results is not None:
        folders.append(Listed(folder=results, to_tree=tree_path_under("results/")))

    def locate(path: str) -> Path:
        group, _, rest = path.partition("/")
        name, _, inner = rest.partition("/")
        if group == "cells" and name in own:
            return inside(own[name], inner)
        if group == "results" and results is not None:
            return inside(results, rest)
        return inside(root, path.removeprefix("index/"))

    def must_be_here(name: str) -> bool:
        place = placement.cells.get(name)
        within = place is not None and bool(place.prefix)
        return wants(name) and (name in own or (within and (selection is None or selection.wants(name))))

    return Scope(
        kind="repo" if cached is None else "cache",
        root=root,
        manifest=manifest,
        manifest_path=manifest_path,
        cells=tuple(cell for cell in manifest.cells if must_be_here(cell.name)),
        optional=tuple(cell for cell in manifest.cells if not must_be_here(cell.name)),
        groups=("index",) if results is None else ("index", "results"),
        folders=tuple(folders),
        locate=locate,
        selection=selection,
    )


def _snapshot(cache: Path, place: Place) -> Path | None:
    folder = snapshot_folder(cache, place.repo_id, place.repo_type, place.revision)
    return folder if folder.is_dir() else None
