"""What is written is read again as it was, and by SAELens and sparsify themselves where they are installed."""

from pathlib import Path

import pytest
import torch

from release_kit.sae.config import SaeConfig
from release_kit.sae.dictionary import Sae
from release_kit.sae.errors import FormatError
from release_kit.sae.formats.read import read_sae
from release_kit.sae.formats.saelens import write_saelens
from release_kit.sae.formats.sparsify import write_sparsify

D, N, K = 6, 20, 4
METADATA = {"model_name": "small", "hook_name": "blocks.2.hook_resid_post", "context_size": 64}


def make(normalise: str = "none", *, thresholds: bool = False, subtract: bool = True) -> Sae:
    rng = torch.Generator().manual_seed(3)
    w_dec = torch.randn(N, D, generator=rng)
    config = SaeConfig(
        architecture="jumprelu" if thresholds else "topk",
        d_in=D,
        n_features=N,
        k=None if thresholds else K,
        normalise=normalise,
        rms_scale=0.7 if normalise == "rms" else None,
        subtract_decoder_bias=subtract,
    )
    return Sae(
        config=config,
        w_enc=torch.randn(N, D, generator=rng),
        b_enc=0.1 * torch.randn(N, generator=rng),
        w_dec=w_dec / w_dec.norm(dim=1, keepdim=True),
        b_dec=0.3 * torch.randn(D, generator=rng),
        threshold=torch.rand(N, generator=rng) if thresholds else None,
    )


def inputs() -> torch.Tensor:
    return 3 * torch.randn(40, D, generator=torch.Generator().manual_seed(4))


CASES = [("none", False), ("unit-norm", False), ("rms", False), ("none", True), ("unit-norm", True)]


@pytest.mark.parametrize(("normalise", "thresholds"), CASES)
def test_what_is_written_is_read_as_it_was(normalise: str, thresholds: bool, tmp_path: Path):
    sae, x = make(normalise, thresholds=thresholds), inputs()
    write_saelens(sae, tmp_path, METADATA, firing_rate=torch.full((N,), 0.01))
    found = read_sae(tmp_path)
    torch.testing.assert_close(found.sae.features(x), sae.features(x))
    torch.testing.assert_close(found.sae.decode(found.sae.encode(x)), sae.decode(sae.encode(x)))
    assert {name: found.facts[name] for name in METADATA} == METADATA
    if normalise == "none":
        assert found.sae.config == sae.config
        assert torch.equal(found.sae.w_enc, sae.w_enc)


def test_the_same_autoencoder_gives_the_same_bytes(tmp_path: Path):
    for name in "ab":
        write_saelens(make("unit-norm"), tmp_path / name, METADATA)
        write_sparsify(make(), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 3, "one cfg.json serves neither layout twice: the later writer's stays"
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(("normalise", "thresholds"), CASES)
def test_saelens_loads_the_folder_and_gives_the_same_features(normalise: str, thresholds: bool, tmp_path: Path):
    saelens = pytest.importorskip("sae_lens", reason="sae-lens is not installed")
    sae, x = make(normalise, thresholds=thresholds), inputs()
    write_saelens(sae, tmp_path, METADATA)
    loaded = saelens.SAE.load_from_disk(tmp_path)
    torch.testing.assert_close(loaded.encode(x).detach(), sae.features(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loaded(x).detach(), sae.decode(sae.encode(x)), atol=1e-5, rtol=1e-5)
    assert loaded.cfg.metadata.hook_name == METADATA["hook_name"]


def test_sparsify_loads_the_folder_and_gives_the_same_output(tmp_path: Path):
    coder = pytest.importorskip("sparsify", reason="sparsify is not installed").SparseCoder
    sae, x = make(), inputs()
    write_sparsify(sae, tmp_path)
    loaded = coder.load_from_disk(tmp_path)
    torch.testing.assert_close(loaded(x).sae_out.detach(), sae.decode(sae.encode(x)), atol=1e-5, rtol=1e-5)


def test_what_sparsify_has_no_place_for_is_refused(tmp_path: Path):
    with pytest.raises(FormatError, match="thresholds"):
        write_sparsify(make(thresholds=True), tmp_path)
    with pytest.raises(FormatError, match="bias is not taken off"):
        write_sparsify(make(subtract=False), tmp_path)
    assert not list(tmp_path.iterdir())
