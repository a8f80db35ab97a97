"""Features are found again in another numbering, one to one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from release_kit.sae.errors import SaeError
from release_kit.sae.train import matching
from release_kit.sae.train.matching import match_features


def rows(n: int, d: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("exact", [True, False])
def test_shuffled_and_scaled_features_are_found_again(exact: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(matching, "EXACT_UP_TO", 4096 if exact else 1)
    first = rows(300)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    second = first[order] * 3 + 0.01 * rows(300, seed=2)
    found = match_features(first, second)
    assert np.array_equal(order.numpy()[found.second], found.first) and len(found.first) == 300
    assert found.cosine.min() > 0.99 and found.share() == 1.0


@given(n=st.integers(1, 40), m=st.integers(1, 40), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_pairs_are_one_to_one_and_their_cosines_are_right(n: int, m: int, seed: int):
    first, second = rows(n, seed=seed), rows(m, seed=seed + 1)
    found = match_features(first, second)
    assert len(found.first) == min(n, m) == len(set(found.first)) == len(set(found.second))
    expected = torch.nn.functional.cosine_similarity(first[found.first.tolist()], second[found.second.tolist()])
    np.testing.assert_allclose(found.cosine, expected.numpy(), atol=1e-5)


def test_the_whole_is_better_than_each_taking_its_best():
    first = torch.tensor([[1.0, 0.0], [0.9, 0.1]])
    second = torch.tensor([[1.0, 0.02], [0.2, 1.0]])
    found = match_features(first, second)
    total = float(found.cosine.sum())
    other = torch.nn.functional.cosine_similarity(first, second[[1 - int(k) for k in found.second]]).sum()
    assert total >= float(other)


def test_dead_features_take_no_part():
    first, second = rows(10), rows(10)
    alive = torch.ones(10, dtype=torch.bool)
    alive[3] = False
    found = match_features(first, second, alive=(alive, torch.ones(10, dtype=torch.bool)))
    assert 3 not in found.first and found.n_first == 9
    nobody = match_features(first, second, alive=(torch.zeros(10, dtype=torch.bool), alive))
    assert len(nobody.first) == 0 and nobody.share() == 0.0


def test_decoders_of_other_widths_are_refused():
    with pytest.raises(SaeError, match=r"\(3, 4\) and \(3, 5\) cannot be matched"):
        match_features(torch.zeros(3, 4), torch.zeros(3, 5))
