"""What cards are made from: the study, its cells, the results, and the cards that lie there already.

Owns the two records and reading them back from a built study. Rendering and checking never read anything else, but for
a few small facts inside an artifact (``artifact_facts.py``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from release_kit.core.cell import CELL_FILE, Cell, read_cells
from release_kit.core.dataset_record import DatasetRecord, read_dataset
from release_kit.core.errors import StudyError
from release_kit.core.grid import Levels
from release_kit.core.hashing import digest_bytes
from release_kit.core.manifest import MANIFEST_FILE, RELEASE_FOLDER, TENSORS_FILE, FileEntry, Manifest, read_manifest
from release_kit.core.results import COLUMNS, RESULTS_FILE, Result, parquet_bytes, read_results, results_table
from release_kit.core.study import Study
from release_kit.core.wording import counted
from release_kit.release.cards.analysis_input import CardAnalysis, read_card_analysis
from release_kit.release.release_tables import measured_tables

CARD_FILE = "README.md"
FIGURES_FOLDER = "figures"
CELL_FIGURE = f"{FIGURES_FOLDER}/evaluation.svg"
EVAL_RESULTS_FOLDER = ".eval_results"
PUBLISHED_RESULTS = "results/results.parquet"


@dataclass(frozen=True, kw_only=True)
class CardCell:
    """One cell of the release, as its card sees it."""

    cell_id: str
    name: str
    levels: Levels
    kind: str
    cell: Cell | None
    """What ``cell.json`` says; None for a cell that has results and nothing else."""
    files: tuple[FileEntry, ...]
    """The files of the artifact and of its evaluations, not those that build writes."""


@dataclass(frozen=True, kw_only=True)
class CardInputs:
    """Everything that cards are made from."""

    study: Study
    cells: tuple[CardCell, ...]
    results: tuple[Result, ...]
    results_path: str
    """Where the results table lies in the release tree."""
    results_sha256: str
    release_folder: Path
    """``<study>/release``: where the cards of the last build lie, with their hand-written sections."""
    analysis: CardAnalysis | None = None
    """What was found in these results, where the study has an analysis of them."""
    dataset: DatasetRecord | None = None
    """What the study knows of the dataset that it releases."""
    measured: Mapping[str, int] = field(default_factory=dict)
    """Measured tables beside the results, as path relative to the study → number of rows."""


def is_built(path: str) -> bool:
    """Return whether a file of a cell's folder in the release tree is written by build."""
    if path in (CARD_FILE, CELL_FILE, TENSORS_FILE, CELL_FIGURE):
        return True
    return path.startswith(EVAL_RESULTS_FOLDER + "/")


def read_card_inputs(
    study: Study, *, manifest: Manifest | None = None, cells: Mapping[str, Cell] | None = None
) -> CardInputs:
    """Read what cards are made from out of a built study: manifest, ``cell.json`` files and the results table.

    The results are those of ``tables/results.parquet`` as it lies there now, so that cards can be held against a
    table that was collected again after the build. No weights are read.

    Args:
        study: a study that was built.
        manifest: its manifest, when the caller has read it.
        cells: its cells by id, when the caller has read them.

    Raises:
        RecordError: a file is damaged.
        StudyError: the study was not built, or cells cannot be read.
    """
    if manifest is None:
        if not (study.folder / RELEASE_FOLDER / MANIFEST_FILE).is_file():
            step = f"run: release-kit build {study.folder}"
            raise StudyError("was not built yet, so it has no cards", where=str(study.folder), next_step=step)
        manifest = read_manifest(study.folder / RELEASE_FOLDER)
    cells = _all_cells(study.folder) if cells is None else cells
    rows, sha256 = ((), "") if study.is_dataset else _read_results(study, manifest)
    return CardInputs(
        study=study,
        cells=tuple(
            CardCell(
                cell_id=entry.cell_id, name=entry.name, levels=_in_order(study, entry.levels), kind=entry.kind,
                cell=cells.get(entry.cell_id),
                files=tuple(file for file in entry.files if not is_built(file.path)),
            )
            for entry in manifest.cells
        ),
        results=rows,
        results_path="" if study.is_dataset else PUBLISHED_RESULTS,
        results_sha256=sha256,
        release_folder=study.folder / RELEASE_FOLDER,
        analysis=read_card_analysis(study.folder),
        dataset=read_dataset(study.folder) if study.is_dataset else None,
        measured=measured_tables(study.folder),
    )  # fmt: skip


def _all_cells(study_folder: Path) -> Mapping[str, Cell]:
    cells, problems = read_cells(study_folder)
    if problems:
        listed = "; ".join(str(problem) for problem in problems[:5])
        raise StudyError(f"cannot read {counted(len(problems), 'cell')}: {listed}", next_step="restore or remove them")
    return cells


def _in_order(study: Study, levels: Levels) -> Levels:
    """Return levels in the order in which the study declares its factors; canonical JSON has sorted them."""
    declared = {factor.name: levels[factor.name] for factor in study.factors if factor.name in levels}
    return {**declared, **levels}


def _read_results(study: Study, manifest: Manifest) -> tuple[tuple[Result, ...], str]:
    """Return the current rows of published cells and the digest that the published table has, or would have."""
    current, published = study.folder / RESULTS_FILE, study.folder / RELEASE_FOLDER / PUBLISHED_RESULTS
    levels: Mapping[str, Levels] = {entry.cell_id: entry.levels for entry in manifest.cells}
    path = current if current.is_file() else published
    rows = tuple(row for row in read_results(path) if row.cell_id in levels)
    if published.is_file() and (path == published or _same_rows(current, published)):
        return rows, digest_bytes(published.read_bytes()).sha256
    return rows, digest_bytes(parquet_bytes(results_table(rows, levels))).sha256


def _same_rows(current: Path, published: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        mine, other = (pq.ParquetFile(path).read(columns=list(COLUMNS)) for path in (current, published))
    except (OSError, pa.ArrowInvalid):
        return False
    return mine.equals(other)
