"""Examples → token batches with the loss on the completion only.

Pure: the same examples, tokenizer and seed give the same batches. Truncation takes from the left of the prompt; an
example whose completion does not fit is refused, because a run on masked-out labels looks healthy and learns nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from release_kit.core.errors import ArtifactError

IGNORED = -100
"""Label of positions that carry no loss, as torch and transformers use it."""


@dataclass(frozen=True, kw_only=True)
class TokenExample:
    """One tokenised example: prompt, then completion, then the end-of-text token."""

    token_ids: tuple[int, ...]
    n_prompt: int


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One optimiser step's tokens, padded on the right; all arrays are ``(n_examples, n_tokens) int64``."""

    input_ids: np.ndarray
    attention_mask: np.ndarray
    labels: np.ndarray

    @property
    def n_completion_tokens(self) -> int:
        """Return the number of positions that carry a loss."""
        return int((self.labels != IGNORED).sum())


def tokenize_example(tokenizer: Any, row: Mapping[str, Any], max_length: int) -> TokenExample:
    """Return the tokens of one example, at most ``max_length``.

    Raises:
        ArtifactError: the completion alone does not fit.
    """
    prompt = tokenizer(row["prompt"], add_special_tokens=False)["input_ids"]
    completion = [*tokenizer(row["completion"], add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    room = max_length - len(completion)
    if room < 1:
        what = f"a completion has {len(completion)} tokens, more than max_length {max_length} leaves room for"
        raise ArtifactError(what, where=str(row.get("subject", "data")), next_step="raise settings.training.max_length")
    prompt = prompt[-room:]
    return TokenExample(token_ids=(*prompt, *completion), n_prompt=len(prompt))


def iter_batches(
    examples: Sequence[TokenExample], *, batch_size: int, steps: int, seed: int, pad_id: int
) -> Iterator[Batch]:
    """Yield ``steps`` batches; every epoch goes through all examples once in an order drawn from ``seed``."""
    random = np.random.default_rng(seed)
    order: list[int] = []
    for _ in range(steps):
        while len(order) < batch_size:
            order.extend(random.permutation(len(examples)).tolist())
        picked, order = order[:batch_size], order[batch_size:]
        yield pad_batch([examples[index] for index in picked], pad_id)


def pad_batch(examples: Sequence[TokenExample], pad_id: int) -> Batch:
    """Return one batch as wide as its longest example."""
    shape = (len(examples), max(len(example.token_ids) for example in examples))
    input_ids = np.full(shape, pad_id, dtype=np.int64)
    attention_mask = np.zeros(shape, dtype=np.int64)
    labels = np.full(shape, IGNORED, dtype=np.int64)
    for row, example in enumerate(examples):
        length = len(example.token_ids)
        input_ids[row, :length] = example.token_ids
        attention_mask[row, :length] = 1
        labels[row, example.n_prompt : length] = example.token_ids[example.n_prompt :]
    return Batch(input_ids=input_ids, attention_mask=attention_mask, labels=labels)
