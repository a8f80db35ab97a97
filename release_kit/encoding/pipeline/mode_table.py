"""What the modes change, on the same voxels and the same held-out seconds: the rows of ``tables/modes.parquet``.

A voxel counts where both modes score it and a sample where both hold it out, so that a difference is one of the models
and not of what they were judged on. What a mode found on its own voxels and samples stands in the other tables.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.encoding.arrays import FloatArray
from release_kit.encoding.data.samples import shared_seconds
from release_kit.encoding.partition.bootstrap import LEAST_BLOCKS, block_bootstrap
from release_kit.encoding.partition.sets import FloatMap, Union
from release_kit.encoding.pipeline.choices import CORRECTED, PAPER
from release_kit.encoding.pipeline.inputs import SubjectPlan
from release_kit.encoding.pipeline.judging import block_samples
from release_kit.encoding.pipeline.partitions import Partitioned, parts_of
from release_kit.encoding.pipeline.regions import ALL, TOP, top_voxels
from release_kit.encoding.pipeline.results import ModeResult
from release_kit.encoding.pipeline.units import Fitted

Row = dict[str, Any]
Voxels = npt.NDArray[np.bool_]
SEEN = "held-out samples that training shows"
"""Metric: how many held-out samples show a second that training showed too."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PickedRows:
    """Some rows of a matrix that stays on disk: what is asked for is read, nothing else."""

    values: FloatArray
    rows: npt.NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int]:
        """(n_rows, n_columns)."""
        return len(self.rows), self.values.shape[1]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: tuple[npt.NDArray[np.int64], slice]) -> FloatArray:
        rows, columns = place
        return self.values[:, columns][self.rows[rows]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Common:
    """The held-out samples of one subject that both modes predict.

    Attributes:
        rows: mode → their rows in the mode's predictions.
        borders: their stretch of each run.
    """

    rows: Mapping[str, npt.NDArray[np.int64]]
    borders: tuple[slice, ...]

    @property
    def n(self) -> int:
        """How many."""
        return len(self.rows[CORRECTED])


def common_samples(plans: Mapping[str, SubjectPlan]) -> Common:
    """Return the held-out samples that every mode predicts, in the order of the corrected mode.

    Args:
        plans: mode → plan of one subject.
    """
    places = {mode: _places(plan) for mode, plan in plans.items()}
    both = [key for key in places[CORRECTED] if all(key in each for each in places.values())]
    run = np.array([key[0] for key in both], dtype=object)
    ends = [*(np.flatnonzero(run[1:] != run[:-1]) + 1).tolist(), len(both)] if both else []
    return Common(
        rows={mode: np.array([each[key] for key in both], np.int64) for mode, each in places.items()},
        borders=tuple(slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)),
    )


def mode_rows(results: Sequence[ModeResult]) -> Iterator[Row]:
    """Yield what the paper's choices change: scores, significance and layers of every feature, parts, samples."""
    of_mode = {result.choices.mode: result for result in results}
    for subject in of_mode[CORRECTED].inputs.plans:
        common = common_samples({mode: result.inputs.plans[subject] for mode, result in of_mode.items()})
        for feature, annotator in _features(of_mode, subject):
            yield from _feature_rows(of_mode, subject, feature, annotator, common)
        for name in of_mode[CORRECTED].analysis.bands:
            yield from _part_rows(of_mode, subject, name, common)
        yield from _sample_rows(of_mode, subject)


def _features(of_mode: Mapping[str, ModeResult], subject: str) -> list[tuple[str, str]]:
    known = [{key[1:] for key in result.profiles if key[0] == subject} for result in of_mode.values()]
    everywhere = set.intersection(*known)
    return [key[1:] for key in of_mode[CORRECTED].profiles if key[0] == subject and key[1:] in everywhere]


def _feature_rows(
    of_mode: Mapping[str, ModeResult], subject: str, feature: str, annotator: str, common: Common
) -> Iterator[Row]:
    parts = {mode: result.chosen(subject, feature, annotator) for mode, result in of_mode.items()}
    fits = {mode: of_mode[mode].fit(subject, part) for mode, part in parts.items()}
    name = feature + ("" if annotator == "mean" else f" ({annotator})")
    level = of_mode[CORRECTED].analysis.features[feature].level
    labels = {"subject": subject, "name": name, "level": level, **_fit_ids(fits)}
    layers = [
        fit.cv
        for result in of_mode.values()
        for (who, part), fit in result.fits.items()
        if (who, part.feature, part.annotator) == (subject, feature, annotator)
    ]
    regions = _regions(of_mode[CORRECTED], subject, top_voxels(*layers))
    own = {mode: np.isfinite(fit.r) for mode, fit in fits.items()}
    predictions = {frozenset([_tag(mode)]): fit.prediction() for mode, fit in fits.items()}

    def score(scores: Mapping[Union, FloatMap], mode: str) -> Mapping[str, FloatMap]:
        return {"": scores[frozenset([_tag(mode)])]}

    for row in _compared(of_mode, subject, common, "r", predictions, regions, own, score):
        yield {**labels, **row, "part": None}
    judged = {mode: result.judged.get((subject, parts[mode])) for mode, result in of_mode.items()}
    if all(each is not None for each in judged.values()):
        known = {mode: np.isfinite(each.q) for mode, each in judged.items()}
        both = np.logical_and.reduce(list(known.values()))
        for region, inside in regions.items():
            shares = {mode: _share(each.significant, both & inside) for mode, each in judged.items()}
            yield {**labels, **_row("share_significant", region, shares, known, both, inside)}
    yield {**labels, **_values("layer", ALL, {mode: float(part.layer) for mode, part in parts.items()})}


