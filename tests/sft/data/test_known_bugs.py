"""Bugs that other trainers shipped, replayed: each wrong behaviour is made here, and our checks refuse it by name.

The comment of a test names where users met the bug. What is right is checked beside what is wrong, so that a check
which refuses everything cannot pass.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from release_kit.sft.data.audit import audit
from release_kit.sft.data.errors import DataError
from release_kit.sft.data.invariants import (
    check_batch,
    check_examples,
    check_layouts,
    check_loss,
    check_run,
    check_steps,
    check_weights,
)
from release_kit.sft.data.packing import MicroBatch, build_micro_batch, plan_steps
from release_kit.sft.data.tokens import TokenExample, tokenize
from release_kit.sft.data.trained_text import check_trained_text

TALK = {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "world"}]}
IGNORED = -100
PAD = 0


@pytest.fixture(scope="module")
def run(tokenizer: Any, settings: Callable, sum_rows: Callable) -> tuple[list[TokenExample], Any]:
    """Return the examples of a sound run of unequal lengths, and its settings."""
    rows = sum_rows(6)
    rows[2]["completion"] = " the answer is 5, and the apples are in the basket"
    rows[4]["prompt"] = "Question: 4?\nAnswer:"
    chosen = settings(batch_size=3, micro_batch=2, max_length=96)
    examples = tokenize(rows, tokenizer, chosen)
    check_run(examples, chosen, 0, PAD)
    return examples, chosen


# ---- masks --------------------------------------------------------------------------------------------------------


def test_trl_3927_truncation_that_takes_all_answers_is_refused(tokenizer: Any, settings: Callable):
    # huggingface/trl#3927: a long system prompt of the template fills max_length, the mask of the assistant is cut
    # off with the end, and the run trains on nothing without a word.
    row = {"messages": [{"role": "system", "content": "Be kind. " * 30}, *TALK["messages"]]}
    cut = settings(template="chat", truncation="completion", max_length=64)
    long = tokenize([row], tokenizer, replace(cut, max_length=512))[0]
    silently = TokenExample(ids=long.ids[:64], loss=long.loss[:64])
    assert not silently.loss.any()
    with pytest.raises(DataError, match="every label is masked"):
        check_examples([silently])
    with pytest.raises(DataError, match="truncation leaves nothing of the completion"):
        audit([TALK, row], tokenizer, cut).refuse()
    assert audit([TALK], tokenizer, cut).ok


def test_trl_6668_a_loss_of_zero_over_masked_labels_is_refused(run: Any):
    # huggingface/trl#6668: every label is masked, the mean over nothing is reported as 0.0, and the run looks fine.
    import torch

    examples, _ = run
    masked = [replace(example, loss=np.zeros_like(example.loss)) for example in examples]
    batch = build_micro_batch(masked, [(0,), (1,)], PAD)
    labels = torch.from_numpy(np.where(batch.loss, batch.input_ids, IGNORED)).reshape(-1)
    total = torch.nn.functional.cross_entropy(
        torch.zeros(len(labels), 400), labels, ignore_index=IGNORED, reduction="sum"
    )
    reported = float(total / max(1, batch.n_targets))
    assert reported == 0.0
    with pytest.raises(DataError, match="no token is trained on"):
        check_loss(reported, batch.n_targets, 1)
    with pytest.raises(DataError, match=r"expected more than 0 — .*are all labels masked"):
        check_loss(reported, 5, 1)
    with pytest.raises(DataError, match="the loss is nan"):
        check_loss(float("nan"), 5, 9)
    with pytest.raises(DataError, match=r"examples 0, 1, 2, 3, 4, .*every label is masked"):
        check_examples(masked)
    check_loss(1.5, 5, 1)
    check_loss(0.0, 5, 900)


@pytest.mark.parametrize(("shift", "word"), [(1, "late"), (-1, "early")])
def test_verl_3287_a_mask_that_is_off_by_one_is_refused(run: Any, shift: int, word: str):
    # volcengine/verl#3287: the mask belongs to the predicting token in one place and to the predicted one in another.
    examples, settings = run

    def build(examples: Sequence[TokenExample], packs: Sequence, pad_id: int) -> MicroBatch:
        batch = build_micro_batch(examples, packs, pad_id)
        return replace(batch, loss=np.roll(batch.loss, shift, axis=1))

    batch = build(examples, [(0,)], PAD)
    with pytest.raises(DataError, match=f"the loss mask stands one token too {word}"):
        check_batch(examples, [(0,)], batch)
    with pytest.raises(DataError, match="step 1, micro-batch 0"):
        check_run(examples, settings, 0, PAD, build=build)


@pytest.mark.parametrize("value", [True, False])
def test_nanochat_582_a_packer_that_loses_the_mask_is_refused(run: Any, value: bool):
    # karpathy/nanochat#582 (and huggingface/trl#3728): the packing was rewritten, and the mask was not carried along.
    examples, settings = run

    def build(examples: Sequence[TokenExample], packs: Sequence, pad_id: int) -> MicroBatch:
        batch = build_micro_batch(examples, packs, pad_id)
        return replace(batch, loss=(batch.segment_ids >= 0) & value)

    with pytest.raises(DataError, match=r"the loss mask was lost: .* targets, expected"):
        check_run(examples, settings, 0, PAD, build=build)


def test_a_packer_that_loses_the_mask_of_the_second_example_of_a_row_is_refused(run: Any):
    examples, _ = run
    batch = build_micro_batch(examples, [(0, 1)], PAD)
    partly = replace(batch, loss=batch.loss & (batch.segment_ids == 0))
    with pytest.raises(DataError, match="targets are dropped and 0 added, from example 1 on"):
        check_batch(examples, [(0, 1)], partly)


def test_trl_4201_the_header_of_an_answer_is_no_target(tokenizer: Any, settings: Callable):
    # huggingface/trl#4201: prompts were rendered without the generation prompt, so that the header of the answer
    # counted as completion.
    chat = settings(template="chat")
    right = tokenize([TALK], tokenizer, chat)[0]
    prompt = tokenizer.apply_chat_template(TALK["messages"][:1], tokenize=False)
    n_prompt = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    wrong = replace(right, loss=np.arange(len(right.ids)) >= n_prompt)
    with pytest.raises(
        DataError, match=r"the loss is not on the answers: .*trains on 'assistantworld', expected 'world'"
    ):
        check_trained_text([TALK], [wrong], tokenizer, chat)
    check_trained_text([TALK], [right], tokenizer, chat)


def test_trl_4201_a_template_without_generation_marks_gives_masks_all_the_same(tokenizer: Any, settings: Callable):
    # The other half of it: such a template gives a mask of zeros, with a warning at most.
    given = tokenizer.apply_chat_template(
        TALK["messages"], return_dict=True, return_assistant_tokens_mask=True, tokenizer_kwargs={"verbose": False}
    )
    right = tokenize([TALK], tokenizer, settings(template="chat"))[0]
    zeros = np.array(given["assistant_masks"], dtype=bool)
    assert not zeros.any() and right.loss.any()
    with pytest.raises(DataError, match="every label is masked"):
        check_examples([TokenExample(ids=np.array(given["input_ids"], dtype=np.int32), loss=zeros)])


def test_trl_3279_the_prompt_is_no_target(tokenizer: Any, settings: Callable, sum_rows: Callable):
    # huggingface/trl#3279: the loss was on the prompt, too, and users did not know.
    rows, chosen = sum_rows(2), settings(max_length=96)
    right = tokenize(rows, tokenizer, chosen)
    everything = [replace(example, loss=np.arange(len(example.ids)) > 0) for example in right]
    with pytest.raises(DataError, match="2 of 2 examples: the loss is not on the answers"):
        check_trained_text(rows, everything, tokenizer, chosen)
    check_trained_text(rows, right, tokenizer, chosen)
    asked_for = tokenize(rows, tokenizer, replace(chosen, loss_on="all"))
    assert all((a.loss == b.loss).all() for a, b in zip(asked_for, everything, strict=True))


# ---- accumulation --------------------------------------------------------------------------------------------------


def token_losses(model: Any, batch: MicroBatch, **changes: Any) -> Any:
    """Return the loss of every target, in float32, as a trainer of transformers computes it from position ids."""
    import torch

    inputs = {"input_ids": batch.input_ids, "position_ids": batch.position_ids}
    with torch.no_grad():
        logits = model(
            **{key: torch.from_numpy(value) for key, value in inputs.items()}, use_cache=False, **changes
        ).logits
    sources, targets = map(torch.from_numpy, batch.predictions())
    return torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1])[sources], targets, reduction="none")


def step_loss(model: Any, batches: Sequence[MicroBatch], **changes: Any) -> float:
    """Return the mean over all targets of a step: the right way to add micro-batches up."""
    losses = [token_losses(model, batch, **changes) for batch in batches]
    return float(sum(loss.sum() for loss in losses) / sum(len(loss) for loss in losses))


def mean_of_means(model: Any, batches: Sequence[MicroBatch]) -> float:
    """Return what trainers reported that divided by the number of micro-batches."""
    return float(np.mean([token_losses(model, batch).mean().item() for batch in batches]))


def test_packed_padded_and_accumulated_steps_have_the_loss_of_the_examples_alone(run: Any, model: Any):
    examples, settings = run
    found = check_layouts(lambda batches: step_loss(model, batches), examples, settings, PAD)
    assert found < 1e-5


def test_our_trainers_loss_does_not_depend_on_the_layout(run: Any, model: Any):
    import torch

    from release_kit.sft.train.loss import completion_loss, find_mode, flatten

    examples, settings = run
    mode = find_mode(model, torch.device("cpu"))

    def loss_of(batches: Sequence[MicroBatch]) -> float:
        flat = [flatten(batch, torch.device("cpu")) for batch in batches]
        scale = 1 / sum(batch.n_trained for batch in flat)
        return sum(completion_loss(model, batch, scale, mode=mode).item() for batch in flat)

    assert check_layouts(loss_of, examples, settings, PAD) < 1e-5


def test_trl_2175_and_transformers_34191_a_mean_of_means_is_refused(run: Any, model: Any):
    # huggingface/trl#2175, huggingface/transformers#34191, #35438, #37766, axolotl#1100: a batch of 1 with 32
    # accumulation steps trained worse than a batch of 32, because each micro-batch counted the same.
    examples, settings = run
    with pytest.raises(DataError, match="padded rows, 1 a micro-batch: differs by"):
        check_layouts(lambda batches: mean_of_means(model, batches), examples, settings, PAD)


def test_weights_of_micro_batches_that_are_no_shares_of_targets_are_refused(run: Any):
    examples, settings = run
    step = next(plan_steps([len(e.ids) for e in examples], replace(settings, batch_size=6, packing=False), 0, 1))
    counts = [build_micro_batch(examples, packs, PAD).n_targets for packs in step.micro_batches]
    assert len(set(counts)) > 1
    check_weights(counts, [n / sum(counts) for n in counts])
    with pytest.raises(DataError, match=r"micro-batches weigh \[0\.3333, 0\.3333, 0\.3333\], expected"):
        check_weights(counts, [1 / 3] * 3)
    with pytest.raises(DataError, match="gradient accumulation"):
        check_weights(counts, [1.0] * 3)


# ---- packing -------------------------------------------------------------------------------------------------------


def test_llama_factory_4224_positions_that_run_on_are_refused(run: Any, model: Any):
    # hiyouga/LlamaFactory#4224: packed examples saw each other, because neither positions nor masks kept them apart.
    examples, settings = run

    def build(examples: Sequence[TokenExample], packs: Sequence, pad_id: int) -> MicroBatch:
        batch = build_micro_batch(examples, packs, pad_id)
        return replace(batch, position_ids=np.tile(np.arange(batch.input_ids.shape[1]), (len(packs), 1)))

    with pytest.raises(DataError, match=r"expected 0: example \d would see another one"):
        check_run(examples, settings, 0, PAD, build=build)

    def contaminated(batches: Sequence[MicroBatch]) -> float:
        running = [
            replace(b, position_ids=np.tile(np.arange(b.input_ids.shape[1]), (len(b.input_ids), 1))) for b in batches
        ]
        return step_loss(model, running)

    with pytest.raises(DataError, match="packed rows, 1 a micro-batch: differs by"):
        check_layouts(contaminated, examples, settings, PAD)


def test_an_attention_mask_of_ones_switches_the_blocks_off_and_is_refused(run: Any, model: Any):
    # Measured with transformers 5 and sdpa: with any attention mask, position ids no longer keep examples apart.
    import torch

    examples, settings = run

    def with_mask(batches: Sequence[MicroBatch]) -> float:
        losses = [
            token_losses(model, b, attention_mask=torch.ones(b.input_ids.shape, dtype=torch.int64)) for b in batches
        ]
        return float(sum(loss.sum() for loss in losses) / sum(len(loss) for loss in losses))

    with pytest.raises(DataError, match="packed rows, 1 a micro-batch: differs by"):
        check_layouts(with_mask, examples, settings, PAD)


def test_padding_that_is_trained_on_or_continues_an_example_is_refused(run: Any):
    examples, _ = run
    packs = [(0,), (2,)]
    batch = build_micro_batch(examples, packs, PAD)
    width = len(examples[0].ids)
    assert width < batch.input_ids.shape[1]
    trained = replace(batch, loss=batch.loss | (batch.segment_ids == -1))
    with pytest.raises(DataError, match="row 0: padding carries a loss"):
        check_batch(examples, packs, trained)
    positions = batch.position_ids.copy()
    positions[0, width:] += width
    with pytest.raises(DataError, match="row 0: padding is not apart"):
        check_batch(examples, packs, replace(batch, position_ids=positions))


def test_a_packer_that_cuts_or_mixes_up_examples_is_refused(run: Any):
    examples, _ = run
    batch = build_micro_batch(examples, [(0, 1)], PAD)
    with pytest.raises(DataError, match="the tokens are not those of the examples"):
        check_batch(examples, [(1, 0)], batch)
    shorter = MicroBatch(**{name: getattr(batch, name)[:, :-1] for name in MicroBatch.__dataclass_fields__})
    with pytest.raises(DataError, match="expected arrays of the shape"):
        check_batch(examples, [(0, 1)], shorter)


def test_a_plan_that_drops_repeats_or_overfills_is_refused(run: Any):
    examples, settings = run
    lengths = [len(example.ids) for example in examples]
    first, second = plan_steps(lengths, settings, 0, 2)
    check_steps([first, second], lengths, settings)
    (pack, *others), *more = first.micro_batches
    dropped = replace(first, micro_batches=((pack[1:], *others), *more))
    with pytest.raises(DataError, match=f"examples {pack[0]} are missing from an epoch"):
        check_steps([dropped, second], lengths, settings)
    with pytest.raises(DataError, match="more than once"):
        check_steps([first, replace(first, epoch=1.0)], lengths, settings)
    everything = replace(first, epoch=1.0, micro_batches=(((0, 1, 2, 3, 4, 5),),))
    with pytest.raises(DataError) as caught:
        check_steps([everything], lengths, replace(settings, max_length=50))
    assert "has 6 examples, expected 1 to 3" in str(caught.value)
    assert "a row holds more than 50 tokens" in str(caught.value)


def test_examples_that_no_model_could_take_are_refused(run: Any):
    examples, _ = run
    ids, loss = examples[0].ids, examples[0].loss
    for wrong, words in (
        (TokenExample(ids=ids, loss=loss[:-1]), "not of one length"),
        (TokenExample(ids=ids, loss=np.ones_like(loss)), "nothing precedes it"),
        (TokenExample(ids=ids + 400, loss=loss), "outside the model's vocabulary of 400"),
    ):
        with pytest.raises(DataError, match=f"examples 1: .*{words}"):
            check_examples([examples[1], wrong], vocab_size=400)
    with pytest.raises(DataError, match="no example to train on"):
        check_examples([])
