"""The judge of a step: the same loss written densely, with derivatives by autograd in float64."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from release_kit.sae.config import SaeConfig
from release_kit.sae.step.settings import StepSettings
from release_kit.sae.step.state import TrainState

D, N, K, B = 48, 640, 8, 300


class _Above(torch.autograd.Function):
    """1 above the threshold; its derivative by the threshold is a rectangle of a width and a height."""

    @staticmethod
    def forward(ctx, pre, threshold, width):
        ctx.save_for_backward(pre, threshold)
        ctx.width = width
        return (pre > threshold).to(pre.dtype)

    @staticmethod
    def backward(ctx, gradient):
        pre, threshold = ctx.saved_tensors
        near = ((pre - threshold).abs() < ctx.width / 2).to(pre.dtype)
        return None, (-gradient * near / ctx.width).sum(0), None


class _Jump(torch.autograd.Function):
    """The pre-activation above the threshold, else 0, with the straight-through derivative by the threshold."""

    @staticmethod
    def forward(ctx, pre, threshold, width):
        ctx.save_for_backward(pre, threshold)
        ctx.width = width
        return pre * (pre > threshold)

    @staticmethod
    def backward(ctx, gradient):
        pre, threshold = ctx.saved_tensors
        near = ((pre - threshold).abs() < ctx.width / 2).to(pre.dtype)
        above = (pre > threshold).to(pre.dtype)
        return gradient * above, (-gradient * threshold * near / ctx.width).sum(0), None


def _dense_features(config: SaeConfig, pre: torch.Tensor) -> torch.Tensor:
    positive = pre.relu()
    flat = positive if config.selects == "topk" else positive.reshape(1, -1)
    chosen = flat.topk(config.k if config.selects == "topk" else config.k * len(pre), dim=1)
    return torch.zeros_like(flat).scatter(1, chosen.indices, chosen.values).view_as(pre)


def dense_step(state: TrainState, x: torch.Tensor, settings: StepSettings, dtype: torch.dtype) -> SimpleNamespace:
    """Return loss, features and gradients of a step, from arrays of all tokens by all features."""
    config = state.sae.config
    leaves = {name: value.to(dtype).requires_grad_() for name, value in state.parameters().items()}
    w_enc, b_enc, w_dec, b_dec = (leaves[name] for name in ("w_enc", "b_enc", "w_dec", "b_dec"))
    # Inputs are those of the step: how they are normalised is tested on its own.
    x = state.sae.normalised(x)[0].to(dtype)
    given = x - b_dec if config.subtract_decoder_bias else x
    pre = given @ w_enc.T + b_enc
    extra = 0.0
    if config.selects == "threshold":
        threshold = leaves["log_threshold"].exp()
        z = _Jump.apply(pre, threshold, config.bandwidth)
        extra = config.l0_coefficient * _Above.apply(pre, threshold, config.bandwidth).sum(1).mean()
    else:
        z = _dense_features(config, pre)
    variance = (x - x.mean(0)).square().sum()
    factor = 1 / variance if settings.loss == "fvu" else 1 / len(x)
    groups = config.groups or (config.n_features,)
    outs = [z[:, :g] @ w_dec[:g] + b_dec for g in groups]
    reconstruction = sum(factor * (out - x).square().sum() for out in outs) / len(groups)
    dead = state.dead().nonzero().view(-1)
    if config.aux_k and len(dead):
        k = min(config.aux_k, len(dead))
        chosen = pre[:, dead].relu().topk(k, dim=1)
        z_dead = torch.zeros(len(x), len(dead), dtype=dtype).scatter(1, chosen.indices, chosen.values)
        left = (x - outs[-1]).detach()
        weight = config.aux_coefficient * k / config.aux_k
        extra = extra + weight * factor * (z_dead @ w_dec[dead] - left).square().sum()
    loss = reconstruction + extra
    loss.backward()
    gradients = {name: leaf.grad for name, leaf in leaves.items()}
    fvu = float((outs[-1].detach() - x).square().sum() / variance)
    return SimpleNamespace(loss=float(loss.detach()), fvu=fvu, z=z.detach(), pre=pre.detach(), gradients=gradients)


@pytest.fixture
def dense() -> Callable[..., SimpleNamespace]:
    """Return the judge, ``dense_step``."""
    return dense_step


@pytest.fixture
def make_batch() -> Callable[..., torch.Tensor]:
    """Return a function that makes (n, d) activations of sparse parts, other ones for every seed."""
    parts = torch.randn(200, D, generator=torch.Generator().manual_seed(1))

    def make(seed: int = 2, n: int = B) -> torch.Tensor:
        rng = torch.Generator().manual_seed(seed)
        amounts = torch.rand(n, len(parts), generator=rng)
        noise = 0.1 * torch.randn(n, D, generator=rng)
        return torch.where(amounts > 0.97, amounts, 0.0) @ parts + noise + 0.5

    return make


@pytest.fixture
def make_state(make_batch: Callable[..., torch.Tensor]) -> Callable[..., TrainState]:
    """Return a function that makes a state in the middle of training: no tensor is at its first value."""

    def make(**fields) -> TrainState:
        values = {"architecture": "topk", "d_in": D, "n_features": N, **fields}
        if values["architecture"] != "jumprelu":
            values.setdefault("k", K)
        state = TrainState.start(SaeConfig(**values), 5, make_batch())
        rng = torch.Generator().manual_seed(6)
        for name, value in state.parameters().items():
            size = 0.05 if name == "log_threshold" else 0.1 * float(value.abs().mean()) + 0.01
            value += size * torch.randn(value.shape, generator=rng)
        if state.log_threshold is not None:
            state.sae.threshold.copy_(state.log_threshold.exp())
        return state

    return make
