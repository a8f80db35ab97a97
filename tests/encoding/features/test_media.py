"""Frames, frames with text and sound through real code of transformers, with tiny models of random weights."""

import encoding_features_factory as factory
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    AutoImageProcessor,
    AutoModel,
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
from release_kit.encoding.features.texts import BinnedTexts

SIZE = factory.IMAGE_SIZE


def made(tmp_path, model, media, kind, **settings):
    return factory.media_features(tmp_path / "store", model, media, kind, **settings)


def direct_images(model_folder, places, **asked):
    """Return the hidden states of frames by a plain call of transformers, one image at a time."""
    processor = AutoImageProcessor.from_pretrained(model_folder)
    model = AutoModel.from_pretrained(model_folder).eval()
    model = getattr(model, "vision_model", model)
    found = []
    for place in places:
        inputs = processor(images=factory.image(place), return_tensors="pt")
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
        factory.image(9).save(frames / "film" / "000000.5.png")
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


def write_ast(folder):
    config = ASTConfig(
        **{**factory.SMALL, "num_hidden_layers": 2},
        max_length=128,
        num_mel_bins=32,
        frequency_stride=10,
        time_stride=10,
    )
    return factory.write_media_model(folder, config, ASTFeatureExtractor(num_mel_bins=32, max_length=128))


def test_spectrum_of_a_bin_is_read_by_itself_and_all_of_its_places_are_pooled(tmp_path):
    write_wav(tmp_path / "sound" / "film.wav", 16000)
    with factory.quiet():
        folder = write_ast(tmp_path / "ast")
        files = made(tmp_path, folder, tmp_path / "sound", "audio", batch_size=2)
        model = AutoModel.from_pretrained(folder).eval()
        wave = Sound(tmp_path / "sound" / "film.wav", 1.0).read(1, 16000)
        with torch.inference_mode():
            inputs = ASTFeatureExtractor(num_mel_bins=32, max_length=128)(
                wave, sampling_rate=16000, return_tensors="pt"
            )
            direct = model(**inputs, output_hidden_states=True).hidden_states
    for layer in files.layers:
        np.testing.assert_allclose(files.layer("film", layer)[1], direct[layer][0].mean(0).numpy(), atol=1e-5)


def test_bins_longer_than_a_model_reads_are_refused_and_not_cut(tmp_path):
    write_wav(tmp_path / "sound" / "film.wav", 16000)
    with factory.quiet():
        folder = write_ast(tmp_path / "ast")
        with pytest.raises(FeatureError, match=r"it reads 1.28 s at once, a bin has 2 s"):
            spec = FeatureSpec(name="a", kind="audio", model=folder, media=tmp_path / "sound", bin_s=2.0)
            feature_files(spec, [BinnedTexts(stim_id="film", bin_s=2.0, n_bins=2)], tmp_path / "store")


def test_time_of_a_video_is_counted_from_where_it_begins_to_play(tmp_path):
    av = pytest.importorskip("av", reason="av is not installed")
    whole, later = tmp_path / "whole.mp4", tmp_path / "film.mp4"
    with av.open(str(whole), "w") as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.width = stream.height = 64
        stream.pix_fmt, stream.bit_rate, stream.max_b_frames = "yuv420p", 4_000_000, 2
        for k in range(8):
            gray = Image.new("RGB", (64, 64), (20 * k + 20,) * 3)
            container.mux(stream.encode(av.VideoFrame.from_image(gray)))
        container.mux(stream.encode())
    with av.open(str(whole)) as source, av.open(str(later), "w") as target:
        stream = source.streams.video[0]
        copied = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.pts, packet.dts = (stamp + round(2 / stream.time_base) for stamp in (packet.pts, packet.dts))
                packet.stream = copied
                target.mux(packet)
    found = Frames([later], 1.0, 3)
    assert [found.count(k) for k in range(3)] == [2, 2, 0]
    shades = [np.asarray(each).mean() for _, images in found.read([0, 1]) for each in images]
    np.testing.assert_allclose(shades, [20, 60, 100, 140], atol=6)
