"""Every layout is read as its own library uses it: the same features, the same output, from files with its names."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from release_kit.sae.errors import FormatError
from release_kit.sae.formats.read import read_sae

D, N, K = 6, 20, 4
Dense = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def draw(seed: int = 0) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {
        "enc": torch.randn(N, D, generator=rng),
        "dec": torch.randn(N, D, generator=rng),
        "b_enc": 0.1 * torch.randn(N, generator=rng),
        "b_dec": 0.3 * torch.randn(D, generator=rng),
        "threshold": 0.5 * torch.rand(N, generator=rng),
    }


def top(pre: torch.Tensor, k: int = K) -> torch.Tensor:
    """ReLU, then the k largest of a row."""
    values, places = pre.relu().topk(k, dim=-1)
    return torch.zeros_like(pre).scatter_(-1, places, values)


def jump(pre: torch.Tensor, threshold: torch.Tensor | float) -> torch.Tensor:
    return pre.relu() * (pre > threshold)


def dump(path: Path, value: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def whole(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.contiguous() for name, value in tensors.items()}


def sparsify(folder: Path) -> Dense:
    w = draw()
    dump(folder / "cfg.json", {"d_in": D, "k": K, "num_latents": N, "expansion_factor": 32, "activation": "topk"})
    tensors = {"encoder.weight": w["enc"], "encoder.bias": w["b_enc"], "W_dec": w["dec"], "b_dec": w["b_dec"]}
    save_file(tensors, folder / "sae.safetensors")

    def apply(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z = top((x - w["b_dec"]) @ w["enc"].T + w["b_enc"])
        return z, z @ w["dec"] + w["b_dec"]

    return apply


def llm_jp(folder: Path) -> Dense:
    w = draw()
    dump(folder / "config.json", {"model_type": "topk_sae", "d_in": D, "num_latents": N, "k": K})
    tensors = {"encoder.weight": w["enc"], "encoder.bias": w["b_enc"], "decoder.weight": w["dec"].T}
    save_file(whole(tensors | {"b_dec": w["b_dec"]}), folder / "model.safetensors")

    def apply(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        length = x.norm(dim=1, keepdim=True)
        z = top((x / length - w["b_dec"]) @ w["enc"].T + w["b_enc"])
        return z, (z @ w["dec"] + w["b_dec"]) * length

    return apply


def dictionary_learning(kind: str) -> Callable[[Path], Dense]:
    def write(folder: Path) -> Dense:
        w = draw()
        trainer = {"dict_class": kind, "activation_dim": D, "dict_size": N, "lm_name": "a/b", "layer": 3}
        dump(folder / "config.json", {"trainer": trainer, "buffer": {"ctx_len": 64}})
        linear = {"encoder.weight": w["enc"], "encoder.bias": w["b_enc"], "decoder.weight": w["dec"].T}
        matrices = {"W_enc": w["enc"].T, "b_enc": w["b_enc"], "W_dec": w["dec"], "b_dec": w["b_dec"]}
        one = {"threshold": torch.tensor(0.4), "k": torch.tensor(K, dtype=torch.int)}
        state = {
            "AutoEncoder": linear | {"bias": w["b_dec"]},
            "AutoEncoderTopK": linear | {"b_dec": w["b_dec"]} | one,
            "BatchTopKSAE": linear | {"b_dec": w["b_dec"]} | one,
            "MatryoshkaBatchTopKSAE": matrices | one | {"group_sizes": torch.tensor([5, 15])},
            "JumpReluAutoEncoder": matrices | {"threshold": w["threshold"]},
        }[kind]
        torch.save(state, folder / "ae.pt")
        subtract = kind != "JumpReluAutoEncoder"
        select = {
            "AutoEncoder": torch.relu,
            "AutoEncoderTopK": top,
            "JumpReluAutoEncoder": lambda pre: jump(pre, w["threshold"]),
        }.get(kind, lambda pre: jump(pre, 0.4))

        def apply(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            z = select((x - w["b_dec"] * subtract) @ w["enc"].T + w["b_enc"])
            return z, z @ w["dec"] + w["b_dec"]

        return apply

    return write


def gemma_scope(folder: Path) -> Dense:
    w = draw()
    arrays = {"W_enc": w["enc"].T, "W_dec": w["dec"], "b_enc": w["b_enc"], "b_dec": w["b_dec"]}
    np.savez(folder / "params.npz", **{k: v.numpy() for k, v in (arrays | {"threshold": w["threshold"]}).items()})
    return _plain_jump(w)


def gemma_scope_2(folder: Path) -> Dense:
    w = draw()
    dump(folder / "config.json", {"architecture": "jump_relu", "model_name": "gemma-v3-270m", "width": N})
    tensors = {"w_enc": w["enc"].T, "w_dec": w["dec"], **{name: w[name] for name in ("b_enc", "b_dec", "threshold")}}
    save_file(whole(tensors), folder / "params.safetensors")
    return _plain_jump(w)


def _plain_jump(w: dict[str, torch.Tensor]) -> Dense:
    def apply(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z = jump(x @ w["enc"].T + w["b_enc"], w["threshold"])
        return z, z @ w["dec"] + w["b_dec"]

    return apply


def llama_scope(folder: Path) -> Dense:
    w, length = draw(), 5.0
    said = {"d_model": D, "d_sae": N, "jump_relu_threshold": 0.3, "dataset_average_activation_norm": {"in": length}}
    dump(folder / "hyperparams.json", said)
    (folder / "checkpoints").mkdir()
    tensors = {
        "encoder.weight": w["enc"],
        "encoder.bias": w["b_enc"],
        "decoder.weight": w["dec"].T,
        "decoder.bias": w["b_dec"],
    }
    save_file(whole(tensors), folder / "checkpoints" / "final.safetensors")
    scale = D**0.5 / length

    def apply(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z = jump(x * scale @ w["enc"].T + w["b_enc"], 0.3 * scale)
        return z, (z @ w["dec"] + w["b_dec"]) / scale

    return apply


def saelens(architecture: str, changed: dict | None = None, **more: object) -> Callable[[Path], Dense]:
    def write(folder: Path) -> Dense:
        w = draw()
        said = {"architecture": architecture, "d_in": D, "d_sae": N, "apply_b_dec_to_input": True}
        more.update(changed or {})
        dump(folder / "cfg.json", said | {"metadata": {"sae_lens_version": "6.54.12", "model_name": "m"}} | more)
        tensors = {"W_enc": w["enc"].T, "W_dec": w["dec"], "b_enc": w["b_enc"], "b_dec": w["b_dec"]}
        if architecture == "jumprelu":
            tensors["threshold"] = w["threshold"]
        save_file(whole(tensors), folder / "sae_weights.safetensors")
        norms = w["dec"].norm(dim=1) if more.get("rescale_acts_by_decoder_norm") else torch.ones(N)
        by_length = more.get("normalize_activations") == "constant_norm_rescale"

        def apply(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            scale = D**0.5 / x.norm(dim=1, keepdim=True) if by_length else torch.ones(len(x), 1)
            pre = (x * scale - w["b_dec"]) @ w["enc"].T + w["b_enc"]
            z = top(pre * norms) if architecture == "topk" else jump(pre, w["threshold"])
            z = pre.relu() if architecture == "standard" else z
            return z, ((z / norms) @ w["dec"] + w["b_dec"]) / scale

        return apply

    return write


LAYOUTS: dict[str, Callable[[Path], Dense]] = {
    "sparsify": sparsify,
    "llm-jp-sae": llm_jp,
    "gemma-scope": gemma_scope,
    "gemma-scope-2": gemma_scope_2,
    "llama-scope": llama_scope,
    "saelens topk": saelens("topk", k=K),
    "saelens topk by length": saelens("topk", k=K, normalize_activations="constant_norm_rescale"),
    "saelens topk by decoder": saelens("topk", k=K, rescale_acts_by_decoder_norm=True),
    "saelens jumprelu": saelens("jumprelu"),
    "saelens standard": saelens("standard"),
    **{
        f"dictionary_learning {kind}": dictionary_learning(kind)
        for kind in (
            "AutoEncoder",
            "AutoEncoderTopK",
            "BatchTopKSAE",
            "MatryoshkaBatchTopKSAE",
            "JumpReluAutoEncoder",
        )
    },
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_file_gives_the_features_and_the_output_of_its_own_library(name: str, tmp_path: Path):
    apply = LAYOUTS[name](tmp_path)
    found = read_sae(tmp_path)
    x = torch.randn(50, D, generator=torch.Generator().manual_seed(1)) * 3
    features, output = apply(x)
    assert found.layout == name.split()[0]
    torch.testing.assert_close(found.sae.features(x), features, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.sae.decode(found.sae.encode(x)), output, atol=1e-5, rtol=1e-5)


def test_an_embedding_autoencoder_of_gemma_scope_sees_embeddings_as_the_model_uses_them(tmp_path: Path):
    folder = tmp_path / "embedding" / "width_16k" / "average_l0_6"
    folder.mkdir(parents=True)
    apply = gemma_scope(folder)
    found = read_sae(folder)
    x = torch.randn(10, D, generator=torch.Generator().manual_seed(2))
    features, output = apply(x)
    torch.testing.assert_close(found.sae.features(x * D**0.5), features, atol=1e-5, rtol=1e-5)
    whole = found.sae.decode(found.sae.encode(x * D**0.5))
    torch.testing.assert_close(whole, output * D**0.5, atol=1e-5, rtol=1e-5)
    assert found.facts == {"width": "16k", "average_l0": "6"}
    assert found.notes


def test_a_file_that_needs_code_to_be_read_is_refused_and_none_is_run(tmp_path: Path):
    dictionary_learning("AutoEncoderTopK")(tmp_path)

    class Runs:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "was-run",)

    torch.save({"encoder.weight": Runs()}, tmp_path / "ae.pt")
    with pytest.raises(FormatError, match=r"ae\.pt.*tensors alone"):
        read_sae(tmp_path)
    assert not (tmp_path / "was-run").exists()


def test_an_archive_with_objects_in_it_is_refused(tmp_path: Path):
    np.savez(tmp_path / "params.npz", W_enc=np.array([{}], dtype=object))
    with pytest.raises(FormatError, match=r"params\.npz.*arrays of numbers"):
        read_sae(tmp_path)


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_wrong_with_a_file_is_named_with_file_and_tensor(name: str, tmp_path: Path):
    LAYOUTS[name](tmp_path)
    file = next(path for path in tmp_path.rglob("*") if path.suffix in {".safetensors", ".npz", ".pt"})
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match=file.name):
        read_sae(tmp_path)
    settings = next((path for path in tmp_path.rglob("*.json")), None)
    if settings is not None:
        file.write_bytes(whole)
        settings.write_text("{", encoding="utf-8")
        with pytest.raises(FormatError, match=settings.name):
            read_sae(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"b_enc": torch.zeros(N - 1)}, r"tensor b_enc: has shape \(19,\), expected \(20,\)"),
        ({"W_enc": torch.full((D, N), torch.nan)}, "tensor W_enc: holds 120 values that are no finite"),
        ({"W_dec": torch.zeros(N, D + 1)}, "features by width"),
        ({"b_dec": None}, "tensor b_dec: is missing; the file has W_dec, W_enc, b_enc"),
        ({"W_enc": torch.zeros(D, N, dtype=torch.int32)}, "tensor W_enc: holds 120 values that are no finite"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(change: dict, said: str, tmp_path: Path):
    saelens("topk", k=K)(tmp_path)
    w = draw()
    tensors = {"W_enc": w["enc"].T, "W_dec": w["dec"], "b_enc": w["b_enc"], "b_dec": w["b_dec"]} | change
    save_file(whole({k: v for k, v in tensors.items() if v is not None}), tmp_path / "sae_weights.safetensors")
    with pytest.raises(FormatError, match=said):
        read_sae(tmp_path)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"k": N + 1}, "k is 21 of 20 features"),
        ({"d_in": D + 1}, "its width is 6, its settings say 7"),
        ({"architecture": "gated"}, "architecture gated cannot be read"),
        ({"normalize_activations": "layer_norm"}, "normalises inputs by layer_norm"),
        ({"architecture": "jumprelu"}, "tensor threshold: is missing"),
    ],
)
def test_settings_that_do_not_fit_are_named(more: dict, said: str, tmp_path: Path):
    saelens("topk", more, k=K)(tmp_path)
    with pytest.raises(FormatError, match=said):
        read_sae(tmp_path)


def test_a_folder_of_no_known_layout_says_what_was_expected(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    with pytest.raises(FormatError, match=r"it holds notes\.txt.*sae_weights\.safetensors"):
        read_sae(tmp_path)
