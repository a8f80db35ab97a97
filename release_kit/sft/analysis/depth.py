"""Layer changes by depth: where weights move, where their movement goes with gain, where bases agree.

Depth runs from 0 (first layer) to 1 (last), so models of different size share an axis; the profile of a model with
fewer layers than bins is interpolated. Gain enters as one number a cell: the mean over metrics in units of each base x
method x metric's spread. The place of a maximum is no smooth statistic, so its interval is of a bootstrap over bases
(over runs, with few bases). Owns the reading of ``tables/layer_changes.parquet``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from release_kit.core.errors import RecordError
from release_kit.sft.analysis.agreement import base_agreement
from release_kit.sft.analysis.bootstrap import Statistic, codes_of
from release_kit.sft.analysis.estimate import Estimate, Metric
from release_kit.sft.analysis.gains import GainFrame
from release_kit.sft.analysis.intervals import (
    FEWEST_BASES,
    choose_units,
    jumpy_estimate,
    mean_estimate,
    rounded,
    smooth_estimate,
)
from release_kit.sft.analysis.partial import partial_correlation
from release_kit.sft.analysis.records import Depth, DepthBin, Gain

LAYERS_FILE = "tables/layer_changes.parquet"
N_BINS = 11
ALL_KINDS = "all"
N_DRAWS = 1000
FEWEST_CELLS = 8
TINY = 1e-12
"""A change of nothing has no logarithm; it is taken as this."""


@dataclass(frozen=True, kw_only=True)
class Profiles:
    """Changes by depth: kind → cell → (n_bins,) relative Frobenius norms."""

    depths: np.ndarray
    by_kind: Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class _Cells:
    """Cells of one method with profile and gain; arrays are (n_cells,) and ``change`` (n_cells, n_bins)."""

    change: np.ndarray
    gain: np.ndarray
    """NaN where a cell has no sound gain."""
    bases: list[str]
    runs: list[str]
    datasets: list[str]
    conditions: list[tuple]


def read_profiles(path: Path, n_bins: int = N_BINS) -> Profiles:
    """Read the table of layer changes into profiles.

    Tensors of one layer count by their size: change² = Σ n·f² / Σ n over their relative Frobenius norms f.

    Raises:
        RecordError: not Parquet, or without the columns of the format.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ["cell_id", "kind", "depth", "n_elements", "relative_frobenius"]
    try:
        table = pq.ParquetFile(path).read(columns=names)
        table = table.filter(table.column("depth").is_valid())
        columns = [table.column(name).to_pylist() for name in names[:2]]
        numbers = [table.column(name).to_numpy().astype(np.float64) for name in names[2:]]
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        text = " ".join(str(error).split())[:200]
        raise RecordError(f"is not a table of layer changes ({text})", where=str(path)) from error
    grid = np.linspace(0, 1, n_bins)
    kinds: dict[str, dict[str, np.ndarray]] = {ALL_KINDS: _profiles(columns[0], *numbers, grid)}
    for kind in sorted(set(columns[1])):
        rows = np.flatnonzero(np.array(columns[1], dtype=object) == kind)
        kinds[kind] = _profiles([columns[0][i] for i in rows], *(column[rows] for column in numbers), grid)
    return Profiles(depths=grid, by_kind=kinds)


def make_depth(frame: GainFrame, profiles: Profiles, metrics: Sequence[Metric], *, seed: int = 0) -> tuple[Depth, ...]:
    """Return the depth profiles of each method and kind of tensor, ``all`` kinds first."""
    gains = cell_gains(frame, metrics)
    cells = {gain.cell_id: gain for gain in frame.gains if gain.last}
    found = []
    for kind, by_cell in profiles.by_kind.items():
        for method in sorted({gain.method for gain in cells.values()}):
            chosen = [cell for cell, gain in cells.items() if gain.method == method and cell in by_cell]
            if len(chosen) >= FEWEST_CELLS:
                data = _cells([cells[cell] for cell in chosen], by_cell, gains)
                found.append(_depth(kind, method, profiles.depths, data, seed))
    return tuple(found)


