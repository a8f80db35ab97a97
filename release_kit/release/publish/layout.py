"""Where each file of a release goes on the Hub: four layouts from one manifest.

Pure: nothing is sent, asked or read here. What a plan costs is ``publish/cost.py``; ``publish.py`` carries it out.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from release_kit.core.dataset_tree import HOME_FOLDER, TREE_LAYOUT
from release_kit.core.errors import PublishError
from release_kit.core.manifest import FileEntry, Manifest
from release_kit.core.study import LAYOUTS
from release_kit.core.wording import counted
from release_kit.hub.filemodes import is_large_by_name
from release_kit.hub.pacing import COMMITS_PER_HOUR
from release_kit.hub.reference import Repo
from release_kit.release.naming import name_problem

COMMIT_FILES = 1000
COMMIT_INLINE_BYTES = 24 * 1024 * 1024
"""One commit of the ``folders`` layout holds at most this many files and bytes of regular files."""

FOLDER_ENTRIES = 10_000
FILE_LIMIT_BYTES = 500 * 10**9
MANY_CELLS = 100
"""Up to here every cell gets a repo of its own by default."""

_REF = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,199}\Z")


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedFile:
    """One file: its path in the repo, its path in the release tree, its identities."""

    path: str
    tree_path: str
    entry: FileEntry


@dataclass(frozen=True, kw_only=True)
class Target:
    """What ends up together on one branch, under one tag; ``cells`` maps cell names to their folder in it."""

    key: str
    repo: Repo
    branch: str
    tag: str | None
    files: tuple[PlacedFile, ...]
    cells: Mapping[str, str] = field(default_factory=dict)
    by_parts: bool = False
    """Whether several commits may bring it (a shared branch that is only read by tag)."""
    domain: str | None = None
    """Which paths of the branch it is about: those that begin with this; ``!cells/`` means all that do not."""

    @cached_property
    def entries(self) -> dict[str, FileEntry]:
        """Path in the repo → identities."""
        return {file.path: file.entry for file in self.files}

    @cached_property
    def sources(self) -> dict[str, PlacedFile]:
        """Path in the repo → file."""
        return {file.path: file for file in self.files}

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.entry.size_bytes for file in self.files)


@dataclass(frozen=True, kw_only=True)
class PublishPlan:
    """Everything that a publication of a manifest does, if nothing of it is on the Hub yet."""

    study: str
    version: str
    layout: str
    reason: str
    namespace: str
    tag: str
    manifest_sha256: str
    index_repo: Repo
    results_repo: Repo | None
    cell_targets: tuple[Target, ...]
    results_target: Target | None
    index_files: tuple[PlacedFile, ...]
    collection: bool = True

    @property
    def targets(self) -> tuple[Target, ...]:
        """All targets that are published before the index."""
        return self.cell_targets + ((self.results_target,) if self.results_target else ())

    @property
    def repos(self) -> tuple[Repo, ...]:
        """Every repo once: index first, results, then cells."""
        found = [self.index_repo, *([self.results_repo] if self.results_repo else [])]
        return tuple(dict.fromkeys([*found, *(target.repo for target in self.cell_targets)]))

    @property
    def reference(self) -> str:
        """What ``release-kit download`` takes."""
        return f"{self.index_repo.id}@{self.tag}"

    def iter_files(self) -> Iterator[PlacedFile]:
        """Yield every file that the manifest lists."""
        for target in self.targets:
            yield from target.files
        yield from self.index_files

    @property
    def n_files(self) -> int:
        """Files, with ``manifest.json`` and ``placement.json``."""
        return sum(1 for _ in self.iter_files()) + 2

    @property
    def n_bytes(self) -> int:
        """Bytes of the files that the manifest lists."""
        return sum(file.entry.size_bytes for file in self.iter_files())

    @property
    def n_commits(self) -> int:
        """Commits, the index included."""
        return sum(_n_commits(target) for target in self.targets) + 1


def plan_publish(
    manifest: Manifest,
    *,
    namespace: str,
    layout: str | None = None,
    manifest_sha256: str = "",
    collection: bool = True,
) -> PublishPlan:
    """Return where every file of ``manifest`` goes.

    Args:
        manifest: the built release.
        namespace: account or organisation.
        layout: ``repos``, ``branches``, ``folders`` or ``tree``; None chooses, and the plan says why.
        manifest_sha256: sha256 of the manifest's bytes.
        collection: whether the repos are put into a collection.

    Raises:
        PublishError: names that the Hub refuses, an empty release, a file or folder beyond the Hub's limits; all
            problems in one message.
    """
    reason = "asked for"
    if layout is None:
        layout, reason = choose_layout(manifest)
    if layout not in (*LAYOUTS, TREE_LAYOUT):
        raise PublishError(f"{layout!r} is not a layout", next_step=f"use one of: {', '.join(LAYOUTS)}")
    if (layout == TREE_LAYOUT) != manifest.is_dataset:
        what = "a dataset lies on the Hub as 'tree'" if manifest.is_dataset else "only a dataset lies there as 'tree'"
        raise PublishError(f"the layout {layout!r} does not fit this release: {what}", next_step="leave out --layout")
    tag = f"v{manifest.version}"
    index = Repo(f"{namespace}/{manifest.study}", "dataset" if manifest.is_dataset else "model")
    results = Repo(f"{namespace}/{manifest.study}-results", "dataset") if manifest.results else None
    _check_names(manifest, namespace, layout, tag)
    place = {"repos": _as_repos, "branches": _as_branches, "folders": _as_folders, TREE_LAYOUT: _as_tree}[layout]
    return PublishPlan(
        study=manifest.study,
        version=manifest.version,
        layout=layout,
        reason=reason,
        namespace=namespace,
        tag=tag,
        manifest_sha256=manifest_sha256,
        index_repo=index,
        results_repo=results,
        cell_targets=tuple(place(manifest, namespace, index, tag)),
        results_target=_results_target(manifest, results, tag) if results else None,
        index_files=() if manifest.is_dataset else _index_files(manifest),
        collection=collection,
    )


def choose_layout(manifest: Manifest) -> tuple[str, str]:
    """Return the layout that fits a release, and why."""
    n = len(manifest.cells)
    if manifest.is_dataset:
        return TREE_LAYOUT, f"one dataset in {counted(n, 'part')}: every file lies at its own path in one repo"
    if all(cell.kind == "results-only" for cell in manifest.cells):
        return "folders", f"{counted(n, 'cell')} without weights: one repo holds all their cards"
    if n <= MANY_CELLS:
        return "repos", f"{counted(n, 'cell')}: each gets a repo, with its own page, download count and base model link"
    if n > FOLDER_ENTRIES:
        return "branches", f"{n} cells: more than the {FOLDER_ENTRIES} entries that the Hub allows in one folder"
    return "folders", (
        f"{n} cells: one repo each would take {n} commits and {n} new repos, and the public Hub was seen to limit both"
        f" ({COMMITS_PER_HOUR} commits an hour); folders of one repo need a few commits"
    )


def _placed(tree_path: str, path: str, entry: FileEntry) -> PlacedFile:
    return PlacedFile(path=path, tree_path=tree_path, entry=entry)


def _cell_files(cell, prefix: str = "") -> tuple[PlacedFile, ...]:
    return tuple(_placed(f"cells/{cell.name}/{e.path}", prefix + e.path, e) for e in cell.files)


def _as_repos(manifest: Manifest, namespace: str, index: Repo, tag: str) -> Iterator[Target]:
    for cell in manifest.cells:
        repo = Repo(f"{namespace}/{cell.name}")
        key, files = f"cells/{cell.name}", _cell_files(cell)
        yield Target(key=key, repo=repo, branch="main", tag=tag, files=files, cells={cell.name: ""})


def _as_branches(manifest: Manifest, namespace: str, index: Repo, tag: str) -> Iterator[Target]:
    for cell in manifest.cells:
        key, own_tag, files = f"cells/{cell.name}", f"{tag}-{cell.name}", _cell_files(cell)
        yield Target(key=key, repo=index, branch=cell.name, tag=own_tag, files=files, cells={cell.name: ""})


def _as_folders(manifest: Manifest, namespace: str, index: Repo, tag: str) -> Iterator[Target]:
    if not manifest.cells:
        return
    cells = {cell.name: f"cells/{cell.name}/" for cell in manifest.cells}
    files = tuple(file for cell in manifest.cells for file in _cell_files(cell, cells[cell.name]))
    yield Target(key="cells", repo=index, branch="main", tag=None, files=files, cells=cells, by_parts=True,
                 domain="cells/")  # fmt: skip


def _as_tree(manifest: Manifest, namespace: str, index: Repo, tag: str) -> Iterator[Target]:
    """All of the dataset is one target; what the release adds to it (``.release/``) follows as the index."""
    cells = {cell.name: "" for cell in manifest.cells}
    files = tuple(file for cell in manifest.cells for file in _cell_files(cell)) + _index_files(manifest)
    yield Target(key="tree", repo=index, branch="main", tag=None, files=files, cells=cells, by_parts=True,
                 domain=f"!{HOME_FOLDER}/")  # fmt: skip


def _index_files(manifest: Manifest) -> tuple[PlacedFile, ...]:
    return tuple(_placed(f"index/{entry.path}", entry.path, entry) for entry in manifest.index)


def _results_target(manifest: Manifest, repo: Repo, tag: str) -> Target:
    files = tuple(_placed(f"results/{entry.path}", entry.path, entry) for entry in manifest.results)
    return Target(key="results", repo=repo, branch="main", tag=tag, files=files)


def _check_names(manifest: Manifest, namespace: str, layout: str, tag: str) -> None:
    names = {"the account": namespace, "the study": manifest.study}
    problems = [f"{what} {name!r} {why}" for what, name in names.items() if (why := name_problem(name))]
    if why := name_problem(f"{manifest.study}-results"):
        problems.append(f"the results repo {manifest.study + '-results'!r} {why}")
    problems += [f"the cell {cell.name!r} {why}" for cell in manifest.cells if (why := name_problem(cell.name))]
    if not _REF.match(tag) or ".." in tag or tag.endswith((".", ".lock")):
        problems.append(f"the version {manifest.version!r} cannot be a tag; use something like 1.0.0")
    if not manifest.cells:
        problems.append("the release has no cells")
    if layout == "folders" and len(manifest.cells) > FOLDER_ENTRIES:
        problems.append(f"{len(manifest.cells)} cells do not fit in one folder of the Hub ({FOLDER_ENTRIES} entries)")
    large = [path for path, entry in manifest.iter_files() if entry.size_bytes > FILE_LIMIT_BYTES]
    problems += [f"{path} is larger than 500 GB, which the Hub refuses" for path in large]
    if problems:
        more = f"; … and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise PublishError(
            f"{counted(len(problems), 'thing')} that the Hub would refuse: " + "; ".join(problems[:20]) + more,
            next_step="change study.yaml, then run `release-kit build`",
        )


def _n_commits(target: Target) -> int:
    return sum(1 for _ in iter_parts(target.files)) if target.by_parts else 1


def iter_parts(files: tuple[PlacedFile, ...]) -> Iterator[list[PlacedFile]]:
    """Yield groups of files that one commit of a shared branch brings; files of one folder stay in order."""
    part: list[PlacedFile] = []
    inline = 0
    for file in files:
        size = 0 if counts_as_large(file) else file.entry.size_bytes
        if part and (len(part) >= COMMIT_FILES or inline + size > COMMIT_INLINE_BYTES):
            yield part
            part, inline = [], 0
        part.append(file)
        inline += size
    if part:
        yield part


def counts_as_large(file: PlacedFile) -> bool:
    """Return whether a file is planned as a large one; files whose name does not tell are counted as large."""
    return is_large_by_name(file.path, file.entry.size_bytes) is not False
