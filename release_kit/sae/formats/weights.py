"""Tensors of files that other programs wrote, checked before anything is made of them.

Owns opening safetensors, npz and PyTorch files without running code from them, and taking a tensor out by name, shape
and value. What the tensors mean is the affair of each layout.
"""

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from release_kit.core.errors import ArtifactError, RecordError
from release_kit.core.foreign_json import parse_foreign_json
from release_kit.core.records import Fields
from release_kit.core.safetensors import read_header
from release_kit.sae.errors import FormatError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """The tensors of one file, by the names that they have there."""

    path: Path
    tensors: "Mapping[str, torch.Tensor]"

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def matrix(self, *names: str) -> "torch.Tensor":
        """Return the first of these tensors that is there, (rows, columns) float32.

        Raises:
            FormatError: none is there, it is no matrix, or it holds values that are no finite numbers.
        """
        name = next((name for name in names if name in self.tensors), None)
        if name is None:
            raise self._error(names[0], f"is missing; the file has {', '.join(sorted(self.tensors)) or 'nothing'}")
        found = self.tensors[name]
        if found.ndim != 2 or 0 in found.shape:
            raise self._error(name, f"has shape {tuple(found.shape)}, expected a matrix")
        return self._finite(name, found)

    def take(self, name: str, shape: tuple[int, ...], default: float | None = None) -> "torch.Tensor":
        """Return a tensor of this shape as float32, or one filled with ``default`` where the file has none.

        Raises:
            FormatError: it is missing, of another shape, or holds values that are no finite numbers.
        """
        import torch

        if name not in self.tensors:
            if default is None:
                raise self._error(name, f"is missing; the file has {', '.join(sorted(self.tensors)) or 'nothing'}")
            return torch.full(shape, default)
        found = self.tensors[name]
        if tuple(found.shape) != shape:
            raise self._error(name, f"has shape {tuple(found.shape)}, expected {shape}")
        return self._finite(name, found)

    def number(self, name: str) -> float:
        """Return the single number of a tensor.

        Raises:
            FormatError: it is missing or holds more than one value.
        """
        found = self.tensors.get(name)
        if found is None or found.numel() != 1:
            raise self._error(name, "is missing or no single number")
        return float(found)

    def _finite(self, name: str, found: "torch.Tensor") -> "torch.Tensor":
        import torch

        if not (found.is_floating_point() and bool(torch.isfinite(found).all())):
            wrong = int((~torch.isfinite(found)).sum()) if found.is_floating_point() else found.numel()
            raise self._error(name, f"holds {wrong} values that are no finite numbers")
        return found.float().contiguous()

    def _error(self, name: str, what: str) -> FormatError:
        return FormatError(what, where=f"{self.path}: tensor {name}")


def open_weights(path: Path) -> Weights:
    """Return the tensors of a ``.safetensors``, ``.npz`` or ``.pt`` file; nothing that it holds is run.

    Raises:
        FormatError: the file is missing, truncated, of another kind, or holds objects instead of numbers.
    """
    if not path.is_file():
        raise FormatError("is missing", where=str(path))
    kinds = {".safetensors": _safetensors, ".npz": _npz, ".pt": _pytorch}
    if path.suffix not in kinds:
        raise FormatError(f"is none of {', '.join(kinds)}", where=str(path))
    return Weights(path=path, tensors=kinds[path.suffix](path))


def open_settings(path: Path) -> Fields:
    """Return the mapping of a JSON file that another program wrote.

    Raises:
        FormatError: the file is missing or no mapping in JSON.
    """
    if not path.is_file():
        raise FormatError("is missing", where=str(path))
    try:
        return Fields(parse_foreign_json(path.read_bytes(), str(path)), str(path))
    except RecordError as error:
        raise FormatError(error.what, where=error.where, next_step=error.next_step) from error


def _safetensors(path: Path) -> "dict[str, torch.Tensor]":
    from safetensors.torch import load_file

    try:
        read_header(path)
    except ArtifactError as error:
        raise FormatError(error.what, where=error.where) from error
    return load_file(path)


def _npz(path: Path) -> "dict[str, torch.Tensor]":
    import numpy as np
    import torch

    try:
        # NumPy leaves a file that is no archive open; ours is closed whatever happens.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return {name: torch.from_numpy(np.ascontiguousarray(stored[name])) for name in stored.files}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise FormatError(f"cannot be read as arrays of numbers ({_short(error)})", where=str(path)) from error


def _pytorch(path: Path) -> "dict[str, torch.Tensor]":
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise FormatError(
            f"cannot be read as tensors alone ({_short(error)})",
            where=str(path),
            next_step="a file that needs code to be read is refused; save its state_dict",
        ) from error
    if not isinstance(found, dict):
        raise FormatError(f"holds a {type(found).__name__}, expected a state_dict", where=str(path))
    return {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}


def _short(error: Any) -> str:
    return str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
