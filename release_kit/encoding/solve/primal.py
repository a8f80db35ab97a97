"""Ridge by features: for more samples than features.

Features are first turned into their left singular vectors, ``X = U S V'``: products ``U'Y`` are formed once for all
folds, in float32 without loss, and the weights of all alphas follow from them. A fold is an eigenproblem of the size
of the features; scores are taken in the space of features where that is smaller than the test set.
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
    PRIMAL_MARGIN,
    Eigen,
    eigen,
    gram,
    kernel,
    largest_eigenvalue,
    needed_dtype,
)
from release_kit.encoding.solve.engine import Responses, Rows, tiles, unchanging
from release_kit.encoding.solve.selection import Parts, Predictor, make_predictor, no_predictor
from release_kit.encoding.solve.settings import RidgeSettings

if TYPE_CHECKING:
    import torch


LEAST_SHARE = 1e-4
"""A fold that leaves less than this of a direction's variance in training sums up its products by itself: what is left
of a difference of two large sums would be rounding."""


class PrimalDesign:
    """Centred features and folds, decomposed: what does not depend on responses.

    Attributes:
        u: (n_samples, r) float32 left singular vectors of the centred features.
        s: (r,) singular values, the smallest first.
        v: (n_features, r) right singular vectors.
        taught, shown: of each fold, whether features change over its training and over its test samples.
        direct: of each fold, whether its products are summed up over its own training samples.
    """

    name = "primal"

    def __init__(self, x: "torch.Tensor", folds: Sequence[Fold], settings: RidgeSettings):
        """Decompose centred features ``x (n_samples, n_features)``."""
        import torch

        self.folds, self.settings, self.n = folds, settings, len(x)
        self.taught = [not unchanging(x, fold.train) for fold in folds]
        self.shown = [not unchanging(x, fold.test) for fold in folds]
        self.largest = largest_eigenvalue(x)
        self.dtype = needed_dtype(self.largest, settings.alphas[0], PRIMAL_MARGIN)
        self.u, self.s, self.v = _singular(x, self.dtype)
        if not len(self.s):
            raise FitError("the features do not change over samples", where="features")
        self.direct = [self._least_share(fold) < LEAST_SHARE for fold in folds]
        self._products = torch.empty(0)

    def _least_share(self, fold: Fold) -> float:
        """Return the smallest share of a direction's sum of squares that lies in a fold's training samples."""
        import torch

        rest = torch.from_numpy(np.setdiff1d(np.arange(self.n), fold.train)).to(self.u.device)
        return 1 - float(self.u[rest].square().sum(0).max())

    @property
    def bytes_held(self) -> float:
        """What is held whatever the tile, beside products and results."""
        r, wide = len(self.s), 8 if str(self.dtype).endswith("64") else 4
        copies = 2 if any(self.direct) else 1
        return 4 * (copies * self.u.numel() + self.v.numel()) + wide * (6 * r * r + 4 * self.n_test * r)

    @property
    def bytes_of_fold(self) -> float:
        """What a fold holds when it is decomposed."""
        return 4.0 * len(self.settings.alphas) * self.n_rows * len(self.s)

    @property
    def bytes_per_voxel(self) -> float:
        """What a voxel of a tile adds."""
        reading = 12 * self.n
        scoring = 12 * max(self.n_test, self.n_rest) + 4 * self.n_rows * (len(self.settings.alphas) + 1)
        return max(reading, scoring) + 20 * len(self.s)

    @cached_property
    def n_test(self) -> int:
        """The most test samples of a fold."""
        return max(len(fold.test) for fold in self.folds)

    @cached_property
    def n_rest(self) -> int:
        """The most samples that a fold does not train on."""
        return self.n - min(len(fold.train) for fold in self.folds)

    @property
    def n_rows(self) -> int:
        """The most rows of a predictor."""
        return min(self.n_test, len(self.s))

    def read(self, responses: Responses, tile: int, out: FloatArray) -> None:
        """Write ``U'Y (r, n_voxels)`` into the first rows of ``out``, the only pass over all responses."""
        self._products = out[: len(self.s)]
        for columns in tiles(responses.y.shape[1], tile):
            self._products[:, columns] = (self.u.T @ responses.read(columns)).cpu().numpy()

    def models(self) -> "Iterator[PrimalFold]":
        """Yield the folds, each decomposed when it is asked for."""
        whole = gram(self.u, self.dtype)
        for k in range(len(self.folds)):
            yield PrimalFold.make(self, k, whole)

    def products(self, columns: slice) -> "torch.Tensor":
        """Return ``U'Y`` of some voxels."""
        import torch

        return torch.from_numpy(self._products[:, columns]).to(self.u.device)

    def finish(self, responses: Responses, best: npt.NDArray[np.int64], tile: int, out: FloatArray) -> None:
        """Turn the products in ``out`` into the weights (n_features, n_voxels) of the chosen alphas, in place."""
        import torch

        s = torch.from_numpy(self.s)[:, None]
        factors = (s / (s**2 + torch.from_numpy(self.settings.grid)[None])).float().to(self.u.device)
        for columns in tiles(out.shape[1], tile):
            chosen = torch.from_numpy(best[columns]).to(self.u.device)
            out[:, columns] = (self.v @ (self.products(columns) * factors[:, chosen])).cpu().numpy()


