"""The numbers of a release of autoencoders: which figures go to its results, and shares beside their nulls.

They come from ``tables/`` of the study; the whole tables go along as they are. Nothing is computed here.
"""

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from release_kit.core.errors import RecordError
from release_kit.sae.errors import SaeError
from release_kit.sae.pipeline.paths import TABLES, SaeKey

if TYPE_CHECKING:
    import pyarrow as pa

METRICS_TABLE = "measured/autoencoders.parquet"
SHARES_TABLE = "tables/language_shares.parquet"
ALL_TEXT, FEATURES = "all-text", "features"
_LESS_IS_BETTER = {"fvu": None, "mse": None, "dead_share": [0, 1]}
_MORE_IS_BETTER = {"explained_variance": None, "cosine": [-1, 1], "ce_score": None, "kl_score": None}
_NEITHER = ("l0",)
_OF_TEXT = (*_LESS_IS_BETTER, *_MORE_IS_BETTER, *_NEITHER)
_OF_FEATURES = ("n_features", "n_alive", "parallel_jaccard", "parallel_jaccard_random")
"""Shares of bilingual features are not among them: they are shown beside their nulls, or not at all."""
_SHARE_TEXTS = ("rule", "by", "class", "null", "verdict")
_SHARE_NUMBERS = ("share", "low", "high", "null_share", "null_low", "null_high", "n", "null_n")


def _rule(bounds: Sequence[float] | None, higher: bool) -> dict[str, Any]:
    return {**({"range": list(bounds)} if bounds else {}), "higher_is_better": higher}


_RULES = {name: _rule(bounds, False) for name, bounds in _LESS_IS_BETTER.items()} | {
    name: _rule(bounds, True) for name, bounds in _MORE_IS_BETTER.items()
}
BENCHMARKS: Mapping[str, Any] = {name: copy.deepcopy(_RULES) for name in (ALL_TEXT, "en", "ja")}
"""What the published ``study.yaml`` says of the figures: their range, and which way is better."""


def read_figures(study_folder: Path, keys: Iterable[SaeKey]) -> list[dict[str, Any]]:
    """Return the figures of finished autoencoders, one row each: size, step, layer, seed, benchmark, metric, value.

    Benchmark is the language of the held-out text (``all-text`` for both), or ``features``. Figures without a finite
    value are left out: they could not be measured.

    Raises:
        SaeError: there is no table of figures, or it is not one.
    """
    wanted = set(keys)
    rows = []
    for row in _read(study_folder, "saes", ("metric", "language", "value", "source")):
        benchmark = row["language"] or (FEATURES if row["metric"] in _OF_FEATURES else ALL_TEXT)
        known = row["metric"] in (_OF_FEATURES if benchmark == FEATURES else _OF_TEXT)
        if known and _key(row) in wanted and row["value"] is not None and math.isfinite(row["value"]):
            own = {name: row[name] for name in ("size", "step", "layer", "seed", "metric", "value", "source")}
            rows.append({**own, "benchmark": benchmark})
    return sorted(rows, key=lambda row: (_key(row), row["benchmark"], row["metric"]))


def figures_table(rows: Sequence[Mapping[str, Any]]) -> "pa.Table":
    """Return the figures as a table that ``study.yaml`` names as the source of its results."""
    import pyarrow as pa

    types = {"size": pa.string(), "step": pa.int64(), "layer": pa.int32(), "seed": pa.int32(),
             "benchmark": pa.string(), "metric": pa.string(), "value": pa.float64(), "source": pa.string()}  # fmt: skip
    return pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in types.items()})


def read_shares(study_folder: Path, cell_ids: Mapping[SaeKey, str]) -> "pa.Table | None":
    """Return bilingual shares beside their nulls, one row for each rule, measure and null; None without such a table.

    Args:
        study_folder: of the study.
        cell_ids: of finished autoencoders.

    Raises:
        SaeError: the table cannot be read or lacks a column.
    """
    import pyarrow as pa

    if not (study_folder / TABLES / "nulls.parquet").is_file():
        return None
    rows = [
        {"cell_id": cell_ids[_key(row)], **{name: row[name] for name in (*_SHARE_TEXTS, *_SHARE_NUMBERS)}}
        for row in _read(study_folder, "nulls", (*_SHARE_TEXTS, *_SHARE_NUMBERS))
        if _key(row) in cell_ids and row["class"] == "bilingual" and row["null"] and _is_number(row["null_share"])
    ]
    rows.sort(key=lambda row: [str(row[name]) for name in ("cell_id", "rule", "by", "null")])
    columns = {name: pa.array([row[name] for row in rows], pa.string()) for name in ("cell_id", *_SHARE_TEXTS)}
    for name in _SHARE_NUMBERS:
        columns[name] = pa.array([row[name] if _is_number(row[name]) else None for row in rows], pa.float64())
    return pa.table(columns)


def short_name(row: Mapping[str, Any]) -> str:
    """Return the column of a figure in the index: ``fvu``, ``fvu_en``, ``n_alive``."""
    return row["metric"] if row["benchmark"] in (ALL_TEXT, FEATURES) else f"{row['metric']}_{row['benchmark']}"


def _read(study_folder: Path, name: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = study_folder / TABLES / f"{name}.parquet"
    if not path.is_file():
        raise SaeError("is missing", where=str(path), next_step="release-kit sae run measures and writes the tables")
    wanted = ["size", "step", "layer", "seed", *columns]
    try:
        file = pq.ParquetFile(path)
        if missing := [one for one in wanted if one not in file.schema_arrow.names]:
            raise RecordError(f"has no column {missing[0]!r}")
        return file.read(columns=wanted).to_pylist()
    except (OSError, pa.ArrowInvalid, RecordError) as error:
        what = error.what if isinstance(error, RecordError) else "is no Parquet table"
        raise SaeError(what, where=str(path), next_step="release-kit sae run writes the tables again") from error


def _key(row: Mapping[str, Any]) -> SaeKey:
    return SaeKey(size=row["size"], step=row["step"], layer=row["layer"], seed=row["seed"])


def _is_number(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)
