"""Features some time earlier, side by side or as their mean: rows of samples that follow one another in time.

Owns shifts by whole rows. ``place.py`` looks features up in stimulus time, which needs no shift and knows what a run
showed before its first sample.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from release_kit.encoding.arrays import FloatArray
from release_kit.encoding.errors import FeatureError

KINDS = ("concatenate", "average")


def delayed(
    x: npt.NDArray[np.floating], delays_s: Sequence[float], tr_s: float, borders: Sequence[slice], kind: str
) -> FloatArray:
    """Return rows as they were ``d`` seconds before, for each delay ``d``; zeros where that is before a border.

    ``concatenate``: ``(n_rows, n_delays * n_features)``, the columns of the first delay first. ``average``: the mean
    over delays, ``(n_rows, n_features)``; zeros count.

    Args:
        x: (n_rows, n_features), one row each ``tr_s``.
        delays_s: in seconds, not negative.
        tr_s: seconds from row to row.
        borders: stretches of rows without a gap in time; rows outside all of them stay zero.
        kind: ``concatenate`` or ``average``.

    Raises:
        FeatureError: a delay that is no whole number of rows, or negative; an unknown kind.
    """
    check_delays(delays_s, kind)
    steps = [round(delay / tr_s) for delay in delays_s]
    if uneven := [delay for delay, step in zip(delays_s, steps, strict=True) if abs(step * tr_s - delay) > 1e-6]:
        step = "place features in stimulus time, or choose multiples of it"
        raise FeatureError(f"delays of {uneven} s are no whole number of volumes of {tr_s} s", next_step=step)
    shifted = []
    for step in steps:
        moved = np.zeros(x.shape, np.float32)
        for part in borders:
            moved[part.start + step : part.stop] = x[part.start : max(part.start, part.stop - step)]
        shifted.append(moved)
    return merged(shifted, kind)


def merged(shifted: Sequence[FloatArray], kind: str) -> FloatArray:
    """Return the features of several delays as one matrix."""
    if len(shifted) == 1:
        return shifted[0]
    if kind == "concatenate":
        return np.concatenate(shifted, axis=1)
    total = shifted[0].astype(np.float64)
    for each in shifted[1:]:
        total += each
    return (total / len(shifted)).astype(np.float32)


def check_delays(delays_s: Sequence[float], kind: str) -> None:
    """Refuse delays that are none.

    Raises:
        FeatureError: no delay, a negative one, one twice, or an unknown kind.
    """
    if kind not in KINDS:
        raise FeatureError(f"delays are {kind!r}, expected one of {', '.join(KINDS)}", where="delays")
    if not delays_s or min(delays_s) < 0 or len(set(delays_s)) < len(delays_s):
        raise FeatureError(f"delays are {list(delays_s)} s, expected each once, from 0 on", where="delays")
