"""Which examples make up every optimiser step, how they share rows, and the arrays that a model is given.

A step is ``batch_size`` examples of an epoch's order; the last step of an epoch has what is left, so that every epoch
sees every example exactly once. Rows and their order follow from the examples alone: ``micro_batch`` only says how
many rows go through the model at a time. Pure numpy, no torch.
"""

import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from release_kit.sft.data.errors import DataError, numbers_text
from release_kit.sft.data.examples import random_order
from release_kit.sft.data.tokens import TokenExample
from release_kit.sft.spec.runs import RunCell
from release_kit.sft.spec.settings import TrainingSettings

Pack = tuple[int, ...]
"""Indexes of examples that lie one after the other in one row."""

_ORDER_OF_EPOCHS = 1
"""Second key of the epochs' orders, so that they share no random numbers with the choice of examples."""


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """One optimiser step."""

    step: int
    """1-based: the optimiser steps that are done after this one."""
    epoch: float
    """Passes over the data that are done after this step; exactly 1.0, 2.0, … at the ends of epochs."""
    micro_batches: tuple[tuple[Pack, ...], ...]
    """Rows that go through the model together, in the order in which their gradients are summed."""

    @property
    def examples(self) -> tuple[int, ...]:
        """Return the indexes of the step's examples, sorted."""
        return tuple(sorted(index for rows in self.micro_batches for pack in rows for index in pack))


@dataclass(frozen=True, kw_only=True, eq=False)
class MicroBatch:
    """What the model is given; all arrays are ``(n_rows, n_tokens)``.

    No attention mask belongs to it: examples are kept apart by ``position_ids``, which restart at 0 for each of them,
    and only without a mask and without a cache do models of transformers build block-diagonal attention from those.
    """

    input_ids: np.ndarray
    """int64."""
    position_ids: np.ndarray
    """int64; from 0 in every example, and from 0 in the padding."""
    loss: np.ndarray
    """bool: the token here is a target, predicted by the state one position to the left."""
    segment_ids: np.ndarray
    """int64: the how-manieth example of its row a token belongs to, -1 for padding."""

    @property
    def n_targets(self) -> int:
        """Return how many tokens are trained on: what a sum of losses is divided by, over the whole step."""
        return int(self.loss.sum())

    def predictions(self) -> tuple[np.ndarray, np.ndarray]:
        """Return where targets are predicted, and what they are.

        Returns:
            ``(n_targets,) int64`` indexes into the flattened ``(n_rows * n_tokens)`` states, each one position before
            its target, and ``(n_targets,) int64`` token ids to be predicted there.
        """
        rows, columns = np.nonzero(self.loss)
        return rows * self.loss.shape[1] + columns - 1, self.input_ids[rows, columns]


