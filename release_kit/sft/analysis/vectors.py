"""What a model is on the map: the log-likelihood that it gives to each document, or its scores where that is unknown.

Owns the reading of ``cells/<id>/eval/<task>.samples.parquet`` and the choice of documents: those that every model
answered, at most 150 a task, so that no task outweighs the others. A document's number is the log-likelihood of its
target over the target's bytes: of a multiple choice the right answer, or the first where the target is no number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from release_kit.core.cell import cell_folder
from release_kit.core.collect import EVAL_FOLDER
from release_kit.core.errors import RecordError
from release_kit.core.results import Result
from release_kit.sft.analysis.cells import CellFacts, metric_of, primary_metrics

SAMPLES_SUFFIX = ".samples.parquet"
DOCUMENTS_PER_TASK = 150
USUAL = 0.9
"""Part of the models that must have a metric; models that lack one that remains are left out."""
LIKELIHOODS = "log-likelihood of documents"
SCORES = "scores of metrics"


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """One row a model: ``matrix`` (n_models, n_documents) float64."""

    kind: str
    cells: tuple[CellFacts, ...]
    matrix: np.ndarray


def likelihood_vectors(folder: Path, facts: Mapping[str, CellFacts]) -> Vectors | None:
    """Return the log-likelihood vectors of the cells that have samples; None with no shared document.

    Args:
        folder: the study.
        facts: of the declared cells.

    Raises:
        RecordError: a samples file that cannot be read.
    """
    read = {cell: _cell_vector(cell_folder(folder, cell) / EVAL_FOLDER) for cell in facts}
    read = {cell: vector for cell, vector in read.items() if vector}
    if len(read) < 2:
        return None
    shared = set.intersection(*(set(vector) for vector in read.values()))
    documents = _chosen(shared)
    if len(documents) < 2:
        return None
    matrix = np.array([[vector[document] for document in documents] for vector in read.values()])
    return Vectors(kind=LIKELIHOODS, cells=tuple(facts[cell] for cell in read), matrix=matrix)


def score_vectors(rows: Sequence[Result], facts: Mapping[str, CellFacts]) -> Vectors | None:
    """Return vectors of standardised scores, one metric a benchmark and shot count; None with fewer than three."""
    table: dict[str, dict] = {}
    for row in rows:
        if row.cell_id in facts:
            table.setdefault(row.cell_id, {})[metric_of(row)] = row.value
    by_shots: dict = {}
    for metric in {metric for scores in table.values() for metric in scores}:
        by_shots.setdefault(metric.n_shot, []).append(metric)
    metrics = sorted((m for group in by_shots.values() for m in primary_metrics(group)), key=lambda m: m.key)
    metrics = [m for m in metrics if sum(m in scores for scores in table.values()) >= USUAL * len(table)]
    cells = [cell for cell in facts if cell in table and all(metric in table[cell] for metric in metrics)]
    if len(metrics) < 3 or len(cells) < 2:
        return None
    matrix = np.array([[table[cell][metric] for metric in metrics] for cell in cells])
    spread = matrix.std(axis=0)
    matrix = (matrix - matrix.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return Vectors(kind=SCORES, cells=tuple(facts[cell] for cell in cells), matrix=matrix)


def _cell_vector(folder: Path) -> dict[tuple[str, int], float]:
    """Return (task, document) → log-likelihood of its target per byte."""
    vector: dict[tuple[str, int], float] = {}
    for path in sorted(folder.glob("*" + SAMPLES_SUFFIX)) if folder.is_dir() else ():
        vector |= _task_vector(path)
    return vector


def _task_vector(path: Path) -> dict[tuple[str, int], float]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ["task", "doc_id", "target", "loglikelihoods", "n_bytes"]
    try:
        columns = pq.ParquetFile(path).read(columns=names).to_pydict()
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        text = " ".join(str(error).split())[:200]
        raise RecordError(f"is not a file of samples ({text})", where=str(path)) from error
    vector = {}
    for task, document, target, values, sizes in zip(*(columns[name] for name in names), strict=True):
        if values:
            place = int(target) if str(target).isdecimal() and int(target) < len(values) else 0
            size = sizes[place] if sizes and place < len(sizes) else 1
            vector[task, document] = values[place] / max(1, size)
    return {key: value for key, value in vector.items() if np.isfinite(value)}


def _chosen(shared: set[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return the documents used, sorted: evenly spread over each task's."""
    by_task: dict[str, list[int]] = {}
    for task, document in sorted(shared):
        by_task.setdefault(task, []).append(document)
    chosen = []
    for task, documents in by_task.items():
        places = np.linspace(0, len(documents) - 1, min(len(documents), DOCUMENTS_PER_TASK)).round().astype(int)
        chosen += [(task, documents[place]) for place in dict.fromkeys(places.tolist())]
    return chosen
