"""What a sparse autoencoder is: architecture, widths, how inputs are scaled, and what training adds to the loss.

Owns the record and the contradictions it refuses. Tensors are ``dictionary.py``; how fast one learns (learning rate,
batch, precision) is ``step/settings.py`` and no part of what an autoencoder is.
"""

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from release_kit.core import canonical
from release_kit.core.records import Fields
from release_kit.sae.errors import SaeError

Architecture = Literal["topk", "batchtopk", "jumprelu", "matryoshka"]
Normalisation = Literal["none", "unit-norm", "rms"]
Selection = Literal["topk", "batchtopk"]


@dataclass(frozen=True, kw_only=True)
class SaeConfig:
    """Everything that says what an autoencoder is; ``from_fields(to_json(x)) == x``.

    With x' the normalised input, features are ``act(W_enc (x' - b_dec) + b_enc)`` and the output is
    ``z W_dec + b_dec``, with the normalisation undone.
    """

    architecture: Architecture
    """``topk``: k largest of each row; ``batchtopk``: B k largest of a batch; ``jumprelu``: those above a learned
    threshold each; ``matryoshka``: as ``selection`` says, with a loss on every prefix of the features."""
    d_in: int
    """Width of the activations."""
    n_features: int
    """Number of features (latents)."""
    k: int | None = None
    """Features of a token; their mean over the batch for ``batchtopk``; none for ``jumprelu``."""
    normalise: Normalisation = "none"
    """``unit-norm``: x / |x| for each token, as llm-jp-sae does; ``rms``: x times ``rms_scale``, one for all tokens."""
    rms_scale: float | None = None
    """The factor of ``rms``."""
    subtract_decoder_bias: bool = True
    """The encoder sees x' - b_dec; else x'."""
    unit_norm_decoder: bool = True
    """Decoder rows are kept at length 1: gradients along a row are taken out, rows are scaled after each update."""
    encoder_start: float = 1.0
    """Encoder rows start as decoder rows times this; 1 is the start of llm-jp-sae."""
    groups: tuple[int, ...] = ()
    """Prefix sizes of ``matryoshka``, ascending; the last one is ``n_features``."""
    selection: Selection | None = None
    """How ``matryoshka`` selects: ``topk`` (of each row) or ``batchtopk``."""
    l0_coefficient: float = 0.0
    """Weight of the mean number of active features in the loss of ``jumprelu``."""
    bandwidth: float = 0.05
    """Width of the rectangle that stands for the derivative of the step in ``jumprelu``."""
    aux_k: int = 0
    """Dead features that rebuild the error of a token in the auxiliary loss; 0: there is none."""
    aux_coefficient: float = 1 / 32
    """Weight of the auxiliary loss (Gao et al. 2024, appendix A.2)."""
    dead_after_tokens: int = 10_000_000
    """A feature that has not fired for so many tokens is dead."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself, everything at once.

        Raises:
            SaeError: names every field that is wrong.
        """
        if self.architecture == "matryoshka" and self.selection is None:
            object.__setattr__(self, "selection", "batchtopk")
        wrong = [*_choices(self), *_numbers(self), *_contradictions(self)]
        if wrong:
            raise SaeError("; ".join(wrong), where="autoencoder settings")

    @property
    def selects(self) -> Literal["topk", "batchtopk", "threshold"]:
        """What decides, while training, which features of a token are active."""
        if self.architecture == "jumprelu":
            return "threshold"
        return self.selection if self.architecture == "matryoshka" else self.architecture

    @property
    def has_threshold(self) -> bool:
        """Whether a trained one encodes by thresholds, so that a token does not depend on its batch."""
        return self.selects != "topk"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: every field by its name."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    def digest(self) -> str:
        """Return the sha256 of the canonical JSON."""
        return canonical.digest(self.to_json())

    @classmethod
    def from_fields(cls, source: Fields) -> "SaeConfig":
        """Read the JSON form; fields with defaults may be missing.

        Raises:
            RecordError: a key is missing, unknown or of another type.
            SaeError: values contradict each other.
        """
        number = (int, float)
        values: dict[str, Any] = {
            "architecture": source.take("architecture", str),
            "d_in": source.take("d_in", int),
            "n_features": source.take("n_features", int),
            "k": source.take("k", int, None),
            "normalise": source.take("normalise", str, "none"),
            "rms_scale": source.take("rms_scale", number, None),
            "subtract_decoder_bias": source.take("subtract_decoder_bias", bool, True),
            "unit_norm_decoder": source.take("unit_norm_decoder", bool, True),
            "encoder_start": float(source.take("encoder_start", number, 1.0)),
            "groups": tuple(source.take_list("groups", int, [])),
            "selection": source.take("selection", str, None),
            "l0_coefficient": float(source.take("l0_coefficient", number, 0.0)),
            "bandwidth": float(source.take("bandwidth", number, 0.05)),
            "aux_k": source.take("aux_k", int, 0),
            "aux_coefficient": float(source.take("aux_coefficient", number, 1 / 32)),
            "dead_after_tokens": source.take("dead_after_tokens", int, 10_000_000),
        }
        source.done()
        if values["rms_scale"] is not None:
            values["rms_scale"] = float(values["rms_scale"])
        return cls(**values)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _choices(config: SaeConfig) -> list[str]:
    known = {"architecture": get_args(Architecture), "normalise": get_args(Normalisation)}
    if config.selection is not None:
        known["selection"] = get_args(Selection)
    return [
        f"`{name}` is {getattr(config, name)!r}, expected one of {', '.join(names)}"
        for name, names in known.items()
        if getattr(config, name) not in names
    ]


