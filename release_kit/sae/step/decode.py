"""Products of active features with decoder rows: the reconstruction, and what each entry adds to the loss.

Owns two sums over the active entries alone: ``z W_dec`` and ``(G W_dec^T)`` at the entries of z. Both read each decoder
row where it lies, without a copy of the rows that are asked for.
"""

from typing import TYPE_CHECKING

from release_kit.sae.step import portable
from release_kit.sae.step.active import Active

if TYPE_CHECKING:
    import torch

_ROWS = 512


def decoded(active: Active, w_dec: "torch.Tensor") -> "torch.Tensor":
    """Return (n_tokens, d) ``z W_dec``, without bias.

    Args:
        active: z.
        w_dec: (n_features, d).
    """
    from torch.nn.functional import embedding_bag

    if not len(active.indices):
        return w_dec.new_zeros(active.n_rows, w_dec.shape[1])
    if not portable.has_bag_kernels(w_dec):
        out = w_dec.new_zeros(active.n_rows, w_dec.shape[1])
        portable.weighted_sums(active.rows, active.indices, active.values, w_dec, out)
        return out
    return embedding_bag(
        active.indices, w_dec, active.offsets, mode="sum", per_sample_weights=active.values, include_last_offset=True
    )


def add_decoded(active: Active, w_dec: "torch.Tensor", out: "torch.Tensor") -> None:
    """Add ``z W_dec`` to ``out`` (n_tokens, d); on a processor without a second array of that size.

    Args:
        active: z.
        w_dec: (n_features, d).
        out: changed in place.
    """
    n = _ROWS if out.device.type == "cpu" else max(1, len(out))
    for start in range(0, len(out), n):
        rows = out[start : start + n]
        rows.add_(decoded(active.some_rows(start, start + len(rows)), w_dec))


def entry_products(active: Active, dense: "torch.Tensor", features: "torch.Tensor") -> "torch.Tensor":
    """Return (nnz,) the product of each entry's row of ``dense`` with its feature's row of ``features``.

    Args:
        active: which entries; values are not read.
        dense: (n_tokens, d), such as the gradient of the reconstruction.
        features: (n_features, d), such as the decoder.
    """
    import torch

    if not len(active.indices):
        return dense.new_zeros(0)
    if not portable.has_bag_kernels(dense):
        return portable.pair_products(dense, active.rows, features, active.indices)
    return torch.ops.aten._embedding_bag_per_sample_weights_backward(
        dense, features, active.indices, active.offsets[:-1], active.rows, 0, -1
    )
