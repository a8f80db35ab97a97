"""Where in a model its best layer lies, and what size and context of a model are worth, over subjects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from release_kit.encoding.errors import FitError


@dataclass(frozen=True, kw_only=True)
class LayerProfile:
    """The layers of one model, one level, one subject.

    Attributes:
        layers: in order.
        cv: mean score of cross-validation of each layer: what the choice is made on.
        held_out: mean score on held-out data, shown, never chosen on.
        best: the layer with the largest ``cv``; the earliest of equal ones.
        depth: ``best`` as a share of the last layer's place, 0 to 1; None for a model of one layer.
    """

    layers: tuple[int, ...]
    cv: tuple[float, ...]
    held_out: tuple[float, ...]
    best: int
    depth: float | None

    @property
    def best_held_out(self) -> float:
        """The held-out score of the chosen layer."""
        return self.held_out[self.layers.index(self.best)]


@dataclass(frozen=True, kw_only=True)
class Slope:
    """What one unit of a factor is worth: mean over subjects of the slope inside each, its 95 % interval and p (t)."""

    n: int
    slope: float
    low: float | None
    high: float | None
    p: float | None


def layer_profile(cv: Mapping[int, float], held_out: Mapping[int, float]) -> LayerProfile:
    """Return the profile of a model whose layers have these mean scores.

    Raises:
        FitError: no layer, different layers, or no layer with a score.
    """
    layers = tuple(sorted(cv))
    if not layers or set(layers) != set(held_out):
        raise FitError("cross-validated and held-out scores name different layers, or none", where="layer profile")
    known = [layer for layer in layers if np.isfinite(cv[layer])]
    if not known:
        raise FitError("no layer has a score of cross-validation", where="layer profile")
    best = max(known, key=lambda layer: (cv[layer], -layer))
    return LayerProfile(
        layers=layers,
        cv=tuple(float(cv[layer]) for layer in layers),
        held_out=tuple(float(held_out[layer]) for layer in layers),
        best=best,
        depth=best / layers[-1] if layers[-1] > 0 else None,
    )


def factor_slope(
    factor: Sequence[float], score: Sequence[float], subject: Sequence[str], *, log10: bool = False
) -> Slope:
    """Return what a unit of ``factor`` (or a factor of ten, with ``log10``) adds to the score inside a subject.

    A line is fitted inside each subject with at least two different values; the slopes are averaged over subjects.

    Args:
        factor: model size in parameters, context in seconds … of each score.
        score: scores, NaN where there is none.
        subject: the subject of each score.
        log10: take the logarithm of ``factor`` first.

    Raises:
        FitError: lists of different length, a factor that is no number or has no logarithm, or no subject with two
            values.
    """
    if not len(factor) == len(score) == len(subject):
        raise FitError("factor, score and subject differ in length", where="slope")
    x = np.asarray(factor, np.float64)
    if not np.isfinite(x).all():
        raise FitError("a value of the factor that is no finite number", where="slope")
    if log10 and not (x > 0).all():
        raise FitError("a value of 0 or below has no logarithm", where="slope")
    x = np.log10(x) if log10 else x
    y = np.asarray(score, np.float64)
    slopes = []
    for name in dict.fromkeys(subject):
        mine = np.array([one == name for one in subject]) & np.isfinite(y)
        centred = x[mine] - x[mine].mean() if mine.any() else np.empty(0)
        if (spread := float((centred**2).sum())) > 0:
            slopes.append(float((centred * y[mine]).sum()) / spread)
    if not slopes:
        raise FitError("no subject has scores at two values of the factor", where="slope")
    return _over_subjects(np.array(slopes))


def _over_subjects(slopes: np.ndarray) -> Slope:
    n, mean = len(slopes), float(slopes.mean())
    if n == 1:
        return Slope(n=1, slope=mean, low=None, high=None, p=None)
    from scipy import stats

    # Equal slopes differ by rounding: no spread, so no test.
    equal = np.ptp(slopes) <= 1e-12 * np.abs(slopes).max()
    error = 0.0 if equal else float(slopes.std(ddof=1) / np.sqrt(n))
    half = float(stats.t.ppf(0.975, n - 1)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, n - 1)) if error > 0 else None
    return Slope(n=n, slope=mean, low=mean - half, high=mean + half, p=p)
