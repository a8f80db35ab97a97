"""Gradients of every parameter from the active entries: sparse sums for the matrices, one vector product for ``b_dec``.

Owns the chain rule of a step. Gradients of the two matrices are made for some features at a time, whenever they are
asked for, since both together are as large as the autoencoder. ``b_dec`` acts through the output and, subtracted,
through the encoder's input; the latter is ``-(Σ_b dL/dpre_b) W_enc``, and the sum over tokens is the gradient of
``b_enc``.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from release_kit.sae.dictionary import Sae
from release_kit.sae.step.active import ByFeature, by_feature
from release_kit.sae.step.auxiliary import Auxiliary, DeadRows
from release_kit.sae.step.reconstruct import Reconstruction
from release_kit.sae.step.select import Selected

if TYPE_CHECKING:
    import torch

MATRICES = ("w_enc", "w_dec")
_SUMMED_ROWS = 64
_SUMMED_COLUMNS = 128


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sum:
    """Rows ``[start, stop)`` of a matrix's gradient are ``z^T dense``, with ``values`` at the active entries."""

    start: int
    stop: int
    values: "torch.Tensor"
    dense: "torch.Tensor"


@dataclass(frozen=True, kw_only=True, eq=False)
class Gradients:
    """The exact gradient of a batch's loss.

    Attributes:
        vectors: parameter → gradient, of all parameters that are no matrix.
        entries: the active entries by feature.
        sums: matrix → what its rows are sums of; together all rows, in order.
        dead: what the auxiliary loss adds to rows of dead features.
    """

    vectors: "dict[str, torch.Tensor]"
    entries: ByFeature
    sums: dict[str, tuple[_Sum, ...]]
    dead: DeadRows | None

    def put_rows(self, name: str, start: int, stop: int, out: "torch.Tensor") -> None:
        """Put rows ``[start, stop)`` of the gradient of a matrix into ``out`` (stop - start, d_in)."""
        for each in self.sums[name]:
            first, last = max(start, each.start), min(stop, each.stop)
            if first < last:
                self.entries.narrow(first, last).product(each.values, each.dense, out[first - start : last - start])
        if self.dead is not None:
            self.dead.add_to(name, start, stop, out)

    def dense(self, sae: Sae) -> "dict[str, torch.Tensor]":
        """Return parameter → gradient of its shape."""
        import torch

        found = {name: torch.empty_like(getattr(sae, name)) for name in MATRICES}
        for name, out in found.items():
            self.put_rows(name, 0, len(out), out)
        return {**found, **self.vectors}


def gradients(
    sae: Sae,
    given: "torch.Tensor",
    selected: Selected,
    found: Reconstruction,
    dead: Auxiliary | None,
    l0_slope: float,
) -> Gradients:
    """Return the gradient of the loss.

    Args:
        sae: the autoencoder.
        given: (n_tokens, d_in) inputs of the encoder.
        selected: active features.
        found: reconstruction and its errors.
        dead: the auxiliary term.
        l0_slope: d loss / d (an active feature of one token), for JumpReLU.
    """
    active, vectors = selected.active, {}
    entries = by_feature(active, sae.config.n_features)
    slopes = found.entry_gradients(active, sae.w_dec)
    if selected.near is not None:
        vectors["log_threshold"] = _threshold_gradient(sae, selected, slopes, l0_slope, entries)
    slopes.mul_(selected.passes)
    vectors["b_enc"] = entries.sums(slopes)
    rows = None if dead is None else dead.rows(sae, given)
    if rows is not None:
        vectors["b_enc"].index_add_(0, rows.features, rows.b_enc)
    through_output = _column_sums(found.parts[0].error).mul_(found.slope)
    through_input = _weighted_rows(vectors["b_enc"], sae.w_enc) if sae.config.subtract_decoder_bias else 0.0
    vectors["b_dec"] = (through_output - through_input).to(sae.b_dec.dtype)
    values = active.values * found.slope
    decoder = tuple(_Sum(start=part.start, stop=part.stop, values=values, dense=part.error) for part in found.parts)
    encoder = (_Sum(start=0, stop=sae.config.n_features, values=slopes, dense=given),)
    return Gradients(vectors=vectors, entries=entries, sums={"w_enc": encoder, "w_dec": decoder}, dead=rows)


def project_decoder(gradient: "torch.Tensor", w_dec: "torch.Tensor") -> None:
    """Take out of each gradient row what points along its decoder row, in place; rows have length 1."""
    gradient.addcmul_(w_dec, (gradient * w_dec).sum(dim=1, keepdim=True), value=-1)


def normalise_decoder(w_dec: "torch.Tensor") -> None:
    """Scale each row to length 1, in place."""
    import torch

    w_dec.div_(torch.linalg.vector_norm(w_dec, dim=1, keepdim=True).clamp_(min=1e-30))


def _column_sums(matrix: "torch.Tensor") -> "torch.Tensor":
    """Return (d,) float64 sums of the columns, some at a time: PyTorch makes a float64 copy of what it sums."""
    import torch

    return torch.cat([part.sum(dim=0, dtype=torch.float64) for part in matrix.split(_SUMMED_COLUMNS, dim=1)])


def _weighted_rows(weights: "torch.Tensor", rows: "torch.Tensor") -> "torch.Tensor":
    """Return (d,) float64 ``weights @ rows``: short sums in float32, their sum in float64, since the two ways of
    ``b_dec`` nearly cancel.
    """
    import torch

    whole = len(rows) // _SUMMED_ROWS * _SUMMED_ROWS
    short = torch.bmm(weights[:whole].view(-1, 1, _SUMMED_ROWS), rows[:whole].view(-1, _SUMMED_ROWS, rows.shape[1]))
    return short.sum(dim=(0, 1), dtype=torch.float64) + weights[whole:] @ rows[whole:]


def _threshold_gradient(
    sae: Sae, selected: Selected, slopes: "torch.Tensor", l0_slope: float, entries: ByFeature
) -> "torch.Tensor":
    """Return (n_features,) the straight-through gradient of log θ (Rajamanoharan et al. 2024, eq. 11 and 12).

    With K the indicator of |pre - θ| < ε/2: dz/dθ is taken as -(θ/ε) K, d[pre > θ]/dθ as -(1/ε) K, and d/d log θ is θ
    times d/dθ.
    """
    theta = sae.threshold[selected.active.indices]
    return entries.sums((theta * slopes + l0_slope) * theta * selected.near).mul_(-1 / sae.config.bandwidth)
