"""Principal components of features, fitted on training rows and applied to all.

Owns nothing but the arithmetic: which rows are training is the caller's, and no other row is looked at.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from release_kit.core.wording import counted
from release_kit.encoding.arrays import FloatArray
from release_kit.encoding.errors import FeatureError

EXACT_UP_TO = 6000
"""Rows or columns, whichever are fewer, up to which the decomposition is exact."""
_OVERSAMPLES, _POWER_ITERATIONS = 20, 6
_ROWS = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class Pca:
    """Fitted components.

    Attributes:
        mean: (n_features,) float64 of training rows.
        components: (n_components, n_features) float32, of length 1, the one that explains most first; the entry with
            the largest absolute value is positive.
        explained: (n_components,) float64, share of the training rows' variance.
    """

    mean: npt.NDArray[np.float64]
    components: FloatArray
    explained: npt.NDArray[np.float64]

    def apply(self, x: npt.NDArray[np.floating]) -> FloatArray:
        """Return ``(x - mean) @ components.T``, ``(n_rows, n_components) float32``."""
        result = np.empty((len(x), len(self.components)), np.float32)
        for start in range(0, len(x), _ROWS):
            centred = np.asarray(x[start : start + _ROWS], np.float64) - self.mean
            result[start : start + _ROWS] = centred.astype(np.float32) @ self.components.T
        return result


def fit_pca(x_train: npt.NDArray[np.floating], n: int, seed: int = 0) -> Pca:
    """Return the first ``n`` principal components of training rows; fewer where the rows have no more dimensions.

    Exact (the eigenvectors that are asked for, of the smaller of both Gram matrices) up to ``EXACT_UP_TO``; beyond it
    the randomized range finder with power iterations (Halko, Martinsson and Tropp 2011), drawn from ``seed``.

    Args:
        x_train: (n_rows, n_features), training rows only.
        n: how many components.
        seed: of the randomized form; the exact one draws nothing.

    Raises:
        FeatureError: fewer than two rows, values that are no numbers, or rows that are all the same.
    """
    if x_train.ndim != 2 or len(x_train) < 2 or n < 1:
        raise FeatureError(f"{counted(n, 'component')} of training rows of {x_train.shape}", where="pca")
    mean = x_train.mean(axis=0, dtype=np.float64)
    if not np.isfinite(mean).all():
        n_bad = int((~np.isfinite(mean)).sum())
        raise FeatureError(f"{counted(n_bad, 'feature')} hold values that are no numbers", where="pca")
    centred = np.asarray(x_train, np.float64) - mean
    total = float(np.einsum("ij,ij->", centred, centred))
    # What centring leaves of equal values is rounding of their size.
    if total <= (1e-6 * np.abs(mean).max()) ** 2 * centred.size or total == 0:
        raise FeatureError("all training rows are the same", where="pca", next_step="leave these features out")
    n = min(n, len(x_train) - 1, x_train.shape[1])
    if min(centred.shape) <= EXACT_UP_TO:
        variance, components = _exact(centred, n)
    else:
        variance, components = _randomized(centred, n, seed)
    kept = variance > variance[0] * 1e-12
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    components = components * np.sign(largest)
    return Pca(mean=mean, components=components[kept].astype(np.float32), explained=variance[kept] / total)


def _exact(centred: npt.NDArray[np.float64], n: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return sums of squares along components, falling, and the components ``(n, n_features)``."""
    import scipy.linalg

    tall = centred.shape[0] >= centred.shape[1]
    gram = centred.T @ centred if tall else centred @ centred.T
    wanted = (len(gram) - n, len(gram) - 1)
    with _one_thread():
        values, vectors = scipy.linalg.eigh(gram, subset_by_index=wanted, overwrite_a=True, check_finite=False)
    values, vectors = values[::-1], vectors[:, ::-1]
    if tall:
        return values, vectors.T
    components = (centred.T @ vectors).T
    lengths = np.linalg.norm(components, axis=1, keepdims=True)
    return values, components / np.maximum(lengths, np.finfo(np.float64).tiny)


def _randomized(
    centred: npt.NDArray[np.float64], n: int, seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    width = min(n + _OVERSAMPLES, *centred.shape)
    drawn = np.random.default_rng([seed, n]).standard_normal((centred.shape[1], width))
    basis = _basis(centred @ drawn)
    for _ in range(_POWER_ITERATIONS):
        basis = _basis(centred @ _basis(centred.T @ basis))
    inside = basis.T @ centred
    with _one_thread():
        _, lengths, components = np.linalg.svd(inside, full_matrices=False)
    return lengths[:n] ** 2, components[:n]


def _basis(columns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    with _one_thread():
        return np.linalg.qr(columns)[0]


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Decompose on one thread: where other jobs share the cores, several wait for each other many times as long."""
    import threadpoolctl

    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        yield
