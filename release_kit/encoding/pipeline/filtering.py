"""Features without what cleaning takes out of the responses: the mean and slow drifts of each run.

Responses lose what is slow. A model whose features keep it predicts what is not there any more, and its score, and the
unique parts even more, come out too small. So the columns of a design are filtered as responses are: whole runs, after
the delays, before any volume is dropped.

Cosines and means are linear: what they leave of a sum is the sum of what they leave. A running median is not, and would
leave the counts of a rare word as they are. Of a signal under much more noise it takes out the running mean, about; so
that is what features lose.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from release_kit.encoding.arrays import FloatArray, Samples
from release_kit.encoding.data.clean import CleanSettings, clean
from release_kit.encoding.data.runs import RunInfo


def whole_runs(samples: Samples, runs: Sequence[RunInfo]) -> tuple[Samples, npt.NDArray[np.int64]]:
    """Return every volume of the runs that samples are of, and where among them each sample is.

    Args:
        samples: of one subject.
        runs: at least those of the samples.

    Returns:
        Samples of whole runs (all of them count as training), and (n_samples,) their rows.
    """
    by_name = {run.name: run for run in runs}
    places = [int(samples.run[part.start]) for part in samples.borders]
    lengths = [by_name[samples.runs[place]].n_volumes for place in places]
    starts = dict(zip(places, np.cumsum([0, *lengths[:-1]]).tolist(), strict=True))
    whole = Samples(
        run=np.repeat(np.array(places, np.int32), lengths),
        volume=np.concatenate([np.arange(n, dtype=np.int32) for n in lengths]),
        runs=samples.runs,
        titles=samples.titles,
        train=np.ones(sum(lengths), bool),
    )
    rows = np.array([starts[int(run)] for run in samples.run], np.int64) + samples.volume
    return whole, rows


def filter_runs(x: FloatArray, whole: Samples, runs: Sequence[RunInfo], settings: CleanSettings) -> FloatArray:
    """Filter the rows of whole runs, in place, and return them; in place of a running median by a running mean.

    Args:
        x: (n_volumes of all runs, n_columns).
        whole: from ``whole_runs``.
        runs: at least those of the samples.
        settings: what is taken out of responses, here or before they came here.
    """
    by_name = {run.name: run for run in runs}
    median = settings.detrend == "median"
    for part in whole.borders:
        tr_s = by_name[whole.runs[whole.run[part.start]]].tr_s
        x[part] = _less_running_mean(x[part], tr_s, settings) if median else clean(x[part], tr_s, settings)
    return x


def fill_gaps(x: FloatArray, gap: npt.NDArray[np.bool_], whole: Samples) -> FloatArray:
    """Put straight lines into rows that are dropped afterwards, in place, so that filters carry nothing out of them.

    What stands in the rows of a missing annotation is no value: a filter would spread it over its whole window.

    Args:
        x: (n_volumes of all runs, n_columns).
        gap: (n_volumes of all runs,) rows that are dropped; a run without any other row is left as it is.
        whole: from ``whole_runs``.
    """
    for part in whole.borders:
        missing, kept = np.flatnonzero(gap[part]), np.flatnonzero(~gap[part])
        if not len(missing) or not len(kept):
            continue
        after = np.searchsorted(kept, missing)
        left, right = kept[np.maximum(after - 1, 0)], kept[np.minimum(after, len(kept) - 1)]
        share = np.where(right > left, (missing - left) / np.maximum(right - left, 1), 0.0)[:, None]
        rows = x[part]
        rows[missing] = (1 - share) * rows[left] + share * rows[right]
    return x


def _less_running_mean(x: FloatArray, tr_s: float, settings: CleanSettings) -> npt.NDArray[np.float64]:
    """Return one run less its mean and its running mean over the window of the median, mirrored at its ends."""
    from scipy.ndimage import uniform_filter1d

    exact = x.astype(np.float64)
    still = exact.min(axis=0) == exact.max(axis=0)
    if settings.center:
        exact -= exact.mean(axis=0)
    longest = len(x) if len(x) % 2 else len(x) - 1
    width = max(1, min(2 * int(settings.window_s / tr_s / 2) + 1, longest))
    exact -= uniform_filter1d(exact, width, axis=0, mode="reflect")
    exact[:, still] = 0.0
    return exact
