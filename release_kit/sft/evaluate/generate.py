"""Greedy continuations of prompts with a model in memory, in groups that never depend on a batch size.

Owns the grouping, the decoding loop and when a text stops: the same rules as the harness at batch size 1. What the
prompts are, and what is read out of the texts, is the task's business.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from release_kit.core.errors import ArtifactError
from release_kit.sft.evaluate.plan import MIN_TRUNK, common_prefix

GROUP_SIZE = 16
"""Prompts decoded together."""
LOOK_BACK = 2
"""Tokens beyond the stop sequence's own in which it is looked for, as in the harness."""
_NEUTRAL = {
    "repetition_penalty": (None, 1.0), "no_repeat_ngram_size": (None, 0), "num_beams": (None, 1),
    "encoder_repetition_penalty": (None, 1.0), "bad_words_ids": (None,), "sequence_bias": (None,),
    "suppress_tokens": (None, []), "begin_suppress_tokens": (None, []), "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,), "min_length": (None, 0), "min_new_tokens": (None, 0), "guidance_scale": (None, 1.0),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """A text to continue."""

    ids: tuple[int, ...]
    """(n_tokens,): already cut so that ``max_new_tokens`` more fit in the context."""
    until: tuple[str, ...]
    """Texts that end the answer."""
    max_new_tokens: int


def refusal(module: Any) -> str | None:
    """Return why the model's own generation settings are more than greedy decoding, None when they are not."""
    config = getattr(module, "generation_config", None)
    for name, neutral in _NEUTRAL.items():
        value = getattr(config, name, None)
        if value not in neutral:
            return f"the model's generation settings have {name} = {value}"
    return None


def plan_groups(prompts: Sequence[Prompt], *, group_size: int = GROUP_SIZE) -> list[tuple[int, ...]]:
    """Return indexes of the prompts that are decoded together: neighbours in length, so that little is padding."""
    ordered = sorted(range(len(prompts)), key=lambda index: (len(prompts[index].ids), prompts[index].ids, index))
    return [tuple(ordered[start : start + group_size]) for start in range(0, len(ordered), group_size)]


def generate_groups(
    module: Any,
    tokenizer: Any,
    groups: Sequence[tuple[int, ...]],
    prompts: Sequence[Prompt],
    *,
    skip: Collection[int] = (),
) -> Iterator[tuple[int, dict[int, tuple[int, ...]]]]:
    """Yield ``(index of the group, {prompt: tokens of its answer})`` for every group that is not in ``skip``.

    An answer ends with the model's end token, when a stop text appears in it, or at ``max_new_tokens``.
    """
    import torch

    stops = _Stops(tokenizer, _end_ids(module, tokenizer))
    with torch.inference_mode():
        trunk, cache = None, None
        for index, group in enumerate(groups):
            if index in skip:
                continue
            if trunk is None:
                trunk = _shared_prefix(prompts)
                cache = _prefill(module, trunk)
            answers = _decode(module, [prompts[i] for i in group], len(trunk), cache, stops)
            yield index, dict(zip(group, answers, strict=True))


class _Stops:
    """When an answer is finished."""

    def __init__(self, tokenizer: Any, end_ids: frozenset[int]):
        self._tokenizer, self._end_ids = tokenizer, end_ids
        self._lengths: dict[str, int] = {}
        self._texts: dict[int, str] = {}

    def finished(self, prompt: Prompt, answer: Sequence[int]) -> bool:
        """Return whether the newest token of ``answer`` ends it."""
        if answer[-1] in self._end_ids or len(answer) >= prompt.max_new_tokens:
            return True
        return any(self._appears(text, answer) for text in prompt.until if text)

    def _appears(self, text: str, answer: Sequence[int]) -> bool:
        # A stop text is complete only with the token that brings its last character. A blank is looked for always:
        # some tokenizers write it between tokens.
        if text[-1].isascii() and text[-1] != " " and text[-1] not in self._text(answer[-1]):
            return False
        return text in self._tokenizer.decode(answer[-self._length(text) :])

    def _text(self, token: int) -> str:
        if token not in self._texts:
            self._texts[token] = self._tokenizer.decode([token])
        return self._texts[token]

    def _length(self, text: str) -> int:
        if text not in self._lengths:
            self._lengths[text] = len(self._tokenizer.encode(text, add_special_tokens=False)) + LOOK_BACK
        return self._lengths[text]


def _end_ids(module: Any, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end a text for this model."""
    ends = getattr(getattr(module, "generation_config", None), "eos_token_id", None)
    if ends is None:
        return frozenset()
    return frozenset([ends] if isinstance(ends, int) else ends)


def _shared_prefix(prompts: Sequence[Prompt]) -> tuple[int, ...]:
    """Return what all prompts begin with, so long that it is worth keeping; every prompt keeps a token of its own."""
    first = min(prompts, key=lambda prompt: prompt.ids).ids
    last = max(prompts, key=lambda prompt: prompt.ids).ids
    length = min(common_prefix(first, last), min(len(prompt.ids) for prompt in prompts) - 1)
    return first[:length] if length >= MIN_TRUNK and len(prompts) > 1 else ()


def _prefill(module: Any, trunk: tuple[int, ...]) -> list[tuple[Any, Any]]:
    """Return keys and values of the trunk, one pair a layer, (1, n_heads, n_tokens, head_dim)."""
    import torch
    from transformers import DynamicCache

    if not trunk:
        return []
    cache = DynamicCache()
    ids = torch.tensor([trunk], device=module.device)
    module(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return [(layer.keys, layer.values) for layer in cache.layers]


def _decode(
    module: Any, prompts: Sequence[Prompt], n_trunk: int, trunk: list[tuple[Any, Any]], stops: _Stops
) -> list[tuple[int, ...]]:
    """Return the answers of one group; a finished text leaves the group, the others go on.

    Raises:
        ArtifactError: the weights hold NaN; the most likely token would be the first, whatever the prompt.
    """
    import torch
    from transformers import DynamicCache

    device, cache = module.device, DynamicCache()
    for layer, (keys, values) in enumerate(trunk):
        shape = (len(prompts), -1, -1, -1)
        cache.update(keys.expand(shape), values.expand(shape), layer)
    own = [prompt.ids[n_trunk:] for prompt in prompts]
    width = max(map(len, own))
    ids = torch.tensor([[0] * (width - len(text)) + list(text) for text in own], device=device)
    seen = torch.tensor([[1] * n_trunk + [0] * (width - len(t)) + [1] * len(t) for t in own], device=device)
    positions = (seen.cumsum(dim=1) - 1).clamp(min=0)[:, n_trunk:]
    answers: list[list[int]] = [[] for _ in prompts]
    alive = list(range(len(prompts)))
    while True:
        output = module(
            input_ids=ids, attention_mask=seen, position_ids=positions, past_key_values=cache, use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip
        best, chosen = output.logits[:, -1].max(dim=-1)
        if best.isnan().any():
            raise ArtifactError("the model's logits are nan", next_step="look at the loss of its training")
        newest = chosen.tolist()
        for place, token in zip(alive, newest, strict=True):
            answers[place].append(token)
        kept = [row for row, place in enumerate(alive) if not stops.finished(prompts[place], answers[place])]
        if not kept:
            return [tuple(answer) for answer in answers]
        if len(kept) < len(alive):
            index = torch.tensor(kept, device=device)
            cache.batch_select_indices(index)
            seen, positions = seen[index], positions[index]
            alive = [alive[row] for row in kept]
        ids = torch.tensor([[answers[place][-1]] for place in alive], device=device)
        seen = torch.cat([seen, seen.new_ones((len(alive), 1))], dim=1)
        positions = positions[:, -1:] + 1
