"""Is what was built still what lies there: the manifest against the files of today, and the cards against the results.

Silent before the first build. Digests are those of the survey, so nothing is read twice; built files are looked up like
artifacts.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from release_kit.core.cell import cell_folder
from release_kit.core.collect import EVAL_FOLDER
from release_kit.core.digest_cache import DigestCache, digest_files
from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import iter_files
from release_kit.core.hashing import FileDigest
from release_kit.core.manifest import MANIFEST_FILE, RELEASE_FOLDER, Manifest
from release_kit.release.cards.inputs import is_built as is_built_file
from release_kit.release.check.codes import problem
from release_kit.release.check.problem import Problem
from release_kit.release.check.views import WEIGHT_SUFFIXES, Survey
from release_kit.release.tree import EVAL_PREFIX, SOURCES_PREFIX, ReleaseTree, open_tree

_SHOWN = 4


def is_built(survey: Survey) -> bool:
    """Return whether the study has a release at all."""
    return (survey.study.folder / RELEASE_FOLDER / MANIFEST_FILE).is_file()


def check_freshness(survey: Survey, cache: DigestCache | None = None) -> Iterator[Problem]:
    """Yield every cell and every built group whose files are no longer those of the manifest."""
    if not is_built(survey):
        return
    path = f"{RELEASE_FOLDER}/{MANIFEST_FILE}"
    try:
        tree = open_tree(survey.study.folder)
    except ReleaseKitError as error:
        if not survey.broken_cells:  # broken cells are reported by the grid family, and the tree needs them
            yield problem("release-broken", survey.relative(error.where) or path, error.what, path=path)
        return
    manifest = tree.manifest
    if manifest.version != survey.study.version or manifest.study != survey.study.name:
        what = f"is of {manifest.study} {manifest.version}, study.yaml is {survey.study.name} {survey.study.version}"
        yield problem("release-stale", path, what, path=path)
    states = _states(survey, tree, cache)
    owners = _weights_by_digest(manifest)
    for group, state in states.items():
        yield from _swapped(survey, group, state, owners)
        yield from _changed(survey, group, state)
    yield from _new_cells(survey, manifest)


@dataclass
class _State:
    """What became of the files of one group (a cell, the index, the results) since the build."""

    cell_id: str | None
    changed: dict[str, str] = field(default_factory=dict)
    """Path → sha256 of today."""
    gone: list[str] = field(default_factory=list)
    came: list[str] = field(default_factory=list)


def _states(survey: Survey, tree: ReleaseTree, cache: DigestCache | None) -> dict[str, _State]:
    manifest = tree.manifest
    views = survey.cells.values()
    known: dict[Path, FileDigest | ReleaseKitError] = {file.file: file.digest for view in views for file in view.files}
    ids = {f"cells/{cell.name}": cell.cell_id for cell in manifest.cells}
    located = [(_group(path), path, entry, _locate(tree, path)) for path, entry in manifest.iter_files()]
    rest = [file for _, _, _, file in located if file not in known and file.is_file()]
    known |= dict(zip(rest, digest_files(rest, cache=cache, tensors=False), strict=True))
    states: dict[str, _State] = {}
    for group, path, entry, file in located:
        state = states.setdefault(group, _State(cell_id=ids.get(group)))
        digest = known.get(file)
        if digest is None:
            state.gone.append(path)
        elif not isinstance(digest, FileDigest) or digest.sha256 != entry.sha256:
            state.changed[path] = digest.sha256 if isinstance(digest, FileDigest) else ""
    for cell in manifest.cells:
        listed = {entry.path for entry in cell.files}
        group = f"cells/{cell.name}"
        came = [f"{group}/{inner}" for inner in _present(survey, cell.cell_id) if inner not in listed]
        states.setdefault(group, _State(cell_id=cell.cell_id)).came += came
    return states


def _locate(tree: ReleaseTree, path: str) -> Path:
    """Return where a file of the manifest lies; its reader has refused every path that leaves the tree."""
    parts = path.split("/", 2)
    if parts[0] == "cells" and parts[1] in tree.origins and not is_built_file(parts[2]):
        return tree.origins[parts[1]].locate(parts[2])
    if path.startswith(SOURCES_PREFIX):
        return tree.locate(path)
    return tree.root / RELEASE_FOLDER / path


def _group(path: str) -> str:
    parts = path.split("/")
    return "/".join(parts[:2]) if parts[0] == "cells" else parts[0]


def _present(survey: Survey, cell_id: str) -> Iterator[str]:
    """Yield the unbuilt files that a build would take for this cell today."""
    view = survey.cells.get(cell_id)
    if view is None:
        return
    if not view.results_only:
        yield from (file.inner for file in view.files if file.released)
    evaluations: Path = cell_folder(survey.study.folder, cell_id) / EVAL_FOLDER
    for inner, _ in iter_files(evaluations) if evaluations.is_dir() else ():
        yield EVAL_PREFIX + inner


def _weights_by_digest(manifest: Manifest) -> dict[str, list[str]]:
    owners: dict[str, list[str]] = defaultdict(list)
    for cell in manifest.cells:
        for entry in cell.files:
            if entry.path.endswith(WEIGHT_SUFFIXES):
                owners[entry.sha256].append(cell.cell_id)
    return owners


def _swapped(survey: Survey, group: str, state: _State, owners: Mapping[str, list[str]]) -> Iterator[Problem]:
    """Name the cell to which changed weights belong by the manifest; such files are not reported as changed again."""
    for path, sha256 in list(state.changed.items()):
        others = [cell_id for cell_id in owners.get(sha256, ()) if cell_id != state.cell_id]
        if state.cell_id is None or not others:
            continue
        del state.changed[path]
        inner = path.removeprefix(f"{group}/")
        owner = others[0] if others[0] in survey.declared or others[0] in survey.cells else None
        named = survey.other(owner, state.cell_id) if owner else others[0]
        what = f"{inner} is what the manifest lists under {named}"
        view = survey.cells.get(state.cell_id)
        file = view.file(inner) if view else None
        yield problem(
            "release-swapped", survey.name(state.cell_id), what, cell_id=state.cell_id, path=file.path if file else None
        )


def _changed(survey: Survey, group: str, state: _State) -> Iterator[Problem]:
    parts = [
        f"{len(paths)} {_FORMS[word]}: {_listed(group, paths)}"
        for word, paths in (("changed", list(state.changed)), ("gone", state.gone), ("came", state.came))
        if paths
    ]
    if parts:
        where = survey.name(state.cell_id) if state.cell_id else f"{RELEASE_FOLDER}/{group}"
        yield problem("release-stale", where, "; ".join(parts), cell_id=state.cell_id)


_FORMS = {"changed": "changed", "gone": "gone", "came": "not in the manifest"}


def _listed(group: str, paths: list[str]) -> str:
    names = [path.removeprefix(f"{group}/") for path in sorted(paths)]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _new_cells(survey: Survey, manifest: Manifest) -> Iterator[Problem]:
    listed = {cell.cell_id for cell in manifest.cells}
    present = [i for i in survey.declared if i in survey.cells or i in survey.results_by_cell]
    new = [cell_id for cell_id in present if cell_id not in listed]
    if new:
        cell_id = new[0] if len(new) == 1 else None
        yield problem("release-stale", survey.place(new), "on disk, but not in the manifest", cell_id=cell_id)
    lost = sorted(listed - set(survey.declared))
    if lost:
        what = f"the manifest lists {len(lost)} cells that the study no longer declares (first: {lost[0]})"
        yield problem("release-stale", f"{RELEASE_FOLDER}/{MANIFEST_FILE}", what)
