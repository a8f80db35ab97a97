"""Activations whose features are known: of one language, of the other, of both, and of no use.

For tests of what classification finds, and to say how well it does on data of a size.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from release_kit.sae.dictionary import Sae

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, eq=False)
class Planted:
    """Activations of documents in two languages and what is in them.

    Attributes:
        x: (n_tokens, d) float32.
        language: (n_tokens,) int8, places in ``activations.tokens.LANGUAGES`` (1 en, 2 ja).
        document: (n_tokens,) int32.
        directions: (n_features, d) unit vectors.
        truth: (n_features,) ``en``, ``ja``, ``bilingual`` or ``dead``.
    """

    x: "torch.Tensor"
    language: npt.NDArray[np.int8]
    document: npt.NDArray[np.int32]
    directions: "torch.Tensor"
    truth: npt.NDArray[np.str_]

    def sae(self, k: int) -> Sae:
        """Return the autoencoder that knows the directions.

        Its encoder's bias is half of the smallest amount that is planted, so that features which only resemble those of
        a token stay silent; training brings that about, too.
        """
        import torch

        from release_kit.sae.config import SaeConfig

        n, d = self.directions.shape
        return Sae(
            config=SaeConfig(architecture="topk", d_in=d, n_features=n, k=k), w_enc=self.directions.clone(),
            b_enc=torch.full((n,), -0.5), w_dec=self.directions.clone(), b_dec=torch.zeros(d),
        )  # fmt: skip


def plant(
    seed: int,
    *,
    n_documents: int = 400,
    d: int = 256,
    per_class: int = 40,
    n_dead: int = 10,
    k: int = 5,
    tokens: tuple[int, int] = (12, 20),
    leak: float = 0.02,
    noise: float = 0.02,
) -> Planted:
    """Return documents, English and Japanese ones by turns, whose tokens are sums of ``k`` features.

    A document has a topic: a dozen of the features of its language and of both, from which all its tokens draw, so
    firings within a document go together as they do in texts. Japanese documents have more tokens than English ones.

    Args:
        seed: decides everything.
        n_documents: of both languages together.
        d: width.
        per_class: features of each class. n_dead: features that never occur.
        k: features of a token.
        tokens: of an English document and of a Japanese one.
        leak: probability that a feature is drawn from all of them instead, as a foreign word is.
        noise: standard deviation of what is added to each coordinate.
    """
    import torch

    rng = np.random.default_rng([seed, 7])
    truth = np.repeat(["en", "ja", "bilingual", "dead"], [per_class, per_class, per_class, n_dead])
    directions = rng.standard_normal((len(truth), d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    alive = np.flatnonzero(truth != "dead")
    rows, languages, documents = [], [], []
    for document in range(n_documents):
        name = ("en", "ja")[document % 2]
        topic = rng.choice(np.flatnonzero((truth == name) | (truth == "bilingual")), 12, replace=False)
        for _ in range(tokens[document % 2]):
            chosen = rng.choice(topic, k, replace=False)
            foreign = rng.random(k) < leak
            chosen[foreign] = rng.choice(alive, int(foreign.sum()))
            rows.append(rng.uniform(1, 2, k) @ directions[chosen])
            languages.append(1 + document % 2)
            documents.append(document)
    x = np.array(rows) + noise * rng.standard_normal((len(rows), d))
    return Planted(
        x=torch.from_numpy(x.astype(np.float32)), language=np.array(languages, np.int8),
        document=np.array(documents, np.int32), directions=torch.from_numpy(directions.astype(np.float32)), truth=truth,
    )  # fmt: skip
