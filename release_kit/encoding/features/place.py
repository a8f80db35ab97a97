"""Features of stimuli as rows of samples: what a run showed some seconds before each of its volumes.

Two rules for borders. ``run``: a delay looks back in stimulus time, through seconds that are no samples themselves, but
never to before the run's own start; there it finds zeros, which are counted. ``title``: the published code's way, rows
of all training (or all held-out) runs of a title joined and then shifted, zeros before the first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from release_kit.encoding.arrays import FloatArray, Samples
from release_kit.encoding.data.runs import RunInfo
from release_kit.encoding.errors import FeatureError
from release_kit.encoding.features.delays import check_delays, delayed, merged
from release_kit.encoding.features.placement import Window, windows

BORDERS = ("run", "title")


@dataclass(frozen=True, kw_only=True, eq=False)
class Placement:
    """Where each sample finds its features; made once, applied to every layer and model with the same bins.

    Attributes:
        samples: the rows.
        delays_s: delays in seconds.
        kind: ``concatenate`` or ``average``.
        borders: ``run`` or ``title``.
        tr_s: seconds from volume to volume.
        windows: for each delay the windows of all runs; for ``title`` those without a delay only.
    """

    samples: Samples
    delays_s: tuple[float, ...]
    kind: str
    borders: str
    tr_s: float
    windows: tuple[tuple[Window, ...], ...]

    def apply(self, features: Mapping[str, npt.NDArray[np.floating]]) -> FloatArray:
        """Return ``(n_samples, n_features)``, times the number of delays where they are side by side.

        Args:
            features: stimulus → ``(n_bins, width)``, all of one width.

        Raises:
            FeatureError: stimuli with features of different width.
        """
        widths = {name: array.shape[1] for name, array in features.items()}
        if len(set(widths.values())) > 1:
            raise FeatureError(f"stimuli have features of different width: {widths}", where="features")
        shifted = [_looked_up(self.samples.n, each, features) for each in self.windows]
        if self.borders == "run":
            return merged(shifted, self.kind)
        order, parts = _joined(self.samples)
        result = delayed(shifted[0][order], self.delays_s, self.tr_s, parts, self.kind)
        placed = np.empty_like(result)
        placed[order] = result
        return placed

    def padded(self) -> npt.NDArray[np.bool_]:
        """Return (n_samples, n_delays) True where nothing was shown and zeros stand."""
        found = np.stack([np.concatenate([w.empty for w in each] or [np.zeros(0, bool)]) for each in self.windows], 1)
        if self.borders == "run":
            return found
        order, parts = _joined(self.samples)
        padded = np.ones((self.samples.n, len(self.delays_s)), bool)
        for k, delay in enumerate(self.delays_s):
            step = round(delay / self.tr_s)
            for part in parts:
                source = order[part.start : max(part.start, part.stop - step)]
                padded[order[part.start + step : part.stop], k] = found[source, 0]
        return padded

    def touches(self, marked: Mapping[str, npt.NDArray[np.bool_]]) -> npt.NDArray[np.bool_]:
        """Return (n_samples,) True where any delay looks at a marked bin: samples to drop for ``missing: drop``.

        Args:
            marked: stimulus → (n_bins,) bool, as ``FeatureFiles.missing_by_stimulus`` gives them.
        """
        as_features = {name: mask[:, None].astype(np.float32) for name, mask in marked.items()}
        return (self.apply(as_features) > 0).any(axis=1)

    def seen(self, n_bins: Mapping[str, int]) -> dict[str, npt.NDArray[np.bool_]]:
        """Return stimulus → (n_bins,) True for bins that a sample looks at, with any delay."""
        found = {name: np.zeros(n, bool) for name, n in n_bins.items()}
        for window in (one for each in self.windows for one in each):
            rows, columns = np.nonzero(window.weights)
            found[window.stim_id][window.first[rows] + columns] = True
        return found


def plan_placement(
    runs: Sequence[RunInfo],
    samples: Samples,
    delays_s: Sequence[float],
    kind: str,
    bin_s: float,
    n_bins: Mapping[str, int],
    borders: str = "run",
) -> Placement:
    """Return where each sample finds its features.

    The value is the mean over the bins that a sample's stretch of stimulus time has a part in, weighted by the parts;
    with bins as wide as a volume and whole delays it is one bin, unchanged.

    Args:
        runs: of one subject.
        samples: rows.
        delays_s: delays in seconds.
        kind: ``concatenate`` (the columns of the first delay first) or ``average``.
        bin_s: width of a bin.
        n_bins: stimulus → number of bins.
        borders: ``run`` or ``title``.

    Raises:
        FeatureError: runs that features do not cover, every one; runs of different repetition time for ``title``.
    """
    check_delays(delays_s, kind)
    if borders not in BORDERS:
        raise FeatureError(f"borders are {borders!r}, expected one of {', '.join(BORDERS)}", where="delays")
    used = {samples.runs[k] for k in np.unique(samples.run)}
    tr_s = {run.tr_s for run in runs if run.name in used}
    if borders == "title" and len(tr_s) > 1:
        raise FeatureError(f"runs with volumes of {sorted(tr_s)} s cannot be joined", where="delays")
    looked = delays_s if borders == "run" else (0.0,)
    return Placement(
        samples=samples,
        delays_s=tuple(delays_s),
        kind=kind,
        borders=borders,
        tr_s=min(tr_s, default=1.0),
        windows=tuple(tuple(windows(runs, samples, delay, bin_s, n_bins)) for delay in looked),
    )


def place(
    features: Mapping[str, npt.NDArray[np.floating]],
    runs: Sequence[RunInfo],
    samples: Samples,
    delays_s: Sequence[float],
    kind: str,
    bin_s: float,
    borders: str = "run",
) -> FloatArray:
    """Return the features of samples; ``plan_placement(...).apply(features)`` in one call.

    Args:
        features: stimulus → ``(n_bins, width)``.
        runs: of one subject.
        samples: rows.
        delays_s: delays in seconds.
        kind: ``concatenate`` or ``average``.
        bin_s: width of a bin.
        borders: ``run`` or ``title``.

    Raises:
        FeatureError: see ``plan_placement``.
    """
    n_bins = {name: len(array) for name, array in features.items()}
    return plan_placement(runs, samples, delays_s, kind, bin_s, n_bins, borders).apply(features)


def training_bins(
    runs: Sequence[RunInfo], samples: Samples, delays_s: Sequence[float], bin_s: float, n_bins: Mapping[str, int]
) -> dict[str, npt.NDArray[np.bool_]]:
    """Return stimulus → (n_bins,) True for bins that training samples look at: all that may decide a vocabulary."""
    train = samples.only(samples.train)
    return plan_placement(runs, train, delays_s, "concatenate", bin_s, n_bins).seen(n_bins)


def _looked_up(
    n_samples: int, placed: Sequence[Window], features: Mapping[str, npt.NDArray[np.floating]]
) -> FloatArray:
    width = next((array.shape[1] for array in features.values()), 0)
    result = np.zeros((n_samples, width), np.float32)
    for window in placed:
        source, part = features[window.stim_id], result[window.rows]
        single = (window.weights[:, 0] == 1.0) | window.empty
        rows = np.flatnonzero(single & ~window.empty)
        part[rows] = source[window.first[rows]]
        if len(rows := np.flatnonzero(~single)):
            total = np.zeros((len(rows), width))
            for column, weight in enumerate(window.weights[rows].T):
                bins = np.minimum(window.first[rows] + column, len(source) - 1)
                total += weight[:, None] * source[bins]
            part[rows] = total
    return result


def _joined(samples: Samples) -> tuple[npt.NDArray[np.int64], list[slice]]:
    """Return rows ordered by title, training first, and the stretch of each title's training or held-out rows."""
    group = samples.title_of_sample.astype(np.int64) * 2 + ~samples.train
    order = np.argsort(group, kind="stable")
    ends = [*(np.flatnonzero(np.diff(group[order])) + 1).tolist(), samples.n]
    return order, [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)] if samples.n else []
