"""What each band of a model explains alone and together: every union fitted, the set algebra, intervals from blocks.

A union is a fit like any other (a single band is the fit of its feature), so an interruption loses one union at most.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.core.canonical import digest
from release_kit.encoding.partition.bootstrap import block_bootstrap
from release_kit.encoding.partition.sets import Union, all_unions, partition, unique, unique_unions
from release_kit.encoding.pipeline.designs import Part
from release_kit.encoding.pipeline.fits import Group, fit_bands
from release_kit.encoding.pipeline.identity import PARTITION_CODE, code_digest
from release_kit.encoding.pipeline.judging import block_samples
from release_kit.encoding.pipeline.regions import ALL, TOP, Regions, top_voxels
from release_kit.encoding.pipeline.units import (
    Fitted,
    float_column,
    read_columns,
    read_complete,
    tell_damage,
    write_complete,
    write_table,
)
from release_kit.encoding.spec.model import BandUse

PARTITIONS, PARTITION_FILE, MEANS_FILE = "partitions", "partition.json", "means.parquet"
WHOLE = "all bands"


@dataclass(frozen=True, kw_only=True, eq=False)
class Partitioned:
    """The parts of one banded model of one subject.

    Attributes:
        name: of the model.
        subject: label.
        partition_id: name of the folder, which lies under ``partitions/``.
        metric: ``r2`` or ``r``.
        fitted: the fit of all bands.
        voxels: part (``unique:story``) → (n_voxels,) value; ``…:low`` and ``…:high`` are the ends of its interval.
        means: (region, part) → value, low, high and how many voxels.
        fits: of all unions.
        top: (n_voxels,) the voxels of the region ``top``.
    """

    name: str
    subject: str
    partition_id: str
    metric: str
    fitted: Fitted
    voxels: Mapping[str, npt.NDArray]
    means: Mapping[tuple[str, str], tuple[float, float, float, int]]
    fits: Mapping[Union, Fitted]
    top: npt.NDArray[np.bool_]

    @property
    def fit_ids(self) -> tuple[str, ...]:
        """Folders of the fits of all unions."""
        return tuple(fit.fit_id for fit in self.fits.values())


def wanted_unions(use: BandUse) -> list[Union]:
    """Return the unions that a model's partition needs: all of them, those of the unique parts, or the whole."""
    if use.unions == "none":
        return [frozenset(use.features)]
    return all_unions(use.features) if use.unions == "all" else unique_unions(use.features)


def partition_model(
    group: Group, subject: str, use: BandUse, chosen: Mapping[str, Part], regions: Regions
) -> Partitioned:
    """Fit the unions of a banded model and return what its bands explain alone and together.

    Args:
        group: the subjects with the same samples.
        subject: whose.
        use: the model: its features, one a band, and which unions.
        chosen: feature → its layer, chosen on cross-validation.
        regions: named regions of the subject.

    Raises:
        FitError: a union that cannot be fitted, or too few held-out samples for intervals.
    """
    search = {"n_iter": use.n_iter, "seed": group.analysis.seed} if use.n_iter else None
    fits: dict[Union, Fitted] = {}
    with group.designs.keeping():
        for union in wanted_unions(use):
            parts = [chosen[name] for name in use.features if name in union]
            whole = len(union) == len(use.features)
            label = use.name if whole else f"{use.name}_{'+'.join(part.feature for part in parts)}"
            fits[union] = fit_bands(group, subject, parts, label, search, split_off=whole)
    whole = fits[frozenset(use.features)]
    top = top_voxels(whole.cv)
    named = {ALL: np.ones(len(top), bool), TOP: top, **regions}
    plan, choices = group.plan(subject), group.choices
    identity = {
        "unions": {"+".join(sorted(union)): fit.fit_id for union, fit in fits.items()},
        "bands": list(use.features),
        "parts": use.unions,
        "metric": choices.metric,
        "bootstrap": choices.bootstrap,
        "block": block_samples(choices.test, plan),
        "seed": group.analysis.seed,
        "regions": {name: digest(np.flatnonzero(inside).tolist()) for name, inside in named.items()},
        "code": code_digest(PARTITION_CODE),
    }
    partition_id = f"sub-{subject}_{use.name}_{digest(identity)[:16]}"
    home = group.folder / PARTITIONS / partition_id
    if read_complete(home, PARTITION_FILE, identity, tell_damage(group.folder, group.on_event)) is None:
        _make(group, subject, use, fits, named, home, identity)
        group.on_event({"event": "partitioned", "partition_id": partition_id})
    return Partitioned(
        name=use.name,
        subject=subject,
        partition_id=partition_id,
        metric=choices.metric,
        fitted=whole,
        voxels={name: values for name, values in read_columns(home / "voxels.parquet").items() if name != "voxel"},
        means=_read_means(home / MEANS_FILE),
        fits=fits,
        top=top,
    )


