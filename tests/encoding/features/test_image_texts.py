"""Frames with text through real code of transformers: models of joint states, of two towers, of pairs."""

import encoding_features_factory as factory
import numpy as np
import pytest
import torch
from encoding_features_factory import image
from transformers import (
    AutoModel,
    AutoProcessor,
    BlipImageProcessor,
    BridgeTowerConfig,
    BridgeTowerImageProcessor,
    BridgeTowerProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPProcessor,
    CLIPVisionConfig,
    GitConfig,
    GitProcessor,
    LlamaConfig,
    LlavaConfig,
    LlavaProcessor,
    ViltConfig,
    ViltImageProcessor,
    ViltProcessor,
)

from release_kit.encoding.errors import FeatureError
from release_kit.encoding.features.texts import BinnedTexts, bin_texts

SIZE = factory.IMAGE_SIZE
TWO_LAYERS = {**factory.SMALL, "num_hidden_layers": 2}


def made(tmp_path, model, media, kind, binned=None, **settings):
    return factory.media_features(tmp_path / "store", model, media, kind, binned, **settings)


@pytest.fixture
def clip(tmp_path):
    text = {**factory.SMALL, "num_hidden_layers": 2, "vocab_size": factory.N_WORDS, "max_position_embeddings": 16}
    config = CLIPConfig(
        text_config={**text, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0},
        vision_config={**factory.SMALL_IMAGE, "hidden_size": 48},
        projection_dim=16,
    )
    processor = CLIPProcessor(CLIPImageProcessor(size=SIZE, crop_size=SIZE), factory.tokenizer(around=True, limit=16))
    return factory.write_media_model(tmp_path / "clip", config, processor)


def captions(text_of_bin_1: str = "the old dog sleeps") -> BinnedTexts:
    rows = [("a", 0.0, 1.0, "a man walks"), ("a", 1.0, 1.0, text_of_bin_1), ("b", 1.0, 3.0, "the house")]
    return bin_texts(factory.table(rows), "film", "story", "en", 4.0, 1.0)


def test_model_of_two_towers_gives_both_side_by_side(tmp_path, frames, clip):
    with factory.quiet():
        files = made(tmp_path, clip, frames, "vision-language", captions())
        processor, model = AutoProcessor.from_pretrained(clip), AutoModel.from_pretrained(clip).eval()
        inputs = processor(images=[factory.image(0), factory.image(1)], text=["a man walks"] * 2, return_tensors="pt")
        with torch.inference_mode():
            direct = model(**inputs, output_hidden_states=True)
    assert files.missing("film").tolist() == [False, False, False, True], "a text without a frame is missing"
    for layer in files.layers:
        towers = [direct.text_model_output.hidden_states[layer], direct.vision_model_output.hidden_states[layer]]
        expected = np.concatenate([tower.mean(1).mean(0).numpy() for tower in towers])
        assert expected.shape == (80,)
        np.testing.assert_allclose(files.layer("film", layer)[0], expected, atol=1e-5)


def test_long_captions_are_cut_and_counted(tmp_path, frames, clip):
    with factory.quiet():
        files = made(tmp_path, clip, frames, "vision-language", captions(" ".join(["dog"] * 20)))
    assert files.counts()["truncated"] == 1


def test_tower_of_images_alone_is_used_where_only_images_are_read(tmp_path, frames, clip):
    with factory.quiet():
        files = made(tmp_path, clip, frames, "vision")
        processor, model = CLIPImageProcessor.from_pretrained(clip), AutoModel.from_pretrained(clip).eval().vision_model
        with torch.inference_mode():
            direct = model(**processor(images=image(4), return_tensors="pt"), output_hidden_states=True).hidden_states
    assert files.layer("film", 1).shape == (4, 48)
    np.testing.assert_allclose(files.layer("film", 1)[2], direct[1][0].mean(0).numpy(), atol=1e-5)


def test_joint_states_pool_the_image_and_the_text_without_its_padding(tmp_path, frames):
    config = GitConfig(
        **{**factory.SMALL, "num_hidden_layers": 2}, vocab_size=factory.N_WORDS, bos_token_id=2, eos_token_id=3,
        pad_token_id=0, max_position_embeddings=32, vision_config=factory.SMALL_IMAGE,
    )  # fmt: skip
    images = BlipImageProcessor(size=SIZE)
    with factory.quiet():
        processor = GitProcessor(images, factory.tokenizer(around=True, limit=32))
        folder = factory.write_media_model(tmp_path / "git", config, processor)
        one = made(tmp_path, folder, frames, "vision-language", captions(), batch_size=1)
        many = made(tmp_path, folder, frames, "vision-language", captions(), batch_size=16)
    assert one.key != many.key
    for layer in one.layers:
        assert one.layer("film", layer)[:3].any(axis=1).all()
        np.testing.assert_allclose(many.layer("film", layer), one.layer("film", layer), atol=1e-5)


def write_bridgetower(folder):
    text = {**TWO_LAYERS, "vocab_size": factory.N_WORDS, "max_position_embeddings": 20, "pad_token_id": 0}
    vision = {"hidden_size": 64, "num_hidden_layers": 2, "patch_size": 8, "image_size": 32}
    config = BridgeTowerConfig(text_config=text, vision_config=vision, **TWO_LAYERS)
    images = BridgeTowerImageProcessor(size={"shortest_edge": 32}, crop_size={"shortest_edge": 32}, size_divisor=8)
    return factory.write_media_model(
        folder, config, BridgeTowerProcessor(images, factory.tokenizer(around=True, limit=18))
    )