def cell_gains(frame: GainFrame, metrics: Sequence[Metric]) -> dict[str, float]:
    """Return cell → mean over metrics of its gain in units of its base x method x metric's spread, last epochs."""
    rows = frame.where(frame.labels("last").astype(bool)).among(metrics)
    sums: dict[str, list[float]] = {}
    for group in rows.by("base_model", "method", "metric").values():
        values = group.numbers("gain")
        spread = values.std()
        for gain, value in zip(group.gains, values, strict=True):
            if spread > 0:
                sums.setdefault(gain.cell_id, []).append((value - values.mean()) / spread)
    return {cell: float(np.mean(values)) for cell, values in sums.items()}


def _profiles(cells: list[str], depth: np.ndarray, n: np.ndarray, change: np.ndarray, grid: np.ndarray) -> dict:
    codes, _ = codes_of(cells)
    places, inverse = np.unique(np.column_stack([codes, depth]), axis=0, return_inverse=True)
    inverse = inverse.ravel()
    layer = np.sqrt(np.bincount(inverse, n * change**2) / np.bincount(inverse, n))
    names = list(dict.fromkeys(cells))
    profiles = {}
    for code, name in enumerate(names):
        own = places[:, 0] == code
        profiles[name] = np.interp(grid, places[own, 1], layer[own])
    return profiles


def _cells(gains: Sequence[Gain], by_cell: Mapping[str, np.ndarray], values: Mapping[str, float]) -> _Cells:
    return _Cells(
        change=np.array([by_cell[gain.cell_id] for gain in gains]),
        gain=np.array([values.get(gain.cell_id, np.nan) for gain in gains]),
        bases=[gain.base_model for gain in gains],
        runs=[gain.run for gain in gains],
        datasets=[gain.dataset for gain in gains],
        conditions=[(gain.dataset, gain.data_size, gain.schedule, gain.others, gain.seed) for gain in gains],
    )


def _depth(kind: str, method: str, depths: np.ndarray, cells: _Cells, seed: int) -> Depth:
    log_change = np.log(np.maximum(cells.change, TINY))
    agreement, peak_agreement = base_agreement(log_change, cells.bases, cells.conditions, depths, seed)
    over, units = choose_units(cells.bases, cells.runs)
    shape = _shape(cells)
    bins = tuple(
        DepthBin(
            depth=rounded(depth),
            change=smooth_estimate(_balanced_mean(cells.change[:, i], cells), [units], over=over, n=len(units)),
            r_gain=_r_gain(log_change[:, i], cells),
            agreement=agreement[i] if agreement else None,
        )
        for i, depth in enumerate(depths)
    )
    largest = place_of_maximum([_balanced_mean(shape[:, i], cells) for i in range(len(depths))], depths)
    return Depth(
        kind=kind,
        method=method,
        bins=bins,
        peak_change=jumpy_estimate(largest, [units], over=over, n=len(units), seed=seed, n_draws=N_DRAWS),
        peak_r=_peak_r(log_change, depths, cells, seed),
        peak_agreement=peak_agreement,
        profiles=_base_profiles(cells),
    )


def place_of_maximum(statistics: Sequence[Statistic], depths: np.ndarray) -> Statistic:
    """Return the statistic "depth at which the largest of these is", between bins by a parabola; NaN where unknown."""
    step = float(depths[1] - depths[0])

    def statistic(weights: np.ndarray) -> np.ndarray:
        values = np.column_stack([one(weights) for one in statistics])
        values = np.where(np.isfinite(values), values, -np.inf)
        top = np.argmax(values, axis=1)
        rows = np.arange(len(values))
        left, here, right = (values[rows, np.clip(top + shift, 0, len(depths) - 1)] for shift in (-1, 0, 1))
        inner = (top > 0) & (top < len(depths) - 1) & np.isfinite(left) & np.isfinite(right)
        bend = np.where(inner, left - 2 * np.where(inner, here, 0.0) + right, -1.0)
        with np.errstate(
            invalid="ignore"
        ):  # both neighbours may be unknown; ``inner`` leaves such peaks where they are
            shift = np.where(inner & (bend < 0), 0.5 * (left - right) / np.where(bend < 0, bend, -1.0), 0.0)
        return np.where(np.isfinite(here), depths[top] + step * shift, np.nan)

    return statistic


