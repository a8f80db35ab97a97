"""What a dataset in a folder should hold, file by file: from git, the annex keys and the manifest.

Owns the list and what the listings alone contradict (a commit against the manifest); reading files is ``prove``'s.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from release_kit.bids.versioning.annex import Repository
from release_kit.bids.versioning.contents import files_of
from release_kit.bids.versioning.manifest import DatasetFile, DatasetManifest
from release_kit.bids.versioning.paths import MANIFEST_FILE, SIGNATURE_FILE, is_of_git
from release_kit.bids.versioning.tracked import SUBMODULE, Key, Tracked, commit_files, is_repository
from release_kit.core.errors import RecordError, ReleaseKitError
from release_kit.core.files import STATE_FOLDER, TEMPORARY_PREFIX, iter_files

CODES = {
    "changed": "the bytes are not those of the version",
    "size": "the file has another size",
    "swapped": "the bytes are those of another file of the version",
    "missing": "the file is not there",
    "content": "the content is not here: it was never fetched, or it was dropped",
    "link": "the link points elsewhere",
    "extra": "the version has no such file",
    "label": "the commit holds other bytes under this name than the manifest",
    "staged": "the index differs from the commit",
    "manifest": "there is no usable manifest",
    "signature": "the signature does not hold",
    "repository": "git's own objects are damaged",
    "unchecked": "the content cannot be checked",
    "invalid": "the validator finds an error",
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong."""

    code: str
    path: str
    what: str

    def to_dict(self) -> dict[str, str]:
        """Return the form that ``--json`` prints."""
        return {"code": self.code, "path": self.path, "what": self.what}


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """One file as it should be."""

    path: str
    tracked: Tracked | None = None
    listed: DatasetFile | None = None
    """What the manifest says of it."""

    @property
    def key(self) -> Key | None:
        """The annex key, if its content lies in the annex."""
        return self.tracked.key if self.tracked else None

    @property
    def sha256(self) -> str | None:
        """The sha256 that the content must have: the commit's word before the manifest's."""
        return (self.key.sha256 if self.key else None) or (self.listed.sha256 if self.listed else None)

    @property
    def size_bytes(self) -> int | None:
        """The size that the content must have; of a file in git its object id says it."""
        if self.key and self.key.size_bytes is not None:
            return self.key.size_bytes
        in_git = self.tracked is not None and self.key is None
        return self.listed.size_bytes if self.listed and not in_git else None


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """Everything that a folder should hold."""

    folder: Path
    repository: Repository | None
    files: tuple[Expected, ...]
    manifest: DatasetManifest | None
    findings: tuple[Finding, ...]

    @property
    def owners(self) -> Mapping[str, Sequence[str]]:
        """sha256 → paths that should have it."""
        found: dict[str, list[str]] = {}
        for file in self.files:
            if file.sha256:
                found.setdefault(file.sha256, []).append(file.path)
        return found


def expect(folder: Path) -> Expectation:
    """Return what the dataset in ``folder`` should hold.

    Raises:
        ReleaseKitError: it is neither a repository nor a plain tree with a manifest.
    """
    return _of_repository(folder) if is_repository(folder) else _of_tree(folder)


def _of_repository(folder: Path) -> Expectation:
    repository = Repository(folder)
    tracked = [file for file in commit_files(repository) if file.mode != SUBMODULE]
    findings: list[Finding] = []
    manifest = _manifest_of(repository, tracked, findings)
    listed = manifest.by_path if manifest else {}
    if manifest:
        findings += _against_manifest(repository, tracked, manifest)
    findings += [_staged(path) for path in _lines(repository, "diff-index", "--cached", "--name-only", "-z", "HEAD")]
    known = {file.path for file in tracked}
    others = _lines(repository, "ls-files", "--others", "-z")
    findings += [_extra(path) for path in others if path not in known]
    files = tuple(Expected(path=file.path, tracked=file, listed=listed.get(file.path)) for file in tracked)
    return Expectation(folder=folder, repository=repository, files=files, manifest=manifest, findings=tuple(findings))