def parts_of(scores: Mapping[Union, npt.NDArray], bands: Sequence[str], unions: str) -> dict[str, npt.NDArray]:
    """Return the score of the whole model and the parts that the unions allow."""
    found = {WHOLE: np.asarray(scores[frozenset(bands)])}
    if unions == "all":
        found |= partition(scores, bands)
    elif unions == "unique":
        found |= unique(scores, bands)
    return found


def _make(
    group: Group,
    subject: str,
    use: BandUse,
    fits: Mapping[Union, Fitted],
    regions: Regions,
    home: Path,
    identity: Mapping[str, Any],
) -> None:
    import pyarrow as pa

    choices, plan = group.choices, group.plan(subject)

    def parts(scores: Mapping[Union, npt.NDArray]) -> dict[str, npt.NDArray]:
        return parts_of(scores, use.features, use.unions)

    columns: dict[str, npt.NDArray] = parts({union: fit.columns[choices.metric] for union, fit in fits.items()})
    rows: list[dict[str, Any]] = []
    if choices.bootstrap:
        found = block_bootstrap(
            group.held_out(subject),
            {union: np.asarray(fit.prediction()) for union, fit in fits.items()},
            plan.test_borders,
            parts,
            regions=regions,
            metric=choices.metric,
            block=identity["block"],
            n=choices.bootstrap,
            seed=group.analysis.seed,
        )
        for name, interval in found.voxels.items():
            columns[f"{name}:low"], columns[f"{name}:high"] = interval.low, interval.high
        for (region, name), interval in found.means.items():
            row = {"region": region, "part": name, "value": float(interval.estimate), "low": float(interval.low)}
            rows.append({**row, "high": float(interval.high), "n_voxels": found.counted[region]})
    else:
        for region, inside in regions.items():
            for name, values in columns.items():
                known = np.isfinite(values) & inside
                mean = float(np.mean(values[known], dtype=np.float64)) if known.any() else np.nan
                row = {"region": region, "part": name, "value": mean, "low": np.nan, "high": np.nan}
                rows.append({**row, "n_voxels": int(known.sum())})
    n_voxels = fits[frozenset(use.features)].r.shape[0]
    voxels = pa.array(np.arange(n_voxels), pa.int32())
    table = {"voxel": voxels, **{name: float_column(values) for name, values in columns.items()}}
    write_table(home / "voxels.parquet", pa.table(table))
    kinds = [("region", pa.string()), ("part", pa.string()), ("value", pa.float64()), ("low", pa.float64())]
    schema = pa.schema([*kinds, ("high", pa.float64()), ("n_voxels", pa.int32())])
    write_table(home / MEANS_FILE, pa.Table.from_pylist([_without_nan(row) for row in rows], schema=schema))
    write_complete(home, PARTITION_FILE, identity, ("voxels.parquet", MEANS_FILE), {"subject": subject})


def _without_nan(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in row.items()}


def _read_means(path: Path) -> dict[tuple[str, str], tuple[float, float, float, int]]:
    import pyarrow.parquet as pq

    found = {}
    for row in pq.ParquetFile(path).read().to_pylist():
        value, low, high = (np.nan if row[name] is None else row[name] for name in ("value", "low", "high"))
        found[row["region"], row["part"]] = (value, low, high, row["n_voxels"])
    return found
