"""``build``: from a study on disk to ``release/`` — hashes, tables, cards and, last of all, the manifest.

Decides which files belong to a release and puts the parts together; hashing, rendering and the formats live
elsewhere. A second build of the same inputs reads no artifact and writes nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from release_kit.core import canonical
from release_kit.core.cell import CELL_FILE, Cell
from release_kit.core.collect import collect_results
from release_kit.core.digest_cache import DigestCache, digest_files
from release_kit.core.errors import ArtifactError, ReleaseKitError, StudyError
from release_kit.core.files import exclusive, inside, write_atomic
from release_kit.core.grid import cell_config
from release_kit.core.hashing import FileDigest, digest_bytes
from release_kit.core.manifest import (
    MANIFEST_FILE,
    RELEASE_FOLDER,
    TENSORS_FILE,
    CellEntry,
    FileEntry,
    Manifest,
)
from release_kit.core.results import RESULTS_FILE, Result, parquet_bytes, read_results, results_table
from release_kit.core.study import Study
from release_kit.core.tensors_file import tensors_bytes
from release_kit.release.build_dataset import assemble_dataset
from release_kit.release.cards import CardCell, CardInputs, render_cards
from release_kit.release.cards.analysis_input import read_card_analysis
from release_kit.release.cards.write import keep_edited
from release_kit.release.contents import Source, find_shared, find_sources
from release_kit.release.extra import extra_files
from release_kit.release.naming import cell_names
from release_kit.release.release_tables import cells_table, measured_tables
from release_kit.release.stale import drop_signature, remove_stale
from release_kit.release.tree import SOURCES_PREFIX

PUBLISHED_RESULTS = "results/results.parquet"


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What a build did."""

    manifest: Manifest
    manifest_path: Path
    written: tuple[str, ...]
    """Files that got new bytes, relative to the study; empty when nothing had changed."""
    removed: tuple[str, ...]
    n_files: int
    n_hashed: int
    """Files whose bytes were read; the others were remembered."""
    n_bytes_hashed: int
    n_missing: int
    """Declared cells that are not on disk; ``check`` names them."""


