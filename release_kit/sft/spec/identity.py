"""The identity of a run: the digest of everything that decides its bytes.

Base weights, data bytes and their order, template, settings, code and library versions, threads and micro-batch. Two
runs with one identity have equal weights; anything else that differs gives another identity, so that no result can be
taken for that of another run.
"""

import functools
import hashlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import ArtifactError
from release_kit.core.files import iter_files
from release_kit.sft.spec.runs import RunPlan

SCHEMA_VERSION = 1
LIBRARIES = ("torch", "transformers", "peft", "tokenizers")
"""Libraries whose version may change the last bit of a run."""
CODE_FOLDERS = ("data", "train")
"""Rooms of ``release_kit.sft`` whose code makes the bytes of a run."""
NOT_IDENTITY = frozenset({"checkpoint_every"})
"""Settings that change nothing in the result."""

_WEIGHTS = (".safetensors",)
_READ = (".json", ".jinja", ".model", ".txt")
"""Files of a base folder, beside the weights, that decide what a run computes."""


@dataclass(frozen=True, kw_only=True)
class BaseIdentity:
    """What a base model's folder holds."""

    name: str
    weights_sha256: str
    """Digest of the sorted (file, sha256) lines of its safetensors files; of one file alone, that file's sha256."""
    files: Mapping[str, str]
    """Every file that counts (weights, config, tokenizer) → sha256."""


def base_identity(folder: Path, name: str | None = None) -> BaseIdentity:
    """Read the files of a base model's folder once and return their digests.

    Raises:
        ArtifactError: the folder is missing or has no safetensors.
    """
    if not folder.is_dir():
        step = "run `release-kit sft prepare` on the study, or put the base model there"
        raise ArtifactError("there is no base model", where=str(folder), next_step=step)
    wanted = [path for path, _ in iter_files(folder) if path.endswith(_WEIGHTS + _READ) and path != "base.json"]
    files = {path: file_sha256(folder / path) for path in wanted}
    weights = {path: digest for path, digest in files.items() if path.endswith(_WEIGHTS)}
    if not weights:
        raise ArtifactError("holds no safetensors file", where=str(folder), next_step="convert the weights first")
    lines = "".join(f"{path}\0{digest}\n" for path, digest in sorted(weights.items()))
    only = next(iter(weights.values())) if len(weights) == 1 else hashlib.sha256(lines.encode()).hexdigest()
    return BaseIdentity(name=name or folder.name, weights_sha256=only, files=files)


def run_identity(plan: RunPlan, base: BaseIdentity, data_sha256: str, code: str, device: str = "cpu") -> dict[str, Any]:
    """Return the document whose digest names a run; it holds no path and no clock.

    Args:
        plan: the run as declared.
        base: digests of the base model that is really there.
        data_sha256: digest of the selected examples in their order.
        code: ``code_digest()``.
        device: ``cpu`` or the kind of accelerator; results differ between them.
    """
    settings = {key: value for key, value in plan.settings.to_dict().items() if key not in NOT_IDENTITY}
    return {
        "schema_version": SCHEMA_VERSION,
        "base": dict(sorted(base.files.items())),
        "code": code,
        "data_sha256": data_sha256,
        "device": device,
        "libraries": {name: _version(name) for name in LIBRARIES},
        "method": plan.method,
        "seed": plan.seed,
        "settings": settings,
    }


def run_id(identity: Mapping[str, Any]) -> str:
    """Return the name of a run's folder: the first 16 hex digits of the digest of its identity."""
    return canonical.digest(identity)[:16]


@functools.cache
def code_digest() -> str:
    """Return one digest of the source files that make the bytes of a run."""
    return source_digest(CODE_FOLDERS)


def source_digest(folders: tuple[str, ...]) -> str:
    """Return one digest of all source files in rooms of ``release_kit.sft``, in the order of their paths."""
    root = Path(__file__).resolve().parents[1]
    paths = sorted(path for folder in folders for path in (root / folder).rglob("*.py"))
    lines = [f"{path.relative_to(root).as_posix()}\0{file_sha256(path)}\n" for path in (*paths, root / "runtime.py")]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file in hex."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
