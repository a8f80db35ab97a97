"""A state continues with the same bytes; counts and thresholds say what happened; bad batches change nothing."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from release_kit.core.records import Fields
from release_kit.sae.config import SaeConfig
from release_kit.sae.errors import ActivationError, SaeError
from release_kit.sae.step.initial import geometric_median, initial_sae
from release_kit.sae.step.settings import StepSettings
from release_kit.sae.step.state import TrainState
from release_kit.sae.step.train import train_step

KINDS = {
    "topk": {"architecture": "topk", "k": 8, "normalise": "unit-norm", "aux_k": 16, "dead_after_tokens": 900},
    "batchtopk": {"architecture": "batchtopk", "k": 8},
    "matryoshka": {"architecture": "matryoshka", "k": 8, "groups": (64, 640)},
    "jumprelu": {"architecture": "jumprelu", "l0_coefficient": 0.1, "bandwidth": 0.5},
}
SETTINGS = StepSettings(lr=3e-3, warmup_steps=5)


def start(kind: str, make_batch, **fields) -> TrainState:
    config = SaeConfig(**{"d_in": 48, "n_features": 640, **KINDS[kind], **fields})
    return TrainState.start(config, 7, make_batch())


def run(state: TrainState, make_batch, seeds: range, settings: StepSettings = SETTINGS) -> list:
    return [train_step(state, make_batch(seed), settings) for seed in seeds]


def same(one: TrainState, other: TrainState) -> bool:
    mine, theirs = one.tensors(), other.tensors()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_state_continues_with_the_same_bytes(kind: str, make_batch, tmp_path: Path):
    whole = start(kind, make_batch)
    run(whole, make_batch, range(12))
    first = start(kind, make_batch)
    run(first, make_batch, range(5))
    torch.rand(3, generator=first.generator)
    save_file(first.tensors(), tmp_path / "state.safetensors")
    second = start(kind, make_batch)
    second.restore(load_file(tmp_path / "state.safetensors"))
    assert same(first, second)
    torch.rand(3, generator=whole.generator)
    run(second, make_batch, range(5, 12))
    assert same(whole, second)
    assert (second.n_steps, second.n_tokens) == (12, 3600)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_and_batches_give_the_same_bytes(kind: str, make_batch):
    one, other = start(kind, make_batch), start(kind, make_batch)
    assert run(one, make_batch, range(6)) == run(other, make_batch, range(6))
    assert same(one, other)


@pytest.mark.parametrize("precision", ["float32", "certified-bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_the_loss(kind: str, precision: str, make_batch):
    state = start(kind, make_batch)
    settings = StepSettings(lr=3e-3, warmup_steps=5, precision=precision)
    if precision == "certified-bf16" and kind != "topk":
        with pytest.raises(SaeError, match="proves the k largest of each row"):
            train_step(state, make_batch(), settings)
        return
    reports = run(state, make_batch, range(60), settings)
    assert reports[-1].fvu < 0.7 * reports[0].fvu
    assert reports[-1].lr == 3e-3


@pytest.mark.parametrize("kind", ["batchtopk", "matryoshka"])
def test_threshold_for_single_tokens_keeps_the_number_of_features(kind: str, make_batch):
    state = start(kind, make_batch)
    run(state, make_batch, range(120), StepSettings(lr=3e-3, warmup_steps=5, threshold_momentum=0.8))
    codes = state.sae.encode(make_batch(1000, 2000))
    assert float((codes.values > 0).sum(1).float().mean()) == pytest.approx(8, rel=0.15)
    assert state.sae.threshold.unique().numel() == 1


def test_thresholds_of_jumprelu_stay_above_zero_and_bring_l0_down(make_batch):
    cheap, dear = start("jumprelu", make_batch, l0_coefficient=0.0), start("jumprelu", make_batch, l0_coefficient=20.0)
    few, many = (run(state, make_batch, range(60))[-1].l0 for state in (dear, cheap))
    assert few < 0.8 * many
    assert float(dear.sae.threshold.min()) > 0
    assert torch.equal(dear.sae.threshold, dear.log_threshold.exp())


def test_dead_features_are_counted_in_tokens_and_come_back(make_batch):
    fields = {"normalise": "none", "aux_k": 64, "aux_coefficient": 0.5, "dead_after_tokens": 900}
    state, without = start("topk", make_batch, **fields), start("topk", make_batch, **{**fields, "aux_k": 0})
    for each in (state, without):
        each.sae.b_enc[:200] = -4.0
    reports, plain = run(state, make_batch, range(60)), run(without, make_batch, range(60))
    assert [report.n_dead for report in reports[:3]] == [0, 0, 0]
    assert reports[3].n_dead >= 150
    assert (reports[2].auxiliary, plain[-1].auxiliary) == (0, 0)
    assert reports[3].auxiliary > 0
    assert reports[-1].n_dead < 0.75 * plain[-1].n_dead
    live = state.tokens_since_fired == 0
    codes = state.tokens_since_fired[~live]
    assert bool((codes % 300 == 0).all())


def test_a_batch_with_nan_is_named_and_changes_nothing(make_batch):
    state = start("topk", make_batch)
    run(state, make_batch, range(2))
    before = {name: value.clone() for name, value in state.tensors().items()}
    bad = make_batch()
    bad[17, 3], bad[40, 0] = float("nan"), float("inf")
    with pytest.raises(ActivationError, match=r"training step 3: 2 of 300 tokens .* the first is row 17"):
        train_step(state, bad, SETTINGS)
    assert all(torch.equal(value, before[name]) for name, value in state.tensors().items())
    train_step(state, make_batch(), SETTINGS)


def test_a_batch_of_one_activation_says_that_there_is_nothing_to_explain(make_batch):
    state = start("topk", make_batch)
    same_rows = make_batch(1)[:1].expand(64, -1)
    with pytest.raises(ActivationError, match="all 64 tokens of the batch have the same activations"):
        train_step(state, same_rows, StepSettings(loss="fvu"))
    assert state.n_steps == 0


@pytest.mark.parametrize(("x", "said"), [(torch.zeros(3, 47), r"\(3, 47\)"), (torch.zeros(0, 48), "no tokens")])
def test_batches_of_another_width_or_none_are_refused(x: torch.Tensor, said: str, make_batch):
    with pytest.raises(SaeError, match=said):
        train_step(start("topk", make_batch), x, SETTINGS)


def test_states_that_do_not_fit_are_refused_whole(make_batch):
    state = start("topk", make_batch)
    tensors = {name: value.clone() + 1 for name, value in state.tensors().items() if name != "generator"}
    tensors["parameter.w_dec"] = torch.zeros(2, 2)
    before = {name: value.clone() for name, value in state.tensors().items()}
    with pytest.raises(SaeError, match=r"`generator` is missing; `parameter.w_dec` is \(2, 2\)"):
        state.restore(tensors)
    assert all(torch.equal(value, before[name]) for name, value in state.tensors().items())


def test_a_program_that_allows_lower_precision_gets_it_back(make_batch):
    plain, other = start("topk", make_batch), start("topk", make_batch)
    batches = [make_batch(seed) for seed in range(2)]
    run(plain, batches.__getitem__, range(2))
    torch.set_float32_matmul_precision("medium")
    try:
        run(other, batches.__getitem__, range(2))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert same(plain, other)


def test_a_warm_start_copies_and_begins_counts_anew(make_batch):
    state = start("jumprelu", make_batch)
    run(state, make_batch, range(3))
    warm = TrainState.continued(state.sae, 1)
    assert (warm.n_steps, int(warm.tokens_since_fired.sum())) == (0, 0)
    torch.testing.assert_close(warm.log_threshold, state.log_threshold)
    kept = state.sae.w_enc.clone()
    run(warm, make_batch, range(2))
    assert torch.equal(state.sae.w_enc, kept)
    assert not torch.equal(warm.sae.w_enc, kept)


def test_the_first_bias_is_the_point_of_least_distances():
    x = torch.randn(500, 5, generator=torch.Generator().manual_seed(0)) + 2
    x[:20] += 1e4
    found = geometric_median(x)
    x = x.double()
    sums = [float((x - found - 0.01 * step).norm(dim=1).sum()) for step in (*torch.eye(5), *-torch.eye(5))]
    assert float((x - found).norm(dim=1).sum()) < min(sums)
    assert float((found - 2).abs().max()) < 0.3


def test_first_thresholds_let_some_features_through(make_batch):
    config = SaeConfig(architecture="jumprelu", d_in=48, n_features=640)
    sae = initial_sae(config, 0, make_batch())
    assert float((sae.features(make_batch()) > 0).sum(1).float().mean()) == pytest.approx(64, rel=0.1)
    assert float(initial_sae(config, 0).threshold.mean()) == pytest.approx(0.01)


def test_settings_are_read_as_they_were_written_and_faults_said_at_once():
    settings = StepSettings(lr=2e-4, clip_norm=None, precision="certified-bf16", loss="fvu")
    assert StepSettings.from_fields(Fields(settings.to_json(), "here")) == settings
    assert StepSettings.from_fields(Fields({}, "here")) == StepSettings()
    with pytest.raises(SaeError, match=r"`loss` is 'mse'.*`lr` is -1.*`beta2` is 1.*`tile_rows`|`lr`"):
        StepSettings(lr=-1, beta2=1.0, loss="mse", tile_rows=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_trains_as_the_processor_does(kind: str, make_batch):
    if not torch.cuda.is_available():
        pytest.skip("this machine has no GPU")
    here = start(kind, make_batch)
    there = TrainState.continued(here.sae.to("cuda"), 7)
    for seed in range(10):
        expected = train_step(here, make_batch(seed), SETTINGS)
        found = train_step(there, make_batch(seed).cuda(), SETTINGS)
        assert found.loss == pytest.approx(expected.loss, rel=1e-3)
    assert there.sae.w_enc.device.type == "cuda"


def test_encoder_rows_start_along_decoder_rows_at_the_length_that_is_asked(make_batch):
    whole, short = (
        initial_sae(SaeConfig(architecture="topk", d_in=48, n_features=640, k=8, encoder_start=start), 7, make_batch())
        for start in (1.0, 0.25)
    )
    assert torch.equal(whole.w_enc, whole.w_dec)
    assert torch.equal(short.w_dec, whole.w_dec)
    assert torch.equal(short.w_enc, 0.25 * whole.w_enc)
    with pytest.raises(SaeError, match=r"`encoder_start` is 0\.0"):
        SaeConfig(architecture="topk", d_in=48, n_features=640, k=8, encoder_start=0.0)
