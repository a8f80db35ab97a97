"""One autoencoder over held-out activations: every count and figure that needs its codes, from encoding once."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from release_kit.sae.activations.tokens import LANGUAGES
from release_kit.sae.classify.counts import FeatureCounter, FeatureCounts
from release_kit.sae.dictionary import Sae
from release_kit.sae.measure.documents import DocumentCounts
from release_kit.sae.metrics.reconstruction import Reconstruction, ReconstructionSums

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, eq=False)
class Labels:
    """What is known of the tokens of texts; arrays over tokens have the same length.

    Attributes:
        language: (n_tokens,) places in ``LANGUAGES``. document: (n_tokens,). script: (n_tokens,) places in ``SCRIPTS``.
        n_documents: of the texts, those without a token too.
        pairs: (n_pairs, 2) documents that say the same.
    """

    language: npt.NDArray[np.int8]
    document: npt.NDArray[np.int32]
    script: npt.NDArray[np.int8] | None
    n_documents: int
    pairs: npt.NDArray[np.int32]


class SaeCounter:
    """Counts what one autoencoder does; documents come whole, in any groups.

    Args:
        sae: the autoencoder. labels: of the texts. n_top: contexts of each feature and language.
    """

    def __init__(self, sae: Sae, labels: Labels, *, n_top: int) -> None:
        n = sae.config.n_features
        self._sae, self._labels = sae, labels
        self._features = FeatureCounter(
            n, language=labels.language, document=labels.document, script=labels.script, pairs=labels.pairs, n_top=n_top
        )
        self.documents = DocumentCounts(n_features=n, document=labels.document, n_documents=labels.n_documents)
        self._sums = ReconstructionSums(n, sae.config.d_in, LANGUAGES)

    def add(self, x: "torch.Tensor", index: npt.NDArray[np.int64]) -> None:
        """Add the activations of whole documents.

        Args:
            x: (m, d_in). index: (m,) numbers of the tokens.

        Raises:
            ActivationError: an activation is no number.
            SaeError: a document comes in parts, or x has another width.
        """
        codes = self._sae.encode(x)
        self._features.add(codes, index)
        self.documents.add(codes, index)
        self._sums.add(x, self._sae.decode(codes), codes, self._labels.language[index])

    @property
    def counts(self) -> FeatureCounts:
        """What features did so far."""
        return self._features.counts

    def reconstruction(self) -> dict[str, Reconstruction]:
        """Return figures of all tokens (``all``) and of each language.

        Raises:
            SaeError: there was no token.
        """
        return self._sums.figures().by_language
