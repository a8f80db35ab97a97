"""What a set of features contributes to a residual stream: the sum of their decoder rows by their activations.

Decompositions are exact in this sense: residual = contributions of all features + the decoder's bias + error, so that
taking a part out and putting it in again changes nothing.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from release_kit.sae.dictionary import Codes, Sae

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, eq=False)
class Decomposed:
    """Residuals of tokens as features.

    Attributes:
        sae: the autoencoder.
        codes: active features of (m,) tokens.
    """

    sae: Sae
    codes: Codes

    @classmethod
    def of(cls, sae: Sae, x: "torch.Tensor") -> "Decomposed":
        """Decompose residuals ``x (m, d_in)``."""
        return cls(sae=sae, codes=sae.encode(x))

    def contribution(self, chosen: "torch.Tensor") -> "torch.Tensor":
        """Return what some features contribute, (m, d_in) float32 in the space of the residual.

        Args:
            chosen: (n_features,) bool.
        """
        unit = self.unit_contribution(chosen)
        return unit if self.codes.scale is None else unit * self.codes.scale.unsqueeze(1)

    def unit_contribution(self, chosen: "torch.Tensor") -> "torch.Tensor":
        """Return it as the encoder's arithmetic has it: for inputs of length 1, as a part of a vector of length 1."""
        from torch.nn.functional import embedding_bag

        codes, sae = self.codes, self.sae
        if codes.indices.shape[1] == 0:
            return sae.w_dec.new_zeros((len(codes.indices), sae.config.d_in))
        kept = codes.values * chosen[codes.indices]
        return embedding_bag(codes.indices, sae.w_dec, mode="sum", per_sample_weights=kept)


def random_sets(chosen: "torch.Tensor", alive: "torch.Tensor", n: int, *, seed: int) -> "list[torch.Tensor]":
    """Return ``n`` random sets of as many features as are chosen among those that are alive.

    Args:
        chosen: (n_features,) bool, the set that is matched.
        alive: (n_features,) bool, features that fire at all: what is drawn from.
        n: draws.
        seed: of the draws.
    """
    import torch

    places = alive.nonzero().flatten()
    size = int((chosen & alive).sum())
    generator = torch.Generator().manual_seed(seed)
    sets = []
    for _ in range(n):
        picked = torch.zeros_like(chosen)
        picked[places[torch.randperm(len(places), generator=generator)[:size].to(places.device)]] = True
        sets.append(picked)
    return sets


def with_length_of(vectors: "torch.Tensor", like: "torch.Tensor") -> "torch.Tensor":
    """Return vectors (m, d) with the lengths of others, token by token; a vector of zeros stays."""
    lengths = vectors.norm(dim=1, keepdim=True)
    factor = like.norm(dim=1, keepdim=True) / lengths.clamp(min=1e-30)
    return vectors * factor.where(lengths > 0, factor.new_ones(()))
