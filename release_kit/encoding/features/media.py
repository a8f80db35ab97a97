"""Latents of models of images, of images with text, and of sound, a bin at a time.

Images: hidden states of the first and the middle frame of each bin, mean over places of the image and over the two.
Images with text: the same with the bin's annotation as the text; a model of two towers (CLIP) gives the states of both
side by side. Sound: hidden states of the bin's own sound, mean over time.
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
from release_kit.encoding.features.latents import chosen_layers, load, load_weights
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
        probe = self._pooled_states(self._probe())
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

    def _pooled_states(self, inputs: dict[str, Any]) -> list[FloatArray]:
        """Return every layer's mean state ``(n_inputs, width)``."""
        states = self._states(inputs)
        if not isinstance(states, (tuple, list)) or any(not hasattr(state, "ndim") for state in states):
            what = f"{type(self._model).__name__} gives no hidden states that could be pooled"
            raise FeatureError(what, where=self._where, next_step="use another model")
        mask = inputs.get("attention_mask") if "input_ids" in inputs else None
        return [_mean_state(state, mask) for state in states]

    def _states(self, inputs: dict[str, Any]) -> Any:
        return self._run(inputs).hidden_states

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
        return getattr(model, "vision_model", model)

    def _read_processor(self) -> Any:
        from transformers import AutoImageProcessor

        return AutoImageProcessor.from_pretrained(self._spec.model, local_files_only=True)

    def _probe(self) -> dict[str, Any]:
        return self._inputs([(_blank_image(), "")])

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
        pooled = self._chosen(self._pooled_states(self._inputs(pairs)))
        starts = np.cumsum([0, *(len(images) for _, images in batch[:-1])])
        n = np.array([[len(images)] for _, images in batch], np.float32)
        return np.array([place for place, _ in batch]), [np.add.reduceat(each, starts, axis=0) / n for each in pooled]

    def _inputs(self, pairs: Sequence[tuple[Any, str]]) -> dict[str, Any]:
        return dict(self._processor(images=[image for image, _ in pairs], return_tensors="pt"))

    def _text_counts(self, items: Sequence[Item]) -> dict[str, int]:
        return {}


class VisionLanguageModel(VisionModel):
    """A model of images with text; both are given for every frame."""

    def _part(self, model: Any) -> Any:
        return model

    def _read_processor(self) -> Any:
        from transformers import AutoProcessor

        processor = AutoProcessor.from_pretrained(self._spec.model, local_files_only=True)
        if getattr(processor, "tokenizer", None) is None:
            raise ValueError("its processor has no tokenizer: it is no model of images with text")
        processor.tokenizer.padding_side = "right"
        if processor.tokenizer.pad_token is None:
            processor.tokenizer.pad_token = processor.tokenizer.eos_token or "a"
        return processor

    def _probe(self) -> dict[str, Any]:
        return self._inputs([(_blank_image(), "a")])

    def _inputs(self, pairs: Sequence[tuple[Any, str]]) -> dict[str, Any]:
        mark = getattr(self._processor, "image_token", None)
        texts = [f"{mark}\n{text}" if mark else text for _, text in pairs]
        # Where places of the image are tokens of the text, cutting would cut the image.
        cut = {"truncation": True, "max_length": limit} if not mark and (limit := self._limit()) else {}
        images = [[image] if mark else image for image, _ in pairs]
        return dict(self._processor(images=images, text=texts, padding=True, return_tensors="pt", **cut))

    def _states(self, inputs: dict[str, Any]) -> Any:
        found = self._run(inputs)
        towers = [getattr(found, name, None) for name in ("text_model_output", "vision_model_output")]
        if all(tower is not None and tower.hidden_states is not None for tower in towers):
            masks = (inputs.get("attention_mask"), None)
            return [
                np.concatenate([_mean_state(state, mask) for state, mask in zip(pair, masks, strict=True)], axis=1)
                for pair in zip(*(tower.hidden_states for tower in towers), strict=False)
            ]
        return found.hidden_states

    def _limit(self) -> int | None:
        config = getattr(self._model.config, "text_config", self._model.config)
        readable = readable_tokens(self._processor.tokenizer, config)
        asked = self._spec.max_tokens
        return min(asked, readable) if asked and readable else asked or readable

    def _text_counts(self, items: Sequence[Item]) -> dict[str, int]:
        limit = self._limit()
        lengths = [
            len(ids) for ids in self._processor.tokenizer([item.text for item in items], verbose=False).input_ids
        ]
        return {"tokens": sum(lengths), "truncated": sum(limit is not None and n > limit for n in lengths)}


class AudioModel(_MediaModel):
    """A model of sound: wav2vec2 and its kin read waves, the AST and Whisper spectra. A bin is read by itself."""

    def _part(self, model: Any) -> Any:
        return model.get_encoder() if getattr(model.config, "is_encoder_decoder", False) else model

    def _read_processor(self) -> Any:
        from transformers import AutoFeatureExtractor

        return AutoFeatureExtractor.from_pretrained(self._spec.model, local_files_only=True)

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
            yield batch, self._chosen(self._pooled_states(self._inputs(waves)))

    def _inputs(self, waves: Sequence[FloatArray]) -> dict[str, Any]:
        with warnings.catch_warnings():
            # Of an extractor's own mel filters; nothing here chooses them.
            warnings.filterwarnings("ignore", message="At least one mel filter", category=UserWarning)
            rate = self._processor.sampling_rate
            return dict(self._processor(list(waves), sampling_rate=rate, return_tensors="pt"))

    def _pooled_states(self, inputs: dict[str, Any]) -> list[FloatArray]:
        states = self._states(inputs)
        # Whisper fills every input to the same 30 s: only the share of the bin's own sound is pooled.
        padded_s = getattr(self._processor, "chunk_length", None)
        share = min(1.0, self._spec.bin_s / padded_s) if padded_s else 1.0
        return [_mean_state(state[:, : max(1, round(share * state.shape[1]))], None) for state in states]


def _mean_state(state: Any, mask: Any) -> FloatArray:
    """Return the mean over places of ``(n, places, width)`` or ``(n, width, height, breadth)`` states.

    ``mask (n, n_text)`` is that of a text's padding, whose places come last; places of an image before them all count.
    """
    import torch

    if isinstance(state, np.ndarray):
        return state
    values = state.float().cpu()
    if values.ndim == 4:
        return values.mean(dim=(2, 3)).numpy()
    if mask is None or mask.shape[1] > values.shape[1]:
        return values.mean(dim=1).numpy()
    image = torch.ones((len(mask), values.shape[1] - mask.shape[1]), dtype=mask.dtype)
    weight = torch.cat([image, mask], dim=1).float().unsqueeze(-1)
    return ((values * weight).sum(1) / weight.sum(1)).numpy()


def _blank_image() -> Any:
    from PIL import Image

    return Image.new("RGB", (64, 64))
