"""The k largest of each row from a search in bfloat16, with a proof for each row, and exact arithmetic where it fails.

Owns which rows are proved. Candidates come with a ceiling for all other features (``bounds.py``); their pre-activations
are computed in float32. A row is proved when its k-th value, less the most that float32 can be wrong by, exceeds the
ceiling. Values too close for float32 are computed in float64. So the features are those of exact arithmetic, whatever
ties leave open; rows without a proof are searched in float32, and in float64 where that proves nothing either.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from release_kit.sae.step.active import Active, from_rows
from release_kit.sae.step.bounds import Candidates, bound_candidates, float32_candidates, float32_error
from release_kit.sae.step.decode import entry_products
from release_kit.sae.step.encode import TILE_ROWS

if TYPE_CHECKING:
    import torch

_FLOAT64_ENTRIES = 4096
"""Pre-activations computed in float64 at one time."""
_FLOAT64_ROWS = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class _Encoder:
    x: "torch.Tensor"
    w_enc: "torch.Tensor"
    b_enc: "torch.Tensor"
    norms: "torch.Tensor"

    def rows(self, rows: "torch.Tensor") -> "_Encoder":
        return _Encoder(x=self.x[rows], w_enc=self.w_enc, b_enc=self.b_enc, norms=self.norms)


def certified_topk(
    x: "torch.Tensor",
    w_enc: "torch.Tensor",
    b_enc: "torch.Tensor",
    k: int,
    *,
    n_extra: int,
    tile_rows: int = TILE_ROWS,
    native: bool | None = None,
) -> tuple[Active, int]:
    """Return for each row the k largest pre-activations of exact arithmetic, in float32 and after ReLU.

    Args:
        x: (m, d) float32 inputs of the encoder.
        w_enc: (n, d).
        b_enc: (n,).
        k: 1 to n.
        n_extra: candidates beyond k.
        tile_rows: rows of a tile.
        native: see ``bound_candidates``.

    Returns:
        k entries of each row, and the number of rows that bfloat16 did not prove.
    """
    import torch

    c = min(k + n_extra, len(w_enc))
    encoder = _Encoder(x=x, w_enc=w_enc, b_enc=b_enc, norms=torch.linalg.vector_norm(w_enc, dim=1))
    found = bound_candidates(x, w_enc, b_enc, c, tile_rows, native)
    indices, values, proved = _resolved(encoder, found, k)
    left = (~proved).nonzero().view(-1)
    n_fallback_rows = len(left)
    if n_fallback_rows:
        again = float32_candidates(x[left], w_enc, b_enc, c, tile_rows)
        indices[left], values[left], proved = _resolved(encoder.rows(left), again, k)
        left = left[~proved]
    for some in left.split(_FLOAT64_ROWS):
        indices[some], values[some] = _float64_topk(encoder.rows(some), k)
    return from_rows(indices, values.clamp_(min=0)), n_fallback_rows


def _resolved(encoder: _Encoder, found: Candidates, k: int) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
    """Return (m, k) indices, (m, k) values, and (m,) whether they are proved to be the k largest."""
    import torch

    x, indices = encoder.x, found.indices
    m, c = indices.shape
    products = entry_products(from_rows(indices, x.new_empty(m, c)), x, encoder.w_enc).view(m, c)
    values = products + encoder.b_enc[indices]
    sizes = torch.linalg.vector_norm(x, dim=1)[:, None] * encoder.norms[indices] + encoder.b_enc[indices].abs()
    error = float32_error(x.shape[1], sizes.amax(dim=1))
    ordered, order = torch.sort(values, dim=1, descending=True, stable=True)
    indices = indices.gather(1, order)
    # Features below zero are nobody's: a ceiling there proves the row as well.
    proved = (ordered[:, k - 1] - error > found.ceiling) | (found.ceiling <= 0)
    if c > k:
        _settle_close(encoder, indices, ordered, error, k)
    return indices[:, :k].contiguous(), ordered[:, :k].contiguous(), proved


def _settle_close(
    encoder: _Encoder, indices: "torch.Tensor", values: "torch.Tensor", error: "torch.Tensor", k: int
) -> None:
    """Put the k largest of exact arithmetic first in each row of sorted candidates, in place.

    What lies within twice the error of the k-th and the next value is compared in float64; the rest is where it
    belongs.
    """
    import torch

    last, following = values[:, k - 1], values[:, k]
    rows = ((last - following <= 2 * error) & (following + error > 0)).nonzero().view(-1)
    if not len(rows):
        return
    mine, features, reach = values[rows], indices[rows], 2 * error[rows, None]
    close = (mine >= last[rows, None] - reach) & (mine <= following[rows, None] + reach)
    at, column = close.nonzero(as_tuple=True)
    exact = _float64_entries(encoder, rows[at], features[at, column])
    keys = torch.where(mine > following[rows, None] + reach, float("inf"), -float("inf")).double()
    keys[at, column] = exact
    mine[at, column] = exact.float()
    order = torch.argsort(keys, dim=1, descending=True, stable=True)
    values[rows], indices[rows] = mine.gather(1, order), features.gather(1, order)


def _float64_entries(encoder: _Encoder, rows: "torch.Tensor", features: "torch.Tensor") -> "torch.Tensor":
    """Return (nnz,) float64 pre-activations of single entries."""
    import torch

    found = []
    for mine, theirs in zip(rows.split(_FLOAT64_ENTRIES), features.split(_FLOAT64_ENTRIES), strict=True):
        products = encoder.x[mine].double().mul_(encoder.w_enc[theirs])
        found.append(products.sum(dim=1).add_(encoder.b_enc[theirs]))
    return torch.cat(found)


def _float64_topk(encoder: _Encoder, k: int) -> "tuple[torch.Tensor, torch.Tensor]":
    import torch

    scores = torch.empty(len(encoder.x), len(encoder.w_enc), dtype=torch.float64, device=encoder.x.device)
    x = encoder.x.double()
    for start in range(0, len(encoder.w_enc), _FLOAT64_ENTRIES):
        stop = start + _FLOAT64_ENTRIES
        scores[:, start:stop] = x @ encoder.w_enc[start:stop].double().T + encoder.b_enc[start:stop]
    values, indices = torch.topk(scores, k, dim=1)
    return indices, values.float()
