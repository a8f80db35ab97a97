"""The tensors of a checkpoint folder as float32 numbers, read in pieces of a fixed size.

Owns finding the safetensors files of a folder (one or many), which tensors are tied, and the conversion of bfloat16,
float16 and float64. Nothing is mapped into memory and no tensor is ever held whole unless ``matrix`` is asked for it.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import ArtifactError
from release_kit.core.safetensors import TensorSpan, read_header

PIECE = 1 << 15
"""Elements of one piece: its float32 copy is 128 KiB, so that two of them stay in a core's cache and the allocator
hands the same memory out again. Four times as many elements take 2.5 times as long."""

WIDTH = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8}
"""Floating types that are measured → bytes of one element."""

_INDEX_FILE = "model.safetensors.index.json"
_EMBEDDING, _HEAD = "embed_tokens.weight", "lm_head.weight"
_EMBEDDINGS = (_EMBEDDING, "wte.weight", "embed_in.weight", "word_embeddings.weight")


class Weights:
    """The tensors of one folder; a context manager that holds its files open.

    Args:
        folder: a checkpoint folder.
        files: names of safetensors files in it; None: all that make up the model.

    Raises:
        ArtifactError: no weights, a malformed file, or one tensor in two files.
    """

    def __init__(self, folder: Path, files: tuple[str, ...] | None = None):
        self.folder = folder
        self.files = files or model_files(folder)
        self._spans: dict[str, tuple[int, TensorSpan]] = {}
        self._descriptors: list[int] = []
        try:
            for name in self.files:
                self._open(folder / name)
        except BaseException:
            self.close()
            raise
        self._tied = _is_tied(folder)

    def __enter__(self) -> "Weights":
        return self

    def __exit__(self, *exc_info) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def names(self) -> list[str]:
        """Return the floating-point tensors, sorted; integers and flags are buffers, not weights."""
        return sorted(name for name, (_, span) in self._spans.items() if span.dtype in WIDTH)

    def span(self, name: str) -> TensorSpan | None:
        """Return type and shape of a tensor; of the embedding for a head that is tied to it; None when absent."""
        found = self._spans.get(name) or self._spans.get(self._alias(name))
        return found[1] if found else None

    def pieces(self, name: str, n_elements: int = PIECE) -> Iterator[Any]:
        """Yield the elements in order as ``(n,) float32``, ``n_elements`` at a time; each overwrites the one before.

        Raises:
            ArtifactError: the file ended early.
        """
        import numpy as np

        descriptor, span = self._spans.get(name) or self._spans[self._alias(name)]
        width = WIDTH[span.dtype]
        buffer = np.empty(n_elements * width, np.uint8)
        for start in range(span.start, span.end, len(buffer)):
            part = buffer[: min(len(buffer), span.end - start)]
            if os.preadv(descriptor, [memoryview(part)], start) != len(part):
                raise ArtifactError(f"ended inside tensor {name!r}", where=str(self.folder), next_step="make it again")
            yield as_float32(part, span.dtype)

    def matrix(self, name: str) -> Any:
        """Return a tensor whole: ``(n_rows, n_columns) float32``, further dimensions laid into the columns."""
        import numpy as np

        _, span = self._spans.get(name) or self._spans[self._alias(name)]
        flat, position = np.empty(math.prod(span.shape), np.float32), 0
        for piece in self.pieces(name):
            flat[position : position + len(piece)] = piece
            position += len(piece)
        return flat.reshape(span.shape[0] if span.shape else 1, -1)

    def _alias(self, name: str) -> str:
        """Return the other name of a tied tensor that only one of the two names is stored under."""
        if not self._tied:
            return ""
        if name.endswith(_HEAD):
            return next((other for other in self._spans if other.endswith(_EMBEDDINGS)), "")
        if name.endswith(_EMBEDDINGS):
            return next((other for other in self._spans if other.endswith(_HEAD)), "")
        return ""

    def _open(self, path: Path) -> None:
        header = read_header(path)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._descriptors.append(descriptor)
        for span in header.spans:
            if span.name in self._spans:
                raise ArtifactError(f"holds tensor {span.name!r}, as another file beside it does", where=str(path))
            self._spans[span.name] = (descriptor, span)


def model_files(folder: Path) -> tuple[str, ...]:
    """Return the safetensors files that make up the model in ``folder``, sorted; adapters are none of them.

    Raises:
        ArtifactError: the folder or the weights are missing, or the index of shards is not valid.
    """
    index = folder / _INDEX_FILE
    if index.is_file():
        value = canonical.read_json(index)
        shards = value.get("weight_map") if isinstance(value, dict) else None
        if not isinstance(shards, dict) or not all(
            isinstance(name, str) and "/" not in name for name in shards.values()
        ):
            raise ArtifactError("is not an index of shards", where=str(index))
        return tuple(sorted(set(shards.values())))
    found = tuple(sorted(path.name for path in folder.glob("*.safetensors") if not path.name.startswith("adapter_")))
    if not found:
        raise ArtifactError("holds no safetensors weights", where=str(folder), next_step="run the study to make them")
    return found


def digest_of_files(files: Mapping[str, str]) -> str:
    """Return the sha256 of a model's weights: of one file its own, of shards that of their sorted lines."""
    if len(files) == 1:
        return next(iter(files.values()))
    lines = "".join(f"{name}\0{digest}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def as_float32(raw: Any, dtype: str) -> Any:
    """Return the ``float32`` numbers of raw little-endian bytes of type ``dtype``."""
    import numpy as np

    if dtype == "BF16":
        wide = raw.view("<u2").astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    return raw.view({"F16": "<f2", "F32": "<f4", "F64": "<f8"}[dtype]).astype(np.float32)


def rounded_to(values: Any, dtype: str) -> Any:
    """Return ``float32`` values rounded to the nearest number of the narrower ``dtype``, ties to even."""
    import numpy as np

    if dtype == "F16":
        return values.astype(np.float16).astype(np.float32)
    if dtype == "BF16":
        bits = values.view(np.uint32)
        bits = bits + (np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1)))
        return (bits & np.uint32(0xFFFF0000)).view(np.float32)
    return values


def _is_tied(folder: Path) -> bool:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    return not isinstance(config, dict) or config.get("tie_word_embeddings", True) is not False
