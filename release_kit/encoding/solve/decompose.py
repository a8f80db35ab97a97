"""Eigenvectors of Gram matrices, in the precision that the smallest alpha needs.

``X'X`` holds squares of singular values: what float32 features resolve, float32 Gram matrices do not. Where the
smallest alpha lies above the noise of float32 that is no loss; where it does not, Gram matrices and their
decompositions are calculated in float64. Products with responses stay float32 in both cases.
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from release_kit.encoding.errors import FitError
from release_kit.encoding.solve.engine import FLOAT32_EPS

if TYPE_CHECKING:
    import torch

PRIMAL_MARGIN, DUAL_MARGIN = 512.0, 256.0
"""How far above ``eps * λmax`` the smallest alpha must lie for float32; features need more, they lose directions."""
FEATURE_RESOLUTION = (4 * FLOAT32_EPS) ** 2
"""Directions with ``λ / λmax`` below this are rounding of float32 features, not features."""
BLOCK_ROWS = 4096
ONE_THREAD_UP_TO = 1024
"""Rows of a matrix that one thread decomposes: beside other jobs two took three times as long at 1,000 rows."""


class Eigen(NamedTuple):
    """``vectors @ diag(values) @ vectors.T``: values (r,) float64 above zero, smallest first, vectors (n, r)."""

    values: npt.NDArray[np.float64]
    vectors: "torch.Tensor"


def needed_dtype(largest: float, smallest_alpha: float, margin: float) -> "torch.dtype":
    """Return float32 where the smallest alpha is well above what a float32 Gram matrix resolves, or float64."""
    import torch

    return torch.float32 if smallest_alpha >= margin * FLOAT32_EPS * largest else torch.float64


def largest_eigenvalue(x: "torch.Tensor", n_steps: int = 16) -> float:
    """Return ``λmax`` of ``x'x`` within some per cent, by power iteration from a fixed start; a little too large."""
    import torch

    place = torch.arange(x.shape[1], dtype=x.dtype, device=x.device)
    vector, size = torch.cos(place * place), 0.0
    for _ in range(n_steps):
        # Squares of what x holds may leave float32 where x does not.
        vector = vector / vector.double().norm().clamp(min=1e-30).to(x.dtype)
        vector = x.T @ (x @ vector)
        size = float(vector.double().norm())
    return 1.1 * size


class Factor:
    """The lower Cholesky factor of ``matrix + alpha I``, held in ``work``, which is overwritten.

    On a CPU LAPACK works in place: what PyTorch does around it (copies, zeros above the diagonal) takes as long again.
    """

    def __init__(self, matrix: "torch.Tensor", alpha: float, work: "torch.Tensor"):
        """Factorise a symmetric positive semi-definite matrix (n, n), float32 or float64.

        Raises:
            FitError: alpha is lost beside the rounding errors of the matrix.
        """
        import torch

        work.copy_(matrix)
        work.diagonal().add_(alpha)
        self._on_cpu = work.device.type == "cpu"
        if not self._on_cpu:
            self._lower, info = torch.linalg.cholesky_ex(work)
            self._refuse(alpha, int(info))
            return
        from scipy.linalg import get_lapack_funcs

        # A symmetric matrix by rows is the same matrix by columns, which LAPACK wants.
        by_columns = work.numpy().T
        factorise, self._solve = get_lapack_funcs(("potrf", "potrs"), (by_columns,))
        self._lower, info = factorise(by_columns, lower=True, clean=False, overwrite_a=True)
        self._refuse(alpha, info)

    def _refuse(self, alpha: float, info: int) -> None:
        if info:
            raise FitError(
                f"the Gram matrix + {alpha:g} I is not positive definite at its row {info}",
                where="ridge",
                next_step="leave out the smallest alphas, or give features of another scale",
            )

    def solve_rows(self, rows: "torch.Tensor") -> "torch.Tensor":
        """Return ``rows (m, n) @ (matrix + alpha I)^-1``; ``rows`` may be overwritten."""
        import torch

        if self._on_cpu:
            return torch.from_numpy(self._solve(self._lower, rows.numpy().T, lower=True, overwrite_b=True)[0].T)
        return torch.cholesky_solve(rows.T, self._lower).T


