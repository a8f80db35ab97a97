"""Codes are the dense features, decoding is the dense product, and inputs come back to the space they came from."""

import pytest
import torch

from release_kit.sae.config import SaeConfig
from release_kit.sae.dictionary import Codes, Sae
from release_kit.sae.errors import SaeError

D, N, K, M = 12, 64, 5, 70


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(**fields) -> Sae:
    config = SaeConfig(**{"architecture": "topk", "d_in": D, "n_features": N, "k": K, **fields})
    threshold = 0.5 + draw(N, seed=4).abs() if config.has_threshold else None
    tensors = {
        "w_enc": draw(N, D),
        "b_enc": 0.1 * draw(N, seed=1),
        "w_dec": draw(N, D, seed=2),
        "b_dec": draw(D, seed=3),
    }
    return Sae(config=config, threshold=threshold, **tensors)


CASES = {
    "topk": {},
    "unit-norm": {"normalise": "unit-norm"},
    "one scale": {"normalise": "rms", "rms_scale": 0.2},
    "bias not subtracted": {"subtract_decoder_bias": False},
    "batchtopk": {"architecture": "batchtopk"},
    "jumprelu": {"architecture": "jumprelu", "k": None, "normalise": "unit-norm"},
    "matryoshka": {"architecture": "matryoshka", "groups": (16, N), "selection": "topk"},
}


@pytest.mark.parametrize("case", CASES)
def test_codes_and_reconstructions_are_the_dense_ones(case: str):
    sae, x = make(**CASES[case]), 3 * draw(M, D, seed=9)
    scale = {"unit-norm": 1 / x.norm(dim=1, keepdim=True), "rms": 0.2}.get(sae.config.normalise, 1.0)
    given = x * scale - sae.b_dec if sae.config.subtract_decoder_bias else x * scale
    pre = given @ sae.w_enc.T + sae.b_enc
    if sae.threshold is None:
        kept = pre.topk(K, dim=1)
        expected = torch.zeros_like(pre).scatter(1, kept.indices, kept.values.relu())
    else:
        expected = pre * (pre > sae.threshold)
    codes = sae.encode(x, tile_rows=16)
    torch.testing.assert_close(sae.features(x), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sae.decode(codes), (expected @ sae.w_dec + sae.b_dec) / scale, rtol=1e-4, atol=1e-4)
    assert codes.indices.dtype == torch.int64
    assert bool((codes.values.diff(dim=1) <= 0).all())
    assert bool((codes.values >= 0).all())
    assert codes.indices.shape[1] == (K if sae.threshold is None else int((expected > 0).sum(1).max()))


def test_another_scale_may_be_given_when_decoding():
    sae, x = make(normalise="unit-norm"), draw(M, D, seed=9)
    codes = sae.encode(x)
    unit = sae.decode(codes, torch.ones(M))
    torch.testing.assert_close(unit * x.norm(dim=1, keepdim=True), sae.decode(codes))
    assert torch.equal(sae.decode(Codes(indices=codes.indices, values=codes.values)), unit)


def test_no_tokens_no_features_and_zeros_are_no_special_cases():
    sae = make(architecture="jumprelu", k=None, normalise="unit-norm")
    assert sae.decode(sae.encode(torch.zeros(0, D))).shape == (0, D)
    sae.threshold.fill_(1e9)
    codes = sae.encode(torch.zeros(3, D))
    assert codes.indices.shape == (3, 0)
    assert not sae.decode(codes).any()
    assert not sae.features(torch.zeros(3, D)).any()


def test_bfloat16_activations_are_taken_in_float32():
    sae, x = make(), draw(M, D, seed=9).bfloat16()
    assert torch.equal(sae.features(x), sae.features(x.float()))


def test_tensors_that_do_not_fit_are_all_named():
    with pytest.raises(SaeError) as caught:
        Sae(
            config=make().config,
            w_enc=draw(D, N),
            b_enc=draw(N).double(),
            w_dec=draw(N, D),
            b_dec=draw(D),
            threshold=draw(N),
        )
    assert all(f"`{name}`" in caught.value.what for name in ("w_enc", "b_enc", "threshold"))


def test_activations_of_another_width_are_refused():
    with pytest.raises(SaeError, match=r"shape \(4, 13\), expected \(n_tokens, 12\)"):
        make().encode(torch.zeros(4, 13))


def test_saving_and_loading_keeps_what_it_does(tmp_path):
    for case in CASES.values():
        sae, x = make(**{**case, "unit_norm_decoder": False}), draw(M, D, seed=9)
        sae.save(tmp_path)
        torch.testing.assert_close(Sae.load(tmp_path).features(x), sae.features(x))
