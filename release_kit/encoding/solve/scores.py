"""Scores of held-out predictions per voxel: Pearson r, R² and their shares by the product measure.

Sums are kept in float64, tile by tile. A voxel that does not change, or whose prediction does not, has no r; a voxel
that does not change has no R²: it is NaN, never 0.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.encoding.errors import FitError
from release_kit.encoding.solve.engine import take, tiles

Array = npt.NDArray[Any]
TILE_BYTES = 32 * 2**20


def pearson(y: Array, predicted: Array) -> npt.NDArray[np.float32]:
    """Return Pearson's r of every voxel, (n_voxels,) float32.

    Args:
        y: (n_samples, n_voxels) responses.
        predicted: (n_samples, n_voxels) predictions.

    Raises:
        FitError: shapes that differ, fewer than two samples.
    """
    _same(y, predicted)
    found = np.empty(y.shape[1])
    for columns, true, guess in _pairs(y, predicted):
        ratio = _ratio((true * guess).sum(0), np.sqrt((true**2).sum(0)) * np.sqrt((guess**2).sum(0)))
        found[columns] = np.where(_same_all(true) | _same_all(guess), np.nan, ratio)
    return found.clip(-1, 1).astype(np.float32)


def r2(y: Array, predicted: Array) -> npt.NDArray[np.float32]:
    """Return ``1 - Σ(y - predicted)² / Σ(y - mean(y))²`` of every voxel, (n_voxels,) float32; see `pearson`."""
    _same(y, predicted)
    found = np.empty(y.shape[1])
    for columns in tiles(y.shape[1], _size(y)):
        true = take(y, columns).astype(np.float64)
        error = ((true - take(predicted, columns)) ** 2).sum(0)
        ratio = 1 - _ratio(error, ((true - true.mean(0)) ** 2).sum(0))
        found[columns] = np.where(_same_all(true), np.nan, ratio)
    return found.astype(np.float32)


def split_r2(y: Array, parts: Array) -> npt.NDArray[np.float32]:
    """Return the share of each part of a sum of predictions in R², (n_parts, n_voxels) float32.

    With centred ``y`` and parts ``p_b`` that sum to ``p``, the share is ``Σ p_b (2y - p) / Σ y²`` (product measure);
    shares sum to the R² of the sum, of centred data.

    Args:
        y: (n_samples, n_voxels).
        parts: (n_parts, n_samples, n_voxels); intercepts take no part, each is centred.
    """

    def share(true: Array, centred: Array) -> Array:
        return _ratio((centred * (2 * true - centred.sum(0))).sum(1), (true**2).sum(0)[None])

    return _split(y, parts, share)


def split_r(y: Array, parts: Array) -> npt.NDArray[np.float32]:
    """Return the share of each part of a sum of predictions in Pearson's r, (n_parts, n_voxels) float32.

    The share is ``Σ p_b y / sqrt(Σ p² Σ y²)`` with everything centred; shares sum to the r of the sum.
    """

    def share(true: Array, centred: Array) -> Array:
        scale = np.sqrt((centred.sum(0) ** 2).sum(0)) * np.sqrt((true**2).sum(0))
        return _ratio((centred * true).sum(1), scale[None])

    return _split(y, parts, share)


def _split(y: Array, parts: Array, share: Any) -> npt.NDArray[np.float32]:
    """Apply ``share`` to tiles of centred responses and parts."""
    if parts.ndim != 3:
        raise FitError(f"parts of shape {parts.shape}, expected (n_parts, n_samples, n_voxels)", where="scores")
    _same(y, parts[0])
    found = np.empty((len(parts), y.shape[1]))
    for columns in tiles(y.shape[1], max(1, _size(y) // (1 + len(parts)))):
        true = take(y, columns).astype(np.float64)
        guesses = parts[:, :, columns].astype(np.float64)
        shares = share(true - true.mean(0), guesses - guesses.mean(1, keepdims=True))
        found[:, columns] = np.where(_same_all(true), np.nan, shares)
    return found.astype(np.float32)


def _pairs(y: Array, predicted: Array) -> Iterator[tuple[slice, Array, Array]]:
    """Yield centred float64 tiles of both."""
    for columns in tiles(y.shape[1], _size(y)):
        true, guess = take(y, columns).astype(np.float64), take(predicted, columns).astype(np.float64)
        yield columns, true - true.mean(0), guess - guess.mean(0)


def _size(y: Array) -> int:
    return max(1, TILE_BYTES // (8 * len(y)))


def _same(y: Array, predicted: Array) -> None:
    """Refuse shapes that do not belong together."""
    if y.ndim != 2 or y.shape != predicted.shape:
        raise FitError(
            f"responses of shape {y.shape}, predictions of shape {predicted.shape}",
            where="scores",
            next_step="score predictions of the same samples and voxels",
        )
    if len(y) < 2:
        raise FitError(f"{len(y)} samples, a score needs two", where="scores", next_step="hold out more samples")


def _same_all(values: Array) -> npt.NDArray[np.bool_]:
    """Return which columns hold one value only."""
    return np.asarray(values.min(axis=0) == values.max(axis=0))


def _ratio(above: Array, below: Array) -> Array:
    """Divide; NaN where there is nothing to divide by."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, above / below, np.nan)
