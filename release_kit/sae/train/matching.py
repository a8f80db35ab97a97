"""Which feature of one autoencoder is which of another: one to one, by the cosine of their decoder rows.

Features of the same layer at two training steps, or of two seeds, have no common numbering. The pairs that are found
carry their cosine: what counts as the same feature is for who reads it to say.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from release_kit.sae.errors import SaeError

if TYPE_CHECKING:
    import torch

EXACT_UP_TO = 4096
"""Features up to which the best assignment is calculated; it takes their number cubed."""
_TILE = 2048


@dataclass(frozen=True, kw_only=True, eq=False)
class Matched:
    """Pairs of features, by the number of the first.

    Attributes:
        first: (n_pairs,) int32 features of the first autoencoder, ascending.
        second: (n_pairs,) int32 features of the second; each at most once.
        cosine: (n_pairs,) float32 of their decoder rows.
        n_first: features of the first that took part.
    """

    first: npt.NDArray[np.int32]
    second: npt.NDArray[np.int32]
    cosine: npt.NDArray[np.float32]
    n_first: int

    def share(self, least: float = 0.7) -> float:
        """Return the share of the first's features that go on with at least this cosine."""
        return float((self.cosine >= least).sum()) / max(self.n_first, 1)


def match_features(
    first: "torch.Tensor", second: "torch.Tensor", *, alive: "tuple[torch.Tensor, torch.Tensor] | None" = None
) -> Matched:
    """Return which decoder row goes with which.

    Up to ``EXACT_UP_TO`` features the sum of cosines is the largest there is (Hungarian method); beyond, pairs that are
    each other's nearest are kept and others left out.

    Args:
        first: (n, d) decoder rows. second: (m, d).
        alive: (n,) and (m,) bool: only these features take part.

    Raises:
        SaeError: rows of different width.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise SaeError(
            f"decoders of {tuple(first.shape)} and {tuple(second.shape)} cannot be matched", where="matching"
        )
    places = [
        np.flatnonzero(alive[k].cpu().numpy()) if alive is not None else np.arange(len(rows))
        for k, rows in enumerate((first, second))
    ]
    unit = [_unit(rows[place]) for rows, place in zip((first, second), places, strict=True)]
    if min(len(place) for place in places) == 0:
        pairs: tuple = (np.empty(0, np.int64), np.empty(0, np.int64))
    elif max(len(place) for place in places) <= EXACT_UP_TO:
        pairs = _assigned(unit[0] @ unit[1].T)
    else:
        pairs = _mutual(*unit)
    rows, columns = pairs
    cosine = np.einsum("ij,ij->i", unit[0][rows], unit[1][columns])
    return Matched(
        first=places[0][rows].astype(np.int32),
        second=places[1][columns].astype(np.int32),
        cosine=cosine.astype(np.float32),
        n_first=len(places[0]),
    )


def _unit(rows: "torch.Tensor") -> npt.NDArray[np.float32]:
    values = rows.detach().cpu().float().numpy()
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def _assigned(cosines: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(cosines, maximize=True)
    return rows, columns


def _mutual(
    first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return pairs that are each other's nearest, without all cosines at once."""
    best = np.full(len(second), -np.inf, np.float32)
    back = np.zeros(len(second), np.int64)
    there = np.empty(len(first), np.int64)
    for start in range(0, len(first), _TILE):
        cosines = first[start : start + _TILE] @ second.T
        there[start : start + _TILE] = cosines.argmax(axis=1)
        top, value = cosines.argmax(axis=0), cosines.max(axis=0)
        better = value > best
        best[better], back[better] = value[better], start + top[better]
    rows = np.flatnonzero(back[there] == np.arange(len(first)))
    return rows, there[rows]
