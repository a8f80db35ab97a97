"""Stable and effective rank of a change of weights, from the matrix or from the factors of an adapter.

Stable rank: ``‖Δ‖_F² / ‖Δ‖₂²``. Effective rank: ``exp(-Σ p_i ln p_i)`` with ``p_i = s_i / Σ s`` (Roy & Vetterli, "The
effective rank", EUSIPCO 2007). Both are 1 for one direction and the number of directions when all weigh the same.
"""

from typing import Any, NamedTuple

EXACT_SIDE = 2048
"""Up to this many rows or columns (the smaller) every singular value is computed; beyond it only the largest."""

LARGEST_TOLERANCE = 1e-5
"""Relative error of the largest singular value where it is found by iteration."""

_BLOCK = 512


class Ranks(NamedTuple):
    """Two ways to count the directions of a change; None where not computed, or where nothing changed."""

    stable: float | None = None
    effective: float | None = None


NO_RANKS = Ranks()


def ranks_of_matrix(delta: Any) -> Ranks:
    """Return the ranks of ``delta (n_rows, n_columns) float32``.

    Exact up to ``EXACT_SIDE``: eigenvalues of the smaller Gram matrix, in float64, so that singular values down to
    1e-7 of the largest are right. Larger: only the stable rank, its spectral norm by Lanczos iteration to
    ``LARGEST_TOLERANCE``.
    """
    import numpy as np

    if not delta.any():
        return NO_RANKS
    if min(delta.shape) <= EXACT_SIDE:
        squares = np.linalg.eigvalsh(_gram(delta))
        return ranks_of_values(np.sqrt(np.clip(squares, 0.0, None)))
    total = sum(float(np.vdot(block, block)) for block in np.array_split(delta, max(1, delta.size >> 17)))
    return Ranks(stable=total / _largest_square(delta))


def ranks_of_values(values: Any) -> Ranks:
    """Return the ranks of a matrix with these singular values ``(n_values,) float64``."""
    import numpy as np

    largest = float(values.max(initial=0.0))
    if largest == 0.0:
        return NO_RANKS
    share = values[values > 0] / values.sum()
    effective = float(np.exp(-np.sum(share * np.log(share))))
    return Ranks(stable=float(np.sum((values / largest) ** 2)), effective=effective)


def factor_values(left: Any, right: Any) -> Any:
    """Return the singular values of ``left @ right`` without making it.

    With ``left = Q_l R_l`` and ``rightᵀ = Q_r R_r`` they are those of the small ``R_l R_rᵀ``.

    Args:
        left: (n_rows, rank) float64.
        right: (rank, n_columns) float64.
    """
    import numpy as np

    small = np.linalg.qr(left, mode="r") @ np.linalg.qr(right.T, mode="r").T
    return np.linalg.svd(small, compute_uv=False)


def _gram(delta: Any) -> Any:
    """Return the smaller of ``Δ Δᵀ`` and ``Δᵀ Δ`` in float64, a block of the long side at a time."""
    import numpy as np

    tall = delta if delta.shape[0] >= delta.shape[1] else delta.T
    gram = np.zeros((tall.shape[1], tall.shape[1]))
    for start in range(0, tall.shape[0], _BLOCK):
        block = tall[start : start + _BLOCK].astype(np.float64)
        gram += block.T @ block
    return gram


def _largest_square(delta: Any) -> float:
    import numpy as np
    from scipy.sparse.linalg import LinearOperator, eigsh

    tall = delta if delta.shape[0] >= delta.shape[1] else delta.T
    side = tall.shape[1]

    def apply(vector: Any) -> Any:
        return tall.T @ (tall @ vector.astype(np.float32).ravel())

    operator = LinearOperator((side, side), matvec=apply, dtype=np.float32)
    start = np.random.default_rng(0).standard_normal(side).astype(np.float32)
    return float(eigsh(operator, k=1, v0=start, tol=LARGEST_TOLERANCE, return_eigenvectors=False)[0])
