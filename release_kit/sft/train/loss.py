"""The loss of completion tokens: one row of packed examples in, a scalar and its gradient out.

The vocabulary is scored at trained positions only and a slice of them at a time, so that the logits of a step are
never all in memory. Owns the three ways in which a model may be asked for its states; optimising is ``loop.py``.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from release_kit.core.errors import ArtifactError
from release_kit.sft.train.attention import Segments, build_segments, segment_attention
from release_kit.sft.train.lean import lean_layers

SEGMENTS, POSITIONS, ALONE = "segments", "positions", "alone"
"""How examples of one row are kept apart: our attention; position ids, as transformers reads them; a pass for each."""

LOGITS_AT_ONCE = 2**23
"""Elements of the largest block of logits: 32 MiB in float32."""
PROBE_TOLERANCE = 2e-5
"""Largest difference between packed and lone logits, relative to the largest logit; rounding alone stays far below."""


@dataclass(frozen=True, kw_only=True)
class FlatBatch:
    """Examples laid one after the other in one row, on the device."""

    input_ids: torch.Tensor
    """(1, n_tokens) int64."""
    position_ids: torch.Tensor
    """(1, n_tokens) int64, from zero in every example."""
    sources: torch.Tensor
    """(n_trained,) int64: positions whose next token is trained on."""
    targets: torch.Tensor
    """(n_trained,) int64: these next tokens."""
    segments: Segments

    @property
    def n_tokens(self) -> int:
        """Tokens of the row; there is no padding."""
        return self.input_ids.shape[1]

    @property
    def n_trained(self) -> int:
        """Tokens that carry loss."""
        return self.targets.shape[0]


def flatten(micro_batch: Any, device: torch.device) -> FlatBatch:
    """Lay the rows of a micro-batch (``data.packing.MicroBatch``) one after the other, without their padding.

    Raises:
        ArtifactError: the first token of an example would be trained on; nothing predicts it.
    """
    real = micro_batch.segment_ids >= 0
    ids, positions, trained = (
        micro_batch.input_ids[real],
        micro_batch.position_ids[real],
        micro_batch.loss[real],
    )
    starts = np.flatnonzero(positions == 0)
    if trained[starts].any():
        what = "the first token of an example carries loss, but no token of its own stands before it"
        raise ArtifactError(what, where="micro-batch", next_step="tokenise the examples again")
    at = np.flatnonzero(trained)
    lengths = np.diff([*starts, len(ids)]).tolist()
    return FlatBatch(
        input_ids=torch.from_numpy(ids.astype(np.int64))[None].to(device),
        position_ids=torch.from_numpy(positions.astype(np.int64))[None].to(device),
        sources=torch.from_numpy(at - 1).to(device),
        targets=torch.from_numpy(ids[at].astype(np.int64)).to(device),
        segments=build_segments(lengths, device),
    )


def completion_loss(model: Any, batch: FlatBatch, scale: float, *, mode: str = SEGMENTS, dtype: str = "float32") -> Any:
    """Return ``scale`` times the sum of the cross-entropy of all trained tokens of ``batch``.

    Args:
        model: a transformers causal model, or a peft model around one.
        batch: at least one trained token.
        scale: one over the trained tokens of the whole optimiser step: then neither micro-batches nor accumulation
            change what the step optimises.
        mode: ``segments``, ``positions`` or ``alone``; see ``find_mode``. With activation checkpointing the backward
            pass must run inside ``within_segments`` too.
        dtype: ``bfloat16`` computes under autocast; the loss itself is always float32.
    """
    causal = causal_model(model)
    with torch.autocast(batch.input_ids.device.type, dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
        if mode == SEGMENTS:
            with _segments(causal):
                states = causal.get_decoder()(
                    input_ids=batch.input_ids,
                    position_ids=batch.position_ids,
                    use_cache=False,
                    segments=batch.segments,
                ).last_hidden_state
            return head_loss(causal.get_output_embeddings(), states[0, batch.sources], batch.targets, scale, dtype)
        logits = _logits(causal, batch, mode)
    return torch.nn.functional.cross_entropy(logits.float(), batch.targets, reduction="sum") * scale


def within_segments(model: Any, mode: str) -> Any:
    """Return the context in which forward and backward passes of ``mode`` run."""
    return _segments(causal_model(model)) if mode == SEGMENTS else contextlib.nullcontext()


@contextlib.contextmanager
def _segments(causal: Any) -> Iterator[None]:
    """Attend within examples, and keep little of layers that are known."""
    with segment_attention(causal), lean_layers(causal):
        yield


def causal_model(model: Any) -> Any:
    """Return the transformers model inside a peft model, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def find_mode(model: Any, device: torch.device) -> str:
    """Return the fastest way in which packed examples give the logits that each of them gives alone.

    Two short examples are scored together and apart. An architecture whose attention or head does something that the
    fast way does not know (a sliding window, capped logits, states that pass from token to token) is found here.
    """
    causal = causal_model(model)
    n = min(32, causal.config.vocab_size)
    lengths = (5, 7)
    ids = torch.arange(sum(lengths), device=device) * 7 % n
    positions = torch.cat([torch.arange(length, device=device) for length in lengths])
    batch = FlatBatch(
        input_ids=ids[None],
        position_ids=positions[None],
        sources=torch.arange(len(ids), device=device),
        targets=ids,
        segments=build_segments(lengths, device),
    )
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            alone = _logits(causal, batch, ALONE)
            for mode in (SEGMENTS, POSITIONS):
                if _same(causal, batch, mode, alone):
                    return mode
    finally:
        model.train(training)
    return ALONE


