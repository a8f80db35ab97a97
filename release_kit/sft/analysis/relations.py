"""Which property of a dataset goes with the gain that training on it brings: perplexity, length, similarity.

Rows are base x dataset x method x size on one metric, seeds averaged, last epoch. Base, metric, method and size are
taken out (a group's mean each), so that what is left is "among the datasets that one base was trained on". Bases share
datasets, so intervals are over both, crossed. Perplexities and lengths enter as logarithms. Owns the reading of
``tables/dataset_properties.parquet``.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from release_kit.core.errors import RecordError
from release_kit.sft.analysis.bootstrap import Statistic, codes_of
from release_kit.sft.analysis.estimate import Estimate, Metric
from release_kit.sft.analysis.gains import GainFrame
from release_kit.sft.analysis.intervals import FEWEST_BASES, rounded, smooth_estimate
from release_kit.sft.analysis.multiple import adjusted, benjamini_yekutieli
from release_kit.sft.analysis.partial import partial_correlation, partial_slope
from release_kit.sft.analysis.records import Relation, RelationPoint

PROPERTIES_FILE = "tables/dataset_properties.parquet"
PERPLEXITIES = ("perplexity_completion", "perplexity_full")
LENGTHS = ("tokens_mean", "completion_tokens_mean")
SIMILARITIES = ("embedding_similarity", "lexical_similarity")
NEAREST = ("embedding_similarity_nearest", "lexical_similarity_nearest")
KNOWN = (*PERPLEXITIES, "bits_per_byte_completion", *LENGTHS, *SIMILARITIES, *NEAREST, "contamination")
LOGARITHMIC = (*PERPLEXITIES, *LENGTHS)
FEWEST_ROWS = 8

Properties = Mapping[str, Mapping[tuple[str, str | None, str | None], float]]
"""Property → (dataset, base or None, benchmark or None) → value."""


@dataclass(frozen=True, kw_only=True)
class RelationRows:
    """Gains with the properties of their datasets; every array is (n_rows,)."""

    gain: np.ndarray
    """Mean over seeds."""
    scaled: np.ndarray
    """The same in units of its group's standard deviation."""
    x: Mapping[str, np.ndarray]
    """Property → value, NaN where it was not measured."""
    bases: np.ndarray
    datasets: np.ndarray
    methods: np.ndarray
    metrics: np.ndarray
    groups: np.ndarray
    """Codes of base x metric x method x size x schedule."""


def read_properties(path: Path) -> Properties:
    """Read the table of dataset properties; properties that this file does not know are left out.

    Raises:
        RecordError: not Parquet, or without the columns of the format.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ["property", "dataset", "base_model", "benchmark", "value"]
    try:
        rows = pq.ParquetFile(path).read(columns=names).to_pylist()
        table: dict[str, dict] = {}
        for row in rows:
            if row["property"] in KNOWN and row["value"] is not None and math.isfinite(row["value"]):
                key = (row["dataset"], row["base_model"], row["benchmark"])
                table.setdefault(row["property"], {})[key] = row["value"]
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        text = " ".join(str(error).split())[:200]
        raise RecordError(f"is not a table of dataset properties ({text})", where=str(path)) from error
    return table


def relation_rows(frame: GainFrame, properties: Properties, metrics: Sequence[Metric]) -> RelationRows:
    """Return the rows of ``metrics`` whose dataset has any property."""
    kept = frame.where(frame.labels("last").astype(bool)).among(metrics)
    names = ("base_model", "dataset", "method", "data_size", "schedule", "others", "metric")
    keys, means = [], []
    for key, rows in kept.by(*names).items():
        keys.append(key)
        means.append(float(np.mean(rows.numbers("gain"))))
    columns = {name: _column(name, table, keys) for name, table in properties.items()}
    known = [any(math.isfinite(column[i]) for column in columns.values()) for i in range(len(keys))]
    index = np.flatnonzero(known)
    keys, gain = [keys[i] for i in index], np.array(means)[index]
    groups = codes_of([(key[0], *key[2:]) for key in keys])[0]
    return RelationRows(
        gain=gain,
        scaled=_in_group_units(gain, groups),
        x={name: column[index] for name, column in columns.items()},
        bases=_objects([key[0] for key in keys]),
        datasets=_objects([key[1] for key in keys]),
        methods=_objects([key[2] for key in keys]),
        metrics=_objects([key[-1] for key in keys]),
        groups=groups,
    )


def make_relations(rows: RelationRows, metrics: Sequence[Metric]) -> tuple[Relation, ...]:
    """Return each property's relation with gain: over all metrics, then metric by metric, then given the others."""
    found: list[Relation] = []
    for name in (name for name in KNOWN if name in rows.x):
        pooled = _relation(rows, name, None, ())
        found += [pooled] if pooled else []
        single = [relation for metric in metrics if (relation := _relation(rows, name, metric, ()))]
        tests = adjusted([relation.r for relation in single], benjamini_yekutieli)
        found += [replace(relation, r=r) for relation, r in zip(single, tests, strict=True)]
    found += [relation for name, others in _joint(rows) if (relation := _relation(rows, name, None, others))]
    return tuple(found)


