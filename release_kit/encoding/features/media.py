"""Latents of models of images, of images with text, and of sound, a bin at a time.

Images: hidden states of the first and the middle frame of each bin, mean over places of the image and over the two.
Images with text: the same with the bin's annotation as the text; a model that keeps both apart (CLIP, BridgeTower)
gives them side by side. Sound: hidden states of the bin's own sound, mean over time.

No input is filled up to the length of another, so that every place of a state is one of its own image, text or sound.
"""

import abc
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.encoding.arrays import FloatArray
from release_kit.encoding.errors import FeatureError
from release_kit.encoding.features.items import Encoder, Item, Prepared
from release_kit.encoding.features.latents import OWN_CODE_ONLY, chosen_layers, first_states, load, load_weights
from release_kit.encoding.features.media_files import Frames, Sound, media_of
from release_kit.encoding.features.spec import FeatureSpec
from release_kit.encoding.features.texts import BinnedTexts
from release_kit.encoding.features.tokens import readable_tokens

Batches = Iterator[tuple[npt.NDArray[np.int64], list[FloatArray]]]


def open_media_model(spec: FeatureSpec) -> Encoder:
    """Return the encoder of a medium.

    Raises:
        FeatureError: the folder is not that of such a model with its processor.
    """
    return {"vision": VisionModel, "vision-language": VisionLanguageModel, "audio": AudioModel}[spec.kind](spec)


class _MediaModel(abc.ABC):
    """What models of media share: loading, layers, batches of a stimulus in the order of its bins."""

    def __init__(self, spec: FeatureSpec):
        from transformers import AutoModel

        assert spec.model is not None and spec.media is not None
        self._spec = spec
        self._where = f"features.{spec.name}, model {spec.model}"
        self._model = self._part(load_weights(AutoModel, spec.model, spec.dtype, spec.device, self._where))
        self._processor = load(self._read_processor, self._where)
        probe = first_states(lambda: self._pooled_states(self._probe(), 1), f"what `{spec.kind}` gives", self._where)
        self.layers = chosen_layers(spec, len(probe), self._where)
        self._widths = tuple(int(probe[k].shape[-1]) for k in self.layers)

    def widths(self) -> tuple[int, ...]:
        """Return the number of features of each layer."""
        return self._widths

    def _part(self, model: Any) -> Any:
        """Return the part of a model that reads this medium."""
        return model

    @abc.abstractmethod
    def _read_processor(self) -> Any:
        """Load what makes inputs of frames or sound."""

    @abc.abstractmethod
    def _probe(self) -> dict[str, Any]:
        """Return the smallest input, for the number of layers and their widths."""

    def _pooled_states(self, inputs: dict[str, Any], n_inputs: int) -> list[FloatArray]:
        """Return every layer's mean state ``(n_inputs, width)``; parts of a layer stand side by side."""
        states = self._states(self._run(inputs))
        layers = [state if isinstance(state, tuple) else (state,) for state in states or ()]
        if not layers or any(not _is_state(part, n_inputs) for parts in layers for part in parts):
            what = f"{type(self._model).__name__} gives no hidden states that could be pooled"
            raise FeatureError(what, where=self._where, next_step="use another model")
        return [np.concatenate([self._mean(part) for part in parts], axis=1) for parts in layers]

    def _states(self, found: Any) -> Any:
        """Return the states of each layer, or a tuple of those of its parts."""
        return found.hidden_states

    def _mean(self, state: Any) -> FloatArray:
        """Return the mean over places of ``(n, places, width)`` or ``(n, width, height, breadth)`` states."""
        values = state.float().cpu()
        return values.mean(dim=(2, 3) if values.ndim == 4 else 1).numpy()

    def _run(self, inputs: dict[str, Any]) -> Any:
        import torch

        kind = getattr(torch, self._spec.dtype)
        moved = {name: value.to(self._model.device) for name, value in inputs.items()}
        cast = {name: value.to(kind) if value.is_floating_point() else value for name, value in moved.items()}
        with torch.inference_mode():
            return self._model(**cast, output_hidden_states=True)

    def _chosen(self, pooled: list[FloatArray]) -> list[FloatArray]:
        return [pooled[k] for k in self.layers]


