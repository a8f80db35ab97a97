"""Tiny models with random weights, their tokenizers and processors, and annotations: what tests of features read."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModel,
    BertConfig,
    CLIPConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedTokenizerFast,
    ViTConfig,
)
from transformers.utils import logging

from release_kit.bids.annotations.table import Row, annotation_table
from release_kit.encoding.features.spec import FeatureSpec
from release_kit.encoding.features.store import FeatureFiles, feature_files
from release_kit.encoding.features.texts import BinnedTexts

WORDS = [
    *("the", "a", "man", "woman", "dog", "walks", "runs", "sleeps", "eats", "in", "on", "house", "garden", "slowly"),
    *("and", "then", "again", "home", "old", "new"),
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "<s>"]
SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
N_WORDS = len(SPECIAL) + len(WORDS) + 2
IMAGE_SIZE = {"height": 32, "width": 32}
FRAME_TIMES = (0.0, 0.5, 1.0, 1.5, 2.6)
"""Of four bins of a second: bin 2 has only its second frame, bin 3 none."""
SMALL_IMAGE = {**SMALL, "num_hidden_layers": 2, "image_size": 32, "patch_size": 8}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from talking while it writes."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    yield
    logging.enable_progress_bar()


def tokenizer(*, around: bool, pad: bool = True, limit: int = 64) -> PreTrainedTokenizerFast:
    """Return a tokenizer of whole words and signs; ``around`` puts ``[CLS]`` and ``[SEP]`` around a text."""
    vocabulary = {word: k for k, word in enumerate([*SPECIAL, *WORDS, ",", "."])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"unk_token": "[UNK]", "bos_token": "<s>", **({"pad_token": "[PAD]"} if pad else {})}
    if around:
        pairs = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
        made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=pairs)
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=limit, **names)


def write_text_model(folder: Path, kind: str, seed: int = 0, **asked) -> Path:
    """Write a tiny ``bert``, ``gpt2`` or ``llama`` with its tokenizer; Llama's has neither padding nor ends."""
    torch.manual_seed(seed)
    n_words = len(SPECIAL) + len(WORDS) + 2
    small = {**SMALL, "vocab_size": n_words, "bos_token_id": 4, "eos_token_id": 3}
    config = {
        "bert": lambda: BertConfig(**small, max_position_embeddings=64, pad_token_id=0),
        "gpt2": lambda: GPT2Config(
            n_embd=32, n_layer=3, n_head=2, n_positions=64, vocab_size=n_words, bos_token_id=4, eos_token_id=3
        ),
        "llama": lambda: LlamaConfig(**small, max_position_embeddings=64, num_key_value_heads=1),
    }[kind]()
    with quiet():
        AutoModel.from_config(config).save_pretrained(folder)
        tokenizer(around=kind == "bert", pad=kind != "llama", **asked).save_pretrained(folder)
    return folder


def write_media_model(folder: Path, config: ViTConfig | CLIPConfig, processor) -> Path:
    """Write a tiny model of a medium with its processor."""
    torch.manual_seed(0)
    with quiet():
        AutoModel.from_config(config).save_pretrained(folder)
        processor.save_pretrained(folder)
    return folder


def change_one_weight(folder: Path) -> None:
    """Flip the lowest bit of the last weight of a model."""
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-4] ^= 1
    path.write_bytes(data)


def change_config(folder: Path, **values) -> None:
    """Write other values into a model's configuration."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def table(rows: Sequence[tuple], level: str = "story", language: str = "en", stim_id: str = "film") -> pa.Table:
    """Return annotations of ``(annotator, onset, duration, text)``."""
    return annotation_table(
        Row(stim_id=stim_id, onset_s=onset, duration_s=duration, level=level, annotator=annotator, language=language,
            annot_id=f"{level}-{annotator}-{language}", text=text)
        for annotator, onset, duration, text in rows
    )  # fmt: skip


def sentences(n: int, seed: int = 0, longest: int = 12) -> list[str]:
    """Return random sentences of 1 to ``longest`` known words."""
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, random.integers(1, longest + 1))) for _ in range(n)]


def image(seed: int, size: int = 40) -> Image.Image:
    """Return an image of 16 random colours."""
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    return Image.fromarray(blocks).resize((size, size), Image.Resampling.NEAREST)


def write_frames(media: Path) -> Path:
    """Write the frames of a film at ``FRAME_TIMES``: image ``k`` is the k-th."""
    (media / "film").mkdir(parents=True)
    for k, time in enumerate(FRAME_TIMES):
        image(k).save(media / "film" / f"{time:08.1f}.png")
    return media


def media_features(
    store: Path, model: Path, media: Path, kind: str, binned: BinnedTexts | None = None, **settings
) -> FeatureFiles:
    """Return the features of the film, of four bins where no texts say how many."""
    level = "story" if kind == "vision-language" else None
    spec = FeatureSpec(name=kind, kind=kind, model=model, media=media, level=level, **settings)
    return feature_files(spec, [binned or BinnedTexts(stim_id="film", bin_s=1.0, n_bins=4)], store)