def _manifest_of(repository: Repository, tracked: Sequence[Tracked], findings: list[Finding]) -> DatasetManifest | None:
    file = next((file for file in tracked if file.path == MANIFEST_FILE), None)
    if file is None:
        return None
    data = repository.run(["git", "cat-file", "blob", file.blob])[1]
    try:
        return DatasetManifest.from_bytes(data, MANIFEST_FILE)
    except ReleaseKitError as error:
        findings.append(Finding(code="manifest", path=MANIFEST_FILE, what=str(error)))
        return None


def _against_manifest(repository: Repository, tracked: Sequence[Tracked], manifest: DatasetManifest) -> list[Finding]:
    """Hold a commit against the manifest by path; nothing of the annex is read."""
    committed = files_of(repository, [file for file in tracked if not file.key or file.key.sha256])
    by_key = {file.path for file in tracked if file.key and not file.key.sha256}
    listed = manifest.by_path
    owners: dict[str, list[str]] = {}
    for file in manifest.files:
        owners.setdefault(file.sha256, []).append(file.path)
    findings = []
    for file in tracked:
        if file.path not in listed and (file.path in by_key or (file.locked and not file.key)):
            what = "is in the commit, but not in the manifest"
            findings.append(Finding(code="label", path=file.path, what=what))
    for path in sorted(set(listed) | set(committed)):
        if path in by_key:
            continue
        here, there = committed.get(path), listed.get(path)
        if there is None and here is not None:
            findings.append(Finding(code="label", path=path, what="is in the commit, but not in the manifest"))
        elif here is None:
            findings.append(Finding(code="label", path=path, what="is in the manifest, but not in the commit"))
        elif there is not None and here.sha256 != there.sha256:
            whose = [other for other in owners.get(here.sha256, ()) if other != path]
            what = f"the commit holds the bytes of {whose[0]} under this name" if whose else CODES["label"]
            findings.append(Finding(code="label", path=path, what=what))
    return findings


def _of_tree(folder: Path) -> Expectation:
    path = folder / MANIFEST_FILE
    if not path.is_file():
        step = "name a dataset that `release-kit bids save` or `get` wrote, or a clone"
        raise ReleaseKitError(f"is neither a repository nor a plain tree with {MANIFEST_FILE}", where=str(folder),
                              next_step=step)  # fmt: skip
    try:
        manifest = DatasetManifest.from_bytes(path.read_bytes(), str(path))
    except RecordError as error:
        finding = Finding(code="manifest", path=MANIFEST_FILE, what=str(error))
        return Expectation(folder=folder, repository=None, files=(), manifest=None, findings=(finding,))
    known = {*manifest.by_path, MANIFEST_FILE, SIGNATURE_FILE}
    found = [relative for relative, _ in iter_files(folder) if relative not in known]
    findings = [_extra(relative) for relative in found if not is_of_git(relative)]
    files = tuple(
        Expected(path=file.path, listed=file)
        for file in manifest.files
        if not is_of_git(file.path) or os.path.lexists(folder / file.path)
    )
    return Expectation(folder=folder, repository=None, files=files, manifest=manifest, findings=tuple(findings))


def _lines(repository: Repository, *words: str) -> list[str]:
    return [os.fsdecode(line) for line in repository.run(["git", *words])[1].split(b"\0") if line]


def _extra(path: str) -> Finding:
    what = "left over from an interrupted command" if _left_over(path) else CODES["extra"]
    return Finding(code="extra", path=path, what=what)


def _left_over(path: str) -> bool:
    parts = path.split("/")
    return STATE_FOLDER in parts or parts[-1].startswith(TEMPORARY_PREFIX)


def _staged(path: str) -> Finding:
    return Finding(code="staged", path=path, what=CODES["staged"])
