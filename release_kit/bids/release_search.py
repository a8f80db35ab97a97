"""Whether a dataset that goes to a Hub was searched for what may identify a person: which bytes of which files.

The search is that of ``publish`` to siblings (``versioning/identity.py``), with its memory where the dataset is a saved
version; ``publish`` of a release sends no other bytes than those that stand in this list.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from release_kit.bids.sidecars.leaks import find_leaks
from release_kit.bids.versioning.annex import Repository
from release_kit.bids.versioning.contents import files_of
from release_kit.bids.versioning.identity import NOBODY_SAID, Search, check_leaving, refuse_leaks, search_of
from release_kit.bids.versioning.leaving import list_version
from release_kit.bids.versioning.paths import MANIFEST_FILE, SIGNATURE_FILE
from release_kit.bids.versioning.tracked import changes, commit_files, has_commit, is_repository, read_blobs
from release_kit.core.digest_cache import DigestCache, digest_files, stamp_of
from release_kit.core.errors import IntegrityError, UsageError
from release_kit.core.hashing import FileDigest


def search_release(
    dataset: Path, files: Iterable[str], search: Search = NOBODY_SAID, cache: DigestCache | None = None
) -> dict[str, str] | None:
    """Return path → sha256 of what was searched and found good; None when nobody has said which names are secret.

    Args:
        dataset: the dataset.
        files: what a release of it holds.
        search: which words must appear nowhere. Without words, a saved version that was searched with some counts.
        cache: remembered digests.

    Raises:
        IntegrityError: something that may identify a person, or that no program can look into.
    """
    files = tuple(files)
    if is_repository(dataset) and has_commit(repository := Repository(dataset)) and not changes(repository):
        found = _of_version(repository, search)
        if found is not None and found.keys() >= set(files):  # git's ignore list may keep files out of a version
            return found
    return None if search.words is None else _of_folder(dataset, files, search, cache)


def _of_version(repository: Repository, search: Search) -> dict[str, str] | None:
    try:
        check_leaving(repository, list_version(repository, "HEAD"), search, lambda event: None)
    except UsageError:
        return None
    tracked = commit_files(repository)
    found = {path: file.sha256 for path, file in files_of(repository, tracked).items()}
    own = {file.path: file.blob for file in tracked if file.path in (MANIFEST_FILE, SIGNATURE_FILE)}
    blobs = dict(read_blobs(repository, own.values())) if own else {}
    return found | {path: hashlib.sha256(blobs[blob]).hexdigest() for path, blob in own.items()}


def _of_folder(dataset: Path, files: tuple[str, ...], search: Search, cache: DigestCache | None) -> dict[str, str]:
    before = _stamps(dataset, files)
    words, privacy = search_of(dataset, search)
    refuse_leaks(dataset, find_leaks(dataset, words, privacy), search)
    found = digest_files([dataset / path for path in files], cache=cache, tensors=False, git=False)
    digests = {path: one.sha256 for path, one in zip(files, found, strict=True) if isinstance(one, FileDigest)}
    if changed := sorted(path for path, stamp in _stamps(dataset, files).items() if before.get(path) != stamp):
        what = f"{changed[0]} changed while it was searched"
        raise IntegrityError(what, where=str(dataset), next_step="let nothing else write here and run again")
    return digests


def _stamps(dataset: Path, files: Iterable[str]) -> Mapping[str, object]:
    return {path: stamp_of((dataset / path).stat()) for path in files if (dataset / path).is_file()}
