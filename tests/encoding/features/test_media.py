"""Frames, frames with text and sound through real code of transformers, with tiny models of random weights."""

import encoding_features_factory as factory
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoProcessor,
    BlipImageProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPProcessor,
    GitConfig,
    GitProcessor,
    ResNetConfig,
    ViTConfig,
    ViTImageProcessor,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperFeatureExtractor,
)

from release_kit.encoding.errors import FeatureError
from release_kit.encoding.features.media_files import Frames, Sound, media_of
from release_kit.encoding.features.spec import FeatureSpec
from release_kit.encoding.features.store import feature_files
from release_kit.encoding.features.texts import BinnedTexts, bin_texts

SIZE = {"height": 32, "width": 32}
N_BINS = 4
TIMES = (0.0, 0.5, 1.0, 1.5, 2.6)
"""Bin 2 has only its second frame, bin 3 none."""


def image(seed: int, size: int = 40) -> Image.Image:
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    return Image.fromarray(blocks).resize((size, size), Image.Resampling.NEAREST)


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / "frames" / "film"
    folder.mkdir(parents=True)
    for k, time in enumerate(TIMES):
        image(k).save(folder / f"{time:08.1f}.png")
    return folder.parent


def no_texts() -> BinnedTexts:
    return BinnedTexts(stim_id="film", bin_s=1.0, n_bins=N_BINS)


def made(tmp_path, model, media, kind, binned=None, **settings):
    level = "story" if kind == "vision-language" else None
    spec = FeatureSpec(name=kind, kind=kind, model=model, media=media, level=level, **settings)
    return feature_files(spec, [binned or no_texts()], tmp_path / "store")


def direct_images(model_folder, places, **asked):
    """Return the hidden states of frames by a plain call of transformers, one image at a time."""
    processor = AutoImageProcessor.from_pretrained(model_folder)
    model = AutoModel.from_pretrained(model_folder).eval()
    model = getattr(model, "vision_model", model)
    found = []
    for place in places:
        inputs = processor(images=image(place), return_tensors="pt")
        with torch.inference_mode():
            found.append(model(**inputs, output_hidden_states=True).hidden_states)
    return found


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_bin_of_images_is_the_mean_of_its_first_and_middle_frame(tmp_path, frames, batch_size):
    with factory.quiet():
        folder = factory.write_media_model(
            tmp_path / "vit", ViTConfig(**factory.SMALL_IMAGE), ViTImageProcessor(size=SIZE)
        )
        files = made(tmp_path, folder, frames, "vision", batch_size=batch_size)
        direct = direct_images(folder, range(5))
    assert files.layers == (0, 1, 2)
    assert files.missing("film").tolist() == [False, False, False, True]
    assert files.counts()["frames"] == 5 and files.counts()["without_frames"] == 1
    for layer in files.layers:
        mean = [direct[k][layer][0].mean(0).numpy() for k in range(5)]
        expected = [(mean[0] + mean[1]) / 2, (mean[2] + mean[3]) / 2, mean[4], 0 * mean[0]]
        np.testing.assert_allclose(files.layer("film", layer), expected, atol=1e-5)


def test_layers_of_a_convolutional_model_have_widths_of_their_own(tmp_path, frames):
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    with factory.quiet():
        folder = factory.write_media_model(tmp_path / "resnet", config, ViTImageProcessor(size=SIZE))
        files = made(tmp_path, folder, frames, "vision")
        direct = direct_images(folder, [4])[0]
    assert [files.layer("film", layer).shape for layer in files.layers] == [(4, 8), (4, 8), (4, 16)]
    np.testing.assert_allclose(files.layer("film", 2)[2], direct[2][0].mean(dim=(1, 2)).numpy(), atol=1e-5)


@pytest.fixture
def clip(tmp_path):
    n_words = len(factory.SPECIAL) + len(factory.WORDS) + 2
    text = {**factory.SMALL, "num_hidden_layers": 2, "vocab_size": n_words, "max_position_embeddings": 16}
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
        inputs = processor(images=[image(0), image(1)], text=["a man walks"] * 2, return_tensors="pt")
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
        direct = direct_images(clip, [4])[0]
    assert files.layer("film", 1).shape == (4, 48)
    np.testing.assert_allclose(files.layer("film", 1)[2], direct[1][0].mean(0).numpy(), atol=1e-5)


def test_joint_states_pool_the_image_and_the_text_without_its_padding(tmp_path, frames):
    n_words = len(factory.SPECIAL) + len(factory.WORDS) + 2
    config = GitConfig(
        **{**factory.SMALL, "num_hidden_layers": 2}, vocab_size=n_words, bos_token_id=2, eos_token_id=3,
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


def write_wav(path, rate, seconds=3.4, dtype=np.int16, hz=440.0):
    path.parent.mkdir(exist_ok=True)
    wave = 0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)
    wavfile.write(path, rate, (wave * 32767).astype(np.int16) if dtype == np.int16 else wave.astype(dtype))
    return path


