"""The training log: one row for each optimiser step, as Parquet.

No clock is in it, so a resumed run has the same bytes.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from release_kit.core.errors import ArtifactError

LOG_FILE = "training_log.parquet"


@dataclass(frozen=True, kw_only=True)
class LogRow:
    """What one optimiser step did."""

    step: int
    epoch: float
    """Passes over the data after this step."""
    loss: float
    """Mean cross-entropy (nats) of the trained tokens of the step, before its update."""
    learning_rate: float
    gradient_norm: float
    """L2 norm of all gradients before clipping."""
    n_tokens: int
    n_trained: int

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


def log_bytes(rows: Sequence[LogRow]) -> bytes:
    """Return the Parquet file of a log; equal rows give equal bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    whole = {"step", "n_tokens", "n_trained"}
    names = list(LogRow.__dataclass_fields__)
    schema = pa.schema([(name, pa.int64() if name in whole else pa.float64()) for name in names])
    table = pa.table({name: [getattr(row, name) for row in rows] for name in names}, schema=schema)
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def read_log(path: Path) -> list[LogRow]:
    """Read a log.

    Raises:
        ArtifactError: the file is missing or is not a training log.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
        return [LogRow(**row) for row in rows]
    except (OSError, pa.ArrowException, TypeError) as error:
        step = "remove the run's folder and train it again"
        raise ArtifactError(f"is not a training log ({error})", where=str(path), next_step=step) from error


def mean_loss(rows: Sequence[LogRow]) -> float:
    """Return the mean loss of all trained tokens of ``rows``; NaN without any."""
    n_trained = sum(row.n_trained for row in rows)
    return math.fsum(row.loss * row.n_trained for row in rows) / n_trained if n_trained else math.nan
