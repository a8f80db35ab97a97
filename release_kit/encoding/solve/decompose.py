"""Eigenvectors of Gram matrices, in the precision that the smallest alpha needs.

``X'X`` holds squares of singular values: what float32 features resolve, float32 Gram matrices do not. Where the
smallest alpha lies above the noise of float32 that is no loss; where it does not, Gram matrices and their
decompositions are calculated in float64. Products with responses stay float32 in both cases.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from release_kit.encoding.solve.engine import FLOAT32_EPS

if TYPE_CHECKING:
    import torch

PRIMAL_MARGIN, DUAL_MARGIN = 512.0, 256.0
"""How far above ``eps * λmax`` the smallest alpha must lie for float32; features need more, they lose directions."""
FEATURE_RESOLUTION = (4 * FLOAT32_EPS) ** 2
"""Directions with ``λ / λmax`` below this are rounding of float32 features, not features."""
BLOCK_ROWS = 4096


class Eigen(NamedTuple):
    """``vectors @ diag(values) @ vectors.T``: values (r,) float64 above zero, smallest first, vectors (n, r)."""

    values: npt.NDArray[np.float64]
    vectors: "torch.Tensor"


def needed_dtype(x: "torch.Tensor", smallest_alpha: float, margin: float) -> "torch.dtype":
    """Return float32 where the smallest alpha is well above what float32 Gram matrices of ``x`` resolve, or float64."""
    import torch

    resolved = margin * FLOAT32_EPS * _largest_eigenvalue(x)
    return torch.float32 if smallest_alpha >= resolved else torch.float64


def _largest_eigenvalue(x: "torch.Tensor", n_steps: int = 12) -> float:
    """Return ``λmax`` of ``x'x`` by power iteration, from below, mostly within a few per cent."""
    import torch

    vector = torch.linspace(1, 2, x.shape[1], dtype=x.dtype, device=x.device) * (1 - 2 * (_counted(x) % 2))
    size = 0.0
    for _ in range(n_steps):
        vector = vector / vector.norm().clamp(min=1e-30)
        vector = x.T @ (x @ vector)
        size = float(vector.norm())
    return size


def _counted(x: "torch.Tensor") -> "torch.Tensor":
    import torch

    return torch.arange(x.shape[1], device=x.device, dtype=x.dtype)


def gram(x: "torch.Tensor", dtype: "torch.dtype") -> "torch.Tensor":
    """Return ``x.T @ x`` in ``dtype``; float64 goes by blocks of rows, so that ``x`` is never held twice."""
    import torch

    if dtype == x.dtype:
        return x.T @ x
    total = torch.zeros((x.shape[1], x.shape[1]), dtype=dtype, device=x.device)
    for start in range(0, len(x), BLOCK_ROWS):
        block = x[start : start + BLOCK_ROWS].to(dtype)
        total.addmm_(block.T, block)
    return total


def kernel(x: "torch.Tensor", dtype: "torch.dtype") -> "torch.Tensor":
    """Return ``x @ x.T`` in ``dtype``; float64 goes by blocks of features."""
    import torch

    if dtype == x.dtype:
        return x @ x.T
    total = torch.zeros((len(x), len(x)), dtype=dtype, device=x.device)
    for start in range(0, x.shape[1], BLOCK_ROWS):
        block = x[:, start : start + BLOCK_ROWS].to(dtype)
        total.addmm_(block, block.T)
    return total


def eigen(matrix: "torch.Tensor", *, cut: bool | None = None) -> Eigen:
    """Return the eigenvectors of a positive semi-definite matrix.

    Args:
        matrix: (n, n) symmetric, float32 or float64.
        cut: leave out directions that are rounding; otherwise all stay, with values of at least zero. None: only in
            float64, which is taken where alphas are so small that they would not silence such directions.
    """
    import torch

    cut = matrix.dtype == torch.float64 if cut is None else cut

    values, vectors = torch.linalg.eigh(matrix)
    values = values.double().clamp_(min=0)
    if cut:
        least = FEATURE_RESOLUTION if matrix.dtype == torch.float64 else 4 * FLOAT32_EPS
        kept = values > least * values.max()
        values, vectors = values[kept], vectors[:, kept]
    return Eigen(values=values.cpu().numpy(), vectors=vectors)
