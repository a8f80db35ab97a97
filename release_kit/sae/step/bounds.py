"""Candidates for the k largest of each row, with a ceiling that no other feature's exact pre-activation exceeds.

Owns what a search in bfloat16 or float32 can be wrong by. With x̂, ŵ rounded, x·w = x̂·ŵ + (x - x̂)·ŵ + x·(w - ŵ), so
x·w <= x̂·ŵ + |x - x̂| |ŵ| + |x| |w - ŵ|. Both products of norms are two more columns of the matrices, as are the bias in
two pieces and what adding up in float32 loses (Higham 2002, section 3.1): the product itself returns the bound.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from release_kit.sae.step.encode import tiles
from release_kit.sae.step.topk import row_topk

if TYPE_CHECKING:
    import torch

FLOAT32_UNIT = 2.0**-24
_SUM_UNIT = 2.0**-22
"""Of sums in units for matrices, some of which cut off instead of rounding."""
_BFLOAT16_UNIT = 2.0**-8
_TINY = 1e-30
"""Above what arithmetic that flushes subnormal numbers to zero can lose in a row."""
_CHUNK_ROWS = 1024
_ALIGN = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """Features to look at closer.

    Attributes:
        indices: (m, c) int64.
        ceiling: (m,) float32 that the exact pre-activation of no other feature exceeds; -inf where there is no other.
    """

    indices: "torch.Tensor"
    ceiling: "torch.Tensor"


def bound_candidates(
    x: "torch.Tensor", w_enc: "torch.Tensor", b_enc: "torch.Tensor", c: int, tile_rows: int, native: bool | None = None
) -> Candidates:
    """Return the c features of each row whose upper bounds in bfloat16 are largest.

    Args:
        x: (m, d) inputs of the encoder, taken as exact.
        w_enc: (n, d).
        b_enc: (n,).
        c: 1 to n.
        tile_rows: rows of a tile.
        native: whether products are of bfloat16 matrices; None: where ``has_bfloat16`` says so. Else the same rounded
            numbers are multiplied as float32: the same proof without the gain.
    """
    import torch

    native = has_bfloat16(x.device) if native is None else native
    kind = torch.bfloat16 if native else torch.float32
    weights = _weights(w_enc, b_enc, kind)
    buffer = torch.empty(min(tile_rows, len(x)), len(w_enc), dtype=kind, device=x.device)
    indices = torch.empty(len(x), c, dtype=torch.int64, device=x.device)
    lowest = x.new_empty(len(x))
    with _full_sums():
        for start in range(0, len(x), tile_rows):
            tile = _rows(x[start : start + tile_rows], kind)
            scores = torch.mm(tile, weights.T, out=buffer[: len(tile)])
            values, indices[start : start + len(tile)] = row_topk(scores, c)
            lowest[start : start + len(tile)] = values.amin(dim=1)
    if native:
        # The product was rounded once more, to bfloat16.
        lowest = lowest + lowest.abs() * (_BFLOAT16_UNIT * 1.02)
    return _known(indices, lowest, len(w_enc))


def float32_candidates(
    x: "torch.Tensor", w_enc: "torch.Tensor", b_enc: "torch.Tensor", c: int, tile_rows: int
) -> Candidates:
    """Return the c features of each row that are largest in float32 (arguments as above)."""
    import torch

    indices = torch.empty(len(x), c, dtype=torch.int64, device=x.device)
    lowest = x.new_empty(len(x))
    for start, scores in tiles(x, w_enc, b_enc, tile_rows):
        values, indices[start : start + len(scores)] = row_topk(scores, c)
        lowest[start : start + len(scores)] = values.amin(dim=1)
    largest = torch.linalg.vector_norm(w_enc, dim=1).max()
    error = float32_error(x.shape[1], torch.linalg.vector_norm(x, dim=1) * largest + b_enc.abs().max())
    return _known(indices, lowest + error, len(w_enc))


def float32_error(d: int, size: "torch.Tensor") -> "torch.Tensor":
    """Return the most that a pre-activation of d products and a bias is wrong by in float32, in any order of addition.

    Args:
        d: number of products.
        size: |x| |w| + |b|, itself in float32.
    """
    return size * ((d + 8) * FLOAT32_UNIT * 1.02) + _TINY


def has_bfloat16(device: "torch.device") -> bool:
    """Return whether this device multiplies bfloat16 faster than float32 and adds up in float32."""
    import torch

    if device.type != "cpu":
        return device.type == "cuda"
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in probes)


def _known(indices: "torch.Tensor", ceiling: "torch.Tensor", n: int) -> Candidates:
    if indices.shape[1] == n:
        ceiling = ceiling.new_full(ceiling.shape, -float("inf"))
    return Candidates(indices=indices, ceiling=ceiling)


def _rows(x: "torch.Tensor", kind: "torch.dtype") -> "torch.Tensor":
    """Return (m, D): x̂, then what each of the five columns of ``_weights`` is multiplied by."""
    import torch

    m, d = x.shape
    found = torch.zeros(m, _width(d), dtype=torch.bfloat16, device=x.device)
    found[:, :d] = x
    rounded = found[:, :d].float()
    lost = torch.linalg.vector_norm(x - rounded, dim=1)
    sums = torch.linalg.vector_norm(rounded, dim=1) * _sum_error(d)
    found[:, d] = _up(lost + sums)
    found[:, d + 1] = _up(torch.linalg.vector_norm(x, dim=1))
    found[:, d + 2 : d + 5] = 1
    return found.to(kind)


def _weights(w_enc: "torch.Tensor", b_enc: "torch.Tensor", kind: "torch.dtype") -> "torch.Tensor":
    """Return (n, D): ŵ, |ŵ|, |w - ŵ|, the bias in two pieces, and what is lost of the bias."""
    import torch

    n, d = w_enc.shape
    found = torch.zeros(n, _width(d), dtype=kind, device=w_enc.device)
    for start in range(0, n, _CHUNK_ROWS):
        mine, exact = found[start : start + _CHUNK_ROWS], w_enc[start : start + _CHUNK_ROWS]
        rounded = exact.bfloat16().float()
        mine[:, :d] = rounded
        mine[:, d] = _up(torch.linalg.vector_norm(rounded, dim=1))
        mine[:, d + 1] = _up(torch.linalg.vector_norm(exact - rounded, dim=1))
    high = b_enc.bfloat16()
    low = (b_enc - high.float()).bfloat16()
    left = (b_enc - high.float() - low.float()).abs()
    found[:, d + 2], found[:, d + 3] = high, low
    found[:, d + 4] = _up(left + b_enc.abs() * (2 * _sum_error(d)) + _TINY)
    return found


def _sum_error(d: int) -> float:
    """Return the relative error of a sum of products, with room for what the columns beyond the first d add."""
    return (_width(d) + 16) * _SUM_UNIT * 1.1


def _width(d: int) -> int:
    return -(-(d + 5) // _ALIGN) * _ALIGN


def _up(x: "torch.Tensor") -> "torch.Tensor":
    """Return bfloat16 numbers above x >= 0, by more than a norm in float32 can be too small."""
    return (x * (1 + 2.0**-6)).bfloat16()


@contextlib.contextmanager
def _full_sums() -> Iterator[None]:
    """Have a GPU add up products of bfloat16 in float32 throughout, which the bound supposes."""
    import torch

    settings = torch.backends.cuda.matmul
    before = settings.allow_bf16_reduced_precision_reduction
    settings.allow_bf16_reduced_precision_reduction = False
    try:
        yield
    finally:
        settings.allow_bf16_reduced_precision_reduction = before