class VisionModel(_MediaModel):
    """A model of images; of a model with several towers the one for images."""

    def _part(self, model: Any) -> Any:
        return getattr(model, "vision_model", None) or getattr(model, "vision_tower", None) or model

    def _read_processor(self) -> Any:
        from transformers import AutoImageProcessor

        return AutoImageProcessor.from_pretrained(self._spec.model, **OWN_CODE_ONLY)

    def _probe(self) -> dict[str, Any]:
        return self._inputs([_blank_image()])

    def prepare(self, binned: BinnedTexts, items: Sequence[Item]) -> Prepared:
        """Find the frames of every bin; a bin without any cannot be used."""
        assert self._spec.media is not None
        frames = Frames(media_of(self._spec.media, binned.stim_id, sound=False), binned.bin_s, binned.n_bins)
        n_frames = [frames.count(item.bin) for item in items]
        counts = {"frames": sum(n_frames), "without_frames": n_frames.count(0), **self._text_counts(items)}
        return Prepared(usable=np.array(n_frames, np.int64) > 0, counts=counts, inputs=(frames, items))

    def vectors(self, prepared: Prepared) -> Batches:
        """Yield places of usable items and, of each layer, the mean state over their frames ``(n, width)``."""
        frames, items = prepared.inputs
        of_bin: dict[int, list[int]] = {}
        for place in np.flatnonzero(prepared.usable):
            of_bin.setdefault(items[place].bin, []).append(int(place))
        batch: list[tuple[int, list[Any]]] = []
        for k, images in frames.read(sorted(of_bin)):
            batch += [(place, images) for place in of_bin[k]]
            while len(batch) >= self._spec.batch_size:
                yield self._batch(batch[: self._spec.batch_size], items)
                batch = batch[self._spec.batch_size :]
        if batch:
            yield self._batch(batch, items)

    def _batch(
        self, batch: list[tuple[int, list[Any]]], items: Sequence[Item]
    ) -> tuple[npt.NDArray[np.int64], list[FloatArray]]:
        pairs = [(image, items[place].text) for place, images in batch for image in images]
        pooled = self._chosen(self._pooled_pairs(pairs))
        starts = np.cumsum([0, *(len(images) for _, images in batch[:-1])])
        n = np.array([[len(images)] for _, images in batch], np.float32)
        return np.array([place for place, _ in batch]), [np.add.reduceat(each, starts, axis=0) / n for each in pooled]

    def _pooled_pairs(self, pairs: Sequence[tuple[Any, str]]) -> list[FloatArray]:
        """Return every layer's mean state of images with their texts."""
        return self._pooled_states(self._inputs([image for image, _ in pairs]), len(pairs))

    def _inputs(self, images: Sequence[Any]) -> dict[str, Any]:
        return dict(self._processor(images=images, return_tensors="pt"))

    def _text_counts(self, items: Sequence[Item]) -> dict[str, int]:
        return {}


class VisionLanguageModel(VisionModel):
    """A model of images with text; both are given for every frame."""

    def _part(self, model: Any) -> Any:
        return model

    def _read_processor(self) -> Any:
        from transformers import AutoProcessor

        processor = AutoProcessor.from_pretrained(self._spec.model, **OWN_CODE_ONLY)
        if getattr(processor, "tokenizer", None) is None:
            raise ValueError("its processor has no tokenizer: it is no model of images with text")
        self._mark = getattr(processor, "image_token", None)
        if self._mark and self._spec.max_tokens:
            what = f"max_tokens is {self._spec.max_tokens}, but places of its images are tokens, which would be cut"
            raise FeatureError(what, where=self._where, next_step="leave max_tokens out")
        return processor

    def _probe(self) -> dict[str, Any]:
        return self._input(_blank_image(), "a")

    def _pooled_pairs(self, pairs: Sequence[tuple[Any, str]]) -> list[FloatArray]:
        """Return every layer's mean state of images with their texts; those of like length are one call.

        Where the places of the text stand among those of the image is each model's own, so padding could not be told.
        """
        import torch

        inputs = [self._input(*pair) for pair in pairs]
        alike: dict[tuple, list[int]] = {}
        for k, each in enumerate(inputs):
            alike.setdefault(tuple((name, *value.shape) for name, value in sorted(each.items())), []).append(k)
        found: dict[int, list[FloatArray]] = {}
        for places in alike.values():
            joined = {name: torch.cat([inputs[k][name] for k in places]) for name in inputs[places[0]]}
            pooled = self._pooled_states(joined, len(places))
            found.update({k: [layer[row] for layer in pooled] for row, k in enumerate(places)})
        return [np.stack(rows) for rows in zip(*(found[k] for k in range(len(pairs))), strict=True)]

    def _input(self, image: Any, text: str) -> dict[str, Any]:
        limit = self._limit()
        cut = {"truncation": True, "max_length": limit} if limit else {}
        text, images = (f"{self._mark}\n{text}", [[image]]) if self._mark else (text, [image])
        return dict(self._processor(images=images, text=[text], padding=False, return_tensors="pt", **cut))

    def _states(self, found: Any) -> Any:
        towers = [getattr(found, name, None) for name in ("text_model_output", "vision_model_output")]
        if all(tower is not None and tower.hidden_states is not None for tower in towers):
            text, vision = (tower.hidden_states for tower in towers)
            # The towers of CLIP's larger models differ in height: the lower one's top stands beside all that is above.
            last = max(len(text), len(vision))
            return [(text[min(k, len(text) - 1)], vision[min(k, len(vision) - 1)]) for k in range(last)]
        states = found.hidden_states
        if isinstance(states, tuple) and len(states) == 3 and all(isinstance(each, tuple) for each in states):
            return states[2]  # BridgeTower: those of text, of the image, and pairs of both where each sees the other
        return states

    def _limit(self) -> int | None:
        """Return how many tokens of text are read; None where places of the image are among them."""
        if self._mark:
            return None
        readable, asked = readable_tokens(self._processor.tokenizer, self._model), self._spec.max_tokens
        return min(asked, readable) if asked and readable else asked or readable

    def _text_counts(self, items: Sequence[Item]) -> dict[str, int]:
        texts, limit = [item.text for item in items], self._limit()
        ids = self._processor.tokenizer(texts, verbose=False).input_ids if texts else []
        lengths = [len(each) for each in ids]
        return {"tokens": sum(lengths), "truncated": sum(limit is not None and n > limit for n in lengths)}


