"""Adam on tensors that are updated in place, with clipping of all gradients together.

Owns the moments' update. The arithmetic is PyTorch's fused kernel, one pass over parameter, gradient and moments, and
gives the bytes of ``torch.optim.Adam(fused=True)``; no optimiser object holds state that a checkpoint could miss.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from release_kit.sae.step.settings import StepSettings

if TYPE_CHECKING:
    import torch


def row_norms(gradient: "torch.Tensor") -> "torch.Tensor":
    """Return (n,) Euclidean norms of the rows of a matrix; (1,) of a vector."""
    import torch

    return torch.linalg.vector_norm(gradient if gradient.ndim == 2 else gradient.view(1, -1), dim=1)


def gradient_norm(norms: "Mapping[str, torch.Tensor]") -> float:
    """Return the Euclidean norm of all gradients together, from the norms of the rows of each."""
    import torch

    squares = [each.double().square().sum() for each in norms.values()]
    return math.sqrt(float(torch.stack(squares).sum()))


def clip(gradients: "Mapping[str, torch.Tensor]", norm: float, limit: float | None) -> None:
    """Scale gradients in place so that their norm is ``limit`` at most, as ``torch.nn.utils.clip_grad_norm_`` does."""
    if limit is not None and (factor := limit / (norm + 1e-6)) < 1:
        for each in gradients.values():
            each.mul_(factor)


def adam_update(
    parameters: "Mapping[str, torch.Tensor]",
    gradients: "Mapping[str, torch.Tensor]",
    moments: "Mapping[str, tuple[torch.Tensor, torch.Tensor]]",
    n_steps: int,
    settings: StepSettings,
) -> None:
    """Update parameters and both moments in place (Kingma and Ba 2015, with their correction of bias).

    Args:
        parameters: name → tensor.
        gradients: the same names.
        moments: name → first and second moment.
        n_steps: steps that came before this one.
        settings: rates; the learning rate is that of this step.
    """
    import torch

    names = list(parameters)
    first = parameters[names[0]]
    with torch.no_grad():
        torch._fused_adam_(
            [parameters[name] for name in names],
            [gradients[name] for name in names],
            [moments[name][0] for name in names],
            [moments[name][1] for name in names],
            [],
            [torch.tensor(float(n_steps + 1), device=first.device) for _ in names],
            lr=settings.learning_rate(n_steps),
            beta1=settings.beta1,
            beta2=settings.beta2,
            weight_decay=0.0,
            eps=settings.eps,
            amsgrad=False,
            maximize=False,
        )