def depth_rise(frame: GainFrame, profiles: Profiles, method: str) -> Estimate | None:
    """Return the mean slope of log change on depth over cells of ``method``; None with too few."""
    by_cell = profiles.by_kind[ALL_KINDS]
    cells = {
        gain.cell_id: gain for gain in frame.gains if gain.last and gain.method == method and gain.cell_id in by_cell
    }
    if len(cells) < FEWEST_CELLS:
        return None
    change = np.array([by_cell[cell] for cell in cells])
    centred = profiles.depths - profiles.depths.mean()
    slopes = np.log(np.maximum(change, TINY)) @ centred / float(centred @ centred)
    over, units = choose_units([gain.base_model for gain in cells.values()], [gain.run for gain in cells.values()])
    return mean_estimate(slopes, units, over=over)


def _shape(cells: _Cells) -> np.ndarray:
    """Return the profiles over their own mean: no base outweighs another by moving more everywhere."""
    mean = cells.change.mean(axis=1, keepdims=True)
    return cells.change / np.where(mean > 0, mean, 1.0)


def _balanced_mean(values: np.ndarray, cells: _Cells) -> Statistic:
    """Return the statistic "mean of the bases' means": rows of a base with many cells count less."""
    codes, _ = codes_of(cells.bases)
    share = 1 / np.bincount(codes)[codes]

    def statistic(weights: np.ndarray) -> np.ndarray:
        total = weights @ share
        return np.where(total > 0, weights @ (share * values) / np.where(total > 0, total, 1.0), np.nan)

    return statistic


def _r_gain(log_change: np.ndarray, cells: _Cells) -> Estimate:
    statistic, keep, units, over = _against_gain(log_change, cells)
    return smooth_estimate(statistic, units, over=over, n=int(keep.sum()), fisher=True)


def _peak_r(log_change: np.ndarray, depths: np.ndarray, cells: _Cells, seed: int) -> Estimate:
    statistics = [_against_gain(log_change[:, i], cells)[0] for i in range(len(depths))]
    keep = np.isfinite(cells.gain)
    bases, runs = ([names[i] for i in np.flatnonzero(keep)] for names in (cells.bases, cells.runs))
    over, units = choose_units(bases, runs)
    place = place_of_maximum(statistics, depths)
    return jumpy_estimate(place, [units], over=over, n=int(keep.sum()), seed=seed, n_draws=N_DRAWS)


def _against_gain(log_change: np.ndarray, cells: _Cells) -> tuple[Statistic, np.ndarray, list[np.ndarray], str]:
    """Return (partial r with gain given the base, rows with a gain, crossed units, what they are)."""
    keep = np.isfinite(cells.gain)
    rows = np.flatnonzero(keep)
    bases, n_bases = codes_of([cells.bases[i] for i in rows])
    datasets, _ = codes_of([cells.datasets[i] for i in rows])
    statistic = partial_correlation(log_change[rows], cells.gain[rows], bases)
    if n_bases >= FEWEST_BASES:
        return statistic, keep, [bases, datasets], "base_model x dataset"
    return statistic, keep, [datasets], "dataset"


def _base_profiles(cells: _Cells) -> dict[str, tuple[float, ...]]:
    codes, _ = codes_of(cells.bases)
    names = list(dict.fromkeys(cells.bases))
    return {
        name: tuple(rounded(value) for value in cells.change[codes == code].mean(axis=0))
        for code, name in enumerate(names)
    }