class AudioModel(_MediaModel):
    """A model of sound: wav2vec2 and its kin read waves, the AST and Whisper spectra. A bin is read by itself."""

    def _part(self, model: Any) -> Any:
        return model.get_encoder() if getattr(model.config, "is_encoder_decoder", False) else model

    def _read_processor(self) -> Any:
        from transformers import AutoFeatureExtractor

        extractor = AutoFeatureExtractor.from_pretrained(self._spec.model, **OWN_CODE_ONLY)
        if (longest_s := _longest_s(extractor)) is not None and self._spec.bin_s > longest_s:
            raise ValueError(f"it reads {longest_s:g} s at once, a bin has {self._spec.bin_s:g} s")
        return extractor

    def _probe(self) -> dict[str, Any]:
        return self._inputs([np.zeros(round(self._spec.bin_s * self._processor.sampling_rate), np.float32)])

    def prepare(self, binned: BinnedTexts, items: Sequence[Item]) -> Prepared:
        """Open the sound; a bin of which less than half is there cannot be used."""
        assert self._spec.media is not None
        sound = Sound(media_of(self._spec.media, binned.stim_id, sound=True)[0], binned.bin_s)
        usable = np.array([sound.covers(item.bin) for item in items], bool)
        return Prepared(usable=usable, counts={"without_sound": int((~usable).sum())}, inputs=(sound, items))

    def vectors(self, prepared: Prepared) -> Batches:
        """Yield places of usable bins and, of each layer, the mean state over their time ``(n, width)``."""
        sound, items = prepared.inputs
        places = np.flatnonzero(prepared.usable)
        for start in range(0, len(places), self._spec.batch_size):
            batch = places[start : start + self._spec.batch_size]
            waves = [sound.read(items[place].bin, self._processor.sampling_rate) for place in batch]
            yield batch, self._chosen(self._pooled_states(self._inputs(waves), len(batch)))

    def _inputs(self, waves: Sequence[FloatArray]) -> dict[str, Any]:
        with warnings.catch_warnings():
            # Of an extractor's own mel filters; nothing here chooses them.
            warnings.filterwarnings("ignore", message="At least one mel filter", category=UserWarning)
            rate = self._processor.sampling_rate
            return dict(self._processor(list(waves), sampling_rate=rate, return_tensors="pt"))

    def _mean(self, state: Any) -> FloatArray:
        # Whisper fills every input to the same 30 s: only the share of the bin's own sound is pooled.
        padded_s = getattr(self._processor, "chunk_length", None)
        share = min(1.0, self._spec.bin_s / padded_s) if padded_s else 1.0
        return super()._mean(state[:, : max(1, round(share * state.shape[1]))])


def _is_state(state: Any, n_inputs: int) -> bool:
    """Return whether a mean over places can be taken: ``(n, places, width)``, or ``(n, width, side, side)``."""
    shape = tuple(getattr(state, "shape", ()))
    return shape[:1] == (n_inputs,) and (len(shape) == 3 or (len(shape) == 4 and shape[2] == shape[3]))


def _blank_image() -> Any:
    from PIL import Image

    return Image.new("RGB", (64, 64))


def _longest_s(extractor: Any) -> float | None:
    """Return after how many seconds an extractor cuts its input without a word; None where it takes all of it."""
    if (seconds := getattr(extractor, "chunk_length", None)) is not None:  # Whisper
        return float(seconds)
    rows = getattr(extractor, "max_length", None)  # the AST: spectra, 10 ms each
    return None if rows is None else rows * 0.01
