"""The table of regions: regions by level and model, over subjects, from the scores of a finished analysis.

A region of a file may have different voxels in every subject, so that subjects are averaged, never voxels of several.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core.files import write_atomic

COLUMNS = ("r", "share_significant", "r_normalised")
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class RegionRow:
    """A model in a region.

    Attributes:
        mode, region, level, feature, model, annotator: labels.
        n_subjects: with a value of r.
        n_voxels: mean number of scored voxels of a subject.
        r: mean over subjects of the mean over voxels of held-out r, at the chosen layer.
        low, high: of r over subjects, Student's t at 95 %; None for one subject.
        share_significant: mean share of voxels with q at most the level; None without a test.
        r_normalised: mean of r divided by its ceiling; None without a ceiling.
        rows: of ``tables/encoding_scores.parquet`` that r is the mean of.
    """

    mode: str
    region: str
    level: str | None
    feature: str
    model: str
    annotator: str
    n_subjects: int
    n_voxels: float
    r: float
    low: float | None
    high: float | None
    share_significant: float | None
    r_normalised: float | None
    rows: tuple[int, ...]


def region_table(scores: Sequence[Mapping[str, Any]]) -> list[RegionRow]:
    """Return the table of regions of all modes, in the order of the scores.

    Args:
        scores: rows of ``tables/encoding_scores.parquet``.
    """
    groups: dict[tuple, dict[str, list[tuple[int, Mapping[str, Any]]]]] = {}
    for number, row in enumerate(scores):
        if row["chosen"] and row["value"] is not None:
            key = tuple(row[name] for name in ("mode", "region", "level", "feature", "model", "annotator"))
            groups.setdefault(key, {}).setdefault(row["metric"], []).append((number, row))
    found = []
    for (mode, region, level, feature, model, annotator), metrics in groups.items():
        if "r" not in metrics:
            continue
        values = [row["value"] for _, row in metrics["r"]]
        low, high = interval_over(values)
        found.append(
            RegionRow(
                mode=mode, region=region, level=level, feature=feature, model=model, annotator=annotator,
                n_subjects=len(values), n_voxels=_mean(row["n_voxels"] for _, row in metrics["r"]),
                r=_mean(values), low=low, high=high,
                share_significant=_mean(row["value"] for _, row in metrics.get("share_significant", ())),
                r_normalised=_mean(row["value"] for _, row in metrics.get("r_normalised", ())),
                rows=tuple(number for number, _ in metrics["r"]),
            )
        )  # fmt: skip
    return found


def write_regions(path: Path, rows: Sequence[RegionRow]) -> None:
    """Write the table as Parquet; the same rows give the same bytes."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    text, real = pa.string(), pa.float64()
    kinds = {name: text for name in ("mode", "region", "level", "feature", "model", "annotator")}
    kinds |= {"n_subjects": pa.int32(), **{n: real for n in ("n_voxels", "r", "low", "high", *COLUMNS[1:])}}
    schema = pa.schema([*kinds.items(), ("rows", pa.list_(pa.int32()))])
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([{**vars(row), "rows": list(row.rows)} for row in rows], schema=schema), stream)
    write_atomic(path, stream.getvalue())


def interval_over(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the 95 % interval of the mean of independent values by Student's t; (None, None) for fewer than two."""
    from scipy.stats import t

    n = len(values)
    if n < 2:
        return None, None
    mean = sum(values) / n
    error = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1) / n)
    half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * error
    return mean - half, mean + half


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None
