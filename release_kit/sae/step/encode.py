"""Which features of a batch are active, tile by tile: no array of all tokens by all features ever exists.

Owns the exact float32 pass for the three ways to select: k of each row, B k of a batch, all above a bound. Each tile's
pre-activations go into one buffer that is used again. The pass with bfloat16 candidates is ``certificate.py``.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from release_kit.sae.step.active import Active, from_rows, ragged
from release_kit.sae.step.topk import row_topk

if TYPE_CHECKING:
    import torch

TILE_ROWS = 512
_SAMPLED_ROWS = 64
"""Rows that the first guess of a batch's threshold is read from."""


def tiles(
    x: "torch.Tensor", w_enc: "torch.Tensor", b_enc: "torch.Tensor", tile_rows: int
) -> "Iterator[tuple[int, torch.Tensor]]":
    """Yield the first row and the pre-activations ``x W_enc^T + b_enc`` of each tile, in one buffer used again.

    Args:
        x: (m, d) inputs of the encoder.
        w_enc: (n, d).
        b_enc: (n,).
        tile_rows: rows of a tile.
    """
    import torch

    buffer = x.new_empty(min(tile_rows, len(x)), len(w_enc))
    for start in range(0, len(x), tile_rows):
        tile = x[start : start + tile_rows]
        yield start, torch.addmm(b_enc, tile, w_enc.T, out=buffer[: len(tile)])


def encode_topk(
    x: "torch.Tensor", w_enc: "torch.Tensor", b_enc: "torch.Tensor", k: int, *, tile_rows: int = TILE_ROWS
) -> Active:
    """Return for each row its k largest pre-activations after ReLU: exactly k entries, some of value 0.

    Args:
        x: (m, d) inputs of the encoder.
        w_enc: (n, d).
        b_enc: (n,).
        k: 1 to n.
        tile_rows: rows of a tile.
    """
    import torch

    indices = torch.empty(len(x), k, dtype=torch.int64, device=x.device)
    values = x.new_empty(len(x), k)
    for start, scores in tiles(x, w_enc, b_enc, tile_rows):
        stop = start + len(scores)
        values[start:stop], indices[start:stop] = row_topk(scores, k)
    return from_rows(indices, values.clamp_(min=0))


def encode_above(
    x: "torch.Tensor",
    w_enc: "torch.Tensor",
    b_enc: "torch.Tensor",
    bound: "torch.Tensor | float",
    *,
    tile_rows: int = TILE_ROWS,
) -> Active:
    """Return every pre-activation above ``bound``, as it is.

    Args:
        x: (m, d) inputs of the encoder.
        w_enc: (n, d).
        b_enc: (n,).
        bound: one number, or (n,) one of each feature.
        tile_rows: rows of a tile.
    """
    import torch

    nothing = torch.empty(0, dtype=torch.int64, device=x.device)
    found = [(nothing, nothing, x.new_empty(0))]
    for start, scores in tiles(x, w_enc, b_enc, tile_rows):
        mask = scores > bound
        rows, columns = mask.nonzero(as_tuple=True)
        found.append((rows + start, columns, scores[mask]))
    rows, columns, values = (torch.cat(parts) for parts in zip(*found, strict=True))
    return ragged(columns, values, rows, len(x))


def encode_batchtopk(
    x: "torch.Tensor", w_enc: "torch.Tensor", b_enc: "torch.Tensor", k: int, *, tile_rows: int = TILE_ROWS
) -> Active:
    """Return the ``len(x) * k`` largest positive pre-activations of the batch, or all positive ones if they are fewer.

    A bound guessed from some rows keeps the entries few; where it was too high, a lower one is tried, so the guess
    changes the work and never the result.

    Args:
        x: (m, d) inputs of the encoder.
        w_enc: (n, d).
        b_enc: (n,).
        k: mean number of active features of a row.
        tile_rows: rows of a tile.
    """
    import torch

    wanted = len(x) * k
    per_row = 2 * k
    while True:
        bound = _guess(x, w_enc, b_enc, per_row)
        found = encode_above(x, w_enc, b_enc, bound, tile_rows=tile_rows)
        if len(found.values) >= wanted or bound <= 0:
            break
        per_row *= 4
    if len(found.values) <= wanted:
        return found
    lowest = torch.topk(found.values, wanted, sorted=False).values.min()
    mask = found.values > lowest
    # Of entries equal to the lowest, the first ones fill up what is missing.
    equal = (found.values == lowest).nonzero().view(-1)
    mask[equal[: wanted - int(mask.sum())]] = True
    return found.only(mask)


def _guess(x: "torch.Tensor", w_enc: "torch.Tensor", b_enc: "torch.Tensor", per_row: int) -> float:
    """Return a bound, 0 at least, that about ``per_row`` entries of a row exceed in rows spread over the batch."""
    import torch

    sample = x[:: max(1, len(x) // _SAMPLED_ROWS)]
    scores = torch.addmm(b_enc, sample, w_enc.T).view(-1)
    n = len(sample) * per_row
    return max(0.0, float(torch.topk(scores, n, sorted=False).values.min())) if n < len(scores) else 0.0
