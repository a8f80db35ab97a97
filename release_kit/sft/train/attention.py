"""Attention over packed examples: each sees only itself, and no mask of (tokens x tokens) is ever made.

Owns the layout of examples in a flat row and the attention that transformers' models call while they train here.
Outside of ``segment_attention`` a model keeps the attention it was loaded with.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface

NAME = "release_kit_segments"
"""How the configuration of a model names this attention; the name never reaches a saved file."""


@dataclass(frozen=True, kw_only=True)
class Segments:
    """Where each example lies in a row of tokens."""

    bounds: tuple[tuple[int, int], ...]
    """(first, one past the last) of every example, in order and without gaps."""
    gather: torch.Tensor | None = None
    """(n_examples x longest,) int64 places to read a padded batch from; None where examples are attended one by one."""
    scatter: torch.Tensor | None = None
    """(n_tokens,) int64 places in that batch to read the row back from."""

    @property
    def longest(self) -> int:
        """Tokens of the longest example."""
        return max(end - start for start, end in self.bounds)


def build_segments(lengths: Sequence[int], device: torch.device) -> Segments:
    """Return the layout of examples laid one after the other.

    On a processor the examples are attended one by one (no copy, no padding); an accelerator gets one padded batch,
    because there the number of calls is what costs. Padding stands after the last token, where causal attention
    never looks.
    """
    bounds, start = [], 0
    for length in lengths:
        bounds.append((start, start + length))
        start += length
    if device.type == "cpu":
        return Segments(bounds=tuple(bounds))
    longest = max(lengths)
    gather = [min(start + offset, end - 1) for start, end in bounds for offset in range(longest)]
    scatter = [index * longest + offset for index, length in enumerate(lengths) for offset in range(length)]
    return Segments(
        bounds=tuple(bounds),
        gather=torch.tensor(gather, device=device),
        scatter=torch.tensor(scatter, device=device),
    )


@contextlib.contextmanager
def segment_attention(model: Any) -> Iterator[None]:
    """Let ``model`` attend within examples inside the block; its calls must then pass ``segments=``."""
    before = model.config._attn_implementation
    model.config._attn_implementation = NAME
    try:
        yield
    finally:
        model.config._attn_implementation = before


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    segments: Segments,
    dropout: float = 0.0,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Return causal attention within every example of one flat row, in the signature that transformers calls.

    Args:
        module: the attention layer.
        query: (1, n_heads, n_tokens, head_dim); ``key`` and ``value`` may have fewer heads.
        attention_mask: must be None; examples are told apart by ``segments``.
        segments: the layout of the row.
        dropout: probability while training.
        scaling: factor of the scores; None takes 1 / sqrt(head_dim).

    Returns:
        (1, n_tokens, n_heads, head_dim), and no weights.
    """
    if attention_mask is not None:
        raise ValueError("attention within segments takes no mask")
    options = {"dropout_p": dropout, "scale": scaling, "enable_gqa": query.shape[1] != key.shape[1]}
    if segments.gather is None:
        return _one_by_one(query, key, value, segments, options), None
    return _padded(query, key, value, segments, options), None


def _one_by_one(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, segments: Segments, options: dict) -> Any:
    function = torch.nn.functional.scaled_dot_product_attention
    parts = [
        function(query[:, :, a:b], key[:, :, a:b], value[:, :, a:b], is_causal=True, **options)
        for a, b in segments.bounds
    ]
    return torch.cat(parts, dim=2).transpose(1, 2)


def _padded(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, segments: Segments, options: dict) -> Any:
    n, longest = len(segments.bounds), segments.longest

    def batch(states: torch.Tensor) -> torch.Tensor:
        _, n_heads, _, width = states.shape
        return states[0].index_select(1, segments.gather).view(n_heads, n, longest, width).transpose(0, 1)

    function = torch.nn.functional.scaled_dot_product_attention
    out = function(batch(query), batch(key), batch(value), is_causal=True, **options)
    flat = out.transpose(1, 2).reshape(n * longest, out.shape[1], out.shape[3])
    return flat.index_select(0, segments.scatter)[None]


AttentionInterface.register(NAME, attend)
