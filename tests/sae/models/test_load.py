"""Models are opened with a digest of what decides their values; what is missing or wrong is named."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from release_kit.sae.errors import SaeError
from release_kit.sae.models.load import model_digest, open_model
from release_kit.sae.prepare.series import LmSeries


@pytest.fixture
def folder(small_series: LmSeries, tmp_path: Path) -> Path:
    """Return a copy of a model that a test may break."""
    return Path(shutil.copytree(small_series.checkpoints[-1].folder, tmp_path / "model"))


def test_model_is_opened_with_its_sizes_and_its_digest(folder: Path):
    lm = open_model(folder)
    assert (lm.n_layers, lm.d_model, lm.revision, lm.label()) == (2, 32, None, str(folder))
    assert lm.digest == model_digest(folder) and len(lm.digest) == 64
    assert not lm.model.training and not any(weight.requires_grad for weight in lm.model.parameters())


def test_checkpoint_of_a_series_is_a_revision_of_its_folder(small_series: LmSeries):
    lm = open_model(small_series.folder, "step-16")
    assert lm.revision == "step-16" and lm.label().endswith("small@step-16")
    assert lm.digest == model_digest(small_series.checkpoints[2].folder) != model_digest(small_series.folder, "step-4")


def test_checkpoint_missing_in_a_series_is_named_with_those_that_are_there(small_series: LmSeries):
    with pytest.raises(SaeError, match="has no checkpoint 'step-8'; there are step-0, step-4, step-16, step-64"):
        open_model(small_series.folder, "step-8")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_digest_follows_every_file_that_decides_values(folder: Path, name: str):
    before = model_digest(folder)
    (folder / "README.md").write_text("hello")
    assert model_digest(folder) == before
    (folder / name).write_bytes((folder / name).read_bytes() + b"\n")
    assert model_digest(folder) != before


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_missing_file_is_named(folder: Path, name: str):
    (folder / name).unlink()
    named = "*.safetensors" if name.endswith("tensors") else name
    with pytest.raises(SaeError) as caught:
        open_model(folder)
    assert f"the model lacks {named}" in str(caught.value)


def test_shard_that_an_index_names_must_be_there(folder: Path):
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(SaeError, match=r"the model lacks model-00002-of-00002\.safetensors"):
        open_model(folder)


def test_pickled_weights_are_not_read(folder: Path):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(SaeError, match=r"convert pytorch_model\.bin to safetensors: pickled weights can run code"):
        open_model(folder)


def test_weights_that_would_be_drawn_at_random_are_refused(folder: Path):
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(SaeError, match=r"weights are missing, or of another shape: model\.layers\.1\.mlp\.up_proj"):
        open_model(folder)


def test_truncated_weights_are_refused(folder: Path):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(SaeError, match="transformers cannot read it"):
        open_model(folder)


def test_tokenizer_of_a_larger_model_is_refused(folder: Path):
    config = json.loads((folder / "config.json").read_text())
    tensors = load_file(folder / "model.safetensors")
    rows = tensors["model.embed_tokens.weight"][:500].clone()
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 500}))
    save_file({**tensors, "model.embed_tokens.weight": rows}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(SaeError, match="the tokenizer has 600 tokens, the model 500 embeddings"):
        open_model(folder)


def test_unknown_device_type_and_folder_are_named(folder: Path):
    with pytest.raises(SaeError, match="the device 'cuda:77' cannot be used"):
        open_model(folder, device="cuda:77")
    with pytest.raises(SaeError, match="'float8' is not one of"):
        open_model(folder, dtype="float8")
    with pytest.raises(SaeError, match="there is no such folder"):
        open_model(folder / "elsewhere")


def test_weights_can_be_held_in_another_type(folder: Path):
    assert open_model(folder, dtype="bfloat16").model.dtype == torch.bfloat16
