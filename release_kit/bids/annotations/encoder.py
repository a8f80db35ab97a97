"""The sentence encoder for annotations: which languages it knows, and every text encoded once.

How near two annotators are in meaning is asked about the same few texts again and again. The encoder itself is
``core/sentence_encoder.py``; it was trained on English.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from release_kit.core import sentence_encoder

LANGUAGES = frozenset({"en"})


def encoder_folder() -> Path | None:
    """Return the folder of the installed encoder, or None when it or what runs it (transformers, torch) is absent."""
    if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")):
        return None
    return sentence_encoder.installed_encoder()


def knows(language: str) -> bool:
    """Return whether the encoder was trained on ``language`` (``en``, ``en-GB``)."""
    return language.casefold().split("-")[0] in LANGUAGES


class RememberingEncoder:
    """The encoder in memory; a text is encoded once, however often it is asked for.

    Args:
        folder: checkpoint and tokenizer.
    """

    def __init__(self, folder: Path):
        self._encoder = sentence_encoder.SentenceEncoder(folder)
        self._known: dict[str, Any] = {}

    def encode(self, texts: Sequence[str]) -> Any:
        """Return the vectors ``(n_texts, 384) float32`` of ``texts``, each of length 1."""
        import numpy as np

        new = sorted(set(texts) - set(self._known), key=lambda text: (len(text), text))
        if new:
            self._known.update(zip(new, self._encoder.encode(new), strict=True))
        return np.stack([self._known[text] for text in texts])
