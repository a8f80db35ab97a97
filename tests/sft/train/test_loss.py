"""Loss and gradients are those of plain transformers, however examples share rows and micro-batches."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import make_examples, make_settings, write_base

from release_kit.core.errors import ArtifactError
from release_kit.sft.data.packing import MicroBatch, StepPlan, build_micro_batch
from release_kit.sft.data.tokens import TokenExample
from release_kit.sft.train import loss as loss_module
from release_kit.sft.train.loop import Loop, Setup
from release_kit.sft.train.loss import ALONE, POSITIONS, SEGMENTS, completion_loss, find_mode, flatten
from release_kit.sft.train.warm import WarmBase

CPU = torch.device("cpu")


def _gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    found = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def _reference(model: torch.nn.Module, examples: Sequence[TokenExample]) -> tuple[float, dict[str, torch.Tensor]]:
    """Return loss and gradients as transformers itself finds them, one example at a time, with labels and a mask."""
    n_trained = sum(int(example.loss.sum()) for example in examples)
    total = 0.0
    for example in examples:
        ids = torch.from_numpy(example.ids.astype(np.int64))[None]
        labels = torch.where(torch.from_numpy(example.loss)[None], ids, -100)
        output = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels, use_cache=False)
        part = output.loss * int(example.loss.sum()) / n_trained
        part.backward()
        total += part.item()
    return total, _gradients(model)


def _ours(model: torch.nn.Module, examples: Sequence[TokenExample], rows: Sequence, mode: str = SEGMENTS):
    batch = flatten(build_micro_batch(examples, rows, 0), CPU)
    loss = completion_loss(model, batch, 1.0 / batch.n_trained, mode=mode)
    loss.backward()
    return loss.item(), _gradients(model)


def _assert_close(found: dict, wanted: dict, tolerance: float) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("mode", [SEGMENTS, POSITIONS, ALONE])
def test_gradients_of_packed_rows_are_those_of_transformers_example_by_example(warm: WarmBase, method: str, mode: str):
    model = warm.fresh(method, make_settings(), 0)
    examples = make_examples(7)
    if method == "lora":  # B starts at zero: A would have no gradient to compare
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
    wanted_loss, wanted = _reference(model, examples)
    loss, found = _ours(model, examples, [(0, 1, 2), (3,), (4, 5, 6)], mode)
    assert loss == pytest.approx(wanted_loss, abs=1e-5)
    assert all(value.abs().max() > 1e-6 for value in wanted.values())
    _assert_close(found, wanted, 1e-5)


def test_loss_does_not_depend_on_how_much_of_the_vocabulary_is_scored_at_once(warm: WarmBase, monkeypatch):
    model = warm.fresh("full", make_settings(), 0)
    examples = make_examples(9)
    rows = [tuple(range(9))]
    loss, gradients = _ours(model, examples, rows)
    monkeypatch.setattr(loss_module, "LOGITS_AT_ONCE", 1)
    again, others = _ours(model, examples, rows)
    assert again == pytest.approx(loss, abs=1e-6)
    _assert_close(others, gradients, 1e-6)


def test_head_with_bias_has_the_gradients_of_plain_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    head = torch.nn.Linear(8, 40)
    states = torch.randn(25, 8, generator=generator, requires_grad=True)
    targets = torch.randint(0, 40, (25,), generator=generator)
    torch.nn.functional.cross_entropy(head(states), targets).backward()
    wanted = [states.grad.clone(), head.weight.grad.clone(), head.bias.grad.clone()]
    states.grad = None
    head.zero_grad()
    loss_module.head_loss(head, states, targets, 1 / 25, "float32").backward()
    for found, value in zip([states.grad, head.weight.grad, head.bias.grad], wanted, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-6)


def test_gradient_of_a_scaled_loss_is_scaled(warm: WarmBase):
    model = warm.fresh("full", make_settings(), 0)
    batch = flatten(build_micro_batch(make_examples(3), [(0, 1, 2)], 0), CPU)
    completion_loss(model, batch, 0.1).backward()
    once = _gradients(model)
    (completion_loss(model, batch, 0.1) * 3).backward()
    _assert_close(_gradients(model), {name: value * 3 for name, value in once.items()}, 1e-5)


def _step(warm: WarmBase, method: str, micro_batches: Sequence, **changes) -> tuple[float, dict[str, torch.Tensor]]:
    """Return loss and gradients of one step before its update: the rate is zero and nothing clips."""
    settings = make_settings(max_gradient_norm=0.0, **changes)
    setup = Setup(
        examples=make_examples(4), settings=settings, seed=0, n_steps=1, mode=SEGMENTS, compute="float32", pad_id=0
    )
    loop = Loop(warm.fresh(method, settings, 0), setup)
    found: dict[str, torch.Tensor] = {}
    loop.optimizer.step = lambda: found.update({name: value.grad.clone() for name, value in loop.trained.items()})
    row = loop.step(StepPlan(step=1, epoch=1.0, micro_batches=tuple(micro_batches)))
    return row.loss, found


@pytest.mark.parametrize("method", ["full", "lora"])
def test_accumulation_changes_neither_loss_nor_gradients(warm: WarmBase, method: str):
    together = _step(warm, method, [((0,), (1,), (2,), (3,))])
    for micro_batches in ([((0,), (1,)), ((2,), (3,))], [((0,),), ((1,),), ((2,),), ((3,),)], [((0, 1, 2, 3),)]):
        loss, gradients = _step(warm, method, micro_batches)
        assert loss == pytest.approx(together[0], abs=1e-6)
        _assert_close(gradients, together[1], 1e-6)


def test_mean_of_means_would_be_another_loss(warm: WarmBase):
    """The known fault of other trainers: the mean over micro-batches weighs short completions too much."""
    model = warm.fresh("full", make_settings(), 0)
    examples = [*make_examples(1, shortest=5, longest=5), *make_examples(1, seed=1, shortest=30, longest=30)]
    together, _ = _ours(model, examples, [(0, 1)])
    parts = [_ours(model, [example], [(0,)])[0] for example in examples]
    assert abs(np.mean(parts) - together) > 1e-3
    weights = [int(example.loss.sum()) for example in examples]
    assert np.average(parts, weights=weights) == pytest.approx(together, abs=1e-5)


def test_checkpointing_changes_nothing_in_the_gradients(warm: WarmBase):
    plain = _step(warm, "full", [((0, 1), (2, 3))])
    recomputed = _step(warm, "full", [((0, 1), (2, 3))], gradient_checkpointing=True)
    assert recomputed[0] == plain[0]
    _assert_close(recomputed[1], plain[1], 0.0)


def test_padded_attention_of_accelerators_equals_the_one_of_processors(warm: WarmBase, monkeypatch):
    model = warm.fresh("full", make_settings(), 0)
    examples = make_examples(6)
    wanted = _ours(model, examples, [(0, 1, 2), (3, 4, 5)])
    build = loss_module.build_segments
    monkeypatch.setattr(loss_module, "build_segments", lambda lengths, device: _padded(build, lengths))
    found = _ours(model, examples, [(0, 1, 2), (3, 4, 5)])
    assert found[0] == pytest.approx(wanted[0], abs=1e-6)
    _assert_close(found[1], wanted[1], 1e-5)


def _padded(build, lengths):
    """Build the layout that an accelerator gets, with its index tensors on the processor."""
    made = build(lengths, torch.device("meta"))
    longest, bounds = made.longest, made.bounds
    gather = [min(a + offset, b - 1) for a, b in bounds for offset in range(longest)]
    scatter = [row * longest + offset for row, (a, b) in enumerate(bounds) for offset in range(b - a)]
    assert made.gather.shape == (len(gather),) and made.scatter.shape == (len(scatter),)
    return type(made)(bounds=bounds, gather=torch.tensor(gather), scatter=torch.tensor(scatter))


def test_target_at_the_first_token_of_an_example_is_refused():
    loss = np.array([[True, True]])
    batch = MicroBatch(
        input_ids=np.array([[4, 5]]), position_ids=np.array([[0, 1]]), loss=loss, segment_ids=np.array([[0, 0]])
    )
    with pytest.raises(ArtifactError, match="first token of an example carries loss"):
        flatten(batch, CPU)


def test_sliding_window_is_not_trained_with_attention_that_ignores_it(tmp_path: Path):
    """A window of 4 tokens: our attention would look further back, so the architecture's own must be used."""
    import json

    write_base(tmp_path / "base", model_type="mistral")
    path = tmp_path / "base" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sliding_window": 4}))
    windowed = WarmBase(tmp_path / "base")
    assert windowed.mode != SEGMENTS
    model = windowed.fresh("full", make_settings(), 0)
    examples = make_examples(4)
    wanted_loss, wanted = _reference(model, examples)
    loss, found = _ours(model, examples, [(0, 1), (2, 3)], windowed.mode)
    assert loss == pytest.approx(wanted_loss, abs=1e-5)
    _assert_close(found, wanted, 1e-5)


def test_attention_of_a_model_is_its_own_again_after_training(warm: WarmBase):
    before = warm.restore().config._attn_implementation
    _step(warm, "full", [((0, 1),)])
    assert warm.restore().config._attn_implementation == before
    assert find_mode(warm.model, CPU) == SEGMENTS
