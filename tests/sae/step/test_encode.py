"""What is selected is what selecting among all features at once would give."""

import pytest
import torch

from release_kit.sae.step.active import by_feature, from_rows
from release_kit.sae.step.decode import decoded, entry_products
from release_kit.sae.step.encode import encode_above, encode_batchtopk, encode_topk
from release_kit.sae.step.topk import row_topk


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def weights(n: int = 320, d: int = 24, m: int = 150) -> tuple[torch.Tensor, ...]:
    return draw(m, d), draw(n, d, seed=1), 0.1 * draw(n, seed=2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("n", "k"), [(1024, 1), (1024, 20), (1024, 40), (1024, 1024), (1000, 8), (16, 1), (17, 17)])
def test_row_topk_takes_the_largest(n: int, k: int, dtype: torch.dtype):
    scores = draw(60, n).to(dtype)
    values, columns = row_topk(scores, k)
    assert torch.equal(values.sort(dim=1).values, scores.topk(k, dim=1).values.sort(dim=1).values)
    assert torch.equal(scores.gather(1, columns), values)
    assert all(len(set(row)) == k for row in columns.tolist())


@pytest.mark.parametrize("many", [1, 3, 1000])
def test_row_topk_takes_the_largest_among_ties(many: int):
    scores = torch.randint(0, many, (40, 1024), generator=torch.Generator().manual_seed(3)).float()
    values, columns = row_topk(scores, 24)
    assert torch.equal(values.sort(dim=1).values, scores.topk(24, dim=1).values.sort(dim=1).values)
    assert all(len(set(row)) == 24 for row in columns.tolist())
    again = row_topk(scores.clone(), 24)
    assert torch.equal(again[1], columns)


@pytest.mark.parametrize("tile_rows", [1, 64, 1000])
def test_rows_select_what_all_features_would(tile_rows: int):
    x, w, b = weights()
    found = encode_topk(x, w, b, 6, tile_rows=tile_rows)
    expected = torch.addmm(b, x, w.T).topk(6, dim=1)
    torch.testing.assert_close(found.values.view(-1, 6).sort(dim=1, descending=True).values, expected.values)
    assert torch.equal(found.indices.view(-1, 6).sort(dim=1).values, expected.indices.sort(dim=1).values)


def test_no_feature_has_a_value_below_zero():
    x, w, b = weights()
    found = encode_topk(x, w, b - 20, 6)
    assert float(found.values.min()) == 0
    assert len(found.values) == 6 * len(x)


@pytest.mark.parametrize("k", [1, 5, 100, 320])
@pytest.mark.parametrize("shift", [0.0, -8.0, -1e3])
def test_a_batch_selects_its_largest_whatever_the_first_guess(k: int, shift: float):
    x, w, b = weights()
    # Rows that are read for the guess are the largest, so that it is too high for the others.
    x[::2] *= 3
    found = encode_batchtopk(x, w, b + shift, k, tile_rows=64)
    positive = torch.addmm(b + shift, x, w.T).relu().view(-1)
    expected = positive.topk(k * len(x)).values
    expected = expected[expected > 0]
    torch.testing.assert_close(found.values.sort(descending=True).values, expected)


def test_a_batch_fills_up_equal_values_to_its_number():
    x, w, b = torch.ones(40, 3), torch.ones(64, 3), torch.zeros(64)
    found = encode_batchtopk(x, w, b, 7)
    assert len(found.values) == 280
    assert set(found.values.tolist()) == {3.0}


def test_all_above_a_bound_are_found_in_order():
    x, w, b = weights()
    bound = draw(320, seed=4).abs() * 5
    found = encode_above(x, w, b, bound, tile_rows=64)
    pre = torch.addmm(b, x, w.T)
    rows, columns = (pre > bound).nonzero(as_tuple=True)
    assert torch.equal(found.rows, rows)
    assert torch.equal(found.indices, columns)
    torch.testing.assert_close(found.values, pre[rows, columns])


def test_ragged_rows_are_padded_from_large_to_small():
    x, w, b = weights()
    found = encode_above(x, w, b, 9.0)
    indices, values = found.padded()
    assert found.offsets.diff().unique().numel() > 3
    dense = torch.zeros(len(x), 320).scatter_add_(1, indices, values)
    expected = torch.zeros(len(x), 320).index_put_((found.rows, found.indices), found.values)
    assert torch.equal(dense, expected)
    assert bool((values.diff(dim=1) <= 0).all())


def test_sparse_products_are_dense_products():
    x, w, b = weights()
    found = encode_above(x, w, b, 7.0)
    found = found.only(found.values < 12)
    z = torch.zeros(len(x), 320).index_put_((found.rows, found.indices), found.values)
    torch.testing.assert_close(decoded(found, w), z @ w)
    torch.testing.assert_close(entry_products(found, x, w), (x @ w.T)[found.rows, found.indices])
    out = torch.full((320, 24), float("nan"))
    sorted_entries = by_feature(found, 320)
    sorted_entries.product(found.values, x, out)
    torch.testing.assert_close(out, z.T @ x)
    torch.testing.assert_close(sorted_entries.sums(found.values), z.sum(0))
    part = torch.full((100, 24), float("nan"))
    sorted_entries.narrow(50, 150).product(found.values, x, part)
    torch.testing.assert_close(part, (z.T @ x)[50:150])


def test_nothing_active_gives_zeros():
    none = from_rows(torch.zeros(5, 0, dtype=torch.int64), torch.zeros(5, 0))
    out = torch.full((9, 4), float("nan"))
    by_feature(none, 9).product(none.values, draw(5, 4), out)
    assert not out.any()
    assert torch.equal(decoded(none, draw(9, 4)), torch.zeros(5, 4))
    assert len(entry_products(none, draw(5, 4), draw(9, 4))) == 0
