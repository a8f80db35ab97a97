"""Which maps a finished analysis has, and their derivative dataset: fits, tests, parts of variance, comparisons, means.

Everything is read from the folder of the analysis; the dataset is not needed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.encoding.data.masks import Mask
from release_kit.encoding.maps.derivative import StatMap, WrittenMap, write_derivative
from release_kit.encoding.pipeline.finished import ChosenFit, Finished, FinishedPartition
from release_kit.encoding.pipeline.intact import read_intact
from release_kit.encoding.statistics.multiple import called

DERIVATIVE = "derivative"
_OWN_SPACES = ("T1w", "T2w", "native", "func", "boldref", "individual")
"""Spaces in which a voxel of one subject is no voxel of another."""


def write_maps(folder: Path) -> list[WrittenMap]:
    """Write ``derivative/`` of a finished analysis: every map of it, as a BIDS derivative dataset.

    Args:
        folder: of the analysis.

    Raises:
        AnalysisError: the analysis was not finished, a file of it is not what was recorded, or two of its maps have the
            same name.
        ResponseError: volumes whose mask has no place in space.
    """
    finished = read_intact(folder)
    record = finished.record
    name = f"{record['name']}: encoding models of {record['dataset']['name']}"
    description = record["description"] or f"Statistical maps of encoding models of {record['dataset']['name']}."
    return write_derivative(
        folder / DERIVATIVE, analysis_maps(finished), name=name, sources=record["dataset"].get("sources", ()),
        description=description,
    )  # fmt: skip


def analysis_maps(finished: Finished) -> Iterator[StatMap]:
    """Yield every map of a finished analysis: r and q of chosen fits, parts of variance, comparisons, means."""
    fits = finished.chosen
    for fit in fits:
        yield from _fit_maps(finished, fit)
    for each in finished.partitions:
        yield from _partition_maps(finished, each)
    for mode in finished.modes:
        for subject in finished.subjects:
            yield from _comparisons(finished, mode, subject)
    yield from _means(finished)


def desc_of(finished: Finished, name: str, mode: str, annotator: str = "mean") -> str:
    """Return what a map is of, in words: annotator and mode are named where they are not the usual ones."""
    parts = [name, "" if annotator == "mean" else annotator, "" if mode == finished.modes[0] else mode]
    return " ".join(part for part in parts if part)


def _fit_maps(finished: Finished, fit: ChosenFit) -> Iterator[StatMap]:
    about = {
        "Feature": fit.feature, "Level": fit.level, "Model": fit.model, "Layer": fit.layer, "Mode": fit.mode,
        "Annotator": fit.annotator, "Source": f"fits/{fit.fit_id}/voxels.parquet",
    }  # fmt: skip
    found: dict[str, npt.NDArray] = {"r": fit.values["r"]}
    if fit.test is not None:
        about["Threshold"] = finished.level
        about["NumberSignificant"] = int(called(fit.values["q"], finished.level).sum())
        found |= {"p": fit.values["p"], "q": fit.values["q"]}
    for statistic, values in found.items():
        own = {}
        if statistic in ("p", "q"):
            own["Test"] = finished.record["choices"][fit.mode]["test"]
            if own["Test"]["null"] == "pooled":
                own["Description"] = f"{statistic} by one shuffle pooled over voxels, as published: it tests no voxel."
        yield _map(finished, fit.subject, statistic, desc_of(finished, fit.feature, fit.mode, fit.annotator),
                   values, {**about, **own})  # fmt: skip


def _partition_maps(finished: Finished, each: FinishedPartition) -> Iterator[StatMap]:
    for part, values in each.values.items():
        kind, colon, bands = part.partition(":")
        if part.endswith((":low", ":high")) or (colon and kind not in ("unique", "shared")):
            continue
        statistic = f"{kind}{each.metric}" if colon else each.metric
        low = each.values.get(f"{part}:low")
        about = {
            "BandedModel": each.name, "Part": part, "Bands": list(each.features), "Mode": each.mode,
            "Source": f"partitions/{each.partition_id}/voxels.parquet",
        }  # fmt: skip
        if low is not None:
            about["NumberAboveZero"] = int((np.nan_to_num(low, nan=-1.0) > 0).sum())
            about["AboveZero"] = "lower end of the 95 % block-bootstrap interval above 0"
        named = f"{each.name} {bands}" if colon else f"{each.name} {part}"
        desc = desc_of(finished, named, each.mode)
        yield _map(finished, each.subject, statistic, desc, values, about)
        if low is not None and kind == "unique":
            yield _map(finished, each.subject, f"{statistic}low", desc, low, about)


def _comparisons(finished: Finished, mode: str, subject: str) -> Iterator[StatMap]:
    fits = {fit.feature: fit for fit in reversed(finished.chosen) if (fit.mode, fit.subject) == (mode, subject)}
    for asked in finished.record["compare"]:
        if asked["a"] in fits and asked["b"] in fits:
            a, b = fits[asked["a"]], fits[asked["b"]]
            about = {
                "Comparison": asked["name"], "First": a.feature, "Second": b.feature, "Level": a.level, "Mode": mode,
                "Model": f"{a.model} against {b.model}",
                "Source": f"fits/{a.fit_id}/voxels.parquet and fits/{b.fit_id}/voxels.parquet",
            }  # fmt: skip
            yield _map(finished, subject, "rdiff", desc_of(finished, asked["name"], mode),
                       a.values["r"] - b.values["r"], about)  # fmt: skip


def _means(finished: Finished) -> Iterator[StatMap]:
    masks = [finished.mask(subject) for subject in finished.subjects]
    if len(masks) < 2 or not _one_space(finished, masks):
        return
    groups: dict[tuple[str, str, str], list[ChosenFit]] = {}
    for fit in finished.chosen:
        groups.setdefault((fit.mode, fit.feature, fit.annotator), []).append(fit)
    for (mode, feature, annotator), fits in groups.items():
        values = np.stack([fit.values["r"] for fit in fits]).astype(np.float64)
        known = np.isfinite(values).all(axis=0)
        mean = np.where(known, np.nan_to_num(values).mean(axis=0), np.nan)
        about = {
            "Feature": feature, "Level": fits[0].level, "Model": fits[0].model, "Mode": mode, "Annotator": annotator,
            "NumberOfSubjects": len(fits), "Source": ", ".join(f"fits/{fit.fit_id}/voxels.parquet" for fit in fits),
        }  # fmt: skip
        if len(fits) > 1:
            yield _map(finished, None, "rmean", desc_of(finished, feature, mode, annotator), mean, about)


def _one_space(finished: Finished, masks: list[Mask]) -> bool:
    space = finished.record["dataset"]["space"]
    if space is None or space in _OWN_SPACES or space.startswith("fsnative"):
        return False
    first = masks[0]
    return all(each.kind == first.kind and np.array_equal(each.selected, first.selected) for each in masks)


def _map(
    finished: Finished, subject: str | None, statistic: str, desc: str, values: npt.NDArray, about: dict[str, Any]
) -> StatMap:
    return StatMap(
        subject=subject, statistic=statistic, desc=desc, values=values,
        mask=finished.mask(subject or finished.subjects[0]), space=finished.record["dataset"]["space"],
        about={key: value for key, value in about.items() if value is not None},
    )  # fmt: skip
