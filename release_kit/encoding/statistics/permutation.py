"""Is a voxel predicted better than chance: the response is cut into blocks, the blocks change places, r is taken again.

Owns the null distributions per voxel (blocks that change places, or responses that are turned in a circle) and the
largest value of each repetition over all voxels. What is done about many voxels is ``multiple.py``.

Blocks keep the autocorrelation that is shorter than they are; a shift keeps all of it. Every voxel sees the same
orders, so the largest value over voxels has its distribution under the null (Nichols and Holmes 2002, doi
10.1002/hbm.1058).
"""

import abc
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from release_kit.encoding.arrays import FloatArray
from release_kit.encoding.errors import FitError
from release_kit.encoding.solve.engine import rounding_of, take, tiles

Null = Literal["block", "shift"]
Progress = Callable[[int, int], None]
TILE = 32
"""Voxels at once: what their block products need stays in the cache."""
_STRETCH = 2048
"""Voxels that are read at once: pages of a memory map are given back after each, or all of it would count as memory."""
_LEAST_BLOCKS = 2
_TABLE_BYTES = 128 * 2**20
"""What the block products of a tile may hold: many short blocks take fewer voxels at once."""
_TIE = 2e-6
"""How far below the observed r a repetition still reaches it: sums of float32 in another order differ by less."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PermutationResult:
    """What a test by permutation found.

    Attributes:
        r: (n_voxels,) the correlation over the samples that were permuted; NaN for a voxel that cannot be scored.
        p: (n_voxels,) share of the null that reaches ``r``, itself counted: (1 + n_exceed) / (1 + n), never 0.
        n_exceed: (n_voxels,) int32.
        max_null: (n,) the largest r over voxels of each repetition.
        n_samples: how many samples were permuted; those at a run's end that fill no block are not.
    """

    r: FloatArray
    p: npt.NDArray[np.float64]
    n_exceed: npt.NDArray[np.int32]
    max_null: FloatArray
    n_samples: int


def permutation_test(
    y: FloatArray,
    predicted: FloatArray,
    borders: Sequence[slice],
    *,
    block: int = 40,
    n: int = 1000,
    seed: int = 0,
    null: Null = "block",
    across_runs: bool = False,
    tile: int = TILE,
    progress: Progress | None = None,
) -> PermutationResult:
    """Return the one-sided p of every voxel's correlation between measured and predicted response.

    Args:
        y: (n_samples, n_voxels) measured responses of held-out samples.
        predicted: (n_samples, n_voxels) their predictions.
        borders: the rows of each run. No block crosses a border.
        block: samples in a block (``null="block"``), or the smallest shift (``null="shift"``). It must be longer than
            the autocorrelation: with AR(1) noise and predictions of .9, blocks of 10 call 11 % at p < .05, of 40 6 %.
        n: repetitions; the smallest p is 1 / (n + 1).
        seed: of the orders.
        null: ``block`` lets blocks of the response change places; ``shift`` turns each run's response in a circle.
        across_runs: blocks change places over all runs, not inside their own.
        tile: voxels at once; the result does not depend on it.
        progress: called with voxels done and voxels in all.

    Raises:
        FitError: shapes that differ, a run too short for two blocks, fewer than one repetition, a null with fewer
            different orders or shifts than repetitions.
    """
    _check(y, predicted, borders, block, n)
    _check_orders(borders, block, n, null, across_runs)
    draw: _Null = _Blocks(borders, block, n, seed, across_runs) if null == "block" else _Shifts(borders, block, n, seed)
    n_voxels, tile = y.shape[1], min(tile, max(1, _TABLE_BYTES // draw.voxel_bytes))
    observed = np.empty(n_voxels, np.float32)
    exceed = np.zeros(n_voxels, np.int32)
    largest = np.full(n, -np.inf, np.float32)

    def judge(read: tuple[slice, FloatArray, FloatArray]) -> tuple[slice, FloatArray | None]:
        part, *values = read
        unit_y, unit_p, scored = _units(*values)
        observed[part], nulls = draw.correlations(unit_y, unit_p)
        exceed[part] = (nulls >= observed[part] - _TIE).sum(axis=0)
        observed[part] = np.where(scored, observed[part].clip(-1, 1), np.nan)
        return part, nulls[:, scored].max(axis=1).clip(-1, 1) if scored.any() else None

    with one_thread_each() as workers:
        for stretch in tiles(n_voxels, _STRETCH):
            for part, top in workers.map(judge, _read(y, predicted, draw.rows, stretch, tile)):
                if top is not None:
                    np.maximum(largest, top, out=largest)
                if progress is not None:
                    progress(part.stop, n_voxels)
    known = np.isfinite(observed)
    return PermutationResult(
        r=observed,
        p=np.where(known, (1.0 + exceed) / (1.0 + n), np.nan),
        n_exceed=np.where(known, exceed, 0).astype(np.int32),
        max_null=largest,
        n_samples=len(draw.rows),
    )


def _read(
    y: FloatArray, predicted: FloatArray, rows: npt.NDArray[np.int64], stretch: slice, tile: int
) -> Iterator[tuple[slice, FloatArray, FloatArray]]:
    """Yield the columns of a stretch tile by tile: which, and their permuted rows measured and predicted."""
    whole = [take(values, stretch) for values in (y, predicted)]
    for inner in tiles(stretch.stop - stretch.start, tile):
        part = slice(stretch.start + inner.start, stretch.start + inner.stop)
        yield part, *(values[rows, inner] for values in whole)


@contextmanager
def one_thread_each() -> Iterator[ThreadPoolExecutor]:
    """Give as many workers as torch has threads, each with one: threads lose more by waiting than they win here."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as workers:
            yield workers
    finally:
        torch.set_num_threads(threads)


