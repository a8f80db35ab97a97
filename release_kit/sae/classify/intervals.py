"""Intervals of shares: Wilson's for a proportion, and that of a rate-normalised share of two languages.

The unit is the document. Firings within a document come together (a topic, a repeated name), so tokens are no
independent draws; a Wilson interval over tokens would be several times too short. Documents are weighted by what they
contribute, and Kish's effective number of them, (Σ w)² / Σ w², takes the place of the sample size.
"""

import numpy as np
import numpy.typing as npt

Z_95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""
Floats = npt.NDArray[np.float64]


def wilson(share: npt.ArrayLike, n: npt.ArrayLike, z: float = Z_95) -> tuple[Floats, Floats]:
    """Return the lower and upper end of Wilson's interval of a proportion; 0 and 1 where ``n`` is 0.

    Args:
        share: observed proportions.
        n: sample sizes, not necessarily whole numbers.
        z: quantile of the normal distribution.

    Returns:
        Two arrays of the common shape (Wilson 1927): ``(p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)``.
    """
    p, size = np.broadcast_arrays(np.asarray(share, float), np.asarray(n, float))
    known = size > 0
    m = np.where(known, size, 1.0)
    p = np.where(known, p, 0.5)
    centre = p + z * z / (2 * m)
    half = z * np.sqrt(p * (1 - p) / m + z * z / (4 * m * m))
    low, high = (centre - half) / (1 + z * z / m), (centre + half) / (1 + z * z / m)
    return np.where(known, np.clip(low, 0, 1), 0.0), np.where(known, np.clip(high, 0, 1), 1.0)


def effective_number(total: npt.ArrayLike, squares: npt.ArrayLike) -> Floats:
    """Return Kish's effective number of documents, (Σ w)² / Σ w²; 0 where nothing was observed."""
    total, squares = np.asarray(total, float), np.asarray(squares, float)
    return np.divide(total**2, squares, out=np.zeros_like(total), where=squares > 0)


def rate_share(
    first: npt.ArrayLike, second: npt.ArrayLike, n_first: float, n_second: float, n_effective: npt.ArrayLike
) -> tuple[Floats, Floats, Floats]:
    """Return the rate-normalised share of the first language with its interval.

    With rates ``r = amount / tokens of the language`` the share is ``r_1 / (r_1 + r_2)``. Given the total amount, the
    plain share ``a_1 / (a_1 + a_2)`` is a proportion of ``n_effective`` documents; Wilson's ends of it are taken to the
    scale of rates, which keeps their order.

    Args:
        first: (n_features,) firings or activation mass in the first language. second: likewise.
        n_first: tokens of the first language. n_second: of the second.
        n_effective: (n_features,) effective number of documents.

    Returns:
        share, low, high; share is NaN, low 0 and high 1 where a feature has no amount at all, or a language no token.
    """
    a, b = np.asarray(first, float), np.asarray(second, float)
    total = a + b
    if min(n_first, n_second) <= 0:
        return np.full(a.shape, np.nan), np.zeros(a.shape), np.ones(a.shape)
    plain = np.divide(a, total, out=np.full(a.shape, np.nan), where=total > 0)
    low, high = wilson(np.nan_to_num(plain, nan=0.5), np.where(total > 0, n_effective, 0))

    def rated(q: Floats) -> Floats:
        return q / n_first / (q / n_first + (1 - q) / n_second)

    return rated(plain), rated(low), rated(high)