def _singular(x: "torch.Tensor", dtype: "torch.dtype") -> "tuple[torch.Tensor, npt.NDArray[np.float64], torch.Tensor]":
    """Return ``u, s, v`` of ``x``, from the smaller of its Gram matrices, without directions that are rounding."""
    import torch

    wide = x.shape[1] > len(x)
    found: Eigen = eigen(kernel(x, dtype) if wide else gram(x, dtype), cut=True)
    s = np.sqrt(found.values)
    scaled = found.vectors / torch.from_numpy(s).to(found.vectors)
    if wide:
        return found.vectors.float().contiguous(), s, (x.T.to(dtype) @ scaled).float()
    u = torch.empty((len(x), len(s)), dtype=torch.float32, device=x.device)
    for start in range(0, len(x), 4096):
        u[start : start + 4096] = (x[start : start + 4096].to(dtype) @ scaled).float()
    return u, s, found.vectors.float().contiguous()


@dataclass(frozen=True, kw_only=True, eq=False)
class PrimalFold:
    """One fold in the coordinates of `PrimalDesign.u`."""

    design: PrimalDesign
    predictor: Predictor
    flat: bool
    train_mean: "torch.Tensor"
    test_mean: "torch.Tensor"
    direct: bool
    train: Rows
    test: Rows
    rest: Rows
    project: "torch.Tensor | None"
    """(n_rows, r): from products with test samples to rows of the predictor; None where these are test samples."""

    @classmethod
    def make(cls, design: PrimalDesign, k: int, whole: "torch.Tensor") -> "PrimalFold":
        """Decompose fold ``k``; ``whole`` is ``U'U``."""
        import torch

        fold, taught = design.folds[k], design.taught[k]
        u, s, settings, dtype = design.u, torch.from_numpy(design.s).to(whole), design.settings, design.dtype
        test, rest = Rows(index=fold.test), Rows(index=np.setdiff1d(np.arange(design.n), fold.train))
        u_rest = u[torch.from_numpy(rest.index)].to(dtype)
        u_test = u[torch.from_numpy(fold.test)].to(dtype)
        n_train = len(fold.train)
        mean = (u.sum(0, dtype=dtype) - u_rest.sum(0)) / n_train
        inner = whole - u_rest.T @ u_rest - n_train * torch.outer(mean, mean)
        around = u_test.mean(0) if settings.score == "correlation" else mean
        rows, project = (u_test - around) * s, None
        flat = not (taught and design.shown[k])
        used = taught and not (flat and settings.score == "correlation")
        if len(rows) > len(s) and used:
            found = eigen(rows.T @ rows, cut=True)
            root = torch.from_numpy(np.sqrt(found.values)).to(found.vectors)
            rows = (found.vectors * root).T
            project = ((found.vectors / root).T * s).float()
        if used:
            predictor = make_predictor(rows, inner * s[:, None] * s, settings, largest=design.largest, scale=s)
        else:
            predictor = no_predictor(len(rows), len(s), settings, u.device)
        return cls(
            design=design,
            predictor=predictor,
            flat=flat,
            train_mean=mean.float(),
            test_mean=u_test.mean(0).float(),
            direct=design.direct[k],
            train=Rows(index=fold.train),
            test=test,
            rest=rest,
            project=project,
        )

    def parts(self, responses: Responses, columns: slice) -> Parts:
        """Return one tile: products with training samples, and the test responses."""
        import torch

        same = not self.direct and np.array_equal(self.rest.index, self.test.index)
        y = responses.read(columns, self.test)
        if self.direct:
            y_train = responses.read(columns, self.train)
            y_mean = y_train.mean(0)
            left = self._rows(self.train).T @ (y_train - y_mean)
        else:
            y_rest = y if same else responses.read(columns, self.rest)
            rest = self._rows(self.rest).T @ y_rest
            n_train = self.train.n
            y_mean = (self.design.n * responses.rounded_off(columns) - y_rest.sum(0)) / n_train
            left = self.design.products(columns) - rest - n_train * torch.outer(self.train_mean, y_mean)
        own_mean = y.mean(0)
        variance = (y - own_mean).square().sum(0)
        around = own_mean if self.design.settings.score == "correlation" else y_mean
        squares = variance + len(y) * (own_mean - around).square()
        if self.project is None:
            return Parts(left, y - around, squares, variance)
        products = rest if same else self._rows(self.test).T @ y
        return Parts(left, self.project @ self._centred(products, own_mean, around), squares, variance)

    def _rows(self, rows: Rows) -> "torch.Tensor":
        """Return rows of ``u``."""
        import torch

        return self.design.u[torch.from_numpy(rows.index).to(self.design.u.device)]

    def _centred(self, products: "torch.Tensor", own: "torch.Tensor", around: "torch.Tensor") -> "torch.Tensor":
        """Return ``(U_test - c)'(Y_test - around)`` from ``U_test'Y_test``; c is the mean that the score takes off."""
        import torch

        n = self.test.n
        products = products - n * torch.outer(self.test_mean, around)
        if self.design.settings.score == "correlation":
            return products
        return products - n * torch.outer(self.train_mean, own - around)