def smallest_eigenvalue(
    matrix: "torch.Tensor", alpha: float, work: "torch.Tensor", *, sums_zero: bool, n_steps: int = 10
) -> float:
    """Return a value below the smallest eigenvalue of a positive semi-definite matrix, by inverse iteration.

    Half of what the iteration finds is returned; nothing depends on the last factor of two. Eigenvalues far below
    ``alpha`` are not told apart from zero. With ``sums_zero`` only vectors that sum to zero count.
    """
    import torch

    factor = Factor(matrix, alpha, work)
    place = torch.arange(8 * len(matrix), dtype=matrix.dtype, device=matrix.device).view(len(matrix), -1)
    vectors = torch.cos(place.double() ** 2).to(matrix.dtype).T.contiguous()
    found = torch.zeros(1)
    for _ in range(n_steps):
        vectors = vectors - vectors.mean(1, keepdim=True) if sums_zero else vectors
        vectors = vectors / vectors.norm(dim=1, keepdim=True)
        solved = factor.solve_rows(vectors.clone())
        found, vectors = 1 / (vectors * solved).sum(1).max(), solved
    smallest = float(found) - alpha
    return 0.5 * smallest if smallest > 1e-2 * alpha else 0.0


def gram(x: "torch.Tensor", dtype: "torch.dtype") -> "torch.Tensor":
    """Return ``x.T @ x`` in ``dtype``; float64 goes by blocks of rows, so that ``x`` is never held twice."""
    import torch

    if dtype == x.dtype:
        return _symmetric(x.T)
    total = torch.zeros((x.shape[1], x.shape[1]), dtype=dtype, device=x.device)
    for start in range(0, len(x), BLOCK_ROWS):
        total += _symmetric(x[start : start + BLOCK_ROWS].to(dtype).T)
    return total


def kernel(x: "torch.Tensor", dtype: "torch.dtype") -> "torch.Tensor":
    """Return ``x @ x.T`` in ``dtype``; float64 goes by blocks of features."""
    return gram(x.T, dtype)


def _symmetric(x: "torch.Tensor", block: int = 512) -> "torch.Tensor":
    """Return ``x @ x.T``, of which only half is calculated."""
    import torch

    if len(x) <= 2 * block:
        return x @ x.T
    out = torch.empty((len(x), len(x)), dtype=x.dtype, device=x.device)
    for start in range(0, len(x), block):
        stop = start + block
        out[start:stop, start:] = x[start:stop] @ x[start:].T
        out[stop:, start:stop] = out[start:stop, stop:].T
    return out


@contextlib.contextmanager
def _threads_for(matrix: "torch.Tensor") -> Iterator[None]:
    """Keep a small decomposition on one thread.

    LAPACK's threads meet thousands of times in it. Beside another busy process one of them always waits for a turn, and
    0.4 ms (64 x 64) become a quarter of a second.
    """
    import torch

    threads = torch.get_num_threads()
    if matrix.device.type != "cpu" or len(matrix) > ONE_THREAD_UP_TO or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def eigen(matrix: "torch.Tensor", *, cut: bool) -> Eigen:
    """Return the eigenvectors of a positive semi-definite matrix.

    Args:
        matrix: (n, n) symmetric, float32 or float64.
        cut: leave out directions that are rounding; otherwise all stay, with values of at least zero.
    """
    import torch

    with _threads_for(matrix):
        values, vectors = torch.linalg.eigh(matrix)
    values = values.double().clamp_(min=0)
    if cut:
        least = FEATURE_RESOLUTION if matrix.dtype == torch.float64 else 4 * FLOAT32_EPS
        kept = values > least * values.max()
        values, vectors = values[kept], vectors[:, kept]
    return Eigen(values=values.cpu().numpy(), vectors=vectors)
