"""Gradients of every parameter from the active entries: sparse sums for the matrices, one vector product for ``b_dec``.

Owns the chain rule of a step. ``b_dec`` acts through the output and, subtracted, through the encoder's input; the
latter is ``-(Σ_b dL/dpre_b) W_enc``, and the sum over tokens is the gradient of ``b_enc``.
"""

from typing import TYPE_CHECKING

from release_kit.sae.dictionary import Sae
from release_kit.sae.step.active import ByFeature, by_feature
from release_kit.sae.step.auxiliary import Auxiliary
from release_kit.sae.step.reconstruct import Reconstruction
from release_kit.sae.step.select import Selected

if TYPE_CHECKING:
    import torch

_CHUNK_ROWS = 1024
_SUMMED_ROWS = 64


def put_gradients(
    sae: Sae,
    given: "torch.Tensor",
    selected: Selected,
    found: Reconstruction,
    dead: Auxiliary | None,
    l0_slope: float,
    out: "dict[str, torch.Tensor]",
) -> None:
    """Put the gradient of the loss into ``out``, one array for each parameter; what was there is overwritten.

    Args:
        sae: the autoencoder.
        given: (n_tokens, d_in) inputs of the encoder.
        selected: active features.
        found: reconstruction and its errors.
        dead: the auxiliary term.
        l0_slope: d loss / d (an active feature of one token), for JumpReLU.
        out: parameter → array of its shape.
    """
    import torch

    active = selected.active
    sorted_entries = by_feature(active, sae.config.n_features)
    slopes = found.entry_gradients(active, sae.w_dec)
    _put_decoder(sorted_entries, active.values * found.slope, found, out["w_dec"])
    if selected.near is not None:
        out["log_threshold"].copy_(_threshold_gradient(sae, selected, slopes, l0_slope, sorted_entries))
    slopes.mul_(selected.passes)
    sorted_entries.product(slopes, given, out["w_enc"])
    out["b_enc"].copy_(sorted_entries.sums(slopes))
    if dead is not None:
        dead.add_gradients(sae, given, out)
    through_output = found.parts[0].error.sum(dim=0, dtype=torch.float64).mul_(found.slope)
    through_input = _weighted_rows(out["b_enc"], sae.w_enc) if sae.config.subtract_decoder_bias else 0.0
    out["b_dec"].copy_(through_output - through_input)


def project_decoder(gradient: "torch.Tensor", w_dec: "torch.Tensor") -> None:
    """Take out of each gradient row what points along its decoder row, in place; rows have length 1."""
    for start in range(0, len(w_dec), _CHUNK_ROWS):
        mine, rows = gradient[start : start + _CHUNK_ROWS], w_dec[start : start + _CHUNK_ROWS]
        mine.addcmul_(rows, (mine * rows).sum(dim=1, keepdim=True), value=-1)


def normalise_decoder(w_dec: "torch.Tensor") -> None:
    """Scale each row to length 1, in place."""
    import torch

    w_dec.div_(torch.linalg.vector_norm(w_dec, dim=1, keepdim=True).clamp_(min=1e-30))


def _weighted_rows(weights: "torch.Tensor", rows: "torch.Tensor") -> "torch.Tensor":
    """Return (d,) float64 ``weights @ rows``: short sums in float32, their sum in float64, since the two ways of
    ``b_dec`` nearly cancel.
    """
    import torch

    whole = len(rows) // _SUMMED_ROWS * _SUMMED_ROWS
    short = torch.bmm(weights[:whole].view(-1, 1, _SUMMED_ROWS), rows[:whole].view(-1, _SUMMED_ROWS, rows.shape[1]))
    return short.sum(dim=(0, 1), dtype=torch.float64) + weights[whole:] @ rows[whole:]


def _put_decoder(entries: ByFeature, values: "torch.Tensor", found: Reconstruction, out: "torch.Tensor") -> None:
    for part in found.parts:
        entries.narrow(part.start, part.stop).product(values, part.error, out[part.start : part.stop])


def _threshold_gradient(
    sae: Sae, selected: Selected, slopes: "torch.Tensor", l0_slope: float, entries: ByFeature
) -> "torch.Tensor":
    """Return (n_features,) the straight-through gradient of log θ (Rajamanoharan et al. 2024, eq. 11 and 12).

    With K the indicator of |pre - θ| < ε/2: dz/dθ is taken as -(θ/ε) K, d[pre > θ]/dθ as -(1/ε) K, and d/d log θ is θ
    times d/dθ.
    """
    theta = sae.threshold[selected.active.indices]
    return entries.sums((theta * slopes + l0_slope) * theta * selected.near).mul_(-1 / sae.config.bandwidth)
