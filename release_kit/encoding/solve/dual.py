"""Ridge by samples: for more features than samples.

Only the kernel ``XX'`` is held. A fold is an eigenproblem of the size of its training set; its predictions are one
matrix times the training responses. Weights of samples come from one Cholesky factor for each alpha that any voxel
chose.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from release_kit.encoding.arrays import FloatArray, Fold
from release_kit.encoding.errors import FitError
from release_kit.encoding.solve.decompose import (
    DUAL_MARGIN,
    Factor,
    eigen,
    kernel,
    largest_eigenvalue,
    needed_dtype,
)
from release_kit.encoding.solve.engine import Responses, Rows, tiles, unchanging
from release_kit.encoding.solve.selection import Parts, Predictor, make_predictor, no_predictor
from release_kit.encoding.solve.settings import RidgeSettings

if TYPE_CHECKING:
    import torch


class DualDesign:
    """The kernel of centred features (n_samples, n_samples), and folds."""

    name = "dual"

    def __init__(self, x: "torch.Tensor", folds: Sequence[Fold], settings: RidgeSettings):
        """Form the kernel of centred features ``x (n_samples, n_features)``."""
        if unchanging(x, np.arange(len(x))):
            raise FitError("the features do not change over samples", where="features")
        self.folds, self.settings, self.n, self.x = folds, settings, len(x), x
        self.largest = largest_eigenvalue(x)
        self.dtype = needed_dtype(self.largest, settings.alphas[0], DUAL_MARGIN)
        self.kernel = kernel(x, self.dtype)

    @property
    def bytes_held(self) -> float:
        """What is held whatever the tile, beside results."""
        n_train = max(len(fold.train) for fold in self.folds)
        wide, right = (4, 0) if self.exact else (8, 16 * self.x.numel())
        return right + wide * self.n**2 + max(wide * (5 * n_train**2 + 4 * self.n_test * n_train), wide * 2 * self.n**2)

    @property
    def bytes_of_fold(self) -> float:
        """What a fold holds when it is decomposed."""
        return 4.0 * len(self.settings.alphas) * max(len(fold.train) * len(fold.test) for fold in self.folds)

    @property
    def bytes_per_voxel(self) -> float:
        """What a voxel of a tile adds."""
        return 16 * self.n + 4 * self.n_test * (len(self.settings.alphas) + 2)

    @cached_property
    def n_test(self) -> int:
        """The most test samples of a fold."""
        return max(len(fold.test) for fold in self.folds)

    @property
    def exact(self) -> bool:
        """True where weights of samples in float32 hold what the smallest alpha asks for."""
        return str(self.dtype).endswith("32")

    def read(self, responses: Responses, tile: int, out: FloatArray) -> None:
        """Nothing is shared over folds."""

    def models(self) -> "Iterator[DualFold]":
        """Yield the folds, each decomposed when it is asked for."""
        for fold in self.folds:
            yield DualFold.make(self, fold)

    def finish(self, responses: Responses, best: npt.NDArray[np.int64], tile: int, out: FloatArray) -> None:
        """Write the weights of the chosen alphas into ``out``.

        These are weights of samples (n_samples, n_voxels); where float32 would not hold them, because the smallest
        alpha is next to nothing beside the largest eigenvalue, weights of features (n_features, n_voxels).
        """
        if self.exact:
            self._by_cholesky(responses, best, tile, out)
        else:
            self._by_features(responses, best, tile, out)

    def _by_cholesky(self, responses: Responses, best: npt.NDArray[np.int64], tile: int, out: FloatArray) -> None:
        """Solve ``(K + aI) c = y`` once for each alpha in use."""
        import torch

        work = torch.empty_like(self.kernel)
        for place in np.unique(best):
            voxels = np.flatnonzero(best == place)
            factor = Factor(self.kernel, self.settings.alphas[place], work)
            for part in tiles(len(voxels), tile):
                chosen = voxels[part]
                out[:, chosen] = factor.solve_rows(responses.read(chosen).T.contiguous()).T.cpu().numpy()

    def _by_features(self, responses: Responses, best: npt.NDArray[np.int64], tile: int, out: FloatArray) -> None:
        """Form ``V diag(s / (s² + a)) U'y``, in which nothing is large."""
        import torch

        values, vectors = eigen(self.kernel, cut=True)
        s = torch.from_numpy(np.sqrt(values))[:, None]
        right = (self.x.T.to(self.dtype) @ (vectors / s.T.to(vectors))).float()
        left, grid = vectors.float(), torch.from_numpy(self.settings.grid)[None]
        factors = (s / (s**2 + grid)).float().to(right.device)
        for columns in tiles(out.shape[1], tile):
            chosen = torch.from_numpy(best[columns]).to(right.device)
            out[:, columns] = (right @ ((left.T @ responses.read(columns)) * factors[:, chosen])).cpu().numpy()


@dataclass(frozen=True, kw_only=True, eq=False)
class DualFold:
    """One fold in the coordinates of training samples."""

    predictor: Predictor
    flat: bool
    train: Rows
    test: Rows
    score: str

    @classmethod
    def make(cls, design: DualDesign, fold: Fold) -> "DualFold":
        """Decompose the kernel of one fold, centred by its training samples."""
        import torch

        train, test = (torch.from_numpy(index).to(design.kernel.device) for index in (fold.train, fold.test))
        inner, outer = design.kernel[train][:, train], design.kernel[test][:, train]
        taught = not unchanging(design.x, fold.train)
        mean = inner.mean(0)
        outer = outer - mean
        outer -= outer.mean(1, keepdim=True)
        inner = inner - mean - mean[:, None] + mean.mean()
        if design.settings.score == "correlation":
            outer = outer - outer.mean(0)
        if taught:
            predictor = make_predictor(outer, inner, design.settings, largest=design.largest)
        else:
            predictor = no_predictor(len(outer), len(inner), design.settings, outer.device)
        # Rows that sum to zero take the mean of the training responses off, however large it is.
        predictor.stack.sub_(predictor.stack.mean(1, keepdim=True, dtype=torch.float32))
        return cls(
            predictor=predictor,
            flat=not taught or unchanging(design.x, fold.test),
            train=Rows(index=fold.train),
            test=Rows(index=fold.test),
            score=design.settings.score,
        )

    def parts(self, responses: Responses, columns: slice) -> Parts:
        """Return one tile: training responses, and the test responses."""
        left, y = responses.read(columns, self.train), responses.read(columns, self.test)
        own_mean = y.mean(0)
        variance = (y - own_mean).square().sum(0)
        around = own_mean if self.score == "correlation" else left.mean(0)
        return Parts(left, y - around, variance + len(y) * (own_mean - around).square(), variance)
