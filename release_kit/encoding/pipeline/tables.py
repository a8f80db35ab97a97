"""The tables of an analysis: their columns, and writing them so that equal results give equal bytes."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from release_kit.encoding.pipeline.units import write_table

TABLES = "tables"

_LABELS = {"mode": "string", "subject": "string"}
_MODEL = {
    "feature": "string",
    "level": "string",
    "model": "string",
    "kind": "string",
    "layer": "int32",
    "language": "string",
    "annotator": "string",
}
_PLACE = {"metric": "string", "region": "string"}

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "encoding_scores": {
        **_LABELS,
        **_MODEL,
        "context_s": "float64",
        "n_parameters": "int64",
        "chosen": "bool",
        **_PLACE,
        "value": "float64",
        "n_voxels": "int32",
        "fit_id": "string",
    },
    "layers": {
        **_LABELS,
        "feature": "string",
        "level": "string",
        "model": "string",
        "annotator": "string",
        "layer": "int32",
        "depth": "float64",
        "cv_r": "float64",
        "r": "float64",
        "chosen": "bool",
        "n_voxels": "int32",
        "fit_id": "string",
    },
    "partition": {
        **_LABELS,
        "name": "string",
        "part": "string",
        **_PLACE,
        "value": "float64",
        "low": "float64",
        "high": "float64",
        "n_voxels": "int32",
        "fit_id": "string",
        "partition_id": "string",
    },
    "statistics": {
        "mode": "string",
        "name": "string",
        "a": "string",
        "b": "string",
        "test": "string",
        "subject": "string",
        **_PLACE,
        "n": "int32",
        "difference": "float64",
        "low": "float64",
        "high": "float64",
        "t": "float64",
        "p_t": "float64",
        "p_sign_flip": "float64",
        "p_wilcoxon": "float64",
        "n_greater": "int32",
        "fit_id_a": "string",
        "fit_id_b": "string",
    },
    "factors": {
        "mode": "string",
        "factor": "string",
        "level": "string",
        **_PLACE,
        "n": "int32",
        "slope": "float64",
        "low": "float64",
        "high": "float64",
        "p": "float64",
    },
    "ceiling": {
        **_LABELS,
        "source": "string",
        "bound": "string",
        "region": "string",
        "value": "float64",
        "n_voxels": "int32",
        "normalises": "bool",
    },
    "samples": {
        **_LABELS,
        "split": "string",
        "run": "string",
        "title": "string",
        "n_volumes": "int32",
        "n_train": "int32",
        "n_held_out": "int32",
    },
    "modes": {
        "subject": "string",
        "name": "string",
        "level": "string",
        "part": "string",
        **_PLACE,
        "paper": "float64",
        "corrected": "float64",
        "difference": "float64",
        "low": "float64",
        "high": "float64",
        "n_voxels": "int32",
        "n_paper": "int32",
        "n_corrected": "int32",
        "n_samples": "int32",
        "fit_id_paper": "string",
        "fit_id_corrected": "string",
    },
}  # fmt: skip
"""Table → column → Arrow type."""


def write_rows(folder: Path, name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write ``tables/<name>.parquet`` of an analysis; a value that is no number is nothing."""
    import pyarrow as pa

    types = {
        "string": pa.string(),
        "float64": pa.float64(),
        "int32": pa.int32(),
        "int64": pa.int64(),
        "bool": pa.bool_(),
    }
    schema = pa.schema([(column, types[kind]) for column, kind in COLUMNS[name].items()])
    cleaned = [{column: _value(row.get(column)) for column in COLUMNS[name]} for row in rows]
    path = folder / TABLES / f"{name}.parquet"
    write_table(path, pa.Table.from_pylist(cleaned, schema=schema))
    return path


def read_rows(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the rows of ``tables/<name>.parquet``; none where there is no such table."""
    import pyarrow.parquet as pq

    path = folder / TABLES / f"{name}.parquet"
    return pq.ParquetFile(path).read().to_pylist() if path.is_file() else []


def _value(value: Any) -> Any:
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