def write_llava(folder):
    tokenizer = factory.tokenizer(around=False)
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    text = LlamaConfig(
        **{**TWO_LAYERS, "vocab_size": factory.N_WORDS + 3}, max_position_embeddings=128, num_key_value_heads=1
    )
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**factory.SMALL_IMAGE), text_config=text, vision_feature_layer=-1,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"), vision_feature_select_strategy="default",
    )  # fmt: skip
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=SIZE)
    more = {"patch_size": 8, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    return factory.write_media_model(folder, config, LlavaProcessor(images, tokenizer, **more))


def write_vilt(folder):
    config = ViltConfig(
        **TWO_LAYERS, vocab_size=factory.N_WORDS, max_position_embeddings=20, image_size=32, patch_size=8
    )
    images = ViltImageProcessor(size={"shortest_edge": 32}, size_divisor=8)
    return factory.write_media_model(folder, config, ViltProcessor(images, factory.tokenizer(around=True, limit=20)))


def direct_states(folder, place: int, text: str) -> list[list[torch.Tensor]]:
    """Return, of each layer, the states of one frame with one text by a plain call, as parts that are pooled apart."""
    processor, model = AutoProcessor.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    llava = getattr(processor, "image_token", None)
    text = f"{llava}\n{text}" if llava else text
    inputs = processor(images=factory.image(place), text=text, return_tensors="pt")
    with torch.inference_mode():
        states = model(**inputs, output_hidden_states=True).hidden_states
    return [list(pair) for pair in states[2]] if len(states) == 3 and isinstance(states[2], tuple) else [
        [state] for state in states
    ]  # fmt: skip


@pytest.mark.parametrize("write_model", [write_bridgetower, write_llava, write_vilt])
def test_texts_of_any_length_in_one_batch_are_as_if_each_were_alone(tmp_path, frames, write_model):
    rows = [("a", 0.0, 1.0, "the old dog sleeps in the garden"), ("a", 2.0, 1.0, "dog"), ("b", 1.0, 1.0, "a man")]
    texts = bin_texts(factory.table(rows), "film", "story", "en", 4.0, 1.0)
    with factory.quiet():
        folder = write_model(tmp_path / "model")
        files = made(tmp_path, folder, frames, "vision-language", texts, batch_size=16)
        for k, (places, text) in enumerate([((0, 1), rows[0][3]), ((2, 3), "a man"), ((4,), "dog")]):
            direct = [direct_states(folder, place, text) for place in places]
            assert files.layers == tuple(range(len(direct[0])))
            for layer in files.layers:
                of_frames = [np.concatenate([part[0].mean(0).numpy() for part in one[layer]]) for one in direct]
                np.testing.assert_allclose(files.layer("film", layer)[k], np.mean(of_frames, axis=0), atol=1e-5)
    assert files.missing("film").tolist() == [False, False, False, True]


def test_towers_of_different_height_lose_no_layer(tmp_path, frames):
    text = {
        **TWO_LAYERS,
        "vocab_size": factory.N_WORDS,
        "max_position_embeddings": 16,
        "bos_token_id": 2,
        "eos_token_id": 3,
    }
    config = CLIPConfig(text_config=text, vision_config={**factory.SMALL_IMAGE, "num_hidden_layers": 4})
    processor = CLIPProcessor(CLIPImageProcessor(size=SIZE, crop_size=SIZE), factory.tokenizer(around=True, limit=16))
    with factory.quiet():
        folder = factory.write_media_model(tmp_path / "clip", config, processor)
        both = made(tmp_path, folder, frames, "vision-language", captions())
        images = made(tmp_path, folder, frames, "vision")
    assert both.layers == images.layers == (0, 1, 2, 3, 4)
    for layer in both.layers:
        x = both.layer("film", layer)[:3]
        np.testing.assert_allclose(x[:, 32:], images.layer("film", layer)[:3], atol=1e-5)
        assert np.array_equal(x[:, :32], both.layer("film", min(layer, 2))[:3, :32])


def test_film_without_a_word_is_missing_and_no_mistake(tmp_path, frames, clip):
    silent = bin_texts(factory.table([("a", 0.0, 4.0, "..")]), "film", "story", "en", 4.0, 1.0)
    with factory.quiet():
        files = made(tmp_path, clip, frames, "vision-language", silent)
    assert files.missing("film").all() and files.counts()["tokens"] == 0


def test_cutting_texts_whose_tokens_hold_the_image_is_refused(tmp_path, frames):
    with factory.quiet():
        folder = write_llava(tmp_path / "llava")
        with pytest.raises(FeatureError, match="max_tokens is 6, but places of its images are tokens"):
            made(tmp_path, folder, frames, "vision-language", captions(), max_tokens=6)
        alone = made(tmp_path, folder, frames, "vision")
    assert alone.layer("film", 1).shape == (4, 32), "the tower of images"


def test_model_of_another_medium_is_named(tmp_path, frames):
    with factory.quiet():
        folder = write_bridgetower(tmp_path / "bridgetower")
        with pytest.raises(FeatureError, match="it cannot read what `vision` gives"):
            made(tmp_path, folder, frames, "vision")
