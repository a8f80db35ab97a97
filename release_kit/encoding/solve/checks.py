"""What is looked at before anything is fitted: lengths, numbers that are none, constant voxels, folds.

Everything that is wrong with features, responses and folds is said at once. Cleaning belongs to the data's room.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.encoding.arrays import Fold
from release_kit.encoding.errors import FitError
from release_kit.encoding.solve.engine import Rows, float_type, take, tiles

CHECK_BYTES = 16 * 2**20
"""Responses that are looked at in one piece."""
MAX_SEGMENTS = 256
LEAST_SPREAD, MOST_SPREAD = 1e-14, 1e14
"""Between which differences values are fitted: float32 holds the squares of these, and their sums."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Inspected:
    """What was found in responses.

    Attributes:
        mean: (n_voxels,) float64 over all rows.
        constant: (n_voxels,) bool: no change over all rows, or over the rows that one fold trains or tests on.
    """

    mean: npt.NDArray[np.float64]
    constant: npt.NDArray[np.bool_]


def check_problem(x: npt.NDArray[Any], y: npt.NDArray[Any], folds: Sequence[Fold], name: str = "features") -> None:
    """Refuse features and folds that cannot be fitted; responses are only looked at by shape.

    Raises:
        FitError: naming every length, fold and feature that is wrong.
    """
    wrong = [*_wrong_shapes(x, y, name)]
    if not wrong:
        wrong += [*_wrong_features(x, name), *wrong_folds(folds, len(x))]
    if wrong:
        raise FitError("; ".join(wrong), where=name, next_step="correct the inputs; nothing was fitted")


def _wrong_shapes(x: npt.NDArray[Any], y: npt.NDArray[Any], name: str) -> list[str]:
    if x.ndim != 2 or y.ndim != 2:
        return [f"features of shape {x.shape} and responses of shape {y.shape}, expected two dimensions each"]
    wrong = []
    if len(x) != len(y):
        wrong.append(f"{name} has {len(x)} samples, the responses have {len(y)}")
    if 0 in x.shape:
        wrong.append(f"{name} is empty: {x.shape}")
    if 0 in y.shape:
        wrong.append(f"the responses are empty: {y.shape}")
    for what, values in ((name, x), ("the responses", y)):
        if values.dtype.kind not in "biuf":
            wrong.append(f"{what}: values of type {values.dtype}, expected real numbers")
    return wrong


def _wrong_features(x: npt.NDArray[Any], name: str) -> list[str]:
    with np.errstate(over="ignore", invalid="ignore"):
        total = x.sum(axis=0, dtype=np.float64)
    if np.isfinite(total).all():
        spread = float((x.max(axis=0).astype(np.float64) - x.min(axis=0).astype(np.float64)).max())
        return [] if not spread else _wrong_spread(name, spread)
    bad = ~np.isfinite(x)
    columns, rows = np.flatnonzero(bad.any(axis=0)), np.flatnonzero(bad.any(axis=1))
    if not len(columns):
        return _wrong_spread(name, float("inf"))
    return [
        f"{name} holds {int(bad.sum())} values that are no finite numbers, in {len(columns)} features "
        f"({_first(columns)}) and {len(rows)} samples ({_first(rows)})"
    ]


def _wrong_spread(what: str, spread: float) -> list[str]:
    """Return what is wrong with values that differ by as much as this, if anything."""
    if LEAST_SPREAD <= spread <= MOST_SPREAD:
        return []
    return [f"{what}: values differ by {spread:.1e}, expected {LEAST_SPREAD:g} to {MOST_SPREAD:g}; scale them"]


def wrong_folds(folds: Sequence[Fold], n_samples: int) -> list[str]:
    """Return a sentence for everything that is wrong with folds over ``n_samples`` rows."""
    wrong = [] if folds else ["no folds: cross-validation needs at least one"]
    for k, fold in enumerate(folds):
        for part, index in (("train", fold.train), ("test", fold.test)):
            if not len(index):
                wrong.append(f"fold {k} has no {part} samples")
                continue
            if index.min() < 0 or index.max() >= n_samples:
                wrong.append(
                    f"fold {k}: {part} rows from {index.min()} to {index.max()}, there are {n_samples} samples"
                )
            elif len(np.unique(index)) < len(index):
                wrong.append(f"fold {k}: {part} rows stand twice")
        if len(fold.train) == 1 or len(fold.test) == 1:
            wrong.append(f"fold {k} has a single train or test sample, a score needs two")
        both = np.intersect1d(fold.train, fold.test)
        if len(both):
            wrong.append(f"fold {k}: {len(both)} rows are in train and test ({_first(both)})")
    return wrong


