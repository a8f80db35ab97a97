"""The places where features are most active, one for each document, by language: what people read to name a feature.

Owns keeping the largest ones in bounded memory and their order: larger activations first, of equal ones the earlier
token, so that neither batches nor parts change the choice.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True, eq=False)
class TopContexts:
    """Peaks of features; places that are not filled have the value 0 and the token -1.

    Attributes:
        values: (n_features, n_languages, n_top) float32, from the largest.
        tokens: (n_features, n_languages, n_top) int64 numbers of tokens.
    """

    values: npt.NDArray[np.float32]
    tokens: npt.NDArray[np.int64]

    @classmethod
    def empty(cls, n_features: int, n_languages: int, n_top: int) -> "TopContexts":
        """Return one without a context."""
        shape = (n_features, n_languages, n_top)
        return cls(values=np.zeros(shape, np.float32), tokens=np.full(shape, -1, np.int64))

    def offer(self, cell: npt.NDArray[np.int64], value: npt.NDArray[np.float32], token: npt.NDArray[np.int64]) -> None:
        """Keep those of some candidates that are among the largest, in place.

        Args:
            cell: (n,) ``feature * n_languages + language``. value: (n,) activations above 0. token: (n,) their tokens.
        """
        n_top = self.values.shape[2]
        values, tokens = self.values.reshape(-1, n_top), self.tokens.reshape(-1, n_top)
        good = value >= values[cell, -1]
        cell, value, token = cell[good], value[good], token[good]
        touched = np.unique(cell)
        old_value, old_token = values[touched].ravel(), tokens[touched].ravel()
        filled = old_token >= 0
        cell = np.concatenate([np.repeat(touched, n_top)[filled], cell])
        value = np.concatenate([old_value[filled], value])
        token = np.concatenate([old_token[filled], token])
        order = np.lexsort((token, -value, cell))
        cell, value, token = cell[order], value[order], token[order]
        starts = np.flatnonzero(np.diff(cell, prepend=-1))
        rank = np.arange(len(cell)) - np.repeat(starts, np.diff(np.append(starts, len(cell))))
        kept = rank < n_top
        values[cell[kept], rank[kept]] = value[kept]
        tokens[cell[kept], rank[kept]] = token[kept]

    def merged(self, other: "TopContexts") -> "TopContexts":
        """Return the largest of both, which come from different documents."""
        found = TopContexts(values=self.values.copy(), tokens=self.tokens.copy())
        feature, language, rank = np.nonzero(other.tokens >= 0)
        cell = feature * self.values.shape[1] + language
        found.offer(cell, other.values[feature, language, rank], other.tokens[feature, language, rank])
        return found


def document_peaks(
    feature: npt.NDArray[np.int64],
    token: npt.NDArray[np.int64],
    value: npt.NDArray[np.float32],
    document: npt.NDArray[np.int32],
) -> npt.NDArray[np.int64]:
    """Return the places in ``feature`` that hold the largest activation of a feature in a document.

    Args:
        feature: (n,) active features. token: (n,) numbers of tokens. value: (n,) activations.
        document: (n,) of each token.
    """
    order = np.lexsort((token, -value, document, feature))
    ahead = np.ones(len(order), bool)
    ahead[1:] = (np.diff(feature[order]) != 0) | (np.diff(document[order]) != 0)
    return order[ahead]