def _numbers(config: SaeConfig) -> list[str]:
    lowest = {"d_in": 1, "n_features": 1, "aux_k": 0, "dead_after_tokens": 1}
    wrong = [
        f"`{name}` is {getattr(config, name)}, expected {low} or more"
        for name, low in lowest.items()
        if getattr(config, name) < low
    ]
    if not 0 <= config.l0_coefficient < math.inf:
        wrong.append(f"`l0_coefficient` is {config.l0_coefficient}, expected 0 or more")
    if not 0 <= config.aux_coefficient < math.inf:
        wrong.append(f"`aux_coefficient` is {config.aux_coefficient}, expected 0 or more")
    if not 0 < config.bandwidth < math.inf:
        wrong.append(f"`bandwidth` is {config.bandwidth}, expected more than 0")
    if not 0 < config.encoder_start < math.inf:
        wrong.append(f"`encoder_start` is {config.encoder_start}, expected more than 0")
    if config.rms_scale is not None and not 0 < config.rms_scale < math.inf:
        wrong.append(f"`rms_scale` is {config.rms_scale}, expected more than 0")
    return wrong


def _contradictions(config: SaeConfig) -> list[str]:
    wrong = []
    if config.architecture == "jumprelu":
        if config.k is not None:
            wrong.append("`k` is for architectures that select by number; `jumprelu` has thresholds")
    elif config.k is None or not 1 <= config.k <= config.n_features:
        wrong.append(f"`k` is {config.k}, expected 1 to {config.n_features}")
    if (config.normalise == "rms") != (config.rms_scale is not None):
        wrong.append("`rms_scale` belongs to `normalise: rms`, and that needs it")
    ascending = all(a < b for a, b in zip((0, *config.groups), config.groups, strict=False))
    if config.architecture == "matryoshka":
        if not config.groups or not ascending or config.groups[-1] != config.n_features:
            wrong.append(f"`groups` is {list(config.groups)}, expected ascending sizes up to {config.n_features}")
    elif config.groups or config.selection:
        wrong.append("`groups` and `selection` belong to `matryoshka`")
    if config.aux_k > config.n_features:
        wrong.append(f"`aux_k` is {config.aux_k} of {config.n_features} features")
    return wrong
