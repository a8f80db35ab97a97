"""Loss and gradients are those of dense autograd, for every architecture and precision."""

import pytest
import torch

from release_kit.sae.config import SaeConfig
from release_kit.sae.step import portable
from release_kit.sae.step.adam import adam_update, clip, gradient_norm, row_norms
from release_kit.sae.step.gradients import normalise_decoder, project_decoder
from release_kit.sae.step.settings import StepSettings
from release_kit.sae.step.state import TrainState
from release_kit.sae.step.train import Found, loss_and_gradients, train_step

N = 640
CASES = {
    "topk": {},
    "topk, unit-norm inputs": {"normalise": "unit-norm"},
    "topk, one scale": {"normalise": "rms", "rms_scale": 0.3},
    "topk, bias not subtracted": {"subtract_decoder_bias": False},
    "topk, odd width": {"n_features": 633},
    "topk, nearly all": {"n_features": 20, "k": 19},
    "batchtopk": {"architecture": "batchtopk"},
    "matryoshka of rows": {"architecture": "matryoshka", "selection": "topk", "groups": (40, 200, N)},
    "matryoshka of batches": {"architecture": "matryoshka", "groups": (40, 200, N)},
    "jumprelu": {"architecture": "jumprelu", "l0_coefficient": 0.2, "bandwidth": 0.8},
    "jumprelu, wide": {"architecture": "jumprelu", "l0_coefficient": 0.0, "bandwidth": 9.0},
}
DEAD = {"aux_k": 24, "aux_coefficient": 0.3, "dead_after_tokens": 1000}


def found_in(state: TrainState, x: torch.Tensor, settings: StepSettings) -> tuple[Found, dict[str, torch.Tensor]]:
    found = loss_and_gradients(state, x, settings)
    return found, found.gradients.dense(state.sae)


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("loss", ["squared-error", "fvu"])
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_are_those_of_dense_autograd(case: str, loss: str, make_state, make_batch, dense):
    state, x, settings = make_state(**CASES[case]), make_batch(), StepSettings(loss=loss, tile_rows=128)
    expected = dense(state, x, settings, torch.float64)
    found, slopes = found_in(state, x, settings)
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)
    assert found.fvu == pytest.approx(expected.fvu, rel=1e-6)
    assert set(slopes) == set(expected.gradients)
    assert {name: relative(slopes[name], each) for name, each in expected.gradients.items()} == {
        name: pytest.approx(0, abs=1e-6) for name in expected.gradients
    }


@pytest.mark.parametrize("n_dead", [3, 24, 400])
@pytest.mark.parametrize("case", ["topk", "batchtopk", "matryoshka of rows", "matryoshka of batches", "jumprelu"])
def test_auxiliary_loss_is_that_of_dense_autograd(case: str, n_dead: int, make_state, make_batch, dense):
    state, x, settings = make_state(**CASES[case], **DEAD), make_batch(), StepSettings(tile_rows=128)
    without = loss_and_gradients(state, x, settings).loss
    state.tokens_since_fired[100 : 100 + n_dead] = 1000
    expected = dense(state, x, settings, torch.float64)
    found, slopes = found_in(state, x, settings)
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)
    assert found.auxiliary == pytest.approx(found.loss - without, rel=1e-4)
    assert found.auxiliary > 0
    for name, each in expected.gradients.items():
        assert relative(slopes[name], each) < 1e-6, name


def test_float32_is_as_close_to_float64_as_dense_float32_is(make_state, make_batch, dense):
    state, x, settings = make_state(), make_batch(), StepSettings()
    judge, peer = dense(state, x, settings, torch.float64), dense(state, x, settings, torch.float32)
    slopes = found_in(state, x, settings)[1]
    for name, each in judge.gradients.items():
        assert relative(slopes[name], each) < 3 * relative(peer.gradients[name], each) + 2e-7


def test_features_that_never_fire_have_no_gradient(make_state, make_batch):
    state = make_state()
    state.sae.b_enc[5:50] = -1e6
    found, slopes = found_in(state, make_batch(), StepSettings())
    assert not any(slopes[name][5:50].any() for name in ("w_enc", "b_enc", "w_dec"))
    for name in ("w_enc", "w_dec"):
        rows = torch.full_like(slopes[name], float("nan"))
        found.gradients.put_rows(name, 0, N, rows)
        assert torch.equal(rows, slopes[name])


def test_a_batch_in_which_nothing_fires_trains_the_bias_alone(make_state, make_batch, dense):
    state, settings = make_state(), StepSettings()
    state.sae.b_enc.fill_(-1e6)
    expected = dense(state, make_batch(), settings, torch.float64)
    found, slopes = found_in(state, make_batch(), settings)
    assert found.selected.n_active == 0
    assert relative(slopes["b_dec"], expected.gradients["b_dec"]) < 1e-6
    assert not any(slopes[name].any() for name in ("w_enc", "b_enc", "w_dec"))


def test_gradients_along_decoder_rows_are_taken_out(make_state, make_batch):
    state = make_state()
    normalise_decoder(state.sae.w_dec)
    gradient = found_in(state, make_batch(), StepSettings())[1]["w_dec"]
    w_dec, before = state.sae.w_dec.double(), gradient.double()
    project_decoder(gradient, state.sae.w_dec)
    expected = before - (before * w_dec).sum(1, keepdim=True) * w_dec
    assert relative(gradient, expected) < 1e-6


