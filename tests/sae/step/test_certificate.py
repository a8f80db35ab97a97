"""Features found in bfloat16 are those of float64 in every row; rows without a proof are counted and searched again."""

import pytest
import torch

from release_kit.sae.step.bounds import bound_candidates, float32_candidates
from release_kit.sae.step.certificate import certified_topk
from release_kit.sae.step.encode import encode_topk
from release_kit.sae.step.settings import StepSettings
from release_kit.sae.step.train import loss_and_gradients, train_step

N, D, K = 2048, 96, 16


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def problem(kind: str, m: int = 200) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return inputs, encoder and biases: plain, or made so that bfloat16 errs."""
    x, w, b = draw(m, D), draw(N, D, seed=1) / D**0.5, 0.1 * draw(N, seed=2)
    if kind == "outlier dimensions":
        x[:, 3], x[:, 40] = x[:, 3] * 100, 300 + x[:, 40]
    if kind == "unequal lengths":
        w *= torch.logspace(-3, 2, N)[torch.randperm(N, generator=torch.Generator().manual_seed(4))][:, None]
        x *= torch.logspace(-6, 6, m)[:, None]
    if kind == "large biases":
        b = 1000 + draw(N, seed=2)
    if kind == "near ties":
        w = draw(N // 32, D, seed=1).repeat(32, 1) * (1 + 3e-7 * draw(N, D, seed=5))
        b = torch.zeros(N)
    if kind == "few above zero":
        b = b - 3.2
    if kind == "nothing above zero":
        b = b - 1e3
    return x, w, b


KINDS = ["gaussian", "outlier dimensions", "unequal lengths", "large biases", "near ties", "few above zero"]


def exact(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.addmm(b.double(), x.double(), w.double().T)


@pytest.mark.parametrize("native", [True, False], ids=["bfloat16", "rounded to bfloat16"])
@pytest.mark.parametrize("n_extra", [0, 4, 24])
@pytest.mark.parametrize("kind", [*KINDS, "nothing above zero"])
def test_every_row_has_the_features_of_float64(kind: str, n_extra: int, native: bool):
    x, w, b = problem(kind)
    found, n_fallback_rows = certified_topk(x, w, b, K, n_extra=n_extra, tile_rows=128, native=native)
    expected = exact(x, w, b).relu().topk(K, dim=1)
    values, order = found.values.view(-1, K).sort(dim=1, descending=True)
    torch.testing.assert_close(values.double(), expected.values, rtol=1e-4, atol=1e-5)
    mine, theirs = found.indices.view(-1, K).gather(1, order), expected.indices
    for row, (a, c) in enumerate(zip(mine, theirs, strict=True)):
        n = int((expected.values[row] > 0).sum())
        assert set(a[values[row] > 0].tolist()) == set(c[:n].tolist())
    assert 0 <= n_fallback_rows <= len(x)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_no_other_feature_exceeds_the_ceiling(kind: str, native: bool):
    x, w, b = problem(kind)
    pre = exact(x, w, b)
    for found in (bound_candidates(x, w, b, 40, 128, native), float32_candidates(x, w, b, 40, 128)):
        others = pre.scatter(1, found.indices, -float("inf")).amax(dim=1)
        assert bool((others <= found.ceiling.double()).all())


def test_bounds_are_close_enough_to_prove_nearly_every_row():
    x, w, b = problem("gaussian", 1000)
    _, n_fallback_rows = certified_topk(x, w, b, K, n_extra=24)
    assert n_fallback_rows <= 10
    _, with_few = certified_topk(x, w, b, K, n_extra=2)
    assert with_few > 100


def test_bfloat16_alone_would_be_wrong_here():
    x, w, b = problem("gaussian")
    wrong = torch.addmm(b, x.bfloat16().float(), w.bfloat16().float().T).topk(K, dim=1).indices
    right = exact(x, w, b).topk(K, dim=1).indices
    assert int((wrong.sort(dim=1).values != right.sort(dim=1).values).any(dim=1).sum()) > 5


def test_ties_are_broken_to_k_features_of_the_largest_values():
    x, w = draw(50, D), draw(64, D, seed=1).repeat(8, 1)
    b = torch.zeros(512)
    found, n_fallback_rows = certified_topk(x, w, b, 12, n_extra=3)
    assert n_fallback_rows == 50
    expected = exact(x, w, b).topk(12, dim=1).values
    torch.testing.assert_close(found.values.view(50, 12).sort(dim=1, descending=True).values.double(), expected)
    assert all(len(set(row)) == 12 for row in found.indices.view(50, 12).tolist())


def test_all_features_as_candidates_need_no_fallback():
    x, w, b = problem("near ties")
    _, n_fallback_rows = certified_topk(x[:20], w[:32], b[:32], K, n_extra=100)
    assert n_fallback_rows == 0


def test_a_step_in_bfloat16_has_the_loss_and_gradients_of_float32(make_state, make_batch, dense):
    state, x = make_state(), make_batch()
    settings = StepSettings(precision="certified-bf16", n_extra_candidates=4)
    expected = dense(state, x, settings, torch.float64)
    found = loss_and_gradients(state, x, settings)
    slopes = found.gradients.dense(state.sae)
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)
    for name, each in expected.gradients.items():
        assert float((slopes[name].double() - each).norm() / each.norm()) < 1e-6, name


def test_rows_that_fell_back_are_reported(make_state, make_batch):
    few = StepSettings(precision="certified-bf16", n_extra_candidates=0)
    report = train_step(make_state(), make_batch(), few)
    assert 0 < report.n_fallback_rows <= 300
    assert train_step(make_state(), make_batch(), StepSettings()).n_fallback_rows == 0


def test_float32_alone_may_take_another_feature_than_float64_takes():
    x, w, b = problem("near ties")
    right = exact(x, w, b).topk(K, dim=1).indices.sort(dim=1).values
    plain = encode_topk(x, w, b, K).indices.view(-1, K).sort(dim=1).values
    proved = certified_topk(x, w, b, K, n_extra=24)[0].indices.view(-1, K).sort(dim=1).values
    assert not torch.equal(plain, right)
    assert torch.equal(proved, right)
