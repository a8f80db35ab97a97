"""The weights of a base as they were loaded, to put back before the next run, without a second copy in memory.

Small tensors are copied. Large ones are read again from the checkpoint's own safetensors files, each after it was
found there, equal to the last bit, when the base was loaded. Files that have changed since are refused.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from release_kit.core.errors import IntegrityError

LARGE = 2**20
"""Bytes from which on a tensor is left on disk; reading smaller ones again would cost more than they take."""


class Pristine:
    """What a loaded base held.

    Args:
        folder: the checkpoint folder that it was loaded from.
        stored: name to tensor, parameters and buffers, as they are right after loading.
    """

    def __init__(self, folder: Path, stored: Mapping[str, Any]):
        import torch

        self._copies: dict[str, Any] = {}
        self._files: dict[str, Path] = {}
        self._stamps: dict[Path, tuple[int, ...]] = {}
        places = _places(folder)
        for name, value in stored.items():
            value = value.detach()
            path = places.get(name) if value.nbytes >= LARGE else None
            if path is not None and torch.equal(_read(path, name).to(value.dtype), value.cpu()):
                self._files[name] = path
                self._stamps.setdefault(path, _stamp(path))
            else:
                self._copies[name] = _compact(value)

    def put_back(self, stored: Mapping[str, Any]) -> None:
        """Write the values of the base into ``stored``, bit for bit.

        Raises:
            IntegrityError: a file of the base has changed since it was loaded; nothing was written.
        """
        import torch

        for path, stamp in self._stamps.items():
            if not path.is_file() or _stamp(path) != stamp:
                step = "restore the base and start again; whatever was trained from it before is as it should be"
                raise IntegrityError("changed while the base was in use", where=str(path), next_step=step)
        with torch.no_grad():
            for name, value in stored.items():
                value.copy_(self._copies[name] if name in self._copies else _read(self._files[name], name))


def _places(folder: Path) -> dict[str, Path]:
    """Return tensor name to safetensors file for everything that the files of ``folder`` hold."""
    from safetensors import safe_open

    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as tensors:
            found.update(dict.fromkeys(tensors.keys(), path))
    return found


def _read(path: Path, name: str) -> Any:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as tensors:
        return tensors.get_tensor(name)


def _stamp(path: Path) -> tuple[int, ...]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ino


def _compact(value: Any) -> Any:
    """Return a copy of a tensor, in bfloat16 where that holds every value of it exactly: most bases come in it."""
    import torch

    if value.dtype == torch.float32:
        half = value.to(torch.bfloat16)
        if torch.equal(half.to(torch.float32), value):
            return half
    return value.clone()
