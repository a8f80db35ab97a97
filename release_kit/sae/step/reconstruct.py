"""Reconstructions of a batch from its active features, their loss, and the error that gradients are taken from.

Owns the loss on one reconstruction and on one of each prefix of the features (Matryoshka, Bussmann et al. 2025), where
the loss is the mean over prefixes. Features of a group see the sum of the errors of every prefix they belong to, so the
work stays that of one reconstruction.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from release_kit.sae.dictionary import Sae
from release_kit.sae.step.active import Active
from release_kit.sae.step.decode import add_decoded, entry_products
from release_kit.sae.step.losses import Scale, sum_of_squares

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Features ``[start, stop)`` and the error that they see.

    Attributes:
        start: first feature.
        stop: after the last feature.
        mask: (nnz,) True for the entries of these features; None where all entries are.
        active: these entries.
        error: (n_tokens, d_in) sum over the reconstructions that these features are in.
    """

    start: int
    stop: int
    mask: "torch.Tensor | None"
    active: Active
    error: "torch.Tensor"


@dataclass(frozen=True, kw_only=True, eq=False)
class Reconstruction:
    """Loss and errors of a batch.

    Attributes:
        loss: the reconstruction term.
        squares: Σ|e|² of the reconstruction from all features.
        slope: d loss / d error is this times the error.
        error: (n_tokens, d_in) x̂' - x' of the reconstruction from all features.
        parts: what the features of each group see; together all features.
    """

    loss: float
    squares: float
    slope: float
    error: "torch.Tensor"
    parts: tuple[Part, ...]

    def entry_gradients(self, active: Active, w_dec: "torch.Tensor") -> "torch.Tensor":
        """Return (nnz,) d loss / dz of each entry."""
        found = active.values.new_empty(len(active.values))
        for part in self.parts:
            products = entry_products(part.active, part.error, w_dec)
            if part.mask is None:
                found = products
            else:
                found[part.mask] = products
        return found.mul_(self.slope)


def reconstruct(sae: Sae, x: "torch.Tensor", active: Active, scale: Scale) -> Reconstruction:
    """Reconstruct normalised inputs (n_tokens, d_in) and return loss and errors."""
    groups = sae.config.groups or (sae.config.n_features,)
    errors, parts, start, squares = [], [], 0, []
    base = sae.b_dec - x
    for stop in groups:
        mask = None if len(groups) == 1 else (active.indices >= start) & (active.indices < stop)
        mine = active if mask is None else active.only(mask)
        base = base.clone() if errors else base
        add_decoded(mine, sae.w_dec, base)
        errors.append(base)
        squares.append(sum_of_squares(base))
        parts.append(Part(start=start, stop=stop, mask=mask, active=mine, error=base))
        start = stop
    for inner, outer in zip(reversed(errors[:-1]), reversed(errors[1:]), strict=True):
        inner.add_(outer)
    return Reconstruction(
        loss=scale.factor * sum(squares) / len(groups),
        squares=squares[-1],
        slope=2 * scale.factor / len(groups),
        error=errors[-1],
        parts=tuple(parts),
    )
