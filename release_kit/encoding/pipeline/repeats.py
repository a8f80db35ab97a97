"""Held-out runs that show the same seconds of a stimulus again: which rows these are, their mean, their ceiling.

Owns what a repeat is. What is averaged where is decided by ``samples.repeats``; the ceiling's formula is
``statistics/ceiling.py``'s.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from release_kit.core.files import TEMPORARY_PREFIX, write_error
from release_kit.encoding.arrays import FloatArray, Samples
from release_kit.encoding.data.runs import RunInfo
from release_kit.encoding.statistics.ceiling import FloatMap, repeat_ceiling

Rows = npt.NDArray[np.int64]
MEAN, EACH = "mean", "each"
TILE = 4096
_LEAST = 10
"""Fewer repeated samples say nothing about a ceiling."""


def find_repeats(runs: Sequence[RunInfo], samples: Samples, held_out: Rows) -> tuple[Rows, ...]:
    """Return groups of held-out rows that show the same time of the same stimulus in different runs.

    Two volumes show the same time when their stimulus times round to the same multiple of the TR. A volume that is
    measured while nothing is shown repeats nothing.

    Args:
        runs: at least the runs of the samples.
        samples: of one subject.
        held_out: rows of samples that are held out, in order.

    Returns:
        One array ``(n_presentations, n_times)`` of rows for every set of runs, presentations in the order of the runs.
    """
    by_name = {run.name: run for run in runs}
    seen: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for k, run in enumerate(by_name[name] for name in samples.runs):
        rows = held_out[samples.run[held_out] == k]
        if not len(rows):
            continue
        times = run.stimulus_times()[samples.volume[rows]]
        shown = (times >= run.stim_start_s - 1e-6) & (times < run.stim_end_s - 1e-6)
        steps = np.floor(times[shown] / run.tr_s + 0.5 + 1e-6).astype(int)  # rint puts 1.5 and 2.5 into one
        for row, step in zip(rows[shown].tolist(), steps.tolist(), strict=True):
            seen.setdefault((run.stim_id, step), []).append((k, row))
    groups: dict[tuple[int, ...], list[list[int]]] = {}
    for found in seen.values():
        if len(found) > 1:
            groups.setdefault(tuple(k for k, _ in found), []).append([row for _, row in found])
    return tuple(np.array(rows, np.int64).T for _, rows in sorted(groups.items()))


def later_rows(repeats: Sequence[Rows]) -> Rows:
    """Return the rows of every presentation but the first, sorted."""
    return np.sort(np.concatenate([np.zeros(0, np.int64), *(group[1:].ravel() for group in repeats)]))


def write_means(
    path: Path, measured: Callable[[Rows], FloatArray], scored: Rows, repeats: Sequence[Rows], n_voxels: int
) -> FloatArray:
    """Write the responses that predictions are held against, each the mean over its repeats, and return them mapped.

    Args:
        path: of the ``.npy`` file.
        measured: rows of samples → their responses.
        scored: rows of samples that are predicted: of repeats the first.
        repeats: from ``find_repeats``.
        n_voxels: columns.
    """
    others = {int(first): group[:, place] for group in repeats for place, first in enumerate(group[0])}
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}")
    try:
        values = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=(len(scored), n_voxels))
        for place, row in enumerate(scored.tolist()):
            values[place] = measured(others.get(row, np.array([row]))).mean(axis=0, dtype=np.float64)
        values.flush()
        os.replace(temporary, path)
    except OSError as error:
        raise write_error(path, error) from error
    return np.load(path, mmap_mode="r")


def ceiling_of_repeats(
    columns: Callable[[Rows, slice], FloatArray], repeats: Sequence[Rows], n_voxels: int, *, averaged: bool
) -> FloatMap | None:
    """Return the largest r that a model can reach in every voxel, (n_voxels,); None where too little is repeated.

    Where some seconds were shown more often than others, the first presentations of each are used, as many as the
    rarest has.

    Args:
        columns: rows and a slice of voxels → their responses.
        repeats: from ``find_repeats``.
        n_voxels: how many.
        averaged: the ceiling of the mean over presentations, not of one: with ``k`` of them the share of signal
            ``s`` becomes ``k s / (1 + (k - 1) s)`` (Spearman and Brown).
    """
    if sum(group.shape[1] for group in repeats) < _LEAST:
        return None
    k = min(len(group) for group in repeats)
    rows = [np.concatenate([group[place] for group in repeats]) for place in range(k)]
    found = np.empty(n_voxels)
    for start in range(0, n_voxels, TILE):
        tile = slice(start, start + TILE)
        found[tile] = repeat_ceiling(np.stack([columns(each, tile) for each in rows]))
    share = found**2
    return np.sqrt(k * share / (1 + (k - 1) * share)) if averaged else found
