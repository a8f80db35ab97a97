"""Active features of a batch as ragged rows, and products of that sparse matrix with dense ones.

Owns the form that every architecture shares once it has selected: ``z`` (n_tokens, n_features) by rows. Everything
costs as many operations as there are active entries times the width, none as many as there are features.
"""

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from release_kit.sae.step import portable

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, eq=False)
class Active:
    """Entries of z by rows.

    Attributes:
        indices: (nnz,) int64 features.
        values: (nnz,) float32.
        offsets: (n_tokens + 1,) int64: row b is ``[offsets[b], offsets[b + 1])``.
    """

    indices: "torch.Tensor"
    values: "torch.Tensor"
    offsets: "torch.Tensor"

    @property
    def n_rows(self) -> int:
        """Number of tokens."""
        return len(self.offsets) - 1

    @cached_property
    def rows(self) -> "torch.Tensor":
        """(nnz,) int64: the token of each entry."""
        import torch

        return torch.repeat_interleave(self.offsets.diff(), output_size=len(self.indices))

    def with_values(self, values: "torch.Tensor") -> "Active":
        """Return the same entries with other values."""
        return Active(indices=self.indices, values=values, offsets=self.offsets)

    def only(self, mask: "torch.Tensor") -> "Active":
        """Return the entries where ``mask`` (nnz,) is True, rows kept."""
        kept = self.rows[mask]
        return ragged(self.indices[mask], self.values[mask], kept, self.n_rows)

    def some_rows(self, start: int, stop: int) -> "Active":
        """Return rows ``[start, stop)`` alone."""
        offsets = self.offsets[start : stop + 1]
        mine = slice(int(offsets[0]), int(offsets[-1]))
        return Active(indices=self.indices[mine], values=self.values[mine], offsets=offsets - offsets[0])

    def padded(self) -> "tuple[torch.Tensor, torch.Tensor]":
        """Return (n_tokens, width) indices and values, rows from large to small, padded with index 0 and value 0."""
        import torch

        counts = self.offsets.diff()
        width = int(counts.max()) if self.n_rows else 0
        by_value = torch.argsort(self.values, descending=True, stable=True)
        order = by_value[torch.argsort(self.rows[by_value], stable=True)]
        place = torch.arange(len(self.indices), device=self.indices.device) - self.offsets[:-1][self.rows]
        indices = self.indices.new_zeros(self.n_rows, width)
        values = self.values.new_zeros(self.n_rows, width)
        indices[self.rows, place], values[self.rows, place] = self.indices[order], self.values[order]
        return indices, values


def from_rows(indices: "torch.Tensor", values: "torch.Tensor") -> Active:
    """Return (n_tokens, k) indices and values as rows of k entries."""
    import torch

    m, k = indices.shape
    offsets = torch.arange(m + 1, device=indices.device) * k
    return Active(indices=indices.reshape(-1), values=values.reshape(-1), offsets=offsets)


def ragged(indices: "torch.Tensor", values: "torch.Tensor", rows: "torch.Tensor", n_rows: int) -> Active:
    """Return entries whose ``rows`` (nnz,) ascend."""
    offsets = rows.new_zeros(n_rows + 1)
    offsets[1:] = rows.bincount(minlength=n_rows).cumsum(0)
    return Active(indices=indices, values=values, offsets=offsets)


@dataclass(frozen=True, kw_only=True, eq=False)
class ByFeature:
    """The same entries by features: what gradients of feature rows are sums over.

    Attributes:
        order: (nnz,) int64: entry of ``Active`` at each place.
        offsets: (n_features + 1,) int32.
        rows: (nnz,) int32 tokens, ascending within a feature.
        n_rows: number of tokens.
    """

    order: "torch.Tensor"
    offsets: "torch.Tensor"
    rows: "torch.Tensor"
    n_rows: int

    def product(self, values: "torch.Tensor", dense: "torch.Tensor", out: "torch.Tensor") -> None:
        """Put ``z^T dense`` into ``out``, where z has ``values`` at the entries.

        Args:
            values: (nnz,) float32, in the order of ``Active``.
            dense: (n_tokens, d).
            out: (n_features, d), overwritten; features without entries become zero.
        """
        import torch

        if not len(self.order):
            out.zero_()
            return
        if not portable.has_sparse_products(dense):
            counts = self.offsets.diff().long()
            features = torch.repeat_interleave(counts, output_size=len(self.rows))
            portable.weighted_sums(features, self.rows, values[self.order], dense, out.zero_())
            return
        with warnings.catch_warnings():
            # Compressed sparse rows are announced as beta; the tests hold these products against dense ones.
            warnings.simplefilter("ignore", UserWarning)
            shape = (len(self.offsets) - 1, self.n_rows)
            placed = values[self.order]
            matrix = torch.sparse_csr_tensor(self.offsets, self.rows, placed, shape, check_invariants=False)
            torch.addmm(out, matrix, dense, beta=0, out=out)

    def narrow(self, start: int, stop: int) -> "ByFeature":
        """Return the entries of features ``[start, stop)`` alone."""
        offsets = self.offsets[start : stop + 1]
        first, last = int(offsets[0]), int(offsets[-1])
        if first == 0 and last == len(self.order):
            return self if stop - start == len(self.offsets) - 1 else self._part(offsets, slice(None))
        return self._part(offsets - first, slice(first, last))

    def _part(self, offsets: "torch.Tensor", entries: slice) -> "ByFeature":
        return ByFeature(
            order=self.order[entries], offsets=offsets.contiguous(), rows=self.rows[entries], n_rows=self.n_rows
        )

    def sums(self, values: "torch.Tensor") -> "torch.Tensor":
        """Return (n_features,) sums of ``values`` (nnz,) over each feature's entries."""
        out = values.new_empty(len(self.offsets) - 1, 1)
        self.product(values, values.new_ones(self.n_rows, 1), out)
        return out.view(-1)


def by_feature(active: Active, n_features: int) -> ByFeature:
    """Return the entries sorted by feature, tokens ascending within each."""
    import torch

    order = torch.sort(active.indices.int(), stable=True).indices
    offsets = torch.zeros(n_features + 1, dtype=torch.int32, device=active.indices.device)
    offsets[1:] = active.indices.bincount(minlength=n_features).cumsum(0)
    return ByFeature(order=order, offsets=offsets, rows=active.rows[order].int(), n_rows=active.n_rows)
