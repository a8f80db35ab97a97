"""Rows and steps: every example once an epoch, nothing too long, the same from the same inputs."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.sft.data.errors import DataError
from release_kit.sft.data.invariants import check_batch, check_steps
from release_kit.sft.data.packing import (
    build_micro_batch,
    kept_steps,
    pack_rows,
    plan_steps,
    steps_per_epoch,
    total_steps,
)
from release_kit.sft.data.tokens import TokenExample
from release_kit.sft.spec.runs import RunCell
from release_kit.sft.spec.settings import TrainingSettings

MAX_LENGTH = 32
lengths_of = st.lists(st.integers(2, MAX_LENGTH), min_size=1, max_size=40)
sizes = st.integers(1, 9)


def run_settings(**changes: object) -> TrainingSettings:
    known = {"batch_size": 4, "max_length": MAX_LENGTH, "learning_rate": 1e-3, "epochs": 2}
    return TrainingSettings(**{**known, **changes})


def example_of(length: int, first: int = 0) -> TokenExample:
    loss = np.zeros(length, dtype=bool)
    loss[length // 2 or 1 :] = True
    return TokenExample(ids=np.arange(first, first + length, dtype=np.int32), loss=loss)


@given(lengths=lengths_of, batch_size=sizes, seed=st.integers(0, 5), packing=st.booleans())
def test_every_epoch_sees_every_example_exactly_once(lengths: list[int], batch_size: int, seed: int, packing: bool):
    settings = run_settings(batch_size=batch_size, packing=packing, epochs=3)
    n_steps = total_steps(len(lengths), settings)
    steps = list(plan_steps(lengths, settings, seed, n_steps))
    assert n_steps == 3 * steps_per_epoch(len(lengths), settings) == len(steps)
    seen: list[int] = []
    ends = []
    for step in steps:
        seen += step.examples
        if float(step.epoch).is_integer():
            assert sorted(seen) == list(range(len(lengths)))
            ends.append(step.epoch)
            seen = []
    assert ends == [1.0, 2.0, 3.0]
    assert not seen


@given(lengths=lengths_of, batch_size=sizes, packing=st.booleans())
def test_no_row_is_longer_than_max_length(lengths: list[int], batch_size: int, packing: bool):
    settings = run_settings(batch_size=batch_size, packing=packing)
    for step in plan_steps(lengths, settings, 0, total_steps(len(lengths), settings)):
        for pack in (pack for rows in step.micro_batches for pack in rows):
            assert sum(lengths[i] for i in pack) <= MAX_LENGTH
            assert packing or len(pack) == 1


@given(lengths=lengths_of, batch_size=sizes, micro_batch=sizes)
def test_rows_and_their_order_do_not_depend_on_the_micro_batch(lengths: list[int], batch_size: int, micro_batch: int):
    one = run_settings(batch_size=batch_size)
    several = replace(one, micro_batch=micro_batch)
    n_steps = total_steps(len(lengths), one)
    for a, b in zip(plan_steps(lengths, one, 3, n_steps), plan_steps(lengths, several, 3, n_steps), strict=True):
        assert [pack for rows in a.micro_batches for pack in rows] == [p for rows in b.micro_batches for p in rows]
        assert all(len(rows) <= micro_batch for rows in b.micro_batches)


@given(lengths=lengths_of, seed=st.integers(0, 9), start=st.integers(0, 20))
def test_a_resumed_run_has_the_steps_that_were_left(lengths: list[int], seed: int, start: int):
    settings = run_settings(epochs=3)
    n_steps = total_steps(len(lengths), settings)
    whole = list(plan_steps(lengths, settings, seed, n_steps))
    assert list(plan_steps(lengths, settings, seed, n_steps, start=start)) == whole[start:]


@given(lengths=lengths_of, batch_size=sizes, micro_batch=sizes, packing=st.booleans())
def test_batches_are_their_examples(lengths: list[int], batch_size: int, micro_batch: int, packing: bool):
    examples = [example_of(length, 100 * index) for index, length in enumerate(lengths)]
    settings = run_settings(batch_size=batch_size, micro_batch=micro_batch, packing=packing)
    steps = list(plan_steps(lengths, settings, 1, total_steps(len(lengths), settings)))
    check_steps(steps, lengths, settings)
    for step in steps:
        n_targets = 0
        for packs in step.micro_batches:
            batch = build_micro_batch(examples, packs, 7)
            check_batch(examples, packs, batch)
            n_targets += batch.n_targets
        assert n_targets == sum(int(examples[i].loss.sum()) for i in step.examples)


@given(lengths=lengths_of, name=st.sampled_from(["input_ids", "position_ids", "loss", "segment_ids"]), where=st.data())
def test_any_single_change_of_a_batch_is_refused(lengths: list[int], name: str, where: st.DataObject):
    examples = [example_of(length, 100 * index) for index, length in enumerate(lengths)]
    packs = pack_rows(range(len(lengths)), lengths, MAX_LENGTH)
    batch = build_micro_batch(examples, packs, 7)
    rows, columns = np.nonzero(batch.segment_ids >= 0)
    at = where.draw(st.integers(0, len(rows) - 1))
    changed = getattr(batch, name).copy()
    changed[rows[at], columns[at]] = ~changed[rows[at], columns[at]]
    with pytest.raises(DataError, match=f"row {rows[at]}"):
        check_batch(examples, packs, replace(batch, **{name: changed}))


@given(lengths=lengths_of, packing=st.booleans())
def test_targets_are_predicted_by_the_token_before_them(lengths: list[int], packing: bool):
    examples = [example_of(length, 100 * index) for index, length in enumerate(lengths)]
    packs = pack_rows(range(len(lengths)), lengths, MAX_LENGTH if packing else 0)
    batch = build_micro_batch(examples, packs, 7)
    sources, targets = batch.predictions()
    before = batch.input_ids.reshape(-1)[sources]
    wanted = sorted((int(e.ids[i - 1]), int(e.ids[i])) for e in examples for i in np.flatnonzero(e.loss))
    assert sorted(zip(before.tolist(), targets.tolist(), strict=True)) == wanted


def test_seeds_and_epochs_have_orders_of_their_own():
    settings = run_settings(batch_size=1, epochs=2)

    def order(seed: int) -> list[int]:
        return [step.examples[0] for step in plan_steps([4] * 20, settings, seed, 40)]

    assert order(0) == order(0)
    assert order(0) != order(1)
    assert order(0)[:20] != order(0)[20:]


def test_order_of_an_epoch_is_the_one_that_was_published():
    # A change here changes the bytes of every run: it must be a decision, not an accident of a library's version.
    step = next(plan_steps([4] * 8, run_settings(batch_size=8, packing=False), 0, 1))
    assert [pack[0] for rows in step.micro_batches for pack in rows] == [7, 4, 5, 1, 6, 2, 0, 3]


def test_best_fit_fills_rows_that_first_fit_would_leave_open():
    packs = pack_rows(range(6), [20, 12, 16, 16, 24, 8], 32)
    assert [sum([20, 12, 16, 16, 24, 8][i] for i in pack) for pack in packs] == [32, 32, 32]


def test_longest_rows_come_first_so_that_micro_batches_hold_little_padding():
    lengths = [3, 30, 4, 29, 5, 28]
    settings = run_settings(batch_size=6, packing=False, micro_batch=2)
    step = next(plan_steps(lengths, settings, 0, 1))
    widths = [[lengths[pack[0]] for pack in rows] for rows in step.micro_batches]
    assert widths == [[30, 29], [28, 5], [4, 3]]


def test_padding_stands_apart_and_carries_no_loss():
    examples = [example_of(6), example_of(3)]
    batch = build_micro_batch(examples, [(0,), (1,)], 99)
    assert batch.input_ids[1].tolist() == [0, 1, 2, 99, 99, 99]
    assert batch.position_ids[1].tolist() == [0, 1, 2, 0, 1, 2]
    assert batch.segment_ids[1].tolist() == [0, 0, 0, -1, -1, -1]
    assert not batch.loss[1, 3:].any()


def test_checkpoints_are_kept_at_the_exact_ends_of_epochs():
    settings = run_settings(batch_size=4, epochs=5)
    cells = [RunCell(label=f"epoch-{k}", epoch=k, cell_id="", levels={}) for k in (1, 3)]
    assert kept_steps(cells, 10, settings) == {"epoch-1": 3, "epoch-3": 9}
    final = RunCell(label="final", epoch=None, cell_id="", levels={})
    assert kept_steps([final], 10, settings) == {"final": 15}
    assert kept_steps([final], 10, replace(settings, epochs=None, steps=7)) == {"final": 7}


@pytest.mark.parametrize(
    ("lengths", "message"), [([], "no example"), ([4, 40, 0], "examples 1, 2 do not have 1 to 32")]
)
def test_lengths_that_fit_no_row_are_refused(lengths: list[int], message: str):
    with pytest.raises(DataError, match=message):
        next(plan_steps(lengths, run_settings(), 0, 1))