def steps_per_epoch(n_examples: int, settings: TrainingSettings) -> int:
    """Return the optimiser steps of one pass over the data: ``ceil(n_examples / batch_size)``."""
    return -(-n_examples // settings.batch_size)


def total_steps(n_examples: int, settings: TrainingSettings) -> int:
    """Return the optimiser steps of a whole run."""
    return settings.steps or (settings.epochs or 1) * steps_per_epoch(n_examples, settings)


def kept_steps(cells: Sequence[RunCell], n_examples: int, settings: TrainingSettings) -> Mapping[str, int]:
    """Return label → the step after which a run keeps that checkpoint."""
    last, epoch = total_steps(n_examples, settings), steps_per_epoch(n_examples, settings)
    return {cell.label: last if cell.epoch is None else cell.epoch * epoch for cell in cells}


def plan_steps(
    lengths: Sequence[int], settings: TrainingSettings, seed: int, n_steps: int, *, start: int = 0
) -> Iterator[StepPlan]:
    """Yield the optimiser steps ``start + 1`` … ``n_steps``.

    The order of an epoch follows from ``seed`` and the epoch's number alone, so that a resumed run skips what is done
    without drawing it again.

    Args:
        lengths: tokens of each example.
        settings: ``batch_size``, ``max_length``, ``packing`` and ``micro_batch`` are used.
        seed: of the run.
        n_steps: steps of the whole run.
        start: steps that are done.

    Raises:
        DataError: no example, or one that is longer than ``max_length``.
    """
    _refuse_lengths(lengths, settings.max_length)
    per_epoch = steps_per_epoch(len(lengths), settings)
    order, drawn = np.empty(0, dtype=np.int64), -1
    for step in range(start, n_steps):
        epoch, within = divmod(step, per_epoch)
        if epoch != drawn:
            order, drawn = random_order(len(lengths), seed, _ORDER_OF_EPOCHS, epoch), epoch
        chosen = order[within * settings.batch_size : (within + 1) * settings.batch_size].tolist()
        rows = pack_rows(chosen, lengths, settings.max_length if settings.packing else 0)
        size = settings.micro_batch
        yield StepPlan(
            step=step + 1,
            epoch=epoch + (within + 1) / per_epoch,
            micro_batches=tuple(tuple(rows[i : i + size]) for i in range(0, len(rows), size)),
        )


def pack_rows(chosen: Sequence[int], lengths: Sequence[int], max_length: int) -> list[Pack]:
    """Return rows of at most ``max_length`` tokens that hold every chosen example once, the longest rows first.

    Best fit, longest example first: each goes into the fullest row that has room for it. A ``max_length`` of 0 gives
    every example a row of its own.
    """
    by_length = sorted(range(len(chosen)), key=lambda i: (-lengths[chosen[i]], i))
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []
    for position in by_length:
        length = lengths[chosen[position]]
        at = bisect.bisect_left(room, (length, -1))
        if at < len(room) and max_length:
            left, row = room.pop(at)
        else:
            left, row = max_length, len(rows)
            rows.append([])
        rows[row].append(position)
        bisect.insort(room, (left - length, row))
    packs = [tuple(chosen[i] for i in row) for row in rows]
    return sorted(packs, key=lambda pack: -sum(lengths[i] for i in pack))


def build_micro_batch(examples: Sequence[TokenExample], packs: Sequence[Pack], pad_id: int) -> MicroBatch:
    """Return the arrays of some rows, as wide as the longest of them and padded on the right.

    Args:
        examples: all examples of the run.
        packs: the rows: indexes into ``examples``.
        pad_id: id of padding; it carries no loss and restarts the positions, so that nothing sees it.
    """
    widths = [sum(len(examples[i].ids) for i in pack) for pack in packs]
    shape = (len(packs), max(widths))
    batch = MicroBatch(
        input_ids=np.full(shape, pad_id, dtype=np.int64),
        position_ids=np.zeros(shape, dtype=np.int64),
        loss=np.zeros(shape, dtype=bool),
        segment_ids=np.full(shape, -1, dtype=np.int64),
    )
    for row, (pack, width) in enumerate(zip(packs, widths, strict=True)):
        start = 0
        for segment, index in enumerate(pack):
            example = examples[index]
            here = slice(start, start + len(example.ids))
            batch.input_ids[row, here] = example.ids
            batch.position_ids[row, here] = np.arange(len(example.ids))
            batch.loss[row, here] = example.loss
            batch.segment_ids[row, here] = segment
            start = here.stop
        batch.position_ids[row, width:] = np.arange(shape[1] - width)
    return batch


def _refuse_lengths(lengths: Sequence[int], max_length: int) -> None:
    if not len(lengths):
        raise DataError("there is no example to train on")
    if too_long := [index for index, length in enumerate(lengths) if not 0 < length <= max_length]:
        what = f"examples {numbers_text(too_long)} do not have 1 to {max_length} tokens"
        raise DataError(what, next_step="raise settings.training.max_length, or set settings.training.truncation")
