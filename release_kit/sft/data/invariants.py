"""What must be true of every batch and every loss, whoever builds them: checked before and while a run trains.

Each check compares with the examples themselves and shares no code with ``packing.py``: a packer that loses the mask,
shifts it by one, lets examples see each other or weighs micro-batches wrongly is refused by name.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from release_kit.core.errors import ReleaseKitError
from release_kit.sft.data.errors import DataError, combined, numbers_text
from release_kit.sft.data.packing import (
    MicroBatch,
    Pack,
    StepPlan,
    build_micro_batch,
    plan_steps,
    steps_per_epoch,
    total_steps,
)
from release_kit.sft.data.tokens import TokenExample
from release_kit.sft.spec.settings import TrainingSettings

LAYOUT_TOLERANCE = 1e-4
"""Largest difference of a float32 loss between rows shared and rows alone (nats per target)."""
WEIGHT_TOLERANCE = 1e-6

Build = Callable[[Sequence[TokenExample], Sequence[Pack], int], MicroBatch]
Plan = Callable[..., Iterator[StepPlan]]


def check_run(
    examples: Sequence[TokenExample],
    settings: TrainingSettings,
    seed: int,
    pad_id: int,
    *,
    vocab_size: int | None = None,
    build: Build = build_micro_batch,
    plan: Plan = plan_steps,
) -> None:
    """Refuse a run whose examples or batches would train something else than the examples say.

    Plans and builds the whole first epoch (or all steps, if they are fewer), which costs milliseconds a thousand
    examples; the trainer calls it before the first step.

    Raises:
        DataError: everything that is wrong.
    """
    check_examples(examples, max_length=settings.max_length, vocab_size=vocab_size)
    lengths = [len(example.ids) for example in examples]
    n_steps = min(total_steps(len(examples), settings), steps_per_epoch(len(examples), settings))
    steps = list(plan(lengths, settings, seed, n_steps))
    check_steps(steps, lengths, settings)
    problems: list[ReleaseKitError] = []
    for step in steps:
        for number, packs in enumerate(step.micro_batches):
            try:
                check_batch(examples, packs, build(examples, packs, pad_id))
            except DataError as problem:
                problems.append(DataError(problem.what, where=f"step {step.step}, micro-batch {number}"))
    if problems:
        raise combined(problems, "batches")


def check_examples(
    examples: Sequence[TokenExample], *, max_length: int | None = None, vocab_size: int | None = None
) -> None:
    """Refuse examples on which a loss would be empty, or that the model cannot take.

    Raises:
        DataError: no examples; arrays of unlike length; no target; a target at position 0, which nothing predicts;
            more than ``max_length`` tokens; an id that the model's vocabulary of ``vocab_size`` does not have.
    """
    kinds: dict[str, list[int]] = {}
    for index, example in enumerate(examples):
        for what in _wrong_example(example, max_length, vocab_size):
            kinds.setdefault(what, []).append(index)
    problems = [DataError(what, where=f"examples {numbers_text(found)}") for what, found in kinds.items()]
    if not len(examples):
        problems.append(DataError("there is no example to train on"))
    if problems:
        raise combined(problems, "examples")


def _wrong_example(example: TokenExample, max_length: int | None, vocab_size: int | None) -> Iterator[str]:
    if example.ids.shape != example.loss.shape or example.ids.ndim != 1:
        yield "ids and loss mask are not of one length"
        return
    if not example.loss.any():
        yield "every label is masked: the loss would be empty, and the run would look fine"
    elif example.loss[0]:
        yield "the first token is a target, but nothing precedes it"
    if max_length is not None and len(example.ids) > max_length:
        yield f"more than {max_length} tokens"
    if vocab_size is not None and len(example.ids) and not 0 <= example.ids.min() <= example.ids.max() < vocab_size:
        yield f"a token id is outside the model's vocabulary of {vocab_size}"


def check_steps(steps: Iterable[StepPlan], lengths: Sequence[int], settings: TrainingSettings) -> None:
    """Refuse a plan of the first steps in which an epoch does not see every example exactly once.

    Args:
        steps: from the first step of a run on; a last epoch that is not finished is checked for repetitions only.
        lengths: tokens of each example.
        settings: ``batch_size``, ``max_length``, ``packing`` and ``micro_batch``.

    Raises:
        DataError: examples missing or twice in an epoch, rows too long, steps or micro-batches too large.
    """
    problems: list[ReleaseKitError] = []
    seen: list[int] = []
    for step in steps:
        problems += [DataError(what, where=f"step {step.step}") for what in _wrong_step(step, lengths, settings)]
        seen += step.examples
        complete = float(step.epoch).is_integer()
        counts = np.bincount(seen, minlength=len(lengths)) if seen else np.zeros(len(lengths), dtype=int)
        if (twice := np.flatnonzero(counts > 1).tolist()) and complete:
            problems.append(DataError(f"examples {numbers_text(twice)} stand in one epoch more than once"))
        if complete and (missing := np.flatnonzero(counts == 0).tolist()):
            problems.append(DataError(f"examples {numbers_text(missing)} are missing from an epoch"))
        if complete:
            seen = []
    if seen and len(set(seen)) != len(seen):
        problems.append(DataError("examples stand in one epoch more than once"))
    if problems:
        raise combined(problems, "plan of the steps")


def _wrong_step(step: StepPlan, lengths: Sequence[int], settings: TrainingSettings) -> Iterator[str]:
    if not 0 < len(step.examples) <= settings.batch_size:
        yield f"has {len(step.examples)} examples, expected 1 to {settings.batch_size}"
    packs = [pack for rows in step.micro_batches for pack in rows]
    if long := [pack for pack in packs if sum(lengths[i] for i in pack) > settings.max_length]:
        yield f"a row holds more than {settings.max_length} tokens: examples {numbers_text(long[0])}"
    if any(len(rows) > settings.micro_batch for rows in step.micro_batches):
        yield f"a micro-batch has more than {settings.micro_batch} rows"
    if not settings.packing and any(len(pack) != 1 for pack in packs):
        yield "a row holds several examples, but packing is off"


def check_batch(examples: Sequence[TokenExample], packs: Sequence[Pack], batch: MicroBatch) -> None:
    """Refuse a batch that is not exactly its examples: every token, every target once, positions from 0 in each.

    Raises:
        DataError: dropped, added or shifted targets, other tokens, examples that see each other, padding with a loss.
    """
    widths = [sum(len(examples[i].ids) for i in pack) for pack in packs]
    shape = (len(packs), max(widths))
    arrays = (batch.input_ids, batch.position_ids, batch.loss, batch.segment_ids)
    if any(array.shape != shape for array in arrays):
        what = f"expected arrays of the shape {shape}, got {sorted({array.shape for array in arrays})}"
        raise DataError(what)
    problems: list[ReleaseKitError] = []
    for row, (pack, width) in enumerate(zip(packs, widths, strict=True)):
        wrong = list(_wrong_row(pack, [examples[i] for i in pack], [array[row, :width] for array in arrays]))
        if batch.loss[row, width:].any():
            wrong.append("padding carries a loss")
        if (batch.segment_ids[row, width:] != -1).any() or (width < shape[1] and batch.position_ids[row, width] != 0):
            wrong.append("padding is not apart from the last example")
        problems += [DataError(what, where=f"row {row}") for what in wrong]
    if problems:
        raise combined(problems, "batch")


def _wrong_row(pack: Pack, examples: list[TokenExample], arrays: list[np.ndarray]) -> Iterator[str]:
    ids, positions, loss, segments = arrays
    owner = np.repeat(np.arange(len(pack)), [len(example.ids) for example in examples])
    if (ids != np.concatenate([example.ids for example in examples])).any():
        yield "the tokens are not those of the examples"
    wanted = np.concatenate([example.loss for example in examples])
    if (loss != wanted).any():
        yield _wrong_mask(loss, wanted, pack, owner)
    expected = np.concatenate([np.arange(len(example.ids)) for example in examples])
    if (positions != expected).any():
        at = int(np.flatnonzero(positions != expected)[0])
        yield (
            f"the position of token {at} is {positions[at]}, expected {expected[at]}: "
            f"example {pack[owner[at]]} would see another one"
        )
    if (segments != owner).any():
        yield "the segments are not those of the examples"


def _wrong_mask(loss: np.ndarray, wanted: np.ndarray, pack: Pack, owner: np.ndarray) -> str:
    """Say how the targets differ, with the cause where it shows."""
    for shift, words in ((1, "late"), (-1, "early")):
        if (loss == np.roll(wanted, shift)).all():
            return f"the loss mask stands one token too {words}"
    if loss.all() or not loss.any():
        return f"the loss mask was lost: {int(loss.sum())} targets, expected {int(wanted.sum())}"
    dropped, added = np.flatnonzero(wanted & ~loss), np.flatnonzero(loss & ~wanted)
    first = int(min([*dropped[:1], *added[:1]]))
    return f"{len(dropped)} targets are dropped and {len(added)} added, from example {pack[owner[first]]} on"


def check_weights(n_targets: Sequence[int], weights: Sequence[float]) -> None:
    """Refuse weights of micro-batches that make the loss depend on how a step was divided.

    The loss of a step is the mean over its targets, ``sum_i n_i * mean_i / sum_i n_i``: the mean loss of micro-batch i
    counts ``n_i / sum(n)``, and not ``1 / number of micro-batches``.

    Args:
        n_targets: targets of each micro-batch.
        weights: what each micro-batch's mean loss is multiplied by.

    Raises:
        DataError: other weights.
    """
    wanted = np.asarray(n_targets, dtype=float) / sum(n_targets)
    if len(weights) != len(wanted) or np.abs(np.asarray(weights) - wanted).max() > WEIGHT_TOLERANCE:
        shown = [round(float(weight), 4) for weight in weights][:8]
        what = f"micro-batches weigh {shown}, expected {[round(float(w), 4) for w in wanted][:8]}"
        raise DataError(what, where="gradient accumulation", next_step="divide sums of losses by the step's targets")


def check_loss(loss: float, n_targets: int, step: int) -> None:
    """Refuse a loss that no healthy step has: over no target, not finite, negative; in the first step also zero.

    Later on a loss may round to zero, when a model has learnt its few examples by heart.

    Raises:
        DataError: with the likely cause.
    """
    where, look = f"step {step}", "run `release-kit sft audit` on the study: are all labels masked?"
    if n_targets < 1:
        raise DataError("no token is trained on", where=where, next_step=look)
    if not math.isfinite(loss):
        step_down = "lower the learning rate, or compute in float32"
        raise DataError(f"the loss is {loss}", where=where, next_step=step_down)
    if loss < 0.0 or (loss == 0.0 and step <= 1):
        raise DataError(f"the loss is {loss}, expected more than 0", where=where, next_step=look)


def check_layouts(
    loss_of: Callable[[Sequence[MicroBatch]], float],
    examples: Sequence[TokenExample],
    settings: TrainingSettings,
    pad_id: int,
    *,
    tolerance: float = LAYOUT_TOLERANCE,
) -> float:
    """Refuse a trainer whose loss depends on how examples share rows and micro-batches.

    Args:
        loss_of: mean loss per target of one optimiser step, given its micro-batches; in float32 for the tolerance.
        examples: a few examples (those of one step) of different lengths.
        settings: ``max_length`` is used.
        pad_id: id of padding.
        tolerance: largest difference in nats per target.

    Returns:
        The largest difference found between the examples alone, packed, padded, and in one or several micro-batches.

    Raises:
        DataError: a layout has another loss than the examples alone.
    """
    alone = [build_micro_batch(examples, [(index,)], pad_id) for index in range(len(examples))]
    counts = [batch.n_targets for batch in alone]
    means = [loss_of([batch]) for batch in alone]
    wanted = sum(n * mean for n, mean in zip(counts, means, strict=True)) / sum(counts)
    differences = {}
    for name, batches in _layouts(examples, settings, pad_id):
        differences[name] = abs(loss_of(batches) - wanted)
    problems = [
        DataError(f"{name}: differs by {value:.3g} from the examples alone, expected at most {tolerance:g}")
        for name, value in differences.items()
        if not value <= tolerance
    ]
    if problems:
        raise combined(problems, "loss")
    return max(differences.values())


def _layouts(
    examples: Sequence[TokenExample], settings: TrainingSettings, pad_id: int
) -> Iterator[tuple[str, list[MicroBatch]]]:
    """Yield (name, micro-batches) of one step that holds all examples."""
    lengths = [len(example.ids) for example in examples]
    for packing in (True, False):
        for size in (1, 2, len(examples)):
            chosen = replace(settings, batch_size=len(examples), packing=packing, micro_batch=size)
            step = next(plan_steps(lengths, chosen, 0, 1))
            name = f"{'packed' if packing else 'padded'} rows, {size} a micro-batch"
            yield name, [build_micro_batch(examples, packs, pad_id) for packs in step.micro_batches]