def test_sound_of_a_bin_is_its_own_at_another_rate(tmp_path):
    path = write_wav(tmp_path / "s" / "film.wav", 22050)
    sound = Sound(path, 1.0)
    assert [sound.covers(k) for k in range(4)] == [True, True, True, False]
    for k in range(3):
        expected = 0.5 * np.sin(2 * np.pi * 440 * (k + np.arange(16000) / 16000))
        np.testing.assert_allclose(sound.read(k, 16000)[100:-100], expected[100:-100], atol=3e-3)
    assert np.array_equal(Sound(path, 2.0).read(0, 22050)[:22050], sound.read(0, 22050))


def test_channels_become_their_mean_and_numbers_their_size(tmp_path):
    stereo = np.stack([np.full(100, 1000), np.full(100, 3000)], axis=1).astype(np.int16)
    wavfile.write(tmp_path / "film.wav", 100, stereo)
    np.testing.assert_allclose(Sound(tmp_path / "film.wav", 1.0).read(0, 100), 2000 / 32768)


def test_bin_of_sound_is_the_mean_over_its_time(tmp_path):
    write_wav(tmp_path / "sound" / "film.wav", 16000)
    config = Wav2Vec2Config(
        **{**factory.SMALL, "num_hidden_layers": 2}, conv_dim=(16,) * 7, num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    with factory.quiet():
        folder = factory.write_media_model(tmp_path / "wav2vec2", config, Wav2Vec2FeatureExtractor())
        files = made(tmp_path, folder, tmp_path / "sound", "audio")
        model = AutoModel.from_pretrained(folder).eval()
    assert files.missing("film").tolist() == [False, False, False, True] and files.counts()["without_sound"] == 1
    wave = Sound(tmp_path / "sound" / "film.wav", 1.0).read(1, 16000)
    inputs = Wav2Vec2FeatureExtractor()(wave, sampling_rate=16000, return_tensors="pt")
    with torch.inference_mode():
        direct = model(**inputs, output_hidden_states=True).hidden_states
    for layer in files.layers:
        np.testing.assert_allclose(files.layer("film", layer)[1], direct[layer][0].mean(0).numpy(), atol=1e-5)


def test_silence_that_fills_an_input_to_its_length_is_not_pooled(tmp_path):
    write_wav(tmp_path / "sound" / "film.wav", 16000)
    config = WhisperConfig(
        d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, vocab_size=30, num_mel_bins=20, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    extractor = WhisperFeatureExtractor(feature_size=20)
    with factory.quiet():
        folder = factory.write_media_model(tmp_path / "whisper", config, extractor)
        files = made(tmp_path, folder, tmp_path / "sound", "audio", layers=(1,))
        encoder = AutoModel.from_pretrained(folder).eval().get_encoder()
    wave = Sound(tmp_path / "sound" / "film.wav", 1.0).read(0, 16000)
    with torch.inference_mode():
        states = encoder(**extractor(wave, sampling_rate=16000, return_tensors="pt"), output_hidden_states=True)
    assert states.hidden_states[1].shape[1] == 1500
    np.testing.assert_allclose(files.layer("film", 1)[0], states.hidden_states[1][0, :50].mean(0).numpy(), atol=1e-5)


def test_video_gives_the_same_frames_as_its_images(tmp_path):
    av = pytest.importorskip("av", reason="av is not installed")
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        for k in range(10):
            gray = Image.new("RGB", (64, 64), (20 * k + 20,) * 3)
            container.mux(stream.encode(av.VideoFrame.from_image(gray)))
        container.mux(stream.encode())
    found = Frames(media_of(tmp_path, "film", sound=False), 1.0, 4)
    assert [found.count(k) for k in range(4)] == [2, 2, 1, 0]
    shades = [np.asarray(each).mean() for _, images in found.read([0, 1, 2]) for each in images]
    np.testing.assert_allclose(shades, [20, 60, 100, 140, 180], atol=6)


def test_changed_frame_is_another_key(tmp_path, frames):
    with factory.quiet():
        folder = factory.write_media_model(
            tmp_path / "vit", ViTConfig(**factory.SMALL_IMAGE), ViTImageProcessor(size=SIZE)
        )
        one = made(tmp_path, folder, frames, "vision", layers=(1,))
        image(9).save(frames / "film" / "000000.5.png")
        two = made(tmp_path, folder, frames, "vision", layers=(1,))
    assert one.key != two.key
    assert not np.array_equal(one.layer("film", 1)[0], two.layer("film", 1)[0])
    assert np.array_equal(one.layer("film", 1)[1:], two.layer("film", 1)[1:])


def test_media_that_are_absent_or_have_no_times_are_named(tmp_path, frames):
    with pytest.raises(FeatureError, match=r"there are neither frames nor a video"):
        media_of(frames, "glee", sound=False)
    with pytest.raises(FeatureError, match="there is no sound"):
        media_of(frames, "film", sound=True)
    (frames / "film" / "shot.png").write_bytes(b"")
    with pytest.raises(FeatureError, match=r"no times: shot.png"):
        media_of(frames, "film", sound=False)
    (frames / "film" / "shot.png").rename(frames / "film" / "000003.0.png")
    with pytest.raises(FeatureError, match="the frame cannot be read") as caught:
        list(Frames(media_of(frames, "film", sound=False), 1.0, 4).read([3]))
    assert "000003.0.png" in caught.value.sentence()
