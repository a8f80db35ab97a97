"""A stream gives the activations of a store without a disk, and goes on at any batch."""

import pytest
import torch

from release_kit.sae.activations.stream import ActivationStream
from release_kit.sae.activations.take import take
from release_kit.sae.activations.tokens import TokenBatches
from release_kit.sae.errors import ActivationError
from release_kit.sae.models.load import LanguageModel


@pytest.fixture
def stream(tiny_lm: LanguageModel, held_out_tokens: TokenBatches) -> ActivationStream:
    return ActivationStream(lm=tiny_lm, tokens=held_out_tokens, layers=(0, 1, 2), chunk_tokens=400, batch_tokens=512)


def test_every_token_comes_once_with_the_models_own_activation(
    stream: ActivationStream, tiny_lm: LanguageModel, held_out_tokens: TokenBatches
):
    parts = list(stream.batches(2, 100, 0))
    index = torch.cat([numbers for _, numbers in parts])
    assert torch.equal(index.sort().values, torch.arange(held_out_tokens.n_tokens))
    expected = torch.empty(held_out_tokens.n_tokens, 32)
    for batch in held_out_tokens.batches(4096):
        expected[batch.index[batch.kept()]] = take(tiny_lm, held_out_tokens, batch, [2])[2]
    # Rows stand in other batches here, so sums are rounded in another order.
    assert torch.allclose(torch.cat([x for x, _ in parts]), expected[index], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("start", [0, 1, 6, 20, 33, 10_000])
def test_reading_goes_on_at_any_batch_to_the_bit(stream: ActivationStream, start: int):
    whole = list(stream.batches(1, 64, 5, passes=2))
    rest = list(stream.batches(1, 64, 5, start=start, passes=2))
    assert len(rest) == max(0, len(whole) - start)
    for (x, index), (expected, numbers) in zip(rest, whole[start:], strict=True):
        assert torch.equal(x, expected) and torch.equal(index, numbers)


def test_layers_come_from_one_pass_with_the_same_tokens(stream: ActivationStream):
    for (rows, index), (x, numbers) in zip(stream.joint((0, 2), 96, 1), stream.batches(2, 96, 1), strict=True):
        assert sorted(rows) == [0, 2] and torch.equal(index, numbers) and torch.equal(rows[2], x)


def test_rows_are_mixed_anew_in_each_pass_and_seed(stream: ActivationStream):
    def order(seed: int, passes: int) -> torch.Tensor:
        return torch.cat([numbers for _, numbers in stream.batches(1, 128, seed, passes=passes)])

    n = stream.n_tokens
    twice, other = order(0, 2), order(1, 1)
    assert torch.equal(twice[n:].sort().values, torch.arange(n))
    assert not torch.equal(twice[:n], twice[n:]) and not torch.equal(twice[:n], other)
    runs = (twice[:n].diff() == 1).float().mean()
    assert runs < 0.05


def test_layers_that_were_not_announced_are_refused(stream: ActivationStream, tiny_lm, held_out_tokens):
    with pytest.raises(ActivationError, match=r"there is no layer 3; there are \[0, 1, 2\]"):
        next(stream.batches(3, 10, 0))
    with pytest.raises(ActivationError, match="there is no layer 9: its layers are 0 to 2"):
        ActivationStream(lm=tiny_lm, tokens=held_out_tokens, layers=(9,))
