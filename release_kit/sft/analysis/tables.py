"""What an analysis leaves on disk: ``analysis/verdicts.json`` and tidy ``analysis/tables/*.parquet``.

A record becomes a row: its metric as benchmark, n_shot and metric, each estimate as value, interval, n and p under the
field's name. The same analysis gives the same bytes, and files that are right already are not touched. Owns no
numbers; the page and pictures are ``report.py`` and ``figures.py``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.files import write_atomic
from release_kit.core.results import parquet_bytes
from release_kit.sft.analysis.estimate import Estimate, Metric, Record
from release_kit.sft.analysis.records import SCHEMA_VERSION, Analysis, Findings

FOLDER = "analysis"
VERDICTS_FILE = "analysis/verdicts.json"
TABLES_FOLDER = "analysis/tables"
_ESTIMATE = ("low", "high", "n", "n_units", "over", "method", "p", "p_adjusted")

Rows = list[dict[str, Any]]


def write_analysis(folder: Path, analysis: Analysis) -> list[Path]:
    """Write the tables and the verdicts, the verdicts last.

    Args:
        folder: the study, or where ``analysis/`` shall lie.
        analysis: what was found.

    Returns:
        Paths of all files, whether they had to be written or held these bytes already.
    """
    paths = []
    for name, rows in analysis_rows(analysis).items():
        path = folder / TABLES_FOLDER / f"{name}.parquet"
        if rows:
            write_atomic(path, parquet_bytes(_table(rows, analysis)))
            paths.append(path)
        else:
            path.unlink(missing_ok=True)
    path = folder / VERDICTS_FILE
    write_atomic(path, canonical.document_bytes(analysis.summary()))
    return [*paths, path]


def analysis_rows(analysis: Analysis) -> dict[str, Rows]:
    """Return table name → rows; sections of both findings stand in one table, told apart by ``bases``."""
    both = [findings for findings in (analysis.findings, analysis.beside) if findings is not None]
    tables: dict[str, Rows] = {"gains": [flat(gain) for gain in analysis.gains]}
    for name in ("effects", "trajectories", "seed_noise", "transfers", "relations", "points", "verdicts"):
        tables[name] = [{"bases": part.bases, **flat(record)} for part in both for record in getattr(part, name)]
    tables["comparisons"] = [flat(comparison) for comparison in analysis.findings.comparisons]
    tables["components"] = _component_rows(analysis.findings)
    tables["depth"] = [row for part in both for row in _depth_rows(part)]
    tables["map"] = [flat(point) for point in analysis.map.points] if analysis.map else []
    tables["map_distances"] = _map_rows(analysis)
    tables["doubtful"] = [
        {**flat(doubt, skip=("metrics",)), **flat_metric("", metric)}
        for doubt in analysis.doubtful
        for metric in doubt.metrics
    ]
    return tables


def flat(record: Record, skip: Sequence[str] = ()) -> dict[str, Any]:
    """Return a record as one row: metrics and estimates spread over columns, pairs of numbers as ``_x`` and ``_y``."""
    row: dict[str, Any] = {}
    for field in fields(record):  # type: ignore[arg-type]
        value = getattr(record, field.name)
        if field.name in skip:
            continue
        if isinstance(value, Metric):
            row |= flat_metric("" if field.name == "metric" else f"{field.name}_", value)
        elif isinstance(value, Estimate):
            row |= flat_estimate(field.name, value)
        elif isinstance(value, tuple) and len(value) == 2 and all(isinstance(part, float) for part in value):
            row |= {f"{field.name}_x": value[0], f"{field.name}_y": value[1]}
        elif isinstance(value, tuple):
            row[field.name] = ", ".join(map(str, value))
        else:
            row[field.name] = value
    return row


def flat_metric(prefix: str, metric: Metric) -> dict[str, Any]:
    """Return the columns of a metric."""
    names = {"benchmark": metric.benchmark, "n_shot": metric.n_shot, "metric": metric.metric}
    return {f"{prefix}{name}": value for name, value in names.items()}


def flat_estimate(name: str, estimate: Estimate) -> dict[str, Any]:
    """Return the columns of an estimate: ``r``, ``r_low``, ``r_high`` …"""
    return {name: estimate.value} | {f"{name}_{part}": getattr(estimate, part) for part in _ESTIMATE}


def _component_rows(findings: Findings) -> Rows:
    rows: Rows = []
    for components in findings.components:
        facts = {"within": components.within, "n_datasets": len(components.datasets), "n_bases": len(components.bases)}
        for k, estimate in enumerate(components.cumulative):
            shares = {"share": components.shares[k], "null_share": components.null_shares[k]}
            rows.append({**facts, "component": k + 1, **shares, **flat_estimate("cumulative", estimate)})
    return rows


def _depth_rows(findings: Findings) -> Iterable[dict[str, Any]]:
    for depth in findings.depth:
        for place in depth.bins:
            row = {"bases": findings.bases, "kind": depth.kind, "of_method": depth.method, "depth": place.depth}
            row |= flat_estimate("change", place.change) | flat_estimate("r_gain", place.r_gain)
            none = dict.fromkeys(("agreement", *(f"agreement_{part}" for part in _ESTIMATE)))
            yield row | (flat_estimate("agreement", place.agreement) if place.agreement else none)


def _map_rows(analysis: Analysis) -> Rows:
    if analysis.map is None:
        return []
    named: Mapping[str, Mapping[str, Estimate]] = {
        "distance": analysis.map.distances,
        "purity": analysis.map.purity,
        "stability": {"nearest neighbours": analysis.map.stability},
    }
    return [
        {"kind": kind, "name": name, **flat_estimate("value", estimate)}
        for kind, estimates in named.items()
        for name, estimate in estimates.items()
    ]


def _table(rows: Rows, analysis: Analysis):
    """Return the Arrow table of rows; a column of nothing is text, so that its type does not hang on the data."""
    import pyarrow as pa

    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = []
    for name in names:
        values = [row.get(name) for row in rows]
        kinds = {type(value) for value in values if value is not None}
        kind = _arrow_type(kinds)
        columns.append(pa.array([_as(value, kind) for value in values], kind))
    marks = {"release_kit.analysis_schema": str(SCHEMA_VERSION), "release_kit.study": analysis.study}
    marks |= {f"release_kit.source.{source.path}": source.sha256 for source in analysis.sources}
    table = pa.Table.from_arrays(columns, names=names)
    return table.replace_schema_metadata({key.encode(): value.encode() for key, value in sorted(marks.items())})


def _arrow_type(kinds: set[type]):
    import pyarrow as pa

    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    if kinds and kinds <= {int, float}:
        return pa.float64()
    return pa.string()


def _as(value: Any, kind: Any) -> Any:
    if value is None:
        return None
    return str(value) if str(kind) == "string" else float(value) if str(kind) == "double" else value
