"""Ridge regression per voxel with a cross-validated alpha: the entry to the solvers.

Features are centred, not scaled; the intercept is that of centring, in each fold by the means of its own training
samples. `prepare` does what does not depend on responses, `fit_prepared` the rest; `fit_ridge` is both.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from release_kit.encoding.arrays import FloatArray, Fold
from release_kit.encoding.errors import FitError
from release_kit.encoding.solve.checks import Inspected, check_problem, inspect_responses
from release_kit.encoding.solve.dual import DualDesign
from release_kit.encoding.solve.engine import (
    BEST_TILE,
    Responses,
    device_of,
    full_precision,
    tile_size,
    tiles,
    to_tensor,
)
from release_kit.encoding.solve.primal import PrimalDesign
from release_kit.encoding.solve.selection import FoldModel, choose, cross_validate
from release_kit.encoding.solve.settings import RidgeSettings

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, eq=False)
class RidgeFit:
    """A ridge model of every voxel.

    Attributes:
        alpha: (n_voxels,) float32, the chosen penalty; NaN for a voxel that was not fitted.
        cv_score: (n_voxels,) float32, mean over folds at the chosen alpha; NaN for a constant voxel.
        weights: (n_features, n_voxels) float32, or None where ``dual`` stands.
        dual: (n_samples, n_voxels) float32 weights of training samples, or None.
        x_mean: (n_features,) float64.
        y_mean: (n_voxels,) float32.
        solver: ``primal`` or ``dual``: how it was calculated.
        constant: (n_voxels,) bool, voxels that do not change over all samples, or over those that a fold trains or
            tests on: they predict their mean and have no score.
        x_train: (n_samples, n_features) centred features that ``dual`` refers to.
    """

    alpha: FloatArray
    cv_score: FloatArray
    weights: FloatArray | None
    dual: FloatArray | None
    x_mean: npt.NDArray[np.float64]
    y_mean: FloatArray
    solver: str
    constant: npt.NDArray[np.bool_]
    x_train: FloatArray | None = None

    @property
    def n_voxels(self) -> int:
        """The number of voxels."""
        return len(self.alpha)

    def predict(self, x: npt.NDArray[Any]) -> FloatArray:
        """Return predictions (n, n_voxels) float32 of features ``x (n, n_features)``."""
        if x.ndim != 2 or x.shape[1] != len(self.x_mean):
            raise FitError(
                f"features of shape {x.shape}, the model was fitted on {len(self.x_mean)} features",
                where="predict",
                next_step="give the same features in the same order",
            )
        with np.errstate(over="ignore", invalid="ignore"):
            total = x.sum(dtype=np.float64)
        if not np.isfinite(total) and not np.isfinite(x).all():
            raise FitError("features that are no finite numbers", where="predict", next_step="repair them")
        centred = centre(x, self.x_mean)
        if self.weights is None:
            assert self.dual is not None and self.x_train is not None
            left, right = centred @ self.x_train.T, self.dual
        else:
            left, right = centred, self.weights
        predicted = np.empty((len(x), self.n_voxels), np.float32)
        for columns in tiles(self.n_voxels, BEST_TILE):
            predicted[:, columns] = left @ right[:, columns]
        predicted += self.y_mean
        return predicted

    @cached_property
    def feature_weights(self) -> FloatArray:
        """(n_features, n_voxels): the weights of features, formed from those of samples where only these stand."""
        if self.weights is not None:
            return self.weights
        assert self.dual is not None and self.x_train is not None
        return self.x_train.T @ self.dual


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """Features and folds, decomposed, for any number of responses."""

    design: PrimalDesign | DualDesign
    settings: RidgeSettings
    folds: tuple[Fold, ...]
    x_mean: npt.NDArray[np.float64]
    device: "torch.device"
    kept: list[FoldModel]
    keep: bool

    def models(self) -> Iterator[FoldModel]:
        """Yield the folds; they are kept where several responses come."""
        if self.kept:
            yield from self.kept
            return
        if not self.keep:
            yield from self.design.models()
            return
        made = []
        for model in self.design.models():
            made.append(model)
            yield model
        # Only all folds are kept: a fit that breaks off leaves none behind.
        self.kept.extend(made)

    @property
    def n_weights(self) -> int:
        """Rows of the weights that a fit holds."""
        if isinstance(self.design, DualDesign) and self.design.exact:
            return self.design.n
        return len(self.x_mean)


def prepare(
    x: npt.NDArray[Any], folds: Sequence[Fold], settings: RidgeSettings, *, n_voxels: int, keep: bool = False
) -> Prepared:
    """Decompose features for fits to come.

    Args:
        x: (n_samples, n_features), already checked.
        folds: cross-validation over the rows of ``x``.
        settings: alphas, solver and so on.
        n_voxels: about how many voxels will be fitted; the cheaper solver depends on it.
        keep: hold the decompositions of all folds for further responses.
    """
    device = device_of(settings)
    x_mean = x.mean(axis=0, dtype=np.float64)
    folds = tuple(Fold(train=np.array(fold.train, np.int64), test=np.array(fold.test, np.int64)) for fold in folds)
    with full_precision():
        centred = to_tensor(centre(x, x_mean), device)
        solver = cheaper_solver(*x.shape, n_voxels, folds, settings) if settings.solver == "auto" else settings.solver
        design = (PrimalDesign if solver == "primal" else DualDesign)(centred, folds, settings)
    return Prepared(
        design=design,
        settings=settings,
        folds=folds,
        x_mean=x_mean,
        device=device,
        kept=[],
        keep=keep,
    )


def centre(x: npt.NDArray[Any], x_mean: npt.NDArray[np.float64]) -> FloatArray:
    """Return ``x - x_mean`` as float32, subtracted in float64: means may be large beside what varies."""
    centred = np.empty(x.shape, np.float32)
    return np.subtract(x, x_mean, out=centred, casting="same_kind")


def cheaper_solver(n: int, p: int, n_voxels: int, folds: Sequence[Fold], settings: RidgeSettings) -> str:
    """Return the solver with fewer operations, counted by the products and decompositions that each has to do."""
    q, r = 0.6 * len(settings.alphas), min(n, p)
    primal, dual = (
        2.0 * n * p * r + 30.0 * r**3 + 4.0 * n * r * n_voxels,
        1.0 * n * n * p + n * n * (n + 4.0 * n_voxels),
    )
    for fold in folds:
        rows, train = min(len(fold.test), r), len(fold.train)
        primal += 30.0 * r**3 + 2.0 * q * rows * r * (n_voxels + r) + 2.0 * (n - train) * r * n_voxels
        dual += 30.0 * train**3 + 2.0 * q * len(fold.test) * train * (n_voxels + train)
    return "primal" if primal <= dual else "dual"


def fit_prepared(
    prepared: Prepared, y: npt.NDArray[Any], *, found: Inspected | None = None, out: FloatArray | None = None
) -> RidgeFit:
    """Fit every voxel of ``y (n_samples, n_voxels)`` on prepared features; see `fit_ridge`.

    ``found`` is what `inspect_responses` says of ``y``, where that is known from a fit on other features.
    """
    found = found or inspect_responses(y, prepared.folds)
    design, settings = prepared.design, prepared.settings
    responses = Responses(y=y, mean=found.mean, device=prepared.device)
    rows = prepared.n_weights
    out = np.empty((rows, y.shape[1]), np.float32) if out is None else out
    if out.shape != (rows, y.shape[1]) or out.dtype != np.float32:
        raise FitError(f"weights go into float32 of {(rows, y.shape[1])}, got {out.dtype} of {out.shape}", where="out")
    tile = _tile(prepared, y, n_results=rows)
    with full_precision():
        design.read(responses, tile, out)
        scores = cross_validate(prepared.models(), responses, settings, tile, found.constant)
        best, score = choose(scores, settings.grid)
        design.finish(responses, best, tile, out)
    out[:, found.constant] = 0
    alpha = settings.grid[best].astype(np.float32)
    alpha[found.constant] = np.nan
    in_samples = isinstance(design, DualDesign) and design.exact
    return RidgeFit(
        alpha=alpha,
        cv_score=score.astype(np.float32),
        weights=None if in_samples else out,
        dual=out if in_samples else None,
        x_mean=prepared.x_mean,
        y_mean=found.mean.astype(np.float32),
        solver=design.name,
        constant=found.constant,
        x_train=design.x.cpu().numpy() if isinstance(design, DualDesign) and in_samples else None,
    )


def fit_ridge(
    x: npt.NDArray[Any],
    y: npt.NDArray[Any],
    folds: Sequence[Fold],
    settings: RidgeSettings | None = None,
    *,
    out: FloatArray | None = None,
) -> RidgeFit:
    """Fit ridge regression to every voxel, each with the alpha that cross-validation prefers.

    Args:
        x: (n_samples, n_features) training features.
        y: (n_samples, n_voxels) training responses; a memory map is read by tiles.
        folds: cross-validation over these rows.
        settings: alphas, solver, score, machine; defaults where None.
        out: where weights go, (n_features, n_voxels) float32 (a memory map, say); None: an array of its own.

    Returns:
        Weights ``argmin_w |y - xw|² + alpha |w|²`` of centred data, alphas and scores.

    Raises:
        FitError: lengths that differ, values that are no finite numbers, folds without samples: all that is wrong.
    """
    settings = settings or RidgeSettings()
    check_problem(x, y, folds)
    if settings.backend == "himalaya":
        from release_kit.encoding.solve.reference import reference_ridge

        return reference_ridge(x, y, folds, settings, out=out)
    return fit_prepared(prepare(x, folds, settings, n_voxels=y.shape[1]), y, out=out)


def cv_scores(
    x: npt.NDArray[Any], y: npt.NDArray[Any], folds: Sequence[Fold], settings: RidgeSettings | None = None
) -> npt.NDArray[np.float64]:
    """Return the mean score over folds of every alpha, (n_alphas, n_voxels) float64; NaN for constant voxels.

    Raises:
        FitError: as `fit_ridge`; himalaya as a backend, which tells only the score of the best alpha.
    """
    settings = settings or RidgeSettings()
    check_problem(x, y, folds)
    if settings.backend != "own":
        raise FitError(
            f"{settings.backend} does not tell the score of every alpha", where="cross-validation", next_step="take own"
        )
    found = inspect_responses(y, folds)
    prepared = prepare(x, folds, settings, n_voxels=y.shape[1])
    responses = Responses(y=y, mean=found.mean, device=prepared.device)
    rows = prepared.n_weights if isinstance(prepared.design, PrimalDesign) else 0
    tile = _tile(prepared, y, n_results=rows)
    with full_precision():
        prepared.design.read(responses, tile, np.empty((rows, y.shape[1]), np.float32))
        return cross_validate(prepared.models(), responses, settings, tile, found.constant)


def _tile(prepared: Prepared, y: npt.NDArray[Any], n_results: int) -> int:
    """Return how many voxels are worked on at once."""
    wider = 2.0 * (y.dtype.itemsize - 4) * len(y) if y.dtype.itemsize > 4 else 0.0
    n_voxels = y.shape[1]
    results = 4.0 * n_results * n_voxels + n_voxels * (24 + 8 * len(prepared.settings.alphas))
    design = prepared.design
    folds = len(prepared.folds) if prepared.keep else 1
    return tile_size(
        prepared.settings,
        fixed_bytes=design.bytes_held + folds * design.bytes_of_fold + results,
        voxel_bytes=design.bytes_per_voxel + wider + 16 * len(prepared.settings.alphas) ** 2,
    )