@pytest.mark.parametrize("unit_norm", [True, False])
def test_decoder_rows_keep_length_one_where_that_is_asked(unit_norm: bool, make_state, make_batch):
    state = make_state(unit_norm_decoder=unit_norm)
    train_step(state, make_batch(), StepSettings(warmup_steps=1))
    lengths = state.sae.w_dec.norm(dim=1)
    assert bool(((lengths - 1).abs() < 1e-6).all()) is unit_norm


@pytest.mark.parametrize("tile_rows", [1, 7, 64, 300, 4096])
def test_tiles_change_memory_and_no_more_than_rounding(tile_rows: int, make_state, make_batch):
    state, x = make_state(), make_batch()
    whole, expected = found_in(state, x, StepSettings(tile_rows=300))
    found, slopes = found_in(state, x, StepSettings(tile_rows=tile_rows))
    assert found.loss == pytest.approx(whole.loss, rel=1e-6)
    assert all(relative(slopes[name], each.double()) < 1e-6 for name, each in expected.items())


def test_loss_of_jumprelu_counts_what_is_active(make_state, make_batch):
    fields = {"architecture": "jumprelu", "bandwidth": 0.5}
    plain, priced = make_state(**fields), make_state(**fields, l0_coefficient=0.25)
    x, settings = make_batch(), StepSettings(l0_warmup_steps=10)
    found, bare = (loss_and_gradients(state, x, settings) for state in (priced, plain))
    l0 = found.selected.n_active / len(x)
    assert l0 == bare.selected.n_active / len(x) > 1
    assert found.loss - bare.loss == pytest.approx(0.25 / 10 * l0, rel=1e-4)


def test_matryoshka_of_one_group_is_what_it_selects_by(make_state, make_batch):
    one = make_state(architecture="matryoshka", selection="topk", groups=(N,))
    plain = make_state()
    assert isinstance(one.sae.config, SaeConfig)
    (found, slopes), (expected, others) = (found_in(state, make_batch(), StepSettings()) for state in (one, plain))
    assert found.loss == expected.loss
    assert all(torch.equal(slopes[name], each) for name, each in others.items())


@pytest.mark.parametrize("case", [case for case in CASES if case != "topk, nearly all"])
def test_devices_without_the_quick_kernels_have_the_same_gradients(
    case: str, make_state, make_batch, dense, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(portable, "has_bag_kernels", lambda tensor: False)
    monkeypatch.setattr(portable, "has_sparse_products", lambda tensor: False)
    monkeypatch.setattr(portable, "CHUNK_ENTRIES", 1000)
    state, x, settings = make_state(**CASES[case], **DEAD), make_batch(), StepSettings(tile_rows=128)
    state.tokens_since_fired[:10] = 1000
    expected = dense(state, x, settings, torch.float64)
    found, slopes = found_in(state, x, settings)
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)
    for name, each in expected.gradients.items():
        assert relative(slopes[name], each) < 1e-6, name


@pytest.mark.parametrize("case", [case for case in CASES if case != "topk, nearly all"])
def test_rows_of_gradients_are_the_same_bytes_however_many_are_made_at_once(case: str, make_state, make_batch):
    state, x = make_state(**CASES[case], **DEAD), make_batch()
    state.tokens_since_fired[7:19] = 1000
    found, slopes = found_in(state, x, StepSettings())
    for name in ("w_enc", "w_dec"):
        whole = slopes[name]
        for start in range(0, len(whole), 13):
            rows = torch.full_like(whole[start : start + 13], float("nan"))
            found.gradients.put_rows(name, start, start + len(rows), rows)
            assert torch.equal(rows, whole[start : start + 13])


@pytest.mark.parametrize("n_rows", [50, 640, 4096])
@pytest.mark.parametrize("unit_norm", [True, False])
@pytest.mark.parametrize("case", ["topk", "matryoshka of batches", "jumprelu"])
def test_a_step_by_some_rows_at_a_time_has_the_bytes_of_a_step_by_all(
    case: str, unit_norm: bool, n_rows: int, make_state, make_batch, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("release_kit.sae.step.update._ROWS", n_rows)
    mine, plain = (make_state(**CASES[case], **DEAD, unit_norm_decoder=unit_norm) for _ in range(2))
    settings = StepSettings(warmup_steps=1, clip_norm=0.01)
    for seed in range(3):
        x = make_batch(seed)
        slopes = found_in(plain, x, settings)[1]
        if unit_norm:
            project_decoder(slopes["w_dec"], plain.sae.w_dec)
        norm = gradient_norm({name: row_norms(slopes[name]) for name in plain.parameters()})
        clip(slopes, norm, settings.clip_norm)
        adam_update(plain.parameters(), slopes, plain.moments, plain.n_steps, settings)
        expected = {name: value.clone() for name, value in plain.parameters().items()}
        assert train_step(mine, x, settings).gradient_norm == norm > settings.clip_norm
        if unit_norm:
            normalise_decoder(expected["w_dec"])
        assert all(torch.equal(value, expected[name]) for name, value in mine.parameters().items())
        plain.restore(mine.tensors())