def advantage(rows: RelationRows, first: str, second: str) -> Estimate | None:
    """Return |r| of ``first`` less |r| of ``second`` on the rows that have both; None with too few, or no spread."""
    keep = np.isfinite(rows.x[first]) & np.isfinite(rows.x[second])
    if not _enough(rows, keep):
        return None
    one = partial_correlation(rows.x[first][keep], rows.scaled[keep], rows.groups[keep])
    other = partial_correlation(rows.x[second][keep], rows.scaled[keep], rows.groups[keep])
    if not (_is_known(one, keep) and _is_known(other, keep)):
        return None
    return _estimate(rows, keep, lambda weights: np.abs(one(weights)) - np.abs(other(weights)), fisher=False)


def relation_points(rows: RelationRows, name: str) -> tuple[RelationPoint, ...]:
    """Return the dots of the picture "gain against ``name``"."""
    return tuple(
        RelationPoint(
            property=name,
            base_model=rows.bases[i],
            dataset=rows.datasets[i],
            method=rows.methods[i],
            metric=rows.metrics[i],
            x=rounded(rows.x[name][i]),
            y=rounded(rows.gain[i]),
        )
        for i in np.flatnonzero(np.isfinite(rows.x[name]))
    )


def main_property(rows: RelationRows, names: Sequence[str]) -> str | None:
    """Return the first of ``names`` that was measured."""
    return next((name for name in names if name in rows.x and np.isfinite(rows.x[name]).any()), None)


def _joint(rows: RelationRows) -> list[tuple[str, tuple[str, ...]]]:
    """Return (property, the others it is taken given) of perplexity, length and similarity."""
    names = [name for kind in (PERPLEXITIES, LENGTHS, SIMILARITIES) if (name := main_property(rows, kind))]
    return [(name, tuple(other for other in names if other != name)) for name in names if len(names) > 1]


def _relation(rows: RelationRows, name: str, metric: Metric | None, others: tuple[str, ...]) -> Relation | None:
    keep = np.isfinite(rows.x[name])
    for other in others:
        keep &= np.isfinite(rows.x[other])
    if metric is not None:
        keep &= rows.metrics == metric
    if not _enough(rows, keep):
        return None
    x, groups = rows.x[name][keep], rows.groups[keep]
    covariates = [rows.x[other][keep] for other in others]
    r = partial_correlation(x, rows.scaled[keep], groups, covariates)
    if not _is_known(r, keep):
        return None
    slope = partial_slope(x / x.std(), rows.scaled[keep], groups, covariates)
    return Relation(
        property=name,
        metric=metric,
        given=("base_model", "metric", "method", *others),
        r=_estimate(rows, keep, r, fisher=True),
        slope=_estimate(rows, keep, slope, fisher=False),
    )


def _enough(rows: RelationRows, keep: np.ndarray) -> bool:
    """Return whether some group has at least three datasets to correlate over, and the rows are not too few."""
    return bool(keep.sum() >= FEWEST_ROWS and np.bincount(rows.groups[keep]).max() >= 3)


def _is_known(statistic: Statistic, keep: np.ndarray) -> bool:
    """Return whether the statistic has a value: contamination that is zero everywhere, say, goes with nothing."""
    return bool(np.isfinite(statistic(np.ones((1, int(keep.sum()))))[0]))


def _estimate(rows: RelationRows, keep: np.ndarray, statistic: Statistic, *, fisher: bool) -> Estimate:
    bases, n_bases = codes_of(rows.bases[keep].tolist())
    datasets, _ = codes_of(rows.datasets[keep].tolist())
    crossed = n_bases >= FEWEST_BASES
    units, over = ([bases, datasets], "base_model x dataset") if crossed else ([datasets], "dataset")
    return smooth_estimate(statistic, units, over=over, n=int(keep.sum()), fisher=fisher)


def _column(name: str, table: Mapping[tuple, float], keys: Sequence[tuple]) -> np.ndarray:
    """Return the property of each row: that of its own base and benchmark where it depends on them."""
    column = np.full(len(keys), np.nan)
    for i, (base, dataset, *_, metric) in enumerate(keys):
        places = itertools.product((base, None), (metric.benchmark, None))
        found = (table.get((dataset, *place)) for place in places)
        column[i] = next((value for value in found if value is not None), math.nan)
    return np.log(np.maximum(column, 1e-12)) if name in LOGARITHMIC else column


def _in_group_units(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the values over the standard deviation of their group; groups without any are left at 0."""
    counts = np.maximum(np.bincount(groups), 1)
    mean = np.bincount(groups, values) / counts
    spread = np.sqrt(np.bincount(groups, (values - mean[groups]) ** 2) / counts)
    return np.where(spread[groups] > 0, (values - mean[groups]) / np.where(spread > 0, spread, 1.0)[groups], 0.0)


def _objects(values: Sequence) -> np.ndarray:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
