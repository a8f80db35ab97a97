"""One exact training step: loss and gradients from active features alone, then Adam.

Owns the order of things: select, reconstruct, auxiliary loss, gradients, projection, clipping, Adam, lengths of decoder
rows, thresholds, counts. A step whose loss is no number changes nothing.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from release_kit.sae.dictionary import normalised
from release_kit.sae.errors import ActivationError, SaeError
from release_kit.sae.step.auxiliary import auxiliary
from release_kit.sae.step.gradients import Gradients, gradients, normalise_decoder
from release_kit.sae.step.losses import loss_scale
from release_kit.sae.step.reconstruct import reconstruct
from release_kit.sae.step.select import Selected, check_precision, select
from release_kit.sae.step.settings import StepReport, StepSettings
from release_kit.sae.step.state import TrainState
from release_kit.sae.step.update import projected_norm, update

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What a batch says before anything changes.

    Attributes:
        loss: reconstruction, L0 and auxiliary terms.
        reconstruction: the first of them.
        auxiliary: the last of them.
        fvu: of the batch.
        selected: active features.
        gradients: exact gradients of ``loss``, neither projected nor clipped.
    """

    loss: float
    reconstruction: float
    auxiliary: float
    fvu: float
    selected: Selected
    gradients: Gradients


def train_step(state: TrainState, x: "torch.Tensor", settings: StepSettings) -> StepReport:
    """Take one step on a batch; the same state and batch give the same bytes on one kind of machine.

    Args:
        state: changed in place.
        x: (n_tokens, d_in) activations, not normalised, on the device of the state.
        settings: how to train.

    Returns:
        What the batch said before the step.

    Raises:
        ActivationError: the loss is no number: activations hold NaN or infinities, or training has diverged; or all
            tokens have the same activations, for a loss in shares of variance. The state is as it was.
        SaeError: the batch is empty or has another width, or the precision is not for this architecture.
    """
    import torch

    if settings.loss == "fvu":
        _check_varied(x, state)
    with torch.no_grad(), _float32_products():
        n_dead = int(state.dead().sum())
        found = loss_and_gradients(state, x, settings)
        norm = projected_norm(state, found.gradients)
        _check_finite(found.loss, norm, x, state)
        update(state, found.gradients, norm, settings)
        report = StepReport(
            loss=found.loss,
            reconstruction=found.reconstruction,
            auxiliary=found.auxiliary,
            fvu=found.fvu,
            l0=found.selected.n_active / len(x),
            n_dead=n_dead,
            n_fallback_rows=found.selected.n_fallback_rows,
            gradient_norm=norm,
            lr=settings.learning_rate(state.n_steps),
        )
        _after(state, found.selected, len(x), settings)
    return report


def loss_and_gradients(state: TrainState, x: "torch.Tensor", settings: StepSettings) -> Found:
    """Return the loss of a batch and its gradients; the state does not change.

    Args:
        state: parameters and counts of dead features.
        x: (n_tokens, d_in) activations, not normalised.
        settings: how to train.

    Raises:
        SaeError: the batch is empty or has another width, or the precision is not for this architecture.
    """
    import torch

    sae, config = state.sae, state.sae.config
    check_precision(sae, settings)
    if not len(x):
        raise SaeError("the batch has no tokens", where="training step")
    with torch.no_grad(), _float32_products():
        inputs, _ = normalised(config, x)
        given = inputs - sae.b_dec if config.subtract_decoder_bias else inputs
        scale = loss_scale(inputs, settings.loss)
        selected = select(sae, given, settings)
        found = reconstruct(sae, inputs, selected.active, scale)
        dead = auxiliary(sae, given, found.error, state.dead(), scale, settings.tile_rows)
        l0_slope = _l0_coefficient(state, settings) / len(x)
        slopes = gradients(sae, given, selected, found, dead, l0_slope)
    extra = 0.0 if dead is None else dead.loss
    return Found(
        loss=found.loss + extra + (l0_slope * selected.n_active if l0_slope else 0.0),
        reconstruction=found.loss,
        auxiliary=extra,
        fvu=scale.fvu(found.squares),
        selected=selected,
        gradients=slopes,
    )


def _l0_coefficient(state: TrainState, settings: StepSettings) -> float:
    if state.log_threshold is None:
        return 0.0
    return state.sae.config.l0_coefficient * min(1.0, (state.n_steps + 1) / max(1, settings.l0_warmup_steps))


def _after(state: TrainState, selected: Selected, n_tokens: int, settings: StepSettings) -> None:
    """Bring everything up to date that follows from parameters or from what fired."""
    sae, active = state.sae, selected.active
    if sae.config.unit_norm_decoder:
        normalise_decoder(sae.w_dec)
    if state.log_threshold is not None:
        sae.threshold.copy_(state.log_threshold.exp())
    fired = active.values > 0
    if sae.config.selects == "batchtopk" and bool(fired.any()):
        lowest = active.values[fired].min()
        kept = settings.threshold_momentum if state.n_steps else 0.0
        sae.threshold.mul_(kept).add_(lowest * (1 - kept))
    state.tokens_since_fired += n_tokens
    state.tokens_since_fired[active.indices[fired]] = 0
    state.n_steps += 1
    state.n_tokens += n_tokens


def _check_varied(x: "torch.Tensor", state: TrainState) -> None:
    """Refuse a batch of one activation, whose variance is nothing but rounding: errors cannot be held against it."""
    import torch

    if len(x) and torch.equal(x[0], x[-1]) and bool((x == x[:1]).all()):
        raise ActivationError(
            f"all {len(x)} tokens of the batch have the same activations: there is nothing to explain",
            where=f"training step {state.n_steps + 1}",
            next_step="take texts with different tokens, a larger batch, or another layer",
        )


def _check_finite(loss: float, norm: float, x: "torch.Tensor", state: TrainState) -> None:
    import torch

    if math.isfinite(loss) and math.isfinite(norm):
        return
    rows = (~torch.isfinite(x).all(dim=1)).nonzero().view(-1).tolist()
    where = f"training step {state.n_steps + 1}"
    if rows:
        raise ActivationError(
            f"{len(rows)} of {len(x)} tokens have activations that are no finite numbers, the first is row {rows[0]} "
            "of the batch",
            where=where,
            next_step="take the activations again, in float32 if the model overflows in its own type",
        )
    raise ActivationError(
        f"the loss is {loss}, with finite activations",
        where=where,
        next_step="lower the learning rate, or clip gradients",
    )


@contextlib.contextmanager
def _float32_products() -> Iterator[None]:
    """Keep float32 products in float32 for the block, whatever a program has allowed for its own."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
