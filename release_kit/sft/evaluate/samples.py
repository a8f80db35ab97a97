"""``<task>.samples.parquet``: every answer of a model to one task, so that scores can be computed again from it.

Owns the columns, writing, reading, and going back from them to the answers. Format: ``docs/formats/samples.md``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import RecordError, StudyError
from release_kit.core.files import write_atomic
from release_kit.core.results import parquet_bytes
from release_kit.sft.evaluate.results import Sample
from release_kit.sft.evaluate.tasks import GENERATION, PreparedTask

SCHEMA_VERSION = 1
SUFFIX = ".samples.parquet"


@dataclass(frozen=True, kw_only=True)
class StoredSamples:
    """What a samples file holds for computing scores again."""

    answers: list[list[Any]]
    """Of each request, in order, one answer a repeat."""
    requests_sha256: str


def samples_table(
    prepared: PreparedTask, samples: Sequence[Sample], n_tokens: Sequence[int] | None, facts: dict[str, str]
):
    """Return the Arrow table of the samples, one row a document and filter, in the task's order.

    Args:
        prepared: the task.
        samples: from ``results.collect_samples``.
        n_tokens: of each request, the tokens that were scored or generated; None when nobody counted.
        facts: written into the schema beside the digest of the requests.
    """
    import pyarrow as pa

    counts = _counts(prepared, n_tokens)
    generated = prepared.request_type == GENERATION
    columns = {
        "task": pa.array([prepared.name] * len(samples), pa.string()),
        "doc_id": pa.array([sample.doc_id for sample in samples], pa.int64()),
        "doc_sha256": pa.array([sample.doc_sha256 for sample in samples], pa.string()),
        "request_kind": pa.array([prepared.request_type] * len(samples), pa.string()),
        "filter": pa.array([sample.filter for sample in samples], pa.string()),
        "target": pa.array([sample.target for sample in samples], pa.string()),
        "loglikelihoods": pa.array([_likelihoods(s, generated) for s in samples], pa.list_(pa.float64())),
        "greedy": pa.array([_greedy(s, generated) for s in samples], pa.list_(pa.bool_())),
        "n_tokens": pa.array([counts[sample.doc_id][0] for sample in samples], pa.list_(pa.int32())),
        "n_bytes": pa.array([counts[sample.doc_id][1] for sample in samples], pa.list_(pa.int32())),
        "responses": pa.array([list(s.responses) if generated else None for s in samples], pa.list_(pa.string())),
        "extracted": pa.array([sample.extracted for sample in samples], pa.string()),
        "extraction_failed": pa.array([sample.extraction_failed for sample in samples], pa.bool_()),
        "metrics": pa.array([_metrics_text(sample) for sample in samples], pa.string()),
    }
    marks = {
        "release_kit.samples_schema": str(SCHEMA_VERSION),
        "release_kit.requests_sha256": prepared.requests_sha256,
        **{f"release_kit.{key}": value for key, value in facts.items()},
    }
    return pa.table(columns).replace_schema_metadata({k.encode(): v.encode() for k, v in sorted(marks.items())})


def write_samples(path: Path, table: Any) -> bool:
    """Write the table; returns False when the file already held the same bytes."""
    return write_atomic(path, parquet_bytes(table))


def read_samples(path: Path) -> StoredSamples:
    """Read the answers back.

    Raises:
        RecordError: missing, not Parquet, or without a column of the format.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ["doc_id", "filter", "request_kind", "loglikelihoods", "greedy", "responses"]
    try:
        file = pq.ParquetFile(path)
        marks = file.schema_arrow.metadata or {}
        rows = file.read(columns=names).to_pylist()
        requests_sha256 = marks[b"release_kit.requests_sha256"].decode()
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        text = " ".join(str(error).split())[:200]
        raise RecordError(f"is not a file of samples ({text})", where=str(path)) from error
    first = rows[0]["filter"] if rows else None
    answers = [given for row in rows if row["filter"] == first for given in _answers(row)]
    return StoredSamples(answers=answers, requests_sha256=requests_sha256)


def check_same_requests(stored: StoredSamples, prepared: PreparedTask, path: Path) -> None:
    """Refuse samples that answer other requests than the task's.

    Raises:
        StudyError: the task or its data changed since.
    """
    if stored.requests_sha256 != prepared.requests_sha256:
        what = f"answers other requests than the task {prepared.name!r} makes now"
        raise StudyError(what, where=str(path), next_step="evaluate the model again")


def _answers(row: dict[str, Any]) -> list[list[Any]]:
    """Return the answers to each request of a document: a prompt is one request, however often it was answered."""
    if row["request_kind"] == GENERATION:
        return [list(row["responses"])]
    if row["request_kind"] == "loglikelihood_rolling":
        return [[value] for value in row["loglikelihoods"]]
    return [[answer] for answer in zip(row["loglikelihoods"], row["greedy"], strict=True)]


def _likelihoods(sample: Sample, generated: bool) -> list[float] | None:
    if generated:
        return None
    return [float(answer[0] if isinstance(answer, (tuple, list)) else answer) for answer in sample.responses]


def _greedy(sample: Sample, generated: bool) -> list[bool] | None:
    if generated or not isinstance(sample.responses[0], (tuple, list)):
        return None
    return [bool(answer[1]) for answer in sample.responses]


def _counts(prepared: PreparedTask, n_tokens: Sequence[int] | None) -> dict[int, tuple[list[int] | None, list[int]]]:
    """Return doc_id → (tokens, UTF-8 bytes) of what its requests score."""
    counts: dict[int, tuple[list[int] | None, list[int]]] = {}
    for index, instance in enumerate(prepared.instances):
        tokens, sizes = counts.setdefault(instance.doc_id, ([] if n_tokens is not None else None, []))
        if tokens is not None:
            tokens.append(n_tokens[index])
        text = instance.args[0] if prepared.request_type != "loglikelihood" else instance.args[1]
        sizes.append(len(text.encode()))
    return counts


def _metrics_text(sample: Sample) -> str:
    return canonical.canonical_bytes(dict(sample.metrics)).decode()
