"""How well any model could predict: from repeats, from other subjects who saw the same film, from other annotators.

A ceiling is the correlation that the noise-free part would reach. It is estimated, so it can be 0 or below in a voxel
without a signal; a score is divided by it only where it is large enough to be divided by, and is NaN elsewhere.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from release_kit.encoding.errors import FitError
from release_kit.encoding.solve.engine import rounding_of

FloatMap = npt.NDArray[np.float64]
LEAST = 0.2
"""Below this ceiling a normalised score says more about the ceiling's error than about the model."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Bounds:
    """Between what and what the ceiling lies: ``lower`` and ``upper`` are (n_subjects, n_voxels)."""

    lower: FloatMap
    upper: FloatMap


def repeat_ceiling(repeats: npt.NDArray[np.floating]) -> FloatMap:
    """Return the largest r that a model of one presentation can reach, from presentations of the same stimulus.

    ``sqrt(signal variance / variance of one presentation)``, with the signal variance of Sahani and Linden (2003):
    ``(Var(sum of repeats) - sum of their variances) / (k (k - 1))``, which is the mean covariance between two repeats.

    Args:
        repeats: (n_repeats, n_samples, n_voxels), at least 2 repeats.

    Returns:
        (n_voxels,) float64; 0 where no signal variance is found, NaN where a repeat is constant.

    Raises:
        FitError: fewer than two repeats.
    """
    k, _, n_voxels = _shape(repeats, "repeats")
    total = np.zeros(repeats.shape[1:], np.float64)
    single = np.zeros(n_voxels)
    constant = np.zeros(n_voxels, bool)
    for one in repeats:
        total += one
        variance = np.asarray(one, np.float64).var(axis=0)
        single += variance
        constant |= ~(variance > (rounding_of(one) * np.abs(one).max(axis=0)) ** 2)
    signal = (total.var(axis=0) - single) / (k * (k - 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.clip(signal, 0, None) / (single / k)
    return np.where(constant, np.nan, np.sqrt(np.minimum(share, 1)))


def subject_ceiling(responses: npt.NDArray[np.floating]) -> Bounds:
    """Return how well the other subjects predict each subject's response to the same film, voxel by voxel.

    The lower bound correlates a subject with the mean of the others, the upper one with the mean that includes it (Nili
    et al. 2014, doi 10.1371/journal.pcbi.1003553). Only what subjects share counts as signal: a model of one subject
    alone may pass the lower bound.

    Args:
        responses: (n_subjects, n_samples, n_voxels) in a common space, the same samples of the same film.

    Returns:
        NaN where a subject's response is constant; the others are compared among themselves. NaN for all where fewer
        than two subjects have a response.

    Raises:
        FitError: fewer than two subjects.
    """
    _shape(responses, "subjects")
    units = np.stack([_unit(one) for one in responses])
    total = np.nansum(units, axis=0)
    total[:, np.isfinite(units[:, 0]).sum(axis=0) < 2] = np.nan
    lower = np.stack([_column_r(one, total - one) for one in units])
    upper = np.stack([_column_r(one, total) for one in units])
    return Bounds(lower=lower, upper=upper)


def annotator_ceiling(predictions: npt.NDArray[np.floating]) -> FloatMap:
    """Return the r between what is predicted from the annotators' mean and what endless annotators would predict.

    The mean correlation of two annotators' predictions, raised to ``k`` annotators by the formula of Spearman and
    Brown; its root is the correlation with the noise-free prediction.

    Args:
        predictions: (n_annotators, n_samples, n_voxels) of models fitted to one annotator each.

    Returns:
        (n_voxels,) float64; 0 where annotators do not agree at all, NaN where a prediction is constant.

    Raises:
        FitError: fewer than two annotators.
    """
    k, _, _ = _shape(predictions, "annotators")
    units = np.stack([_unit(one) for one in predictions])
    total = (units.sum(axis=0) ** 2).sum(axis=0)
    between = (total - (units**2).sum(axis=(0, 1))) / (k * (k - 1))
    between = np.clip(between, 0, 1)
    return np.sqrt(k * between / (1 + (k - 1) * between))


def normalised(score: npt.ArrayLike, ceiling: npt.ArrayLike, least: float = LEAST) -> FloatMap:
    """Return ``score / ceiling`` where the ceiling is at least ``least``, else NaN; by chance it may pass 1."""
    top, bottom = np.asarray(score, np.float64), np.asarray(ceiling, np.float64)
    enough = np.nan_to_num(bottom, nan=0.0) >= least
    return np.where(enough, top / np.where(enough, bottom, 1), np.nan)


def _shape(values: npt.NDArray[np.floating], what: str) -> tuple[int, int, int]:
    if values.ndim != 3 or values.shape[0] < 2:
        raise FitError(f"{values.shape[0]} {what}, expected at least 2", where="noise ceiling")
    return values.shape


def _unit(values: npt.NDArray[np.floating]) -> FloatMap:
    """Return columns centred and of length 1; a constant one becomes NaN."""
    exact = np.asarray(values, np.float64)
    exact = exact - exact.mean(axis=0)
    length = np.sqrt((exact**2).sum(axis=0))
    size = np.sqrt((np.asarray(values, np.float64) ** 2).sum(axis=0))
    return exact / np.where(length > rounding_of(values) * size, length, np.nan)


def _column_r(left: FloatMap, right: FloatMap) -> FloatMap:
    return (_unit(left) * _unit(right)).sum(axis=0)
