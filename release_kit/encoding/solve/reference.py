"""himalaya behind the same functions: the reference for `ridge` and `banded`, and a backend of its own right.

The only place that imports himalaya. Folds, centring and the choice of alphas are the same; the work is himalaya's.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from release_kit.core.errors import MissingExtraError
from release_kit.encoding.arrays import Band, FloatArray, Fold
from release_kit.encoding.errors import FitError
from release_kit.encoding.solve.checks import inspect_responses
from release_kit.encoding.solve.engine import device_of
from release_kit.encoding.solve.settings import RidgeSettings

if TYPE_CHECKING:
    from release_kit.encoding.solve.ridge import RidgeFit

BATCHES: Mapping[str, int] = {"n_targets_batch": 2000, "n_alphas_batch": 1, "n_targets_batch_refit": 2000}
"""The fastest of four settings that were measured (3,000 samples, 4,096 features, 10,000 voxels)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceBanded:
    """What himalaya's random search returns.

    Attributes:
        deltas: (n_bands, n_voxels) float32, ``log(gamma / alpha)`` of the chosen candidate.
        dual: (n_samples, n_voxels) float32 weights of samples, for kernels scaled by ``exp(deltas)``.
        cv_scores: (n_candidates, n_voxels) float32, each at its best alpha.
        intercept: (n_voxels,) float32, for kernels of features as they were given.
    """

    deltas: FloatArray
    dual: FloatArray
    cv_scores: FloatArray
    intercept: FloatArray


def reference_ridge(
    x: npt.NDArray[Any],
    y: npt.NDArray[Any],
    folds: Sequence[Fold],
    settings: RidgeSettings,
    *,
    numpy_backend: bool = False,
    batches: Mapping[str, int] = BATCHES,
    out: FloatArray | None = None,
) -> "RidgeFit":
    """Fit with himalaya's ``RidgeCV`` (primal) or ``KernelRidgeCV`` (dual); arguments and result as in `fit_ridge`."""
    from release_kit.encoding.solve.ridge import RidgeFit, centre

    found = inspect_responses(y, folds)
    solver = settings.solver
    if solver == "auto":
        solver = "primal" if x.shape[0] >= x.shape[1] else "dual"
    x_mean = x.mean(axis=0, dtype=np.float64)
    centred = centre(x, x_mean)
    with _himalaya(settings, numpy_backend=numpy_backend):
        model = _estimator(solver, folds, settings, batches)
        model.fit(centred, np.asarray(y, np.float32))
        weights = _numpy(model.coef_ if solver == "primal" else model.dual_coef_)
        alpha, score = _numpy(model.best_alphas_), _numpy(model.cv_scores_)
    alpha[found.constant], score[found.constant], weights[:, found.constant] = np.nan, np.nan, 0
    if out is not None:
        if out.shape != weights.shape or out.dtype != np.float32:
            raise FitError(f"weights go into float32 of {weights.shape}, got {out.dtype} of {out.shape}", where="out")
        out[:] = weights
        weights = out
    return RidgeFit(
        alpha=alpha,
        cv_score=score,
        weights=weights if solver == "primal" else None,
        dual=weights if solver == "dual" else None,
        x_mean=x_mean,
        y_mean=found.mean.astype(np.float32),
        solver=solver,
        constant=found.constant,
        x_train=centred if solver == "dual" else None,
    )


def _estimator(solver: str, folds: Sequence[Fold], settings: RidgeSettings, batches: Mapping[str, int]) -> Any:
    """Return the estimator that fits with these settings."""
    from himalaya.kernel_ridge import KernelRidgeCV
    from himalaya.ridge import RidgeCV

    params = {**batches, "score_func": _score(settings)}
    kind, more = (RidgeCV, {}) if solver == "primal" else (KernelRidgeCV, {"kernel": "linear", "warn": False})
    return kind(
        alphas=settings.grid.astype(np.float32),
        fit_intercept=True,
        cv=_splits(folds),
        solver_params=params,
        **more,
    )


def reference_banded(
    bands: Sequence[Band],
    y: npt.NDArray[Any],
    folds: Sequence[Fold],
    settings: RidgeSettings,
    gammas: npt.NDArray[np.float64],
    *,
    batches: Mapping[str, int] = BATCHES,
) -> ReferenceBanded:
    """Search the best kernel weights among ``gammas (n_candidates, n_bands)`` with himalaya's random search.

    Args:
        bands: features by band; kernels are linear.
        y: (n_samples, n_voxels).
        folds: cross-validation.
        settings: alphas, score and device.
        gammas: kernel weights to try, each row summing to one.
        batches: himalaya's sizes of batches.
    """
    from himalaya.kernel_ridge import solve_multiple_kernel_ridge_random_search

    with _himalaya(settings) as backend:
        kernels = [backend.asarray(np.asarray(band.x, np.float32)) for band in bands]
        found = solve_multiple_kernel_ridge_random_search(
            backend.stack([features @ features.T for features in kernels]),
            backend.asarray(np.asarray(y, np.float32)),
            n_iter=backend.asarray(np.asarray(gammas, np.float32)),
            alphas=backend.asarray(settings.grid.astype(np.float32)),
            score_func=_score(settings),
            cv=_splits(folds),
            fit_intercept=True,
            return_weights="dual",
            progress_bar=False,
            **batches,
        )
        deltas, dual, cv_scores, intercept = (_numpy(part) for part in found)
    return ReferenceBanded(deltas=deltas, dual=dual, cv_scores=cv_scores, intercept=intercept)


@contextmanager
def _himalaya(settings: RidgeSettings, *, numpy_backend: bool = False) -> Iterator[Any]:
    """Set himalaya's backend for the time of a fit."""
    try:
        from himalaya.backend import get_backend, set_backend
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "himalaya", "encoding") from error
    before = get_backend()
    name = "numpy" if numpy_backend else "torch_cuda" if device_of(settings).type == "cuda" else "torch"
    try:
        yield set_backend(name)
    finally:
        set_backend(before)


def _score(settings: RidgeSettings) -> Any:
    from himalaya.scoring import correlation_score, r2_score

    return correlation_score if settings.score == "correlation" else r2_score


def _splits(folds: Sequence[Fold]) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    return [(fold.train, fold.test) for fold in folds]


def _numpy(values: Any) -> FloatArray:
    """Return a tensor of any backend as an array of its own."""
    values = values.cpu().numpy() if hasattr(values, "cpu") else values
    return np.array(values, np.float32)