def _part_rows(of_mode: Mapping[str, ModeResult], subject: str, name: str, common: Common) -> Iterator[Row]:
    found = {mode: _partition(result, subject, name) for mode, result in of_mode.items()}
    analysis = of_mode[CORRECTED].analysis
    use = analysis.bands[name]
    regions = _regions(of_mode[CORRECTED], subject, top_voxels(*(each.fitted.cv for each in found.values())))
    own = {
        mode: np.logical_and.reduce([np.isfinite(fit.r) for fit in each.fits.values()]) for mode, each in found.items()
    }
    # A union of both modes' models, so that one resampling serves them: the mode stands among its bands.
    predictions = {
        union | {_tag(mode)}: fit.prediction() for mode, each in found.items() for union, fit in each.fits.items()
    }

    def parts(scores: Mapping[Union, FloatMap], mode: str) -> Mapping[str, FloatMap]:
        own = {union - {_tag(mode)}: values for union, values in scores.items() if _tag(mode) in union}
        return parts_of(own, use.features, use.unions)

    labels = {"subject": subject, "name": name, **_fit_ids({mode: each.fitted for mode, each in found.items()})}
    for metric in ("r2", "r"):
        for row in _compared(of_mode, subject, common, metric, predictions, regions, own, parts):
            band = row["part"].removeprefix("unique:")
            level = analysis.features[band].level if band in use.features else None
            yield {**labels, **row, "level": level}


def _compared(
    of_mode: Mapping[str, ModeResult], subject: str, common: Common, metric: Any,
    predictions: Mapping[Union, FloatArray], regions: Mapping[str, Voxels], own: Mapping[str, Voxels], parts: Any,
) -> Iterator[Row]:  # fmt: skip
    """Yield a row for each part and region: both modes on the voxels of both, and the interval of the difference."""
    main = of_mode[CORRECTED]
    group = next(each for each in main.groups if any(plan.subject == subject for plan in each.plans))
    both = np.logical_and.reduce(list(own.values()))
    block = block_samples(main.choices.test, group.plan(subject))
    enough = sum(-(-(part.stop - part.start) // block) for part in common.borders) >= LEAST_BLOCKS
    modes = {union: next(mode for mode in of_mode if _tag(mode) in union) for union in predictions}

    def values(scores: Mapping[Union, FloatMap]) -> dict[str, FloatMap]:
        of = {mode: parts(scores, mode) for mode in of_mode}
        found = {f"{mode}/{part}": each for mode, named in of.items() for part, each in named.items()}
        return found | {f"difference/{part}": of[PAPER][part] - of[CORRECTED][part] for part in of[CORRECTED]}

    found = block_bootstrap(
        PickedRows(values=group.held_out(subject), rows=common.rows[CORRECTED]),
        {union: PickedRows(values=each, rows=common.rows[modes[union]]) for union, each in predictions.items()},
        common.borders, values, regions={name: inside & both for name, inside in regions.items()}, metric=metric,
        block=block, n=main.choices.bootstrap if enough else 0, seed=main.analysis.seed,
    )  # fmt: skip
    names = dict.fromkeys(key.partition("/")[2] for _, key in found.means)
    for part in names:
        for region, inside in regions.items():
            means = {mode: float(found.means[region, f"{mode}/{part}"].estimate) for mode in of_mode}
            ends = found.means[region, f"difference/{part}"]
            row = _row(metric, region, means, own, both, inside)
            ends_of = {"low": float(ends.low), "high": float(ends.high)}
            yield {**row, **ends_of, "part": part, "n_voxels": found.counted[region], "n_samples": common.n}


def _sample_rows(of_mode: Mapping[str, ModeResult], subject: str) -> Iterator[Row]:
    counts: dict[str, dict[str, float]] = {"n_train": {}, "n_held_out": {}, SEEN: {}}
    for mode, result in of_mode.items():
        plan = result.inputs.plans[subject]
        counts["n_train"][mode] = float(np.mean([len(split.train) for split in plan.splits]))
        counts["n_held_out"][mode] = float(len(plan.held_out))
        counts[SEEN][mode] = float(sum(shared_seconds(plan.runs, plan.samples).values()))
    for metric, values in counts.items():
        yield {"subject": subject, "name": "samples", **_values(metric, ALL, values)}


def _row(
    metric: str, region: str, values: Mapping[str, float], own: Mapping[str, Voxels], both: Voxels, inside: Voxels
) -> Row:
    counts = {f"n_{mode}": int((scored & inside).sum()) for mode, scored in own.items()}
    return {**_values(metric, region, values), **counts, "n_voxels": int((both & inside).sum())}


def _values(metric: str, region: str, values: Mapping[str, float]) -> Row:
    difference = values[PAPER] - values[CORRECTED]
    return {"metric": metric, "region": region, **values, "difference": difference}


def _regions(result: ModeResult, subject: str, top: Voxels) -> dict[str, Voxels]:
    return {ALL: np.ones(len(top), bool), TOP: top, **result.regions[subject]}


def _fit_ids(fits: Mapping[str, Fitted]) -> dict[str, str]:
    return {f"fit_id_{mode}": fit.fit_id for mode, fit in fits.items()}


def _partition(result: ModeResult, subject: str, name: str) -> Partitioned:
    return next(each for each in result.partitions if (each.subject, each.name) == (subject, name))


def _places(plan: SubjectPlan) -> dict[tuple[str, int], int]:
    samples, rows = plan.samples, plan.held_out.tolist()
    return {(samples.runs[samples.run[row]], int(samples.volume[row])): place for place, row in enumerate(rows)}


def _share(marked: Voxels, inside: Voxels) -> float:
    return float(marked[inside].mean()) if inside.any() else float("nan")


def _tag(mode: str) -> str:
    return f"mode: {mode}"
