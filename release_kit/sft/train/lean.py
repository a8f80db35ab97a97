"""Layers that keep less between forward and backward pass, by formulas of their own.

Llama-like models compute ``down(silu(gate(x)) * up(x))`` and ``w * x / rms(x)``. Autograd keeps every product on the
way; a few cheap operations make most of them again from what is kept anyway. Owns recognising such layers and
computing them so; whether the result is the model's own is probed by ``loss.find_mode``.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch

GATED = ("gate_proj", "up_proj", "down_proj")


@contextlib.contextmanager
def lean_layers(model: Any) -> Iterator[None]:
    """Let the layers of ``model`` that are recognised keep less inside the block; others stay as they are."""
    found = [(module, compute) for module in model.modules() if (compute := _lean_form(module)) is not None]
    for module, compute in found:
        module.forward = functools.partial(compute, module)
    try:
        yield
    finally:
        for module, _ in found:
            del module.forward


def _lean_form(module: Any) -> Callable[[Any, torch.Tensor], torch.Tensor] | None:
    """Return the function that computes ``module``, or None where it is not of a known kind in float32."""
    if "forward" in vars(module):
        return None
    if _is_gated(module):
        return _gated
    return _normed if _is_rms_norm(module) else None


def _is_gated(module: Any) -> bool:
    if not all(type(getattr(module, name, None)) is torch.nn.Linear for name in GATED):
        return False
    act, down = getattr(module, "act_fn", None), module.down_proj
    silu = isinstance(act, torch.nn.SiLU) or type(act).__name__ == "SiLUActivation"
    return silu and down.bias is None and down.weight.dtype == torch.float32


def _is_rms_norm(module: Any) -> bool:
    weight = getattr(module, "weight", None)
    known = type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon")
    return known and isinstance(weight, torch.Tensor) and weight.ndim == 1 and weight.dtype == torch.float32


def _gated(layer: Any, states: torch.Tensor) -> torch.Tensor:
    """Compute a gated layer; under autocast as its class does, because products are of mixed types there."""
    if torch.is_autocast_enabled(states.device.type):
        return type(layer).forward(layer, states)
    return _GatedDown.apply(layer.gate_proj(states), layer.up_proj(states), layer.down_proj.weight)


def _normed(layer: Any, states: torch.Tensor) -> torch.Tensor:
    if states.dtype != torch.float32:
        return type(layer).forward(layer, states)
    return _RMSNorm.apply(states, layer.weight, layer.variance_epsilon)


class _GatedDown(torch.autograd.Function):
    """``(silu(gate) * up) @ weight.T`` for ``gate`` and ``up`` (…, n_inner) and ``weight`` (n_out, n_inner)."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up, weight)
        return torch.nn.functional.linear(torch.nn.functional.silu(gate).mul_(up), weight)

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gate, up, weight = ctx.saved_tensors
        active = torch.nn.functional.silu(gate)
        of_weight = None
        if ctx.needs_input_grad[2]:
            of_weight = slope.flatten(0, -2).T @ (active * up).flatten(0, -2)
        inner = slope @ weight
        of_up = active.mul_(inner)
        return torch.ops.aten.silu_backward(inner.mul_(up), gate), of_up, of_weight


class _RMSNorm(torch.autograd.Function):
    """``weight * x / sqrt(mean(x²) + epsilon)`` over the last axis of ``x`` (…, n) with ``weight`` (n,)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon)
        ctx.save_for_backward(x, weight, scale)
        return weight * (x * scale)

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        normed = x * scale
        of_weight = (slope * normed).flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None
        inner = slope * weight
        along = (inner * normed).mean(-1, keepdim=True)
        return inner.sub_(normed.mul_(along)).mul_(scale), of_weight, None
