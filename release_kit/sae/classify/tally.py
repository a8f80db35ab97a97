"""How much every feature fired in groups of tokens (languages, or scripts), with what intervals over documents need.

Owns sums that can be added up in any number of parts; which tokens are looked at is ``counts.py``'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True, eq=False)
class Tally:
    """Sums over tokens by feature and group; all arrays over features are (n_features, n_groups).

    Attributes:
        groups: their names.
        n_tokens: (n_groups,) tokens that were looked at.
        n_documents: (n_groups,) documents with such a token.
        fired: tokens at which the feature is active.
        documents: documents in which it is active at such a token.
        mass: sum of its activations.
        fired_squares: sum over documents of the square of active tokens.
        mass_squares: sum over documents of the square of their mass.
    """

    groups: tuple[str, ...]
    n_tokens: npt.NDArray[np.int64]
    n_documents: npt.NDArray[np.int64]
    fired: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]
    mass: npt.NDArray[np.float64]
    fired_squares: npt.NDArray[np.float64]
    mass_squares: npt.NDArray[np.float64]

    @classmethod
    def empty(cls, groups: Sequence[str], n_features: int) -> "Tally":
        """Return one of nothing."""
        shape = (n_features, len(groups))
        whole = {name: np.zeros(shape, np.int64) for name in ("fired", "documents")}
        real = {name: np.zeros(shape) for name in ("mass", "fired_squares", "mass_squares")}
        ones = {name: np.zeros(len(groups), np.int64) for name in ("n_tokens", "n_documents")}
        return cls(groups=tuple(groups), **whole, **real, **ones)

    def place(self, group: str) -> int:
        """Return the column of a group."""
        return self.groups.index(group)

    def add(
        self,
        feature: npt.NDArray[np.int64],
        token: npt.NDArray[np.int64],
        value: npt.NDArray[np.float64],
        *,
        group: npt.NDArray[np.int64],
        document: npt.NDArray[np.int64],
    ) -> None:
        """Add active features of some whole documents, in place.

        Args:
            feature: (n,) features. token: (n,) places in the arrays of tokens. value: (n,) activations above 0.
            group: (n_tokens,) group of each token. document: (n_tokens,) its document; none may have been added before.
        """
        n_groups = len(self.groups)
        self.n_tokens[:] += np.bincount(group, minlength=n_groups)
        pairs = np.unique(document.astype(np.int64) * n_groups + group)
        self.n_documents[:] += np.bincount(pairs % n_groups, minlength=n_groups)
        _, local = np.unique(document, return_inverse=True)
        n_local = int(local.max(initial=-1)) + 1
        cell = feature.astype(np.int64) * n_groups + group[token]
        cells, place = np.unique(cell * max(n_local, 1) + local[token], return_inverse=True)
        counts = np.bincount(place, minlength=len(cells)).astype(np.float64)
        masses = np.bincount(place, weights=value, minlength=len(cells))
        into = cells // max(n_local, 1)
        size = self.fired.size
        for array, weights in (
            (self.fired, counts),
            (self.documents, np.ones(len(cells))),
            (self.mass, masses),
            (self.fired_squares, counts**2),
            (self.mass_squares, masses**2),
        ):
            array += np.bincount(into, weights=weights, minlength=size).reshape(array.shape).astype(array.dtype)

    def merged(self, other: "Tally") -> "Tally":
        """Return the sum of both; their documents must be different ones."""
        names = ("n_tokens", "n_documents", "fired", "documents", "mass", "fired_squares", "mass_squares")
        return Tally(groups=self.groups, **{name: getattr(self, name) + getattr(other, name) for name in names})