def inspect_responses(y: npt.NDArray[Any], folds: Sequence[Fold], name: str = "responses") -> Inspected:
    """Look at every value once and return means and constant voxels.

    Raises:
        FitError: values that are no finite numbers: how many, and in which voxels.
    """
    mean, constant = np.empty(y.shape[1]), np.empty(y.shape[1], bool)
    bad: dict[int, int] = {}
    spread = np.zeros(y.shape[1])
    segments, groups = _segments(folds, len(y))
    for columns in tiles(y.shape[1], max(1, CHECK_BYTES // (4 * len(y)))):
        tile = take(y, columns)
        with np.errstate(over="ignore", invalid="ignore"):
            total = tile.sum(axis=0, dtype=np.float64)
        for voxel in np.flatnonzero(~np.isfinite(total)):
            found = int((~np.isfinite(tile[:, voxel])).sum())
            if found:
                bad[columns.start + int(voxel)] = found
        mean[columns] = total / len(y)
        constant[columns], spread[columns] = _constant(tile, segments, groups)
    if bad:
        raise FitError(
            f"{sum(bad.values())} values that are no finite numbers in {len(bad)} of {y.shape[1]} voxels "
            f"({_first(np.array(sorted(bad)))})",
            where=name,
            next_step="repair these voxels or leave them out of the mask",
        )
    outside = np.flatnonzero((spread != 0) & ~((spread >= LEAST_SPREAD) & (spread <= MOST_SPREAD)))
    if len(outside):
        worst = outside[np.argmax(np.abs(np.log(spread[outside])))]
        said = _wrong_spread(f"{len(outside)} of {y.shape[1]} voxels ({_first(outside)})", float(spread[worst]))
        raise FitError(said[0], where=name, next_step="give the responses in another unit")
    return Inspected(mean=mean, constant=constant)


def _segments(folds: Sequence[Fold], n: int) -> tuple[list[Rows], list[list[int]]]:
    """Return stretches of rows that every fold treats alike, and the stretches of each set of rows that matters."""
    sets = [index for fold in folds for index in (fold.train, fold.test)]
    label = np.zeros(n, np.int64)
    for index in sets:
        inside = np.zeros(n, np.int64)
        inside[index] = 1
        label = np.unique(2 * label + inside, return_inverse=True)[1].reshape(n)
    borders = np.r_[0, np.flatnonzero(np.diff(label)) + 1, n]
    if len(borders) > MAX_SEGMENTS:
        rows = [Rows(index=np.flatnonzero(label == value)) for value in range(int(label.max()) + 1)]
    else:
        rows = [Rows(index=np.arange(a, b)) for a, b in pairwise(borders)]
    groups = [list(range(len(rows)))]
    for index in sets:
        inside = np.zeros(n, bool)
        inside[index] = True
        groups.append([k for k, part in enumerate(rows) if inside[part.index[0]]])
    return rows, groups


def _constant(
    tile: npt.NDArray[Any], segments: list[Rows], groups: list[list[int]]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Return which columns have one value only over the rows of at least one group, and how far all rows spread."""
    import torch

    dtype = float_type(tile.dtype)
    found = [torch.aminmax(torch.tensor(np.ascontiguousarray(part.of(tile), dtype)), dim=0) for part in segments]
    low, high = torch.stack([pair.min for pair in found]), torch.stack([pair.max for pair in found])
    constant = torch.zeros(tile.shape[1], dtype=torch.bool)
    for group in groups:
        constant |= low[group].amin(0) == high[group].amax(0)
    return constant.numpy(), (high.amax(0).double() - low.amin(0).double()).numpy()


def _first(places: npt.NDArray[Any]) -> str:
    """Return the first few of many places."""
    shown = ", ".join(str(int(place)) for place in places[:5])
    return shown + (", …" if len(places) > 5 else "")
