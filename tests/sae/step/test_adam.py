"""The update is that of torch.optim.Adam, and clipping that of torch.nn.utils."""

import pytest
import torch

from release_kit.sae.step.adam import adam_update, clip, gradient_norm, row_norms
from release_kit.sae.step.settings import StepSettings

SHAPES = {"w_enc": (70, 33), "b_enc": (70,), "w_dec": (70, 33), "b_dec": (33,)}


def tensors(seed: int) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=rng) for name, shape in SHAPES.items()}


@pytest.mark.parametrize("limit", [None, 5.0, 1e6])
def test_twenty_updates_have_the_bytes_of_torch(limit: float | None):
    settings = StepSettings(lr=3e-3, warmup_steps=8, eps=6.25e-10)
    mine, moments = tensors(0), {name: (torch.zeros(s), torch.zeros(s)) for name, s in SHAPES.items()}
    theirs = {name: value.clone().requires_grad_() for name, value in mine.items()}
    fused = torch.optim.Adam(theirs.values(), lr=settings.lr, eps=settings.eps, fused=True)
    for step in range(20):
        given = tensors(step + 1)
        for name, each in theirs.items():
            each.grad = given[name].clone()
        norm = gradient_norm({name: row_norms(each) for name, each in given.items()})
        if limit is not None:
            assert norm == pytest.approx(float(torch.nn.utils.clip_grad_norm_(theirs.values(), limit)), rel=1e-6)
        clip(given, norm, limit)
        for name, each in theirs.items():
            torch.testing.assert_close(given[name], each.grad, rtol=1e-6, atol=0)
            each.grad.copy_(given[name])
        fused.param_groups[0]["lr"] = settings.learning_rate(step)
        fused.step()
        adam_update(mine, given, moments, step, settings)
        assert all(torch.equal(mine[name], each) for name, each in theirs.items())
    for name, each in theirs.items():
        assert torch.equal(moments[name][0], fused.state[each]["exp_avg"])
        assert torch.equal(moments[name][1], fused.state[each]["exp_avg_sq"])


def test_updates_are_those_of_the_plain_formula():
    settings = StepSettings(lr=1e-2, warmup_steps=1, eps=1e-8)
    mine, moments = tensors(0), {name: (torch.zeros(s), torch.zeros(s)) for name, s in SHAPES.items()}
    value, first, second = mine["w_enc"].double(), 0.0, 0.0
    for step in range(10):
        given = tensors(step + 1)
        slope = given["w_enc"].double()
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        value = value - 1e-2 * (first / (1 - 0.9 ** (step + 1))) / ((second / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
        adam_update(mine, given, moments, step, settings)
    torch.testing.assert_close(mine["w_enc"].double(), value, rtol=1e-5, atol=1e-6)


def test_learning_rate_rises_and_stays():
    settings = StepSettings(lr=1e-3, warmup_steps=4)
    found = [settings.learning_rate(step) for step in range(6)]
    assert found == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3, 1e-3])
    assert StepSettings(lr=1e-3, warmup_steps=0).learning_rate(0) == 1e-3
