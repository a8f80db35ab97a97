"""Sums over active entries from operations that every device has, where the quick kernels are missing.

Owns which devices have the kernels of ``decode.py`` and ``active.py``, and the same sums by gathering rows in chunks.
Sparse products on a processor need MKL; other devices than processor and CUDA have neither kind.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

CHUNK_ENTRIES = 1 << 14
"""Entries whose rows exist at one time."""


def has_bag_kernels(tensor: "torch.Tensor") -> bool:
    """Return whether weighted sums of rows, and their derivative by the weights, are kernels where ``tensor`` lies."""
    return tensor.device.type in ("cpu", "cuda")


def has_sparse_products(tensor: "torch.Tensor") -> bool:
    """Return whether compressed sparse rows times a matrix is a kernel where ``tensor`` lies."""
    import torch

    kind = tensor.device.type
    return kind == "cuda" or (kind == "cpu" and torch.backends.mkl.is_available())


def weighted_sums(
    target: "torch.Tensor", source: "torch.Tensor", values: "torch.Tensor", rows: "torch.Tensor", out: "torch.Tensor"
) -> None:
    """Add ``values[e] * rows[source[e]]`` to ``out[target[e]]`` for every entry e."""
    for part in _chunks(len(values)):
        out.index_add_(0, target[part].long(), rows[source[part].long()] * values[part, None])


def pair_products(
    left: "torch.Tensor", mine: "torch.Tensor", right: "torch.Tensor", theirs: "torch.Tensor"
) -> "torch.Tensor":
    """Return (nnz,) ``left[mine[e]] · right[theirs[e]]``."""
    found = left.new_empty(len(mine))
    for part in _chunks(len(mine)):
        found[part] = (left[mine[part]] * right[theirs[part]]).sum(dim=1)
    return found


def _chunks(n: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK_ENTRIES) for start in range(0, n, CHUNK_ENTRIES))
