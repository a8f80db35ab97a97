"""What a commit or the index of a dataset contains, as a manifest: each byte that the annex holds is named by its key.

Nothing that lies in the annex under a sha256 is read: git-annex hashed it when it was added.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from release_kit.bids.versioning.annex import Repository, VersioningError
from release_kit.bids.versioning.manifest import DatasetFile, DatasetManifest
from release_kit.bids.versioning.paths import MANIFEST_FILE, SIGNATURE_FILE
from release_kit.bids.versioning.provenance import RECIPE_FILE
from release_kit.bids.versioning.tracked import SUBMODULE, SYMLINK, Tracked, commit_files, read_blobs
from release_kit.core.canonical import read_json
from release_kit.core.errors import RecordError
from release_kit.core.hashing import hash_file

_BLOBS_AT_ONCE = 200


def files_of(repository: Repository, tracked: Iterable[Tracked]) -> dict[str, DatasetFile]:
    """Return path → file of everything that a manifest lists: all but the manifest, its signature, links, submodules.

    Raises:
        VersioningError: a key without sha256 whose content is not here.
    """
    listed = [file for file in tracked if file.path not in (MANIFEST_FILE, SIGNATURE_FILE) and _has_bytes(file)]
    found = {file.path: _annexed(repository, file) for file in listed if file.key}
    in_git = [file for file in listed if not file.key]
    for start in range(0, len(in_git), _BLOBS_AT_ONCE):
        part = in_git[start : start + _BLOBS_AT_ONCE]
        blobs = dict(read_blobs(repository, {file.blob for file in part}))
        for file in part:
            data = blobs[file.blob]
            sha256 = hashlib.sha256(data).hexdigest()
            found[file.path] = DatasetFile(path=file.path, size_bytes=len(data), sha256=sha256)
    return dict(sorted(found.items()))


def _has_bytes(file: Tracked) -> bool:
    return file.mode != SUBMODULE and (file.mode != SYMLINK or file.key is not None)


def _annexed(repository: Repository, file: Tracked) -> DatasetFile:
    key = file.key
    assert key is not None
    if key.sha256 and key.size_bytes is not None:
        return DatasetFile(path=file.path, size_bytes=key.size_bytes, sha256=key.sha256)
    place = repository.folder / file.path
    if not place.is_file():
        what = f"{file.path} lies in the annex under {key.backend}, and its content is not here"
        raise VersioningError(what, where=str(repository.folder), next_step=f"git annex get {file.path}")
    digest = hash_file(place, tensors=False, git=False)
    return DatasetFile(path=file.path, size_bytes=digest.size_bytes, sha256=digest.sha256)


def manifest_at(repository: Repository, commit: str) -> DatasetManifest | None:
    """Return the manifest that a commit holds, or None."""
    code, data = repository.run(["git", "cat-file", "blob", f"{commit}:{MANIFEST_FILE}"], ok=(0, 128))
    return DatasetManifest.from_bytes(data, f"{commit}:{MANIFEST_FILE}") if code == 0 else None


def files_at(repository: Repository, commit: str) -> dict[str, DatasetFile]:
    """Return path → file of a commit: from its manifest, or from what git and the annex keys say."""
    manifest = manifest_at(repository, commit)
    return manifest.by_path if manifest else files_of(repository, commit_files(repository, commit))


def dataset_name(folder: Path) -> str:
    """Return the name in ``dataset_description.json``.

    Raises:
        RecordError: there is none, so this is no BIDS dataset.
    """
    path = folder / "dataset_description.json"
    value = read_json(path)
    name = value.get("Name") if isinstance(value, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise RecordError("`Name` is missing", where=str(path), next_step="every BIDS dataset has a name")
    return name


def declared_version(folder: Path) -> str | None:
    """Return the version that the recipe inside the dataset declares, or None when it carries none.

    Raises:
        RecordError: the recipe cannot be read.
    """
    from release_kit.core.strict_yaml import parse_yaml

    path = folder / RECIPE_FILE
    if not path.is_file():
        return None
    value = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    dataset = value.get("dataset") if isinstance(value, dict) else None
    version = dataset.get("version") if isinstance(dataset, dict) else None
    return None if version is None else str(version)
