"""``tensors.json``: the digest of every tensor in a cell's safetensors files; one such file goes with each cell.

Small on purpose and apart from the manifest: who verifies files never reads it, who asks which layer differs does.
Format: ``docs/formats/tensors.md``.
"""

from collections.abc import Mapping
from typing import Any

from release_kit.core import canonical
from release_kit.core.hashing import TENSOR_ALGORITHM, TensorDigest
from release_kit.core.records import Fields, check_schema_version

SCHEMA_VERSION = 1


def tensors_bytes(files: Mapping[str, tuple[TensorDigest, ...]]) -> bytes:
    """Return the canonical bytes of ``tensors.json``.

    Args:
        files: path inside the cell → its tensors.
    """
    listed = {path: {t.name: [t.dtype, list(t.shape), t.blake3] for t in tensors} for path, tensors in files.items()}
    value = {"schema_version": SCHEMA_VERSION, "algorithm": TENSOR_ALGORITHM, "files": listed}
    return canonical.canonical_bytes(value) + b"\n"


def parse_tensors(data: bytes, where: str) -> dict[str, dict[str, tuple[str, tuple[int, ...], str]]]:
    """Return ``{path: {tensor: (dtype, shape, blake3)}}``.

    Raises:
        RecordError: not a tensors file of a known version.
    """
    fields = Fields(canonical.parse_json(data, where), where)
    check_schema_version(fields, (SCHEMA_VERSION,))
    if fields.take("algorithm", str) != TENSOR_ALGORITHM:
        raise fields.error("algorithm", f"is not {TENSOR_ALGORITHM!r}; update release_kit")
    files = fields.child("files")
    fields.done()
    return {path: _tensors_from(files, path) for path in list(fields.raw("files"))}


def _tensors_from(files: Fields, path: str) -> dict[str, tuple[str, tuple[int, ...], str]]:
    return {name: _entry(files, path, name, entry) for name, entry in files.take(path, dict).items()}


def _entry(files: Fields, path: str, name: str, entry: Any) -> tuple[str, tuple[int, ...], str]:
    try:
        dtype, shape, digest = entry
        if isinstance(dtype, str) and isinstance(digest, str) and all(type(n) is int for n in shape):
            return dtype, tuple(shape), digest
    except (TypeError, ValueError):
        pass
    raise files.error(f"{path}.{name}", "expected [dtype, shape, digest]")
