"""How an autoencoder is trained, and what one step says of itself. Nothing here changes what the autoencoder is."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from release_kit.core.records import Fields
from release_kit.sae.errors import SaeError

Loss = Literal["squared-error", "fvu"]
Precision = Literal["float32", "certified-bf16"]


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """The defaults are the recipe of llm-jp-sae, with gradients clipped.

    With e = x̂' - x' in the space of normalised inputs, ``squared-error`` is the mean over tokens of |e|², ``fvu`` is
    Σ|e|² over Σ|x' - mean(x')|², both over the batch.
    """

    lr: float = 1e-3
    """Learning rate after warm-up; it stays constant."""
    warmup_steps: int = 1000
    """Steps over which the learning rate rises linearly; the first step has 1/warmup_steps of it."""
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 6.25e-10
    clip_norm: float | None = 1.0
    """Largest norm of all gradients together; None: they are taken as they are."""
    loss: Loss = "squared-error"
    l0_warmup_steps: int = 0
    """Steps over which ``l0_coefficient`` of JumpReLU rises linearly from 0."""
    threshold_momentum: float = 0.99
    """What remains, in one step, of the running mean of BatchTopK's threshold."""
    precision: Precision = "float32"
    """``certified-bf16``: features are looked for in bfloat16 and proved to be those of exact arithmetic."""
    n_extra_candidates: int = 32
    """Features of a row, beyond k, that the bfloat16 search hands on to be computed in float32."""
    tile_rows: int = 512
    """Tokens whose pre-activations exist at one time: memory, and no more than rounding of the result."""

    def __post_init__(self) -> None:
        """Refuse values out of range, all at once.

        Raises:
            SaeError: names every one.
        """
        wrong = [*_out_of_range(self)]
        if wrong:
            raise SaeError("; ".join(wrong), where="training settings")

    def learning_rate(self, n_steps: int) -> float:
        """Return the learning rate of the step that ``n_steps`` others came before."""
        return self.lr * min(1.0, (n_steps + 1) / max(1, self.warmup_steps))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: every field by its name."""
        return asdict(self)

    @classmethod
    def from_fields(cls, source: Fields) -> "StepSettings":
        """Read the JSON form; what is missing has its default.

        Raises:
            RecordError: a key is unknown or of another type.
            SaeError: a value is out of range.
        """
        number = (int, float)
        default = cls()
        values: dict[str, Any] = {
            name: float(source.take(name, number, getattr(default, name)))
            for name in ("lr", "beta1", "beta2", "eps", "threshold_momentum")
        }
        for name in ("warmup_steps", "l0_warmup_steps", "n_extra_candidates", "tile_rows"):
            values[name] = source.take(name, int, getattr(default, name))
        for name in ("loss", "precision"):
            values[name] = source.take(name, str, getattr(default, name))
        # Null is a value here: no clipping. Only a missing key has the default.
        given = source.raw("clip_norm", default.clip_norm)
        values["clip_norm"] = None if given is None else float(source.take("clip_norm", number, default.clip_norm))
        source.done()
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What one step found, before it changed anything.

    Attributes:
        loss: what gradients are of: reconstruction, L0 and auxiliary terms together.
        reconstruction: the reconstruction term alone; the mean over prefixes for Matryoshka.
        auxiliary: the auxiliary term, weighted; 0 without dead features.
        fvu: Σ|e|² over Σ|x' - mean(x')|² of the whole autoencoder on this batch.
        l0: mean number of active features of a token.
        n_dead: features that count as dead.
        n_fallback_rows: tokens whose features bfloat16 could not prove, found in float32 or float64 instead.
        gradient_norm: before clipping.
        lr: of this step.
    """

    loss: float
    reconstruction: float
    auxiliary: float
    fvu: float
    l0: float
    n_dead: int
    n_fallback_rows: int
    gradient_norm: float
    lr: float


def _out_of_range(settings: StepSettings) -> list[str]:
    wrong = [
        f"`{name}` is {getattr(settings, name)!r}, expected one of {', '.join(names)}"
        for name, names in {"loss": get_args(Loss), "precision": get_args(Precision)}.items()
        if getattr(settings, name) not in names
    ]
    wrong += [
        f"`{name}` is {getattr(settings, name)}, expected more than 0"
        for name in ("lr", "eps", "tile_rows")
        if not 0 < getattr(settings, name) < math.inf
    ]
    wrong += [
        f"`{name}` is {getattr(settings, name)}, expected 0 to below 1"
        for name in ("beta1", "beta2", "threshold_momentum")
        if not 0 <= getattr(settings, name) < 1
    ]
    wrong += [
        f"`{name}` is {getattr(settings, name)}, expected 0 or more"
        for name in ("warmup_steps", "l0_warmup_steps", "n_extra_candidates")
        if getattr(settings, name) < 0
    ]
    if settings.clip_norm is not None and not 0 < settings.clip_norm < math.inf:
        wrong.append(f"`clip_norm` is {settings.clip_norm}, expected more than 0, or null")
    return wrong
