"""The auxiliary loss against dead features: the dead alone rebuild what the living left over.

Owns the loss of Gao et al. 2024 (appendix A.2): of the dead features of a token the ``aux_k`` largest after ReLU
predict x' - x̂', taken as data. Only rows of dead features are multiplied. The term is ``aux_coefficient`` times
min(1, n_dead / aux_k) times the same loss as the reconstruction's.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from release_kit.sae.dictionary import Sae
from release_kit.sae.step.active import Active, by_feature
from release_kit.sae.step.decode import decoded, entry_products
from release_kit.sae.step.encode import encode_topk
from release_kit.sae.step.losses import Scale, sum_of_squares

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, eq=False)
class Auxiliary:
    """The auxiliary term of a batch.

    Attributes:
        loss: weighted.
        slope: d loss / d error is this times the error.
        dead: (n_dead,) int64 features.
        active: the dead features of each token, by their place in ``dead``.
        error: (n_tokens, d_in) prediction minus what was left over.
    """

    loss: float
    slope: float
    dead: "torch.Tensor"
    active: Active
    error: "torch.Tensor"

    def rows(self, sae: Sae, given: "torch.Tensor") -> "DeadRows":
        """Return the gradients of encoder rows, encoder biases and decoder rows of the dead."""
        import torch

        w_dec = sae.w_dec[self.dead]
        entries = by_feature(self.active, len(self.dead))
        decoder, encoder = torch.empty_like(w_dec), torch.empty_like(w_dec)
        entries.product(self.active.values * self.slope, self.error, decoder)
        slopes = entry_products(self.active, self.error, w_dec).mul_(self.slope).mul_(self.active.values > 0)
        entries.product(slopes, given, encoder)
        return DeadRows(features=self.dead, w_enc=encoder, w_dec=decoder, b_enc=entries.sums(slopes))


@dataclass(frozen=True, kw_only=True, eq=False)
class DeadRows:
    """Gradients of the auxiliary term, which only dead features have.

    Attributes:
        features: (n_dead,) int64, ascending.
        w_enc: (n_dead, d_in).
        w_dec: (n_dead, d_in).
        b_enc: (n_dead,).
    """

    features: "torch.Tensor"
    w_enc: "torch.Tensor"
    w_dec: "torch.Tensor"
    b_enc: "torch.Tensor"

    def add_to(self, name: str, start: int, stop: int, out: "torch.Tensor") -> None:
        """Add the gradients of features ``[start, stop)`` to ``out``, whose first row is that of ``start``."""
        import torch

        bounds = torch.tensor([start, stop], device=self.features.device)
        first, last = torch.searchsorted(self.features, bounds).tolist()
        out.index_add_(0, self.features[first:last] - start, getattr(self, name)[first:last])


def auxiliary(
    sae: Sae, given: "torch.Tensor", error: "torch.Tensor", dead: "torch.Tensor", scale: Scale, tile_rows: int
) -> Auxiliary | None:
    """Return the auxiliary term; None where it is switched off or nothing is dead.

    Args:
        sae: the autoencoder.
        given: (n_tokens, d_in) inputs of the encoder.
        error: (n_tokens, d_in) x̂' - x'.
        dead: (n_features,) True for dead features.
        scale: of the loss.
        tile_rows: tokens whose pre-activations exist at one time.
    """
    config = sae.config
    found = dead.nonzero().view(-1) if config.aux_k and config.aux_coefficient else None
    if found is None or not len(found):
        return None
    k = min(config.aux_k, len(found))
    weight = config.aux_coefficient * k / config.aux_k * scale.factor
    active = encode_topk(given, sae.w_enc[found], sae.b_enc[found], k, tile_rows=tile_rows)
    left = decoded(active, sae.w_dec[found]).add_(error)
    return Auxiliary(loss=weight * sum_of_squares(left), slope=2 * weight, dead=found, active=active, error=left)
