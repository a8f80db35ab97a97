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
        filters: (n_basis, n_values) float64, ``1 / (λ + a)`` of the chosen alphas.
        mix: (n_alphas, n_basis) float64; ``mix @ filters`` are the filters of all alphas.
    """

    filters: Array
    mix: Array


def filter_basis(values: Array, alphas: Array, tolerance: float = TOLERANCE) -> FilterBasis:
    """Return the fewest alphas whose filters give all filters within ``tolerance`` of every element.

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
    for n in range(1, min(len(alphas), len(points))):
        chosen = np.sort(order[:n])
        mix = _mix(seen, chosen)
        combined, size = mix @ filters[chosen], np.abs(mix) @ filters[chosen]
        worst = (np.abs(combined - filters) / filters).max()
        if worst <= tolerance and (size / filters).max() <= MAX_GROWTH:
            return FilterBasis(filters=filters[chosen], mix=mix)
    return FilterBasis(filters=filters, mix=np.eye(len(alphas)))


def _points(values: Array, most: int = 400) -> Array:
    """Return enough of the spectrum to fit on: the bound is checked on all of it."""
    values = np.unique(values)
    return values if len(values) <= most else values[np.linspace(0, len(values) - 1, most).astype(int)]


def _mix(filters: Array, chosen: npt.NDArray[np.int64]) -> Array:
    """Return the combination of chosen filters that is next to each filter in relative error."""
    mix = np.zeros((len(filters), len(chosen)))
    for a, target in enumerate(filters):
        if a in chosen:
            mix[a, np.searchsorted(chosen, a)] = 1.0
            continue
        columns = (filters[chosen] / target).T
        scale = columns.max(axis=0)
        mix[a] = np.linalg.lstsq(columns / scale, np.ones(filters.shape[1]), rcond=1e-13)[0] / scale
    return mix
