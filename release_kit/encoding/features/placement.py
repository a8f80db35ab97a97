"""Which bins of a stimulus each sample looks at, for each delay, and with which weight.

Pure arithmetic on times; ``place.py`` applies it to features. A sample is the stretch ``[t, t + tr_s)`` of its run, so
with a delay ``d`` it looks at stimulus time ``[s - d, s - d + tr_s)``, of which only what this run showed counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from release_kit.core.wording import counted
from release_kit.encoding.arrays import Samples
from release_kit.encoding.data.runs import EDGE_S, RunInfo
from release_kit.encoding.errors import FeatureError


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """What one stretch of samples (those of one run) looks at, with one delay.

    Attributes:
        rows: of the samples.
        stim_id: the stimulus that the run shows.
        first: (n,) int64, the first bin of each sample's window.
        weights: (n, n_overlapping) float64, share of the window in each bin from the first on; each row sums to 1, or
            to 0 where the run showed nothing then.
    """

    rows: slice
    stim_id: str
    first: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]

    @cached_property
    def empty(self) -> npt.NDArray[np.bool_]:
        """(n,) True where the run showed nothing: before its stimulus began, or after it ended."""
        return ~self.weights.any(axis=1)


def windows(
    runs: Sequence[RunInfo], samples: Samples, delay_s: float, bin_s: float, n_bins: Mapping[str, int]
) -> list[Window]:
    """Return the window of every run's samples.

    Args:
        runs: of one subject; at least those of the samples.
        samples: rows.
        delay_s: how much earlier the stimulus was.
        bin_s: width of a bin of the features.
        n_bins: stimulus → how many bins its features have.

    Raises:
        FeatureError: runs without features, or that show more of a stimulus than its features cover; every one.
    """
    by_name = {run.name: run for run in runs}
    check_cover(by_name, samples, bin_s, n_bins)
    found = []
    for rows in samples.borders:
        run = by_name[samples.runs[samples.run[rows.start]]]
        found.append(_window(run, rows, samples.volume[rows], delay_s, bin_s, n_bins[run.stim_id]))
    return found


def check_cover(by_name: Mapping[str, RunInfo], samples: Samples, bin_s: float, n_bins: Mapping[str, int]) -> None:
    """Refuse runs that features do not cover.

    A stimulus may end inside the last bin, or up to one bin after it.

    Raises:
        FeatureError: every run whose stimulus has no features or too short ones, and runs that are not known.
    """
    problems = []
    for rows in samples.borders:
        name = samples.runs[samples.run[rows.start]]
        run = by_name.get(name)
        if run is None:
            problems.append(f"{name}: nothing is known of this run")
        elif run.stim_id not in n_bins:
            problems.append(f"{name}: its stimulus {run.stim_id} has no features")
        elif run.stim_end_s > (n_bins[run.stim_id] + 1) * bin_s + EDGE_S:
            covered = n_bins[run.stim_id] * bin_s
            problems.append(
                f"{name}: shows {run.stim_id} up to {run.stim_end_s:g} s, its features end at {covered:g} s"
            )
    if problems:
        what = problems[0] if len(problems) == 1 else "\n  ".join([f"{counted(len(problems), 'run')}:", *problems])
        step = "make features of the whole stimulus, or leave these runs out"
        raise FeatureError(what, where="features", next_step=step)


def _window(
    run: RunInfo, rows: slice, volume: npt.NDArray[np.int32], delay_s: float, bin_s: float, n_bins: int
) -> Window:
    start = run.stim_start_s + (volume.astype(np.float64) * run.tr_s - run.onset_s - delay_s)
    low = np.maximum(start, run.stim_start_s)
    high = np.minimum(start + run.tr_s, min(run.stim_end_s, n_bins * bin_s))
    first = np.floor(low / bin_s + EDGE_S).astype(np.int64)
    n_wide = int(np.ceil(run.tr_s / bin_s + EDGE_S)) + 1
    edges = (first[:, None] + np.arange(n_wide)) * bin_s
    overlap = np.minimum(high[:, None], edges + bin_s) - np.maximum(low[:, None], edges)
    # Times are sums of decimals: what is shorter than EDGE_S is rounding.
    overlap[overlap < EDGE_S] = 0.0
    total = overlap.sum(axis=1, keepdims=True)
    weights = np.divide(overlap, total, out=np.zeros_like(overlap), where=total > 0)
    return Window(rows=rows, stim_id=run.stim_id, first=first, weights=weights)
