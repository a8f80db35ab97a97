"""What makes an output what it is: the bytes it is made from, the settings, and the code that makes it.

Two outputs with one identity have the same bytes, so that an output which is there need not be made again. Every
identity is a sha256 of canonical JSON; nothing here depends on where a file lies or when it was written.
"""

import hashlib
import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import release_kit
from release_kit.bids.convert.jobs import FILE_OPTIONS, ImageJob
from release_kit.bids.recipe.model import Recipe
from release_kit.bids.recordings.packing import packer_version
from release_kit.core.canonical import digest
from release_kit.core.digest_cache import Stamp
from release_kit.core.errors import ArtifactError
from release_kit.core.files import iter_files


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One file that an output was made from, as it was when it was read."""

    path: str
    stamp: Stamp
    size_bytes: int
    sha256: str


def image_identity(job: ImageJob, sources: Sequence[tuple[str, int, str]], code: str) -> str:
    """Return the identity of an image.

    Args:
        job: what is made.
        sources: name, size in bytes and sha256 of every file of ``source_files(job)``, in that order. Names count for a
            series of files alone, since the order of its volumes follows from them.
        code: ``code_digest`` of what makes images.
    """
    options = {key: value for key, value in job.options.items() if key not in FILE_OPTIONS}
    settings = {
        "kind": job.recording.kind, "options": options, "skip": job.skip, "tr_s": job.tr_s, "deface": job.deface,
        "role": job.role, "files": sorted(job.options.keys() & set(FILE_OPTIONS)), "programs": _programs(job),
    }  # fmt: skip
    if job.recording.kind == "nifti-series":
        settings["names"] = [name for name, _, _ in sources]
    contents = [[size, sha256] for _, size, sha256 in sources]
    return digest({"sources": contents, "settings": plain(settings), "code": code})


def _programs(job: ImageJob) -> dict[str, str | None]:
    """Return the versions of the programs outside release_kit that have a hand in the bytes of an image."""
    names = ["dcm2niix"] if job.recording.kind == "dicom" else []
    return {name: _version(name) for name in [*names, *(("niimath", "nilearn") if job.deface else ())]}


@cache
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def source_files(job: ImageJob) -> list[Path]:
    """Return the files that an image is made from, in an order that depends on their names only.

    Raises:
        ArtifactError: there are none.
    """
    found = _recording_files(job.source)
    if not found:
        raise ArtifactError(
            "is missing",
            where=str(job.source),
            next_step=f"put it there, or declare under `missing` why {job.target} is not",
        )
    return found + [Path(job.options[key]) for key in FILE_OPTIONS if isinstance(job.options.get(key), str)]


def _recording_files(path: Path) -> list[Path]:
    if path.is_dir():
        return [path / relative for relative, _ in iter_files(path)]
    if any(sign in path.name for sign in "*?["):
        return sorted(path.parent.glob(path.name))
    pair = {".img": ".hdr", ".hdr": ".img"}.get(path.suffix)
    other = [path.with_suffix(pair)] if pair and path.with_suffix(pair).is_file() else []
    return sorted([path, *other]) if path.exists() else []


@cache
def code_digest(*parts: str) -> str:
    """Return the digest of the code in ``parts`` (patterns below ``release_kit/``) and of what packs the bytes."""
    root = Path(release_kit.__file__).parent
    found = hashlib.sha256()
    for part in parts:
        for path in sorted(root.glob(part)):
            found.update(path.relative_to(root).as_posix().encode() + b"\0")
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return digest({"files": found.hexdigest(), "packer": packer_version(), "version": release_kit.__version__})


def image_code() -> str:
    """Return the digest of the code that makes images."""
    return code_digest("bids/recordings/*.py", "bids/convert/images.py", "bids/sidecars/deface*.py")


def text_code() -> str:
    """Return the digest of the code that makes everything else."""
    return code_digest("bids/**/*.py")


def recipe_digest(recipe: Recipe) -> str:
    """Return the identity of what a recipe says, wherever it lies."""
    return digest(
        plain({f.name: getattr(recipe, f.name) for f in fields(recipe) if f.name not in ("folder", "sources")})
    )


def plain(value: Any) -> Any:
    """Return records, mappings, tuples and paths as what JSON can hold."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
