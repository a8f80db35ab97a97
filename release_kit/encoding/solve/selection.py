"""Cross-validation: the score of every alpha in every voxel, and the alpha that is chosen.

Predictions of a fold are formed for a few alphas only (`spectrum`), tile by tile; sums of products of all others follow
from those. How the predictions of a fold come about is the affair of `primal` and `dual`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from release_kit.encoding.solve.decompose import Factor, eigen, smallest_eigenvalue
from release_kit.encoding.solve.engine import Responses, has_bfloat16, tiles
from release_kit.encoding.solve.settings import RidgeSettings
from release_kit.encoding.solve.spectrum import FAST_TOLERANCE, TOLERANCE, filter_basis, spectrum_points

if TYPE_CHECKING:
    import torch

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictor:
    """The predictions of one fold as one matrix.

    Attributes:
        stack: (n_basis * n_rows, n_left): times what stands left of it, predictions of each basis alpha.
        mix: (n_alphas, n_basis) float64: predictions of every alpha as their combination.
    """

    stack: "torch.Tensor"
    mix: npt.NDArray[np.float64]


class Parts(NamedTuple):
    """One tile of one fold.

    Attributes:
        left: (n_left, n_columns): what the predictor is applied to.
        target: (n_rows, n_columns): test responses in the predictor's rows.
        squares: (n_columns,): the sum of squares of the test responses, less the mean that the score asks for.
        variance: (n_columns,): their sum of squares around their own mean.
    """

    left: "torch.Tensor"
    target: "torch.Tensor"
    squares: "torch.Tensor"
    variance: "torch.Tensor"


class FoldModel(Protocol):
    """One fold of a design: what `cross_validate` needs of it."""

    predictor: Predictor
    flat: bool
    """True where the features do not change over the test rows: no prediction, so no correlation."""

    def parts(self, responses: Responses, columns: slice) -> Parts:
        """Return one tile of training and test responses as the predictor takes them."""
        ...


def make_predictor(
    rows: "torch.Tensor",
    inner: "torch.Tensor",
    settings: RidgeSettings,
    *,
    largest: float,
    scale: "torch.Tensor | None" = None,
) -> Predictor:
    """Return ``rows @ (inner + alpha I)^-1 @ diag(scale)`` of the basis alphas, one below the other.

    float32 goes by one Cholesky factor for each of these alphas: unlike an eigenproblem that is quick beside other
    jobs too. In float64, for alphas that would not silence directions without variance, these are cut off.

    Args:
        rows: (n_rows, n) test samples.
        inner: (n, n) Gram matrix of training samples.
        settings: with alphas and precision.
        largest: an upper bound of the eigenvalues of ``inner``.
        scale: (n,), of features; None: ``inner`` is a centred kernel of samples.
    """
    import torch

    wide = inner.dtype == torch.float64
    work = torch.empty_like(inner)
    if wide:
        values, vectors = eigen(inner, cut=True)
        if not len(values):
            return no_predictor(len(rows), len(inner), settings, rows.device)
        largest = float(values[-1])
    else:
        smallest = smallest_eigenvalue(inner, settings.alphas[0], work, sums_zero=scale is None)
        values, vectors = spectrum_points(settings.grid, smallest, largest), None
    fast = settings.precision == "fast"
    basis = filter_basis(values, settings.grid, FAST_TOLERANCE if fast else TOLERANCE)
    # Predictions of every basis alpha get about the size of the responses: their squares would leave float32.
    size = largest / (largest + basis.alphas)
    dtype = torch.bfloat16 if fast and has_bfloat16(rows.device.type) else torch.float32
    stack = torch.empty((len(size), len(rows), len(inner)), dtype=dtype, device=rows.device)
    turned = rows @ vectors if vectors is not None else rows
    for k, alpha in enumerate(basis.alphas):
        if vectors is not None:
            part = (turned * torch.from_numpy(basis.filters[k] / size[k]).to(turned)) @ vectors.T
        else:
            part = Factor(inner, float(alpha), work).solve_rows(rows / size[k])
        stack[k] = part if scale is None else part * scale
    return Predictor(stack=stack.view(-1, len(inner)), mix=basis.mix * size)


def no_predictor(n_rows: int, n: int, settings: RidgeSettings, device: "torch.device") -> Predictor:
    """Return the predictor of a fold whose features do not change over its training rows: it predicts the mean."""
    import torch

    stack = torch.zeros((n_rows, n), dtype=torch.float32, device=device)
    return Predictor(stack=stack, mix=np.ones((len(settings.alphas), 1)))


def cross_validate(
    folds: Iterable[FoldModel],
    responses: Responses,
    settings: RidgeSettings,
    tile: int,
    constant: npt.NDArray[np.bool_],
) -> Scores:
    """Return (n_alphas, n_voxels) float64: scores averaged over folds; constant voxels have none (NaN)."""
    n_voxels = responses.y.shape[1]
    scores = np.zeros((len(settings.alphas), n_voxels))
    n_folds = 0
    for fold in folds:
        n_folds += 1
        for columns in tiles(n_voxels, tile) if not (fold.flat and settings.score == "correlation") else ():
            scores[:, columns] += _fold_scores(fold, responses, columns, settings.score)
        # The next fold is decomposed while the loop's variable would still hold this one.
        del fold
    scores /= n_folds
    scores[:, constant] = np.nan
    return scores


def _fold_scores(fold: FoldModel, responses: Responses, columns: slice, score: str) -> Scores:
    """Return (n_alphas, n_columns): the scores of one fold in one tile."""
    import torch

    left, target, squares, variance = fold.parts(responses, columns)
    stack, mix = fold.predictor.stack, torch.from_numpy(fold.predictor.mix).to(left.device)
    n_basis = mix.shape[1]
    predicted = torch.mm(left.T.to(stack.dtype), stack.T).float().view(left.shape[1], n_basis, -1)
    products = torch.bmm(predicted, predicted.transpose(1, 2)).double().view(-1, n_basis * n_basis)
    with_target = torch.bmm(predicted, target.T.unsqueeze(2)).squeeze(2).double() @ mix.T
    pairs = (mix[:, :, None] * mix[:, None, :]).reshape(len(mix), -1)
    size = (products @ pairs.T).clamp_(min=0)
    variance = variance.double()[:, None]
    if score == "r2":
        found = 1 - (squares.double()[:, None] - 2 * with_target + size) / variance
    else:
        found = with_target / (size * variance).sqrt()
    return torch.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0).T.cpu().numpy()


def choose(scores: Scores, grid: npt.NDArray[np.float64]) -> tuple[npt.NDArray[Any], Scores]:
    """Return the place of the best alpha of each voxel, the largest where scores are equal, and its score.

    A voxel without score gets the largest alpha and NaN.
    """
    slope = 1e-10 * np.log(grid)[:, None]
    best = np.argmax(np.nan_to_num(scores, nan=0.0) + slope, axis=0)
    return best, np.take_along_axis(scores, best[None], axis=0)[0]
