"""How often and how much every feature is active in every document: enough for any labelling of the documents.

Permuted languages, and the languages themselves, are sums over columns of the same sparse table, so that no label costs
another pass through a model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.sae.activations.tokens import LANGUAGES
from release_kit.sae.classify.tally import Tally
from release_kit.sae.dictionary import Codes


@dataclass(kw_only=True, eq=False)
class DocumentCounts:
    """Sums over the tokens of each document.

    Attributes:
        n_features: of the autoencoder.
        document: (n_tokens,) document of every token of the texts.
        n_documents: of the texts.
    """

    n_features: int
    document: npt.NDArray[np.int32]
    n_documents: int
    _parts: list[tuple[npt.NDArray[Any], ...]] = field(default_factory=list)
    _tables: tuple[Any, ...] | None = None

    def add(self, codes: Codes, index: npt.NDArray[np.int64]) -> None:
        """Add the codes of whole documents.

        Args:
            codes: of m tokens. index: (m,) their numbers.
        """
        values = codes.values.cpu().numpy()
        row, column = np.nonzero(values > 0)
        feature = codes.indices.cpu().numpy()[row, column]
        cell = feature * self.n_documents + self.document[index[row]]
        order = np.argsort(cell, kind="stable")
        cell, value = cell[order], values[row, column][order].astype(np.float64)
        if not len(cell):
            return
        starts = np.flatnonzero(np.diff(cell, prepend=-1))
        fired = np.diff(np.append(starts, len(cell))).astype(np.float64)
        self._parts.append((cell[starts], fired, np.add.reduceat(value, starts)))
        self._tables = None

    def tally(self, language: npt.NDArray[np.int64], n_tokens: npt.NDArray[np.int64]) -> Tally:
        """Return the sums over documents of each language.

        Args:
            language: (n_documents,) places in ``LANGUAGES``.
            n_tokens: (n_documents,) tokens of each; a document without a token is in no group.
        """
        groups = len(LANGUAGES)
        chosen = np.zeros((self.n_documents, groups))
        chosen[np.arange(self.n_documents), language] = 1.0
        sums = [table @ chosen for table in self._sparse()]
        fired, documents, mass, fired_squares, mass_squares = sums
        there = n_tokens > 0
        return Tally(
            groups=LANGUAGES,
            n_tokens=np.bincount(language, weights=n_tokens, minlength=groups).astype(np.int64),
            n_documents=np.bincount(language[there], minlength=groups).astype(np.int64),
            fired=fired.astype(np.int64), documents=documents.astype(np.int64), mass=mass,
            fired_squares=fired_squares, mass_squares=mass_squares,
        )  # fmt: skip

    def _sparse(self) -> tuple[Any, ...]:
        """Return (n_features, n_documents) tables: active tokens, active at all, mass, and squares of both sums."""
        if self._tables is None:
            from scipy.sparse import csr_matrix

            empty = (np.empty(0, np.int64), np.empty(0), np.empty(0))
            cell, fired, mass = (np.concatenate(column) for column in zip(empty, *self._parts, strict=True))
            place = (cell // self.n_documents, cell % self.n_documents)
            shape = (self.n_features, self.n_documents)
            data: Sequence[Any] = (fired, np.ones(len(cell)), mass, fired**2, mass**2)
            self._tables = tuple(csr_matrix((one, place), shape=shape) for one in data)
        return self._tables


def document_languages(texts: Sequence[Any]) -> npt.NDArray[np.int64]:
    """Return (n_documents,) places in ``LANGUAGES`` of texts."""
    return np.array([LANGUAGES.index(text.language) for text in texts], np.int64)


def document_tokens(document: npt.NDArray[np.int32], n_documents: int) -> npt.NDArray[np.int64]:
    """Return (n_documents,) tokens of each document."""
    return np.bincount(document, minlength=n_documents)