def _same(causal: Any, batch: FlatBatch, mode: str, alone: torch.Tensor) -> bool:
    try:
        found = _logits(causal, batch, mode)
    except (TypeError, ValueError, RuntimeError):  # the architecture does not know one of the arguments
        return False
    return bool((found - alone).abs().max() <= PROBE_TOLERANCE * alone.abs().max())


def _logits(causal: Any, batch: FlatBatch, mode: str) -> torch.Tensor:
    """Return the (n_trained, n_vocabulary) logits at the sources of ``batch``."""
    if mode == SEGMENTS:
        with _segments(causal):
            states = causal.get_decoder()(
                input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False, segments=batch.segments
            ).last_hidden_state
        return causal.get_output_embeddings()(states[0, batch.sources])
    if mode == POSITIONS:
        return causal(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            use_cache=False,
            logits_to_keep=batch.sources,
        ).logits[0]
    rows = [causal(input_ids=batch.input_ids[:, a:b], use_cache=False).logits[0] for a, b in batch.segments.bounds]
    return torch.cat(rows)[batch.sources]


def head_loss(head: Any, states: torch.Tensor, targets: torch.Tensor, scale: float, dtype: str) -> torch.Tensor:
    """Return ``scale`` times the summed cross-entropy of ``targets`` (n,) under ``head`` of ``states`` (n, hidden)."""
    if type(head) is torch.nn.Linear:
        compute = torch.bfloat16 if dtype == "bfloat16" else torch.float32
        return _LinearCrossEntropy.apply(states, head.weight, head.bias, targets, scale, compute)
    return torch.nn.functional.cross_entropy(head(states).float(), targets, reduction="sum") * scale


class _LinearCrossEntropy(torch.autograd.Function):
    """``scale · Σ (logsumexp(W h + b) - (W h + b)[target])``; one pass over the logits finds its gradient too."""

    @staticmethod
    def forward(ctx: Any, states: Any, weight: Any, bias: Any, targets: Any, scale: float, compute: Any) -> Any:
        needs_states, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        total = torch.zeros((), dtype=torch.float32, device=states.device)
        ctx.states = torch.empty_like(states) if needs_states else None
        ctx.weight = torch.zeros_like(weight) if needs_weight else None
        ctx.bias = torch.zeros_like(bias) if bias is not None and needs_bias else None
        with torch.autocast(states.device.type, enabled=False):
            w = weight.to(compute)
            rows = max(16, LOGITS_AT_ONCE // weight.shape[0])
            for start in range(0, len(targets), rows):
                part = slice(start, start + rows)
                h, wanted = states[part].to(compute), targets[part, None]
                logits = (h @ w.T).float()
                if bias is not None:
                    logits += bias
                norm = logits.logsumexp(1, keepdim=True)
                total += (norm - logits.gather(1, wanted)).sum()
                logits.sub_(norm).exp_()
                logits.scatter_add_(1, wanted, torch.full_like(norm, -1.0)).mul_(scale)
                _keep(ctx, part, h, w, logits.to(compute), logits)
        return total * scale

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        parts = (ctx.states, ctx.weight, ctx.bias)
        ctx.states = ctx.weight = ctx.bias = None
        if gradient.device.type != "cpu" or gradient.item() != 1.0:
            parts = tuple(part if part is None else part.mul_(gradient) for part in parts)
        return (*parts, None, None, None)


def _keep(ctx: Any, part: slice, h: torch.Tensor, w: torch.Tensor, slope: torch.Tensor, slope32: torch.Tensor) -> None:
    """Add what one block of logits gives to the gradients of states, weight and bias."""
    if ctx.states is not None:
        ctx.states[part] = slope @ w
    if ctx.weight is not None:
        if slope.dtype == ctx.weight.dtype:
            ctx.weight.addmm_(slope.T, h)
        else:
            ctx.weight += slope.T @ h
    if ctx.bias is not None:
        ctx.bias += slope32.sum(0)


def count_trained(batches: Sequence[FlatBatch]) -> int:
    """Return the tokens of all micro-batches of a step that carry loss."""
    return sum(batch.n_trained for batch in batches)
