"""Texts as token ids with known owners: what is the bin's own, what is context, what the tokenizer adds.

Owns how context and own text are joined and cut to the length a model can read. Tokenizers are used as objects that
transformers made; nothing is imported here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from release_kit.encoding.errors import FeatureError
from release_kit.encoding.features.items import Item
from release_kit.encoding.features.spec import FeatureSpec

_NO_LIMIT = 1_000_000
"""Tokenizers without a limit say a number of thirty digits."""


@dataclass(frozen=True, kw_only=True)
class TokenIds:
    """One input: ``ids[own_start:own_end]`` are pooled; what was cut is marked."""

    ids: tuple[int, ...]
    own_start: int
    own_end: int
    own_cut: bool = False
    context_cut: bool = False


class Tokens:
    """A tokenizer with its limit and the tokens it puts around a text.

    Args:
        tokenizer: of transformers.
        model: for its positions.
        spec: special tokens, limit.

    Raises:
        FeatureError: ``max_tokens`` is more than the model reads, or too few for any text.
    """

    def __init__(self, tokenizer: Any, model: Any, spec: FeatureSpec):
        self._tokenizer, self._with_special = tokenizer, spec.special_tokens
        where = f"features.{spec.name}"
        self._before, self._after = _around(tokenizer)
        wanted = spec.start_token and not spec.special_tokens and tokenizer.bos_token_id is not None
        if wanted and not self._before:
            self._before = (tokenizer.bos_token_id,)
        readable = readable_tokens(tokenizer, model)
        if spec.max_tokens is not None and readable is not None and spec.max_tokens > readable:
            raise FeatureError(f"max_tokens is {spec.max_tokens}, the model reads {readable}", where=where)
        self._limit = spec.max_tokens or readable or _NO_LIMIT
        if self._limit <= len(self._before) + len(self._after):
            raise FeatureError(f"no text fits into {self._limit} tokens", where=where)

    @property
    def pad_id(self) -> int:
        """What fills short inputs. Any id does: filled places are masked, and nothing is ever pooled there."""
        known = self._tokenizer.pad_token_id
        return 0 if known is None else int(known)

    def encode(self, items: Sequence[Item]) -> list[TokenIds | None]:
        """Return the ids of each item, None where its own text gives no token."""
        return [self._input(*pair) for pair in self._pairs(items)]

    def _pairs(self, items: Sequence[Item]) -> list[tuple[list[int], list[int]]]:
        """Return the ids of context and of own text; joined texts are cut into tokens as one text where that is known.

        A token that reaches into the own text is own: it is what the model sees of it.
        """
        if not items:
            return []
        if not self._tokenizer.is_fast:
            return [(self._ids(item.context), self._ids(item.text)) for item in items]
        joined = [f"{item.context} {item.text}" if item.context else item.text for item in items]
        starts = [len(item.context) + 1 if item.context else 0 for item in items]
        found = self._tokenizer(joined, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        pairs = []
        for ids, offsets, start in zip(found["input_ids"], found["offset_mapping"], starts, strict=True):
            first = next((k for k, (_, end) in enumerate(offsets) if end > start), len(ids)) if start else 0
            pairs.append((ids[:first], ids[first:]))
        return pairs

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] if text else []

    def _input(self, context: list[int], own: list[int]) -> TokenIds | None:
        if not own:
            return None
        room = self._limit - len(self._before) - len(self._after)
        kept = own[:room]
        left = room - len(kept)
        before = context[len(context) - left :] if left < len(context) else context
        ids = (*self._before, *before, *kept, *self._after)
        start = len(self._before) + len(before)
        result = TokenIds(
            ids=ids,
            own_start=start,
            own_end=start + len(kept),
            own_cut=len(kept) < len(own),
            context_cut=len(before) < len(context),
        )
        if not self._with_special:
            return result
        return replace(result, own_start=0 if not before else start, own_end=len(ids))


def readable_tokens(tokenizer: Any, model: Any) -> int | None:
    """Return how many tokens a model reads, None where neither tokenizer nor configuration set a limit."""
    config = getattr(model.config, "text_config", model.config)
    limits = [tokenizer.model_max_length] if tokenizer.model_max_length < _NO_LIMIT else []
    positions = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if isinstance(positions, int) and positions > 0:
        limits.append(positions - _unused_positions(model))
    return min(limits) if limits else None


def _unused_positions(model: Any) -> int:
    """Return how many positions no token has: RoBERTa, CamemBERT, MPNet and their kin count from the padding on."""
    tables = (part for name, part in model.named_modules() if name.endswith("position_embeddings"))
    padding = [table.padding_idx for table in tables if getattr(table, "padding_idx", None) is not None]
    return max(padding, default=-1) + 1


def _around(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the special tokens that stand before and after every text."""
    probe = tokenizer("a", add_special_tokens=True)["input_ids"]
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    for start in range(len(probe) - len(plain) + 1):
        if probe[start : start + len(plain)] == plain:
            return tuple(probe[:start]), tuple(probe[start + len(plain) :])
    return (), ()
