"""An autoencoder that was read from a file, and the checks that every layout shares.

Layouts hand over matrices in their own orientation's names; here they become one `Sae`, whose widths agree.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from release_kit.sae.config import SaeConfig
from release_kit.sae.dictionary import Sae
from release_kit.sae.errors import FormatError
from release_kit.sae.formats.weights import Weights

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, eq=False)
class Imported:
    """What a file holds.

    Attributes:
        sae: the autoencoder.
        layout: whose layout the file follows.
        facts: what the file says of its origin: model, hook, layer, text; as it stands there.
        notes: what was changed on the way in, in words.
    """

    sae: Sae
    layout: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """The tensors of an autoencoder as ours: rows of both matrices are features.

    Attributes:
        w_enc: (n_features, d_in). w_dec: (n_features, d_in).
        b_enc: (n_features,). b_dec: (d_in,).
        threshold: (n_features,) of JumpReLU, or None.
    """

    w_enc: "torch.Tensor"
    w_dec: "torch.Tensor"
    b_enc: "torch.Tensor"
    b_dec: "torch.Tensor"
    threshold: "torch.Tensor | None" = None

    @property
    def widths(self) -> tuple[int, int]:
        """(d_in, n_features)."""
        return self.w_enc.shape[1], self.w_enc.shape[0]


def make_sae(
    parts: Parts,
    *,
    k: int | None = None,
    subtract_decoder_bias: bool,
    normalise: Literal["none", "unit-norm", "rms"] = "none",
    rms_scale: float | None = None,
) -> Sae:
    """Return a TopK autoencoder where ``k`` is given, and one with thresholds otherwise.

    Raises:
        SaeError: the parts do not fit each other.
    """
    import torch

    d_in, n_features = parts.widths
    norms = parts.w_dec.norm(dim=1)
    config = SaeConfig(
        architecture="jumprelu" if k is None else "topk",
        d_in=d_in,
        n_features=n_features,
        k=k,
        normalise=normalise,
        rms_scale=rms_scale,
        subtract_decoder_bias=subtract_decoder_bias,
        unit_norm_decoder=bool(((norms - 1).abs() < 1e-3).all()),
    )
    threshold = parts.threshold if k is None else None
    if k is None and threshold is None:
        threshold = torch.zeros(n_features)
    return Sae(
        config=config,
        w_enc=parts.w_enc.contiguous(),
        b_enc=parts.b_enc,
        w_dec=parts.w_dec.contiguous(),
        b_dec=parts.b_dec,
        threshold=threshold,
    )


def check_widths(weights: Weights, parts: Parts, said: tuple[int | None, int | None]) -> None:
    """Refuse matrices that disagree with each other or with what the settings beside them say.

    Args:
        weights: the file, for messages.
        parts: the matrices.
        said: (d_in, n_features) of the settings; None where they are silent.

    Raises:
        FormatError: widths differ.
    """
    if parts.w_enc.shape != parts.w_dec.shape:
        raise FormatError(
            f"encoder of {tuple(parts.w_enc.shape)} and decoder of {tuple(parts.w_dec.shape)} features by width",
            where=str(weights.path),
        )
    for name, found, expected in zip(("width", "number of features"), parts.widths, said, strict=True):
        if expected is not None and found != expected:
            raise FormatError(f"its {name} is {found}, its settings say {expected}", where=str(weights.path))


def check_k(k: int, n_features: int, where: str) -> int:
    """Return ``k``; refuse one that no row can have.

    Raises:
        FormatError: below 1, or above the number of features.
    """
    if not 1 <= k <= n_features:
        raise FormatError(f"k is {k} of {n_features} features", where=where)
    return k
