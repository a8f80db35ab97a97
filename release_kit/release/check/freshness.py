"""Is what was built still what lies there: the manifest against the files of today, and the cards against the results.

Silent before the first build. Digests are those of the survey, so nothing is read twice; built files are looked up like
artifacts.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from release_kit.core.cell import CELLS_FOLDER, MODEL_FOLDER, cell_folder
from release_kit.core.collect import EVAL_FOLDER
from release_kit.core.dataset_record import read_dataset
from release_kit.core.digest_cache import DigestCache, digest_files
from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import iter_files
from release_kit.core.hashing import FileDigest
from release_kit.core.manifest import MANIFEST_FILE, RELEASE_FOLDER, FileEntry, Manifest, read_manifest
from release_kit.core.wording import counted
from release_kit.release.cards.compare import check_cards
from release_kit.release.cards.inputs import CARD_FILE, read_card_inputs
from release_kit.release.cards.inputs import is_built as is_built_file
from release_kit.release.cards.problems import CardProblem
from release_kit.release.check.codes import problem
from release_kit.release.check.problem import ERROR, WARNING, Problem
from release_kit.release.check.views import WEIGHT_SUFFIXES, Survey
from release_kit.release.extra import EXTRA_FOLDER
from release_kit.release.tree import EVAL_PREFIX, SOURCES_PREFIX

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
        manifest = read_manifest(survey.study.folder / RELEASE_FOLDER)
    except ReleaseKitError as error:
        yield problem("release-broken", survey.relative(error.where) or path, error.what, path=path)
        return
    same = manifest.version == survey.study.version and manifest.study == survey.study.name
    if not same:
        what = f"is of {manifest.study} {manifest.version}, study.yaml is {survey.study.name} {survey.study.version}"
        yield problem("release-stale", path, what, path=path)
    states = _states(survey, manifest, cache)
    owners = _weights_by_digest(manifest)
    for card in _stale_cards(survey, manifest) if same else ():  # a new version changes every card
        yield card
        tree_path = (card.path or "").removeprefix(f"{RELEASE_FOLDER}/")
        for state in states.values():
            state.changed.pop(tree_path, None)
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


def _states(survey: Survey, manifest: Manifest, cache: DigestCache | None) -> dict[str, _State]:
    known: dict[str, FileDigest | ReleaseKitError] = {
        str(file.file): file.digest for view in survey.cells.values() for file in view.files
    }
    ids = {f"cells/{cell.name}": cell.cell_id for cell in manifest.cells}
    located = list(_located(survey, manifest))
    rest = [file for _, _, file in located if file not in known]
    known |= dict(zip(rest, digest_files(map(Path, rest), cache=cache, tensors=False), strict=True))
    states: dict[str, _State] = {}
    for path, entry, file in located:
        group = _group(path)
        state = states.setdefault(group, _State(cell_id=ids.get(group)))
        digest = known[file]
        if isinstance(digest, FileDigest):
            if digest.sha256 != entry.sha256:
                state.changed[path] = digest.sha256
        elif os.path.lexists(file):
            state.changed[path] = ""
        else:
            state.gone.append(path)
    for cell in manifest.cells:
        listed = {entry.path for entry in cell.files}
        group = f"cells/{cell.name}"
        came = [f"{group}/{inner}" for inner in _present(survey, cell.cell_id) if inner not in listed]
        states.setdefault(group, _State(cell_id=cell.cell_id)).came += came
    return states


def _located(survey: Survey, manifest: Manifest) -> Iterator[tuple[str, FileEntry, str]]:
    """Yield ``(path in the tree, entry, file)``; the manifest's reader has refused paths that leave the tree.

    A plain join instead of ``ReleaseTree.locate``: ten thousand files are looked up here.
    """
    study = str(survey.study.folder)
    for cell in manifest.cells:
        view = survey.cells.get(cell.cell_id)
        artifact = str(view.folder) if view else f"{study}/{CELLS_FOLDER}/{cell.cell_id}/{MODEL_FOLDER}"
        for entry in cell.files:
            tree_path = f"cells/{cell.name}/{entry.path}"
            if manifest.is_dataset:
                yield tree_path, entry, f"{artifact}/{entry.path}"
            elif is_built_file(entry.path):
                yield tree_path, entry, f"{study}/{RELEASE_FOLDER}/{tree_path}"
            elif entry.path.startswith(EVAL_PREFIX):
                inner = entry.path.removeprefix(EVAL_PREFIX)
                yield tree_path, entry, f"{study}/{CELLS_FOLDER}/{cell.cell_id}/{EVAL_FOLDER}/{inner}"
            else:
                yield tree_path, entry, f"{artifact}/{entry.path}"
    if manifest.is_dataset:
        shared = f"{study}/{read_dataset(survey.study.folder).folder}"
        for entry in manifest.index:
            folder = f"{study}/{RELEASE_FOLDER}/index" if entry.path == CARD_FILE else shared
            yield f"index/{entry.path}", entry, f"{folder}/{entry.path}"
        return
    extra = {path for path, _ in iter_files(survey.study.folder / EXTRA_FOLDER)} if _has_extra(survey) else set()
    for group, entries in (("index", manifest.index), ("results", manifest.results)):
        for entry in entries:
            tree_path = f"{group}/{entry.path}"
            source = tree_path.removeprefix(SOURCES_PREFIX)
            lies = source if source != tree_path else f"{RELEASE_FOLDER}/{tree_path}"
            if group == "index" and entry.path in extra:
                lies = f"{EXTRA_FOLDER}/{entry.path}"
            yield tree_path, entry, f"{study}/{lies}"


def _has_extra(survey: Survey) -> bool:
    return (survey.study.folder / EXTRA_FOLDER).is_dir()


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


def _stale_cards(survey: Survey, manifest: Manifest) -> Iterator[Problem]:
    """Ask the cards room; one problem for each card, with the first of what it says."""
    cells = {cell_id: view.cell for cell_id, view in survey.cells.items()}
    try:
        report = check_cards(read_card_inputs(survey.study, manifest=manifest, cells=cells))
    except ReleaseKitError as error:
        yield problem("card-stale", survey.relative(error.where) or RELEASE_FOLDER, error.what)
        return
    by_card: dict[str, list[CardProblem]] = defaultdict(list)
    for found in report.problems:
        if found.severity == ERROR and found.code != "card-missing":  # a missing file is gone from the manifest too
            by_card[found.path].append(found)
    step = f"see release-kit cards {survey.study.folder} --check; then regenerate them and build again"
    for card, said in by_card.items():
        more = f" … and {len(said) - 1} more" if len(said) > 1 else ""
        # Drawings change with the version of release_kit too; numbers and words do not.
        drawn = all(found.code in ("figure-stale", "file-stale") for found in said)
        path = f"{RELEASE_FOLDER}/{card}"
        yield problem(
            "card-stale", path, f"{said[0].what}{more}", next_step=step, severity=WARNING if drawn else None, path=path
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
        what = f"the manifest lists {counted(len(lost), 'cell')} that the study no longer declares (first: {lost[0]})"
        yield problem("release-stale", f"{RELEASE_FOLDER}/{MANIFEST_FILE}", what)
