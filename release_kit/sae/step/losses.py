"""The reconstruction loss and its gradient with respect to each reconstruction.

Owns the two declared losses, for one reconstruction or for one of every prefix of the features. Sums of squares are
added up in float64: a batch has millions of terms.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from release_kit.sae.step.settings import Loss

if TYPE_CHECKING:
    import torch


def sum_of_squares(x: "torch.Tensor") -> float:
    """Return the sum of squares of (m, d), in float64 over rows, without an array of squares."""
    import torch

    return float(torch.linalg.vector_norm(x, dim=1).double().square().sum())


def total_variance(x: "torch.Tensor") -> float:
    """Return Σ|x - mean(x)|² over the rows of (m, d)."""
    return sum_of_squares(x - x.mean(dim=0))


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What turns a sum of squared errors into the loss.

    Attributes:
        factor: loss = factor * Σ|e|².
        variance: Σ|x' - mean(x')|² of the batch.
    """

    factor: float
    variance: float

    def fvu(self, squares: float) -> float:
        """Return the share of variance that a sum of squared errors leaves; NaN for a batch without variance."""
        return squares / self.variance if self.variance > 0 else float("nan")


def loss_scale(x: "torch.Tensor", loss: Loss) -> Scale:
    """Return the scale of a batch (m, d) of normalised inputs."""
    variance = total_variance(x)
    if loss == "fvu":
        return Scale(factor=1 / variance if variance > 0 else float("nan"), variance=variance)
    return Scale(factor=1 / len(x), variance=variance)
