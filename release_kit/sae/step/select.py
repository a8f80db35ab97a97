"""Which features are active in a training batch, and where a change of a pre-activation changes the features.

Owns the choice among the ways to select, and the straight-through derivative of JumpReLU's step. The passes over all
features are ``encode.py`` and ``certificate.py``.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from release_kit.sae.dictionary import Sae
from release_kit.sae.errors import SaeError
from release_kit.sae.step.active import Active
from release_kit.sae.step.certificate import certified_topk
from release_kit.sae.step.encode import encode_above, encode_batchtopk, encode_topk
from release_kit.sae.step.settings import StepSettings

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, eq=False)
class Selected:
    """The features of a batch.

    Attributes:
        active: z; some entries may be 0.
        passes: (nnz,) 1 where dz/dpre is 1, 0 where it is 0.
        near: (nnz,) 1 for pre-activations closer to JumpReLU's threshold than half the bandwidth; None for others.
        n_fallback_rows: tokens that bfloat16 could not prove.
    """

    active: Active
    passes: "torch.Tensor"
    near: "torch.Tensor | None" = None
    n_fallback_rows: int = 0

    @property
    def n_active(self) -> int:
        """Number of entries that are active."""
        return int(self.passes.sum())


def check_precision(sae: Sae, settings: StepSettings) -> None:
    """Refuse a precision that this architecture cannot be selected in.

    Raises:
        SaeError: a search in bfloat16 for features that are not chosen by number in each row.
    """
    if settings.precision == "certified-bf16" and sae.config.selects != "topk":
        raise SaeError(
            f"`precision: certified-bf16` proves the k largest of each row; {sae.config.architecture} selects by "
            f"{sae.config.selects}",
            where="training settings",
            next_step="use `precision: float32`",
        )


def select(sae: Sae, given: "torch.Tensor", settings: StepSettings) -> Selected:
    """Return the active features of a batch.

    Args:
        sae: the autoencoder.
        given: (n_tokens, d_in) inputs of the encoder.
        settings: precision and tiles.
    """
    config, weights = sae.config, (given, sae.w_enc, sae.b_enc)
    if config.selects == "threshold":
        return _jumprelu(sae, given, settings)
    n_fallback_rows = 0
    if config.selects == "batchtopk":
        active = encode_batchtopk(*weights, config.k, tile_rows=settings.tile_rows)
    elif settings.precision == "certified-bf16":
        active, n_fallback_rows = certified_topk(
            *weights, config.k, n_extra=settings.n_extra_candidates, tile_rows=settings.tile_rows
        )
    else:
        active = encode_topk(*weights, config.k, tile_rows=settings.tile_rows)
    return Selected(active=active, passes=(active.values > 0).float(), n_fallback_rows=n_fallback_rows)


def _jumprelu(sae: Sae, given: "torch.Tensor", settings: StepSettings) -> Selected:
    """Return the entries above their threshold, and those just below it, which the derivative sees too."""
    half = sae.config.bandwidth / 2
    found = encode_above(given, sae.w_enc, sae.b_enc, sae.threshold - half, tile_rows=settings.tile_rows)
    above = found.values - sae.threshold[found.indices]
    passes = (above > 0).float()
    near = (above.abs() < half).float()
    return Selected(active=found.with_values(found.values * passes), passes=passes, near=near)
