"""Which predictions have to be computed so that those of all alphas follow from them.

Predictions of ridge are linear in the filters ``d_a[k] = 1 / (λ[k] + a)``. Filters of neighbouring alphas are nearly
combinations of each other, and those far outside the spectrum are multiples of one: so few alphas carry all. Every
filter is approximated with a bound on the relative error of each of its elements; where the bound cannot be kept, all
alphas are computed.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

TOLERANCE = 2e-5
FAST_TOLERANCE = 1e-3
MAX_GROWTH = 20.0
"""How much larger than the filter itself the combined parts may be: rounding errors grow by it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FilterBasis:
    """Filters of some alphas, and every filter as their combination.

    Attributes:
        alphas: (n_basis,) float64, the chosen alphas.
        filters: (n_basis, n_values) float64, ``1 / (λ + a)`` of these.
        mix: (n_alphas, n_basis) float64; ``mix @ filters`` are the filters of all alphas.
    """

    alphas: Array
    filters: Array
    mix: Array


def filter_basis(values: Array, alphas: Array, tolerance: float = TOLERANCE) -> FilterBasis:
    """Return few alphas whose filters give all filters within ``tolerance`` of every element.

    Args:
        values: (n_values,) eigenvalues λ ≥ 0.
        alphas: (n_alphas,) penalties.
        tolerance: bound of ``|combined - filter| / filter``, over all elements.
    """
    import scipy.linalg

    filters = 1.0 / (values[None] + alphas[:, None])
    points = _points(values)
    seen = 1.0 / (points[None] + alphas[:, None])
    level = np.exp(np.log(seen).mean(axis=0))
    scaled = seen / level
    scaled /= scaled.max(axis=1, keepdims=True)
    order = scipy.linalg.qr(scaled.T, mode="economic", pivoting=True)[2]
    found = FilterBasis(alphas=alphas, filters=filters, mix=np.eye(len(alphas)))
    few, enough = 0, min(len(alphas), len(points))
    while few + 1 < enough:
        n = (few + enough) // 2
        chosen = np.sort(order[:n])
        mix = _mix(seen, chosen)
        if mix is not None and _holds(mix, filters, chosen, tolerance):
            found, enough = FilterBasis(alphas=alphas[chosen], filters=filters[chosen], mix=mix), n
        else:
            few = n
    return found


def spectrum_points(alphas: Array, smallest: float, largest: float, n: int = 300) -> Array:
    """Return points between which no filter does anything new, for a spectrum from ``smallest`` to ``largest``."""
    if smallest > 0:
        return np.geomspace(min(smallest, largest), largest, n)
    return np.r_[0.0, np.geomspace(1e-4 * min(float(alphas.min()), largest), largest, n)]


def _holds(mix: Array, filters: Array, chosen: npt.NDArray[np.int64], tolerance: float) -> bool:
    """Say whether combinations of chosen filters keep the bounds of error and growth on the whole spectrum."""
    error = np.abs(mix @ filters[chosen] - filters) / filters
    growth = (np.abs(mix) @ filters[chosen]) / filters
    return bool(error.max() <= tolerance and growth.max() <= MAX_GROWTH)


def _points(values: Array, most: int = 300) -> Array:
    """Return enough of the spectrum to fit on: the bound is checked on all of it."""
    values = np.unique(values)
    return values if len(values) <= most else values[np.linspace(0, len(values) - 1, most).astype(int)]


def _mix(filters: Array, chosen: npt.NDArray[np.int64]) -> Array | None:
    """Return the combination of chosen filters nearest to each filter in relative error, or None."""
    columns = filters[None, chosen] / filters[:, None]
    scale = columns.max(axis=2)
    q, r = np.linalg.qr((columns / scale[:, :, None]).transpose(0, 2, 1))
    try:
        mix = np.linalg.solve(r, q.sum(axis=1)[:, :, None])[:, :, 0] / scale
    except np.linalg.LinAlgError:
        return None
    mix[chosen] = np.eye(len(chosen))
    return mix
