"""Completion-only labels, truncation and the order of examples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.core.errors import ArtifactError
from release_kit.sft.batches import IGNORED, TokenExample, iter_batches, pad_batch, tokenize_example


class CharacterTokenizer:
    """One token for each character: enough of a tokenizer to count by hand."""

    eos_token_id = 0

    def __call__(self, text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
        return {"input_ids": [ord(character) for character in text]}


def test_loss_is_on_the_completion_and_the_end_of_text_only():
    example = tokenize_example(CharacterTokenizer(), {"prompt": "ab", "completion": "cd"}, 10)
    batch = pad_batch([example, TokenExample(token_ids=(1, 2, 0), n_prompt=2)], pad_id=9)
    assert batch.labels.tolist() == [[IGNORED, IGNORED, ord("c"), ord("d"), 0], [IGNORED, IGNORED, 0, IGNORED, IGNORED]]
    assert batch.input_ids.tolist()[1] == [1, 2, 0, 9, 9]
    assert batch.attention_mask.tolist()[1] == [1, 1, 1, 0, 0]
    assert batch.n_completion_tokens == 4


def test_truncation_takes_from_the_left_of_the_prompt():
    example = tokenize_example(CharacterTokenizer(), {"prompt": "abcdef", "completion": "xy"}, 5)
    assert example.token_ids == (ord("e"), ord("f"), ord("x"), ord("y"), 0)
    assert example.n_prompt == 2


def test_completion_that_does_not_fit_is_refused():
    with pytest.raises(ArtifactError, match="max_length 4 leaves room for"):
        tokenize_example(CharacterTokenizer(), {"prompt": "a", "completion": "wxyz"}, 4)


@given(n=st.integers(1, 12), batch_size=st.integers(1, 5), steps=st.integers(1, 12), seed=st.integers(0, 9))
def test_an_epoch_goes_through_every_example_once(n: int, batch_size: int, steps: int, seed: int):
    examples = [TokenExample(token_ids=(index, 0), n_prompt=1) for index in range(n)]
    batches = list(iter_batches(examples, batch_size=batch_size, steps=steps, seed=seed, pad_id=0))
    seen = [int(row[0]) for batch in batches for row in batch.input_ids]
    assert len(seen) == steps * batch_size
    for start in range(0, len(seen), n):
        epoch = seen[start : start + n]
        assert len(set(epoch)) == len(epoch)


def test_order_follows_from_the_seed():
    examples = [TokenExample(token_ids=(index, 0), n_prompt=1) for index in range(20)]

    def order(seed: int) -> np.ndarray:
        batches = iter_batches(examples, batch_size=4, steps=5, seed=seed, pad_id=0)
        return np.concatenate([batch.input_ids[:, 0] for batch in batches])

    assert (order(1) == order(1)).all()
    assert (order(1) != order(2)).any()
