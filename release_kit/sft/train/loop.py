"""One optimiser step after another: losses, gradients, clipping, AdamW. Knows no files and no study.

Owns the order in which things are summed, hence the last bit of a run. A step is the same function of (weights,
moments, examples, seed, step) whether the run was interrupted before it or not.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from release_kit.core.errors import ArtifactError
from release_kit.sft.data.packing import StepPlan, build_micro_batch
from release_kit.sft.runtime import set_seed
from release_kit.sft.spec.settings import TrainingSettings
from release_kit.sft.train.log import LogRow
from release_kit.sft.train.loss import FlatBatch, completion_loss, count_trained, flatten, within_segments
from release_kit.sft.train.schedule import learning_rate


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What stays the same over a whole run."""

    examples: Sequence[Any]
    """``data.tokens.TokenExample``, in the order of the data."""
    settings: TrainingSettings
    seed: int
    n_steps: int
    """Of the whole schedule."""
    mode: str
    """``loss.find_mode``."""
    compute: str
    """``float32`` or ``bfloat16``."""
    pad_id: int


class Loop:
    """A model in training: its trained parameters, its optimiser, and the step between them.

    Args:
        model: float32, as ``WarmBase.fresh`` returns it.
        setup: of the run.
    """

    def __init__(self, model: Any, setup: Setup):
        self.model, self.setup = model, setup
        self.trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self.device = next(iter(self.trained.values())).device
        settings = setup.settings
        self.optimizer = torch.optim.AdamW(
            list(self.trained.values()),
            lr=settings.learning_rate,
            betas=(settings.beta1, settings.beta2),
            eps=settings.epsilon,
            weight_decay=settings.weight_decay,
            fused=True,
        )

    def load(self, weights: Mapping[str, Any], moments: Mapping[str, tuple[Any, Any]], step: int) -> None:
        """Put weights and moments of a state back."""
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(weights[name])
        for name, (first, second) in moments.items():
            self.optimizer.state[self.trained[name]] = {
                "step": torch.tensor(float(step), device=self._step_device()),
                "exp_avg": first.to(self.device),
                "exp_avg_sq": second.to(self.device),
            }

    def moments(self) -> dict[str, tuple[Any, Any]]:
        """Return AdamW's two moments by the name of the parameter."""
        state = self.optimizer.state
        return {
            name: (state[parameter]["exp_avg"], state[parameter]["exp_avg_sq"])
            for name, parameter in self.trained.items()
            if parameter in state
        }

    def step(self, plan: StepPlan) -> LogRow:
        """Do one optimiser step.

        Raises:
            ArtifactError: no token of the step carries loss; loss or gradients are not finite (nothing was updated).
        """
        batches = self.batches(plan)
        set_seed(step_seed(self.setup.seed, plan.step))
        loss = sum(self._backward(batches, 1.0 / count_trained(batches)))
        return self.update(plan, batches, loss)

    def batches(self, plan: StepPlan) -> list[FlatBatch]:
        """Return the micro-batches of a step, on the device.

        Raises:
            ArtifactError: no token of the step carries loss.
        """
        batches = [self._batch(packs) for packs in plan.micro_batches]
        if not count_trained(batches):
            step = "audit the data; examples without a trained token must not reach training"
            raise ArtifactError("no token carries loss", where=f"step {plan.step}", next_step=step)
        return batches

    def update(self, plan: StepPlan, batches: Sequence[FlatBatch], loss: float) -> LogRow:
        """Move the weights by the gradients that lie ready, and say what was done.

        Raises:
            ArtifactError: loss or gradients are not finite (nothing was updated).
        """
        setup = self.setup
        refuse_not_finite(loss, "loss", plan.step)
        norm = self.clip(setup.settings.max_gradient_norm)
        refuse_not_finite(norm, "norm of the gradients", plan.step)
        rate = learning_rate(plan.step, setup.n_steps, setup.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return LogRow(
            step=plan.step,
            epoch=plan.epoch,
            loss=loss,
            learning_rate=rate,
            gradient_norm=norm,
            n_tokens=sum(batch.n_tokens for batch in batches),
            n_trained=count_trained(batches),
        )

    def clip(self, most: float) -> float:
        """Clip the gradients of all trained parameters and return the norm that they had."""
        return clip_gradients(self.trained.values(), most)

    def _batch(self, packs: Sequence[Any]) -> FlatBatch:
        return flatten(build_micro_batch(self.setup.examples, packs, self.setup.pad_id), self.device)

    def _backward(self, batches: Sequence[FlatBatch], scale: float) -> Iterator[float]:
        """Add the gradients of every micro-batch up and yield its part of the loss."""
        for batch in batches:
            if batch.n_trained:
                with within_segments(self.model, self.setup.mode):  # checkpointing runs the forward pass once more
                    loss = completion_loss(self.model, batch, scale, mode=self.setup.mode, dtype=self.setup.compute)
                    loss.backward()
                yield float(loss.detach())

    def _step_device(self) -> Any:
        return self.device if self.device.type == "cuda" else "cpu"


def clip_gradients(parameters: Any, most: float) -> float:
    """Scale the gradients so that their L2 norm is at most ``most`` (0: leave them) and return the norm they had."""
    given = [parameter for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in given])
    if most and float(norm) > most:
        torch.nn.utils.clip_grads_with_norm_(given, most, norm)
    return float(norm)


def refuse_not_finite(value: float, what: str, step: int) -> None:
    """Raise ArtifactError when a loss or a norm is NaN or infinite."""
    if not math.isfinite(value):
        advice = "lower the learning rate, add warmup_ratio, or look for broken examples in this step"
        raise ArtifactError(f"the {what} is {value}; nothing was saved", where=f"step {step}", next_step=advice)


def step_seed(seed: int, step: int) -> int:
    """Return the seed of everything random in one step: 31 bits of the sha256 of both numbers."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}".encode()).digest()[:4], "big") >> 1