class _Null(abc.ABC):
    """One way to draw a null: ``rows`` are the samples it uses, ``voxel_bytes`` what a voxel of a tile holds."""

    rows: npt.NDArray[np.int64]
    voxel_bytes: int

    @abc.abstractmethod
    def correlations(self, y: FloatArray, predicted: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return r as measured (n_voxels,) and of each repetition (n, n_voxels), for columns of length 1."""


class _Blocks(_Null):
    """Blocks change places.

    The sum over samples of y permuted times p is a sum over blocks of products of two blocks; every product that a run
    can need is calculated once as a matrix product, and each repetition adds up those that its order names.
    """

    def __init__(self, borders: Sequence[slice], block: int, n: int, seed: int, across_runs: bool):
        import torch

        self._block = block
        counts = [(part.stop - part.start) // block for part in borders]
        self.rows = np.concatenate(
            [np.arange(part.start, part.start + count * block) for part, count in zip(borders, counts, strict=True)]
        )
        self._groups = [sum(counts)] if across_runs else counts
        self.voxel_bytes = 8 * sum(count * count for count in self._groups)
        rng = np.random.default_rng([seed, 0])
        orders, start = [], 0
        for count in self._groups:
            order = rng.permuted(np.broadcast_to(np.arange(count), (n, count)), axis=1)
            order = np.concatenate([np.arange(count)[None], order])
            orders.append(start + np.arange(count) * count + order)
            start += count * count
        self._index = torch.from_numpy(np.concatenate(orders, axis=1))

    def correlations(self, y: FloatArray, predicted: FloatArray) -> tuple[FloatArray, FloatArray]:
        import torch

        n_voxels = y.shape[1]
        table = torch.empty(sum(count * count for count in self._groups), n_voxels)
        row = place = 0
        for count in self._groups:
            rows = slice(row, row + count * self._block)
            shape = (count, self._block, n_voxels)
            blocks_p = torch.from_numpy(predicted[rows]).reshape(shape).permute(2, 0, 1)
            blocks_y = torch.from_numpy(y[rows]).reshape(shape).permute(2, 1, 0)
            products = torch.matmul(blocks_p, blocks_y).reshape(n_voxels, -1)
            table[place : place + count * count].copy_(products.T)
            row, place = rows.stop, place + count * count
        sums = torch.nn.functional.embedding_bag(self._index, table, mode="sum").numpy()
        return sums[0], sums[1:]


class _Shifts(_Null):
    """Each run's response is turned in a circle by a lag of its own, at least ``least`` samples either way."""

    def __init__(self, borders: Sequence[slice], least: int, n: int, seed: int):
        rng = np.random.default_rng([seed, 1])
        self.rows = np.concatenate([np.arange(part.start, part.stop) for part in borders])
        self._lengths = [part.stop - part.start for part in borders]
        self.voxel_bytes = 4 * n + 16 * max(self._lengths)
        self._lags = [
            np.concatenate([[0], rng.integers(least, length - least + 1, size=n)]) for length in self._lengths
        ]

    def correlations(self, y: FloatArray, predicted: FloatArray) -> tuple[FloatArray, FloatArray]:
        sums: Any = 0.0
        start = 0
        for length, lags in zip(self._lengths, self._lags, strict=True):
            rows = slice(start, start + length)
            spectrum = np.fft.rfft(predicted[rows], axis=0) * np.conj(np.fft.rfft(y[rows], axis=0))
            sums = sums + np.fft.irfft(spectrum, n=length, axis=0)[lags]
            start = rows.stop
        sums = sums.astype(np.float32)
        return sums[0], sums[1:]


def _units(y: FloatArray, predicted: FloatArray) -> tuple[FloatArray, FloatArray, npt.NDArray[np.bool_]]:
    """Return both centred and of length 1 column by column, and which columns can be scored; the others are 0."""
    units, scored = [], np.ones(y.shape[1], bool)
    for values in (y, predicted):
        exact = values.astype(np.float64)
        # A constant column leaves rounding behind: judged against the size of its values, not against 0.
        rounding = rounding_of(values) * np.sqrt((exact**2).sum(axis=0))
        with np.errstate(invalid="ignore"):
            exact -= exact.mean(axis=0)
        length = np.sqrt((exact**2).sum(axis=0))
        good = np.isfinite(length) & (length > rounding)
        exact[:, ~good] = 0
        units.append((exact / np.where(good, length, 1)).astype(np.float32))
        scored &= good
    return units[0], units[1], scored


def _check(y: FloatArray, predicted: FloatArray, borders: Sequence[slice], block: int, n: int) -> None:
    if y.shape != predicted.shape or y.ndim != 2:
        raise FitError(f"measured {y.shape} and predicted {predicted.shape} differ", where="permutation")
    if n < 1 or block < 1:
        raise FitError(f"{n} repetitions of blocks of {block}, expected at least 1 and 1", where="permutation")
    if not borders:
        raise FitError("no held-out runs", where="permutation", next_step="hold out at least one run")
    for k, part in enumerate(borders):
        if (length := part.stop - part.start) < _LEAST_BLOCKS * block or part.stop > len(y):
            raise FitError(
                f"run {k} has {length} held-out samples, expected at least {_LEAST_BLOCKS} blocks of {block}",
                where="permutation",
                next_step="take shorter blocks, or hold out longer runs",
            )


def _check_orders(borders: Sequence[slice], block: int, n: int, null: Null, across_runs: bool) -> None:
    """Refuse a null that has fewer different orders, or shifts, than repetitions."""
    if null == "shift":
        shifts = math.prod(part.stop - part.start - 2 * block + 1 for part in borders)
        if shifts < n:
            raise FitError(
                f"its runs can be turned in {shifts} ways for {n} repetitions",
                where="permutation",
                next_step="take a smaller smallest shift, hold out longer runs, or let blocks change places",
            )
        return
    counts = [(part.stop - part.start) // block for part in borders]
    orders = math.prod(math.factorial(min(count, 20)) for count in ([sum(counts)] if across_runs else counts))
    if orders < n:
        raise FitError(
            f"its blocks have {orders} orders for {n} repetitions",
            where="permutation",
            next_step="take shorter blocks, let them change places over all runs, or turn runs (null: shift)",
        )
