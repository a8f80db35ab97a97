"""Everything that training carries from one step to the next, and nothing that it does not.

Owns the parameters with both moments of Adam, counts, and their exact form on disk.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from release_kit.sae.config import SaeConfig
from release_kit.sae.dictionary import Sae
from release_kit.sae.errors import SaeError

if TYPE_CHECKING:
    import torch

_COUNTS = ("n_steps", "n_tokens")


@dataclass(kw_only=True, eq=False)
class TrainState:
    """The state of one autoencoder in training; ``restore(tensors())`` continues with the same bytes.

    Attributes:
        sae: updated in place by every step.
        moments: parameter → first and second moment of Adam, of its shape.
        log_threshold: (n_features,) what JumpReLU trains instead of its thresholds, which so stay above 0.
        tokens_since_fired: (n_features,) int64.
        generator: for whoever draws random numbers along with the steps; its state is saved, no step draws from it.
        n_steps: steps taken.
        n_tokens: tokens seen.
    """

    sae: Sae
    moments: "dict[str, tuple[torch.Tensor, torch.Tensor]]"
    log_threshold: "torch.Tensor | None"
    tokens_since_fired: "torch.Tensor"
    generator: "torch.Generator"
    n_steps: int = 0
    n_tokens: int = 0

    @classmethod
    def start(
        cls, config: SaeConfig, seed: int, sample: "torch.Tensor | None" = None, device: str = "cpu"
    ) -> "TrainState":
        """Return the state before the first step of an autoencoder made from ``seed`` (see ``initial_sae``)."""
        from release_kit.sae.step.initial import initial_sae

        return cls.continued(initial_sae(config, seed, sample).to(device), seed)

    @classmethod
    def continued(cls, sae: Sae, seed: int) -> "TrainState":
        """Return the state before the first step from tensors that exist (warm start); they are copied.

        Args:
            sae: where to start; moments and counts begin at 0.
            seed: of ``generator``.
        """
        import torch

        tensors = {name: getattr(sae, name).clone() for name in ("w_enc", "b_enc", "w_dec", "b_dec")}
        threshold = None if sae.threshold is None else sae.threshold.clone()
        own = Sae(config=sae.config, threshold=threshold, **tensors)
        learned = sae.config.architecture == "jumprelu"
        log_threshold = threshold.clamp(min=1e-6).log() if learned and threshold is not None else None
        state = cls(
            sae=own,
            moments={},
            log_threshold=log_threshold,
            tokens_since_fired=torch.zeros(sae.config.n_features, dtype=torch.int64, device=sae.w_enc.device),
            generator=torch.Generator().manual_seed(seed),
        )
        state.moments = {
            name: (torch.zeros_like(value), torch.zeros_like(value)) for name, value in state.parameters().items()
        }
        return state

    def parameters(self) -> "dict[str, torch.Tensor]":
        """Return what is trained, by name; JumpReLU has ``log_threshold`` besides the four tensors of all."""
        named = {name: getattr(self.sae, name) for name in ("w_enc", "b_enc", "w_dec", "b_dec")}
        return named if self.log_threshold is None else {**named, "log_threshold": self.log_threshold}

    def dead(self) -> "torch.Tensor":
        """Return (n_features,) True for features that have not fired for ``dead_after_tokens``."""
        return self.tokens_since_fired >= self.sae.config.dead_after_tokens

    def tensors(self) -> "dict[str, torch.Tensor]":
        """Return the whole state as tensors by name, ready for a safetensors file; they are views, not copies."""
        import torch

        found = {f"parameter.{name}": value for name, value in self.parameters().items()}
        for name, (first, second) in self.moments.items():
            found |= {f"first_moment.{name}": first, f"second_moment.{name}": second}
        if self.sae.threshold is not None:
            found["threshold"] = self.sae.threshold
        found["tokens_since_fired"] = self.tokens_since_fired
        found["generator"] = self.generator.get_state()
        return found | {name: torch.tensor(getattr(self, name), dtype=torch.int64) for name in _COUNTS}

    def restore(self, tensors: "Mapping[str, torch.Tensor]") -> None:
        """Take over what ``tensors`` returned, into a state of the same configuration.

        Raises:
            SaeError: names every tensor that is missing, unknown, or of another shape or type; nothing is changed then.
        """
        own = self.tensors()
        wrong = [f"`{name}` is missing" for name in own if name not in tensors]
        wrong += [f"`{name}` is not known" for name in tensors if name not in own]
        wrong += [
            f"`{name}` is {tuple(found.shape)} {found.dtype}, expected {tuple(own[name].shape)} {own[name].dtype}"
            for name, found in tensors.items()
            if name in own and (found.shape != own[name].shape or found.dtype != own[name].dtype)
        ]
        if wrong:
            raise SaeError("; ".join(sorted(wrong)), where="training state", next_step="start this one again")
        for name, value in own.items():
            if name not in (*_COUNTS, "generator"):
                value.copy_(tensors[name])
        self.generator.set_state(tensors["generator"].cpu())
        self.n_steps, self.n_tokens = (int(tensors[name]) for name in _COUNTS)
