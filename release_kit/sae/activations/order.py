"""Batches in a shuffled order that can be taken up at any batch: a pure function of seed, pass and position.

A source gives its tokens in chunks, each shuffled inside; this file owns cutting chunks into batches, over the ends of
chunks and of passes, and finding the place of batch number ``start`` without going through those before it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Rows = tuple[Mapping[int, "torch.Tensor"], "torch.Tensor"]
"""Layer → (n, d_model) float32, and the number of each token (n,) int64."""
PURPOSES = {"shards": 3, "visit": 4, "inside": 5, "rows": 6}
"""What random numbers are drawn for, the second word of their seed."""


class ChunkSource(Protocol):
    """Tokens in chunks; every pass visits each token once."""

    def sizes(self, turn: int) -> Sequence[int]:
        """Return the number of tokens of each chunk, in the order in which pass ``turn`` visits them."""
        ...

    def load(self, turn: int, place: int) -> Rows:
        """Return the chunk at ``place`` of pass ``turn``, shuffled inside."""
        ...


def draw(seed: int, purpose: str, *more: int) -> np.random.Generator:
    """Return the generator of one purpose."""
    return np.random.default_rng([seed, PURPOSES[purpose], *more])


def inner_order(n: int, seed: int, turn: int, chunk: int) -> npt.NDArray[np.int64]:
    """Return the order (n,) of the tokens inside a chunk in one pass."""
    return draw(seed, "inside", turn, chunk).permutation(n)


def iter_batches(source: ChunkSource, batch_rows: int, start: int = 0, passes: int | None = 1) -> Iterator[Rows]:
    """Yield batches of ``batch_rows`` tokens from batch number ``start`` on.

    A batch may hold the end of one pass and the beginning of the next; only the very last one can be shorter. The
    batches from ``start`` on are those of an iteration from 0 after ``start`` of them: equal to the bit.

    Args:
        source: of the tokens.
        batch_rows: tokens of a batch.
        start: number of the first batch.
        passes: how often every token is seen; None goes on for ever.
    """
    import torch

    n = sum(source.sizes(0))
    position, end = start * batch_rows, None if passes is None else passes * n
    pending: list[Rows] = []
    held = 0
    while end is None or position < end:
        turn, offset = divmod(position, n)
        for place, size in enumerate(source.sizes(turn)):
            if offset >= size:
                offset -= size
                continue
            layers, index = source.load(turn, place)
            pending.append(({layer: x[offset:] for layer, x in layers.items()}, index[offset:]))
            held, position, offset = held + size - offset, position + size - offset, 0
            if held >= batch_rows:
                joined = _joined(torch, pending)
                n_whole = held // batch_rows * batch_rows
                for at in range(0, n_whole, batch_rows):
                    yield _part(joined, at, at + batch_rows)
                pending, held = [_part(joined, n_whole, held)], held - n_whole
    if held:
        yield _joined(torch, pending)


def _joined(torch, pending: Sequence[Rows]) -> Rows:
    if len(pending) == 1:
        return pending[0]
    layers = {layer: torch.cat([rows[layer] for rows, _ in pending]) for layer in pending[0][0]}
    return layers, torch.cat([index for _, index in pending])


def _part(rows: Rows, start: int, stop: int) -> Rows:
    """Return a part that does not keep the whole alive when it is small."""
    layers, index = rows
    return {layer: x[start:stop].clone() for layer, x in layers.items()}, index[start:stop].clone()