def build_release(
    study: Study,
    *,
    cache: DigestCache | None = None,
    workers: int | None = None,
    on_stage: Callable[[str, int | None], None] | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> BuildReport:
    """Build the release of ``study`` into ``<study>/release``.

    Args:
        study: the declared study; its cells and results lie in ``study.folder``.
        cache: remembered digests; None reads every byte.
        workers: hashing threads.
        on_stage: told the name of each stage and its size in bytes, where it has one.
        on_bytes: told the size of every file that is hashed or remembered.

    Raises:
        ReleaseKitError: results that cannot be read, artifacts that cannot be read, names that collide, a full
            disk, another build of the same study. The old manifest stays as it was; running again continues.
    """
    stage = on_stage or (lambda label, total: None)
    with exclusive(study.folder, "build"):
        return _build(study, cache, workers, stage, on_bytes)


def _build(study: Study, cache, workers, stage: Callable[[str, int | None], None], on_bytes) -> BuildReport:
    writer = _Writer(study.folder)
    stage("collecting results", None)
    results = _results(study, writer)
    sources, n_missing = find_sources(study, {row.cell_id for row in results})
    shared = find_shared(study, sources) if study.is_dataset else None
    names = cell_names(study, {source.cell_id: source.levels for source in sources})
    every = [*sources, *([shared] if shared else [])]
    stage("hashing", sum(path.stat().st_size for source in every for _, path in source.files))
    hashed: list[int] = []
    digests = _digests(every, cache, workers, on_bytes, hashed)
    stage("tables and cards", None)
    if shared is not None:
        manifest = assemble_dataset(study, sources, names, shared, digests, writer.entry)
    else:
        manifest = _assemble(study, sources, names, results, digests, writer)
    data = manifest.to_bytes()
    unsigned = drop_signature(study.folder, data)
    writer.write(f"{RELEASE_FOLDER}/{MANIFEST_FILE}", data, durable=True)
    removed = tuple(sorted((*unsigned, *remove_stale(study.folder, manifest))))
    return BuildReport(
        manifest=manifest,
        manifest_path=study.folder / RELEASE_FOLDER / MANIFEST_FILE,
        written=tuple(writer.written),
        removed=removed,
        n_files=sum(1 for _ in manifest.iter_files()),
        n_hashed=len(hashed),
        n_bytes_hashed=sum(hashed),
        n_missing=n_missing,
    )


class _Writer:
    """Writes files of a study that differ from what is there, and remembers which."""

    def __init__(self, folder: Path):
        self._folder = folder
        self.written: list[str] = []

    def write(self, path: str, data: bytes, *, durable: bool = False) -> None:
        if write_atomic(self._folder / path, data, durable=durable):
            self.written.append(path)

    def entry(self, group: str, path: str, data: bytes) -> FileEntry:
        """Write one built file and return its manifest entry."""
        self.write(f"{RELEASE_FOLDER}/{group}/{path}", data)
        return FileEntry.of(path, digest_bytes(data))


def _results(study: Study, writer: _Writer) -> list[Result]:
    """Collect from the declared sources; without any, take the table that lies there."""
    collected = collect_results(study)
    if collected.problems:
        shown = "; ".join(str(problem) for problem in collected.problems[:5])
        more = f" … and {len(collected.problems) - 5} more" if len(collected.problems) > 5 else ""
        raise StudyError(
            f"{len(collected.problems)} problems in the results: {shown}{more}",
            where=str(study.folder),
            next_step=f"run: release-kit check {study.folder}",
        )
    table = study.folder / RESULTS_FILE
    if not collected.rows and not study.results:
        return read_results(table) if table.is_file() else []
    writer.write(RESULTS_FILE, parquet_bytes(results_table(collected.rows)))
    return collected.rows


def _digests(sources: list[Source], cache, workers, on_bytes, hashed: list[int]) -> dict[Path, FileDigest]:
    """Hash every file; unreadable ones are reported together."""
    paths = [path for source in sources for _, path in source.files]
    outcomes = digest_files(
        paths, cache=cache, values=True, workers=workers, on_bytes=on_bytes,
        on_hashed=lambda path, size: hashed.append(size),
    )  # fmt: skip
    digests, errors = {}, []
    for path, outcome in zip(paths, outcomes, strict=True):
        if isinstance(outcome, ReleaseKitError):
            errors.append(str(outcome))
        else:
            digests[path] = outcome
    if errors:
        raise ArtifactError(f"{len(errors)} files cannot be read: " + "; ".join(errors[:5]))
    return digests


def _assemble(
    study: Study,
    sources: list[Source],
    names: dict[str, str],
    results: list[Result],
    digests: dict[Path, FileDigest],
    writer: _Writer,
) -> Manifest:
    """Write tables and cards and return the manifest of everything."""
    levels = {source.cell_id: source.levels for source in sources}
    published = [row for row in results if row.cell_id in levels]
    artifact_files = {
        source.cell_id: _sorted(FileEntry.of(path, digests[file]) for path, file in source.files) for source in sources
    }
    tables = {
        "results.parquet": parquet_bytes(results_table(published, levels)),
        "cells.parquet": parquet_bytes(cells_table(sources, names, artifact_files)),
    }
    measured = measured_tables(study.folder)
    built: dict[str, list[FileEntry]] = {
        "index": [writer.entry("index", path, file.read_bytes()) for path, file in extra_files(study.folder)],
        "results": _source_entries(study, published, {source.cell_id for source in sources}, measured),
    }
    built["results"] += [writer.entry("results", path, data) for path, data in tables.items()]
    for source in sources:
        group = f"cells/{names[source.cell_id]}"
        built[group] = [writer.entry(group, path, data) for path, data in _cell_documents(study, source, digests)]
    inputs = CardInputs(
        study=study,
        cells=tuple(
            CardCell(
                cell_id=s.cell_id, name=names[s.cell_id], levels=s.levels, kind=s.kind, cell=s.cell,
                files=artifact_files[s.cell_id],
            )
            for s in sources
        ),
        results=tuple(published),
        results_path=PUBLISHED_RESULTS,
        results_sha256=digest_bytes(tables["results.parquet"]).sha256,
        release_folder=study.folder / RELEASE_FOLDER,
        analysis=read_card_analysis(study.folder, results),
        measured=measured,
    )  # fmt: skip
    for tree_path, data in render_cards(inputs):
        keep_edited(inputs, tree_path, data)
        group, path = _split_group(tree_path)
        built[group].append(writer.entry(group, path, data))
    cells = tuple(
        CellEntry(
            cell_id=s.cell_id, name=names[s.cell_id], levels=s.levels, kind=s.kind,
            files=_sorted((*artifact_files[s.cell_id], *built[f"cells/{names[s.cell_id]}"])),
        )
        for s in sources
    )  # fmt: skip
    return Manifest(
        study=study.name, version=study.version, cells=cells,
        index=_sorted(built["index"]), results=_sorted(built["results"]),
    )  # fmt: skip


def _cell_documents(study: Study, source: Source, digests: dict[Path, FileDigest]) -> Iterable[tuple[str, bytes]]:
    """Yield the built files of a cell other than its card: ``cell.json`` and ``tensors.json``."""
    cell = source.cell
    if cell is None:
        config = cell_config(study, source.levels)
        cell = Cell(cell_id=source.cell_id, levels=source.levels, config=config)
    yield CELL_FILE, canonical.document_bytes(cell.to_dict())
    tensors = {path: digests[file].tensors for path, file in source.files if digests[file].tensors is not None}
    if tensors:
        yield TENSORS_FILE, tensors_bytes(tensors)


def _source_entries(
    study: Study, results: Sequence[Result], cell_ids: set[str], measured: Iterable[str]
) -> list[FileEntry]:
    """Return the entries of the tables that published results came from, and of measured tables.

    Files of the harness go with their cell.
    """
    own = tuple(f"cells/{cell_id}/" for cell_id in cell_ids)
    names = sorted({row.source for row in results if row.source} | set(measured))
    paths = [name for name in names if not (name.startswith("cells/") and name.startswith(own))]
    entries = []
    for path, outcome in zip(paths, digest_files([inside(study.folder, path) for path in paths]), strict=True):
        if isinstance(outcome, ReleaseKitError):
            raise outcome
        entries.append(FileEntry.of(SOURCES_PREFIX.removeprefix("results/") + path, outcome))
    return entries


def _split_group(tree_path: str) -> tuple[str, str]:
    """Split ``cells/<name>/<path>`` or ``index/<path>`` into group and path."""
    depth = 2 if tree_path.startswith("cells/") else 1
    parts = tree_path.split("/", depth)
    return "/".join(parts[:depth]), parts[depth]


def _sorted(entries: Iterable[FileEntry]) -> tuple[FileEntry, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.path))
