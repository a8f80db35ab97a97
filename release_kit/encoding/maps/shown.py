"""What a picture of a map shows: which values, where, on which colours, and the sentence that says so.

Owns thresholds (a value is shown where its test says so, never by its own size), limits shared by pictures that are
compared, and colour scales. Drawing is ``surface.py``'s and ``montage.py``'s.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.encoding.data.masks import SURFACE
from release_kit.encoding.maps.derivative import WrittenMap

Arrays = tuple[npt.NDArray, ...]
SEQUENTIAL, DIVERGING = "viridis", "PuOr_r"
"""Both even in lightness, and told apart under the common kinds of colour blindness."""
WORDS = {
    "r": "held-out r", "rmean": "held-out r, mean over subjects", "rdiff": "difference of held-out r",
    "uniquer2": "unique R²", "sharedr2": "shared R²", "r2": "held-out R²", "uniquer": "unique r", "sharedr": "shared r",
}  # fmt: skip
_PERCENTILE = 99.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """One map as it is shown.

    Attributes:
        source: the map.
        values: its arrays, NaN where nothing is shown.
        affine: of a volume.
        known: the arrays with everything that has a value, for the ground of a volume.
        rule: where values are shown, in words.
        n_shown: voxels with a colour.
        n_known: voxels with a value.
    """

    source: WrittenMap
    values: Arrays
    affine: Any
    known: Arrays
    rule: str
    n_shown: int
    n_known: int

    @property
    def who(self) -> str:
        """Whose map it is."""
        about = self.source.about
        if about["Subject"] is None:
            return f"mean of {about['NumberOfSubjects']} subjects"
        return f"sub-{about['Subject']}"

    @property
    def caption(self) -> str:
        """Whose map, where it is shown, and in how many voxels."""
        unit = "vertices" if self.source.about["Kind"] == SURFACE else "voxels"
        return f"{self.who}: {self.rule}; {self.n_shown:,} of {self.n_known:,} {unit}"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Colours of compared pictures: matplotlib's name, and the values at both ends."""

    name: str
    low: float
    high: float


def scale_of(shown: Sequence[Shown]) -> Scale:
    """Return one scale for maps that are compared: 0 to the largest values, or as far below 0 as above for differences.

    The end is the 99.5th percentile of what is shown, rounded up to two digits that people read; larger values have the
    colour of the end.
    """
    values = np.concatenate([np.abs(array[np.isfinite(array)]).ravel() for each in shown for array in each.values])
    end = _rounded_up(float(np.percentile(values, _PERCENTILE))) if len(values) else 0.1
    if any(each.source.about["Statistic"] == "rdiff" for each in shown):
        return Scale(name=DIVERGING, low=-end, high=end)
    return Scale(name=SEQUENTIAL, low=0.0, high=end)


def show(found: WrittenMap, maps: Mapping[tuple, WrittenMap]) -> Shown:
    """Return a map with only what its test lets stand.

    r is shown where q is at most the level; a difference where either model is significant; a mean where at least half
    of the subjects are significant; a part of variance where its interval lies above 0 and, for a band's own part, the
    band alone is significant: an interval of one voxel takes no account of how many voxels there are. Without a test,
    everything is shown, and the rule says so.

    Args:
        found: the map.
        maps: all maps of the analysis by ``key_of``.
    """
    values, affine = found.read()
    inside, rule = _where(found, maps)
    kept = values if inside is None else tuple(
        np.where(where, array, np.nan) for where, array in zip(inside, values, strict=True)
    )  # fmt: skip
    return Shown(
        source=found, values=kept, affine=affine, known=values, rule=rule,
        n_shown=sum(int(np.isfinite(array).sum()) for array in kept),
        n_known=sum(int(np.isfinite(array).sum()) for array in values),
    )  # fmt: skip


def key_of(found: WrittenMap) -> tuple:
    """Return what tells a map from the others: subject, statistic and what it is of."""
    return found.about["Subject"], found.about["Statistic"], found.about["Desc"]


def _where(found: WrittenMap, maps: Mapping[tuple, WrittenMap]) -> tuple[Arrays | None, str]:
    about = found.about
    subject, statistic, desc = key_of(found)
    if statistic in ("r", "r2") and (q := maps.get((subject, "q", desc))):
        return _significant(q), f"shown where q ≤ {q.about['Threshold']:g}"
    if statistic == "rdiff":
        tests = [each for name in (about["First"], about["Second"]) if (each := _q_of(maps, subject, name, about))]
        if len(tests) == 2:
            a, b = (_significant(each) for each in tests)
            either = tuple(x | y for x, y in zip(a, b, strict=True))
            return either, f"shown where either model has q ≤ {tests[0].about['Threshold']:g}"
    if statistic == "rmean":
        tests = [each for key, each in maps.items() if key[1:] == ("q", desc) and key[0] is not None]
        if tests:
            counts = (np.sum(halves, axis=0) for halves in zip(*map(_significant, tests), strict=True))
            level = tests[0].about["Threshold"]
            return (
                tuple(2 * count >= len(tests) for count in counts),
                f"shown where q ≤ {level:g} in at least half of the subjects",
            )
    if low := maps.get((subject, f"{statistic}low", desc)):
        above = tuple(np.nan_to_num(array, nan=-1) > 0 for array in low.read()[0])
        band = about["Part"].partition(":")[2]
        if q := _q_of(maps, subject, band, about):
            both = tuple(x & y for x, y in zip(above, _significant(q), strict=True))
            return both, f"shown where its interval is above 0 and {band} alone has q ≤ {q.about['Threshold']:g}"
        return above, "shown where its interval is above 0"
    return None, "no threshold"


def _q_of(maps: Mapping[tuple, WrittenMap], subject: str, feature: str, about: Mapping[str, Any]) -> WrittenMap | None:
    for (who, statistic, _), each in maps.items():
        if (who, statistic) == (subject, "q") and (each.about["Feature"], each.about["Mode"]) == (
            feature,
            about["Mode"],
        ):
            return each
    return None


def _significant(q: WrittenMap) -> Arrays:
    return tuple(np.nan_to_num(array, nan=1.0) <= q.about["Threshold"] for array in q.read()[0])


def _rounded_up(value: float) -> float:
    if value <= 0:
        return 0.1
    step = 10.0 ** (math.floor(math.log10(value)) - 1) * 5
    return round(math.ceil(value / step - 1e-9) * step, 10)
