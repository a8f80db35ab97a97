"""The residual stream of a causal language model: read at every layer in one forward pass, replaced at one.

Layer L (1 … n_layers) is what block L gives, before the final norm; layer 0 is what enters the first block.
``hidden_states`` of transformers agrees for every layer but the last, which it gives after the norm.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from release_kit.sae.errors import ActivationError
from release_kit.sae.models.load import LanguageModel

if TYPE_CHECKING:
    import torch

HOOK_VERSION = 1
"""Part of the key of stored activations: raised when what a layer means here changes."""

Replacement = Callable[["torch.Tensor"], "torch.Tensor"]
"""From the residual (b, t, d) to the one that the rest of the model sees; same shape, type and device."""


class _Enough(Exception):
    """All layers that were asked for have been seen: the rest of the forward pass is not needed."""


def blocks_of(model: Any) -> Any:
    """Return the list of blocks of a model: the ``ModuleList`` of ``num_hidden_layers`` that lies nearest the top.

    Raises:
        ActivationError: the model has none, or several as near.
    """
    from torch.nn import ModuleList

    n_layers = model.config.get_text_config().num_hidden_layers
    found = [
        (name.count("."), name, module)
        for name, module in model.named_modules()
        if isinstance(module, ModuleList) and len(module) == n_layers
    ]
    nearest = [entry for entry in found if entry[0] == min(depth for depth, *_ in found)]
    if len(nearest) != 1:
        named = ", ".join(name for _, name, _ in nearest) or "none"
        what = f"expected one list of its {n_layers} blocks, found {named}"
        raise ActivationError(
            what, where=type(model).__name__, next_step="this kind of model cannot be looked into yet"
        )
    return nearest[0][2]


def residuals(
    lm: LanguageModel, input_ids: "torch.Tensor", mask: "torch.Tensor | None", layers: Sequence[int]
) -> dict[int, "torch.Tensor"]:
    """Return the residual stream of several layers from one forward pass, which ends at the last of them.

    Args:
        lm: the model.
        input_ids: (b, t) int64.
        mask: (b, t) 1 where there is a token, 0 where there is padding; None without padding.
        layers: which ones, 0 to ``lm.n_layers``.

    Returns:
        layer → (b, t, d_model) in the model's type, on its device. Places of padding hold anything.

    Raises:
        ActivationError: there is no such layer.
    """
    import torch

    check_layers(lm, layers)
    seen: dict[int, torch.Tensor] = {}
    last = max(layers, default=-1)

    def keep(layer: int, h: "torch.Tensor") -> None:
        if layer in layers:
            seen[layer] = h
        if layer == last:
            raise _Enough

    with contextlib.ExitStack() as stack, torch.no_grad():
        for layer in sorted(set(layers)):
            stack.enter_context(_watched(lm, layer, keep))
        with contextlib.suppress(_Enough):
            mask = None if mask is None else mask.to(lm.device)
            lm.model.base_model(input_ids=input_ids.to(lm.device), attention_mask=mask, use_cache=False)
    return seen


@contextlib.contextmanager
def replaced(lm: LanguageModel, layer: int, fn: Replacement) -> Iterator[None]:
    """Replace the residual of ``layer`` by ``fn`` of it in every forward pass of the block.

    Several can be nested; ``replaced(lm, layer, lambda h: h)`` changes nothing to the bit.

    Raises:
        ActivationError: there is no such layer, or ``fn`` gives another shape or type.
    """
    check_layers(lm, [layer])
    with _rewritten(lm, layer, fn):
        yield


def check_layers(lm: LanguageModel, layers: Sequence[int]) -> None:
    """Refuse layers that the model does not have.

    Raises:
        ActivationError: with the layers that there are.
    """
    unknown = sorted({layer for layer in layers if not 0 <= layer <= lm.n_layers})
    if unknown:
        what = f"there is no layer {unknown[0]}: its layers are 0 to {lm.n_layers}"
        raise ActivationError(what, where=lm.label(), next_step="name layers in this range")


def _watched(lm: LanguageModel, layer: int, keep: Callable[[int, "torch.Tensor"], None]) -> Any:
    """Call ``keep`` with the residual of ``layer`` during forward passes, until the handle that is returned is closed.

    Hooks run in the order in which they were added, so a replacement that is already there has been made.
    """
    blocks = blocks_of(lm.model)
    if layer == 0:
        return _closing(
            blocks[0].register_forward_pre_hook(
                lambda _, args, kwargs: keep(0, _entering(args, kwargs)), with_kwargs=True
            )
        )
    return _closing(blocks[layer - 1].register_forward_hook(lambda _, __, output: keep(layer, _residual(output))))


def _rewritten(lm: LanguageModel, layer: int, fn: Replacement) -> Any:
    blocks = blocks_of(lm.model)
    if layer == 0:

        def before(_: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            new = _checked(_entering(args, kwargs), fn, lm, 0)
            return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})

        return _closing(blocks[0].register_forward_pre_hook(before, with_kwargs=True))

    def after(_: Any, __: tuple, output: Any) -> Any:
        new = _checked(_residual(output), fn, lm, layer)
        return (new, *output[1:]) if isinstance(output, tuple) else new

    return _closing(blocks[layer - 1].register_forward_hook(after))


def _checked(h: "torch.Tensor", fn: Replacement, lm: LanguageModel, layer: int) -> "torch.Tensor":
    new = fn(h)
    if new.shape != h.shape or new.dtype != h.dtype:
        what = (
            f"the replacement has shape {tuple(new.shape)} and type {new.dtype}; expected {tuple(h.shape)}, {h.dtype}"
        )
        raise ActivationError(what, where=f"{lm.label()}, layer {layer}")
    return new


def _entering(args: tuple, kwargs: dict) -> "torch.Tensor":
    return args[0] if args else kwargs["hidden_states"]


def _residual(output: Any) -> "torch.Tensor":
    return output[0] if isinstance(output, tuple) else output


@contextlib.contextmanager
def _closing(handle: Any) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()
