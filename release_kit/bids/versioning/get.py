"""``release-kit bids get``: a dataset, or one subject or level of it, into an empty folder; resumes where it stopped.

Clones and fetches through git-annex, or copies a plain tree by its manifest. What arrives is checked on the way;
proving the whole is ``verify``'s.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from release_kit.bids.versioning.annex import (
    DESCRIPTION,
    NOBODY,
    Identity,
    Repository,
    VersioningError,
    failed_records,
)
from release_kit.bids.versioning.heal import SET_ASIDE, set_aside
from release_kit.bids.versioning.manifest import DatasetFile, DatasetManifest
from release_kit.bids.versioning.paths import MANIFEST_FILE, SIGNATURE_FILE, is_of_git
from release_kit.bids.versioning.select import ANNOTATIONS_TABLE, Selection, parse_levels, recorded, remember
from release_kit.bids.versioning.siblings import enable_directory, ignore_others
from release_kit.bids.versioning.sources import Files, Reference, copy_checked, files_of_base, resolve
from release_kit.bids.versioning.tracked import commit_files, has_commit
from release_kit.core.errors import ReleaseKitError, UsageError
from release_kit.core.files import STATE_FOLDER, TEMPORARY_PREFIX, inside, open_atomic, write_atomic
from release_kit.core.hashing import hash_file, map_ordered

Say = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class GetReport:
    """What a download fetched."""

    folder: Path
    kind: str
    version: str | None
    n_files: int
    """Files of the whole dataset whose content is fetched separately."""
    n_wanted: int
    n_fetched: int
    size_bytes: int
    """Bytes of what was wanted."""
    failed: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether everything that was asked for is here."""
        return not self.failed

    def to_dict(self) -> dict[str, Any]:
        """Return the form that ``--json`` prints."""
        return {"ok": self.ok, "folder": str(self.folder), "kind": self.kind, "version": self.version,
                "n_files": self.n_files, "n_wanted": self.n_wanted, "n_fetched": self.n_fetched,
                "size_bytes": self.size_bytes, "failed": list(self.failed)}  # fmt: skip


def get_dataset(
    ref: str,
    dest: Path,
    *,
    subjects: Iterable[str] = (),
    levels: Iterable[str] = (),
    version: str | None = None,
    workers: int = 2,
    only_here: bool = False,
    on_event: Say | None = None,
) -> GetReport:
    """Fetch a dataset, or a part of it, into ``dest``; a second call continues, or adds another part.

    Args:
        ref: see ``sources.resolve``.
        dest: a folder that is empty, does not exist, or holds an earlier download of the same reference.
        subjects: labels without ``sub-``; none and no level is everything.
        levels: levels of annotation.
        version: the version to check out, fetched when an earlier download does not know it yet; None takes the
            newest commit, or leaves the one that an earlier download has.
        workers: files fetched at once.
        only_here: take contents from nowhere but ``ref``; else other siblings that the history names help out.
        on_event: told ``{"event": "wanted", "n", "size_bytes"}`` and ``{"event": "fetched", "path"}``.

    Raises:
        UsageError: an unknown subject, level or version.
        ReleaseKitError: ``dest`` holds something else, or the source cannot be read.
    """
    reference, dest, say = resolve(ref), Path(os.path.abspath(dest)), on_event or (lambda event: None)
    selection = Selection(subjects=tuple(dict.fromkeys(s.removeprefix("sub-") for s in subjects)),
                          levels=tuple(dict.fromkeys(levels)))  # fmt: skip
    _check_dest(dest, reference)
    if reference.kind == "plain":
        return _get_plain(reference, dest, selection, version, workers, say)
    repository = _clone(reference, dest, version, selection)
    if only_here:
        ignore_others(repository, reference)
    return _get_annexed(repository, reference, selection, workers, say)


def _check_dest(dest: Path, reference: Reference) -> None:
    if not dest.exists() or (dest.is_dir() and not any(dest.iterdir())):
        return
    known = recorded(dest) if dest.is_dir() else None
    if known is None or known[0] != reference.text:
        what = f"holds a download of {known[0]}" if known else "is not empty"
        raise ReleaseKitError(what, where=str(dest), next_step="name a folder that does not exist")


def _clone(reference: Reference, dest: Path, version: str | None, selection: Selection) -> Repository:
    """Clone beside ``dest`` and move it into place when it is whole; an earlier clone is taken as it is.

    What is asked for and is not there is refused before, so that nothing is left.
    """
    if not (dest / ".git").exists():
        dest.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=dest.parent))
        try:
            made = _clone_into(reference, scratch / "dataset")
            if version is not None:
                _check_out(made, version, reference)
            _check_selection(made, reference, selection)
            remember(made.folder, reference.text)
            _move_into_place(made.folder, dest)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    repository = Repository(dest, _somebody(dest), settings=reference.settings)
    if version is not None:
        _check_out(repository, version, reference)
    return repository


def _move_into_place(made: Path, dest: Path) -> None:
    try:
        if dest.exists():
            dest.rmdir()
        os.rename(made, dest)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        step = "wait until it ends; the same command then goes on from there"
        raise ReleaseKitError("another download came here meanwhile", where=str(dest), next_step=step) from error


def _check_selection(repository: Repository, reference: Reference, selection: Selection) -> tuple[list, dict[str, str]]:
    """Refuse what the dataset does not have; return its files, and annotation id → level."""
    tracked = commit_files(repository)
    table = repository.folder / ANNOTATIONS_TABLE
    levels = parse_levels(table.read_bytes()) if table.is_file() else {}
    selection.check([file.path for file in tracked], levels, reference.text)
    return tracked, levels


def _clone_into(reference: Reference, folder: Path) -> Repository:
    above = Repository(folder.parent, NOBODY, settings=reference.settings)
    if reference.kind == "ria":
        above.run(["datalad", "-f", "json", "clone", reference.text, str(folder)])
    else:
        above.git("clone", "--quiet", reference.git_url, str(folder))
    repository = Repository(folder, _somebody(folder), settings=reference.settings)
    if not has_commit(repository):
        step = "its publication did not end: run `release-kit bids publish` again"
        raise VersioningError("holds no version: no history has come there", where=reference.text, next_step=step)
    for key, value in reference.settings.items():
        repository.git("config", "--local", key, value)
    repository.annex("init", "--quiet", DESCRIPTION)
    if reference.kind == "directory":
        enable_directory(repository, reference.base)
    return repository


def _check_out(repository: Repository, version: str, reference: Reference) -> None:
    commit = _commit_of(repository, version)
    if commit is None:  # an older clone: the source may have versions that were not there yet
        repository.git("fetch", "--quiet", "--tags", "origin")
        commit = _commit_of(repository, version)
    if commit is None:
        there = ", ".join(repository.git("tag", "--list").splitlines()) or "none"
        raise UsageError(f"there is no version {version!r}; versions: {there}", where=reference.text)
    if commit != repository.git("rev-parse", "HEAD"):
        repository.git("checkout", "--quiet", version)


def _commit_of(repository: Repository, version: str) -> str | None:
    return repository.ask("rev-parse", "--verify", "--quiet", f"refs/tags/{version}^{{commit}}")


def _somebody(folder: Path) -> Identity:
    asked = Repository(folder)
    name, email = asked.ask("config", "user.name"), asked.ask("config", "user.email")
    return Identity(name=name, email=email) if name and email else NOBODY


def _get_annexed(
    repository: Repository, reference: Reference, selection: Selection, workers: int, say: Say
) -> GetReport:
    tracked, levels = _check_selection(repository, reference, selection)
    remember(repository.folder, reference.text, selection)
    annexed = [file for file in tracked if file.key]
    wanted = [file for file in annexed if selection.wants(file.path, levels)]
    size = sum(file.key.size_bytes or 0 for file in wanted if file.key)
    say({"event": "wanted", "n": len(wanted), "size_bytes": size})
    records: list[dict[str, Any]] = []
    if wanted:
        records = _fetch_annexed(repository, [file.path for file in wanted], workers)
    for record in records:
        say({"event": "fetched", "path": record.get("file"), "ok": record.get("success")})
    version = repository.ask("describe", "--tags", "--exact-match", "HEAD")
    return GetReport(
        folder=repository.folder, kind=reference.kind, version=version, n_files=len(annexed), n_wanted=len(wanted),
        n_fetched=sum(bool(record.get("success")) for record in records), size_bytes=size,
        failed=tuple(sorted(set(failed_records(records)))),
    )  # fmt: skip


def _fetch_annexed(repository: Repository, paths: list[str], workers: int) -> list[dict[str, Any]]:
    """Return git-annex's record of each file; what failed is asked for once more, by itself.

    Downloads at the same time share locks and connections: one that failed beside a damaged file may be whole.
    """

    def ask(paths: list[str], workers: int) -> list[dict[str, Any]]:
        asked = b"".join(os.fsencode(path) + b"\0" for path in paths)
        return repository.annex_records("get", "--batch", "-z", f"--jobs={workers}", stdin=asked)

    records = ask(paths, workers)
    fetched = {record.get("file") for record in records if record.get("success")}
    failed = [path for path in paths if path not in fetched and os.path.lexists(repository.folder / path)]
    failed = [path for path in failed if not (repository.folder / path).exists()]
    if not failed:
        return records
    return [record for record in records if record.get("success")] + ask(failed, 1)


def _get_plain(
    reference: Reference, dest: Path, selection: Selection, version: str | None, workers: int, say: Say
) -> GetReport:
    files = files_of_base(reference.base)
    data = _read(files, MANIFEST_FILE)
    manifest = DatasetManifest.from_bytes(data, f"{reference.text}: {MANIFEST_FILE}")
    if version not in (None, manifest.version):
        raise UsageError(f"there is no version {version!r}; versions: {manifest.version}", where=reference.text)
    levels: dict[str, str] = {}
    if ANNOTATIONS_TABLE in manifest.by_path:
        levels = parse_levels(_read(files, ANNOTATIONS_TABLE))
    selection.check(manifest.by_path, levels, reference.text)
    remember(dest, reference.text, selection)
    wanted = [file for file in manifest.files if selection.wants(file.path, levels)]
    say({"event": "wanted", "n": len(wanted), "size_bytes": sum(file.size_bytes for file in wanted)})
    before = _fetched_before(dest)

    def fetch(file: DatasetFile) -> tuple[bool, str | None]:
        return _fetch(files, file, dest, before.get(file.path))

    failed, n_fetched = [], 0
    for file, (fetched, problem) in zip(wanted, map_ordered(fetch, wanted, workers), strict=True):
        say({"event": "fetched", "path": file.path, "ok": problem is None})
        n_fetched += fetched
        if problem:
            failed.append(problem)
    _copy_signature(files, dest)
    write_atomic(dest / MANIFEST_FILE, data)
    return GetReport(folder=dest, kind="plain", version=manifest.version, n_files=len(manifest.files),
                     n_wanted=len(wanted), n_fetched=n_fetched, failed=tuple(failed),
                     size_bytes=sum(file.size_bytes for file in wanted))  # fmt: skip


def _fetched_before(dest: Path) -> Mapping[str, DatasetFile]:
    """Return the files of the version that was fetched here before."""
    path = dest / MANIFEST_FILE
    try:
        return DatasetManifest.from_bytes(path.read_bytes(), str(path)).by_path
    except (OSError, ReleaseKitError):
        return {}


def _fetch(files: Files, file: DatasetFile, dest: Path, before: DatasetFile | None) -> tuple[bool, str | None]:
    """Return whether a file was fetched, and why not; one that is here with the right bytes is left.

    Bytes that neither this version nor the one fetched before has are somebody's: they are set aside, not lost.
    """
    target = inside(dest, file.path)
    try:
        here = hash_file(target, tensors=False, git=False).sha256 if target.is_file() else None
        if here == file.sha256:
            return False, None
        with files.open(file.path) as stream, open_atomic(target) as out:
            copy_checked(stream, out.write, size=file.size_bytes, sha256=file.sha256, where=file.path)
            if here is not None and (before is None or here != before.sha256):
                set_aside(dest, file.path, dest / STATE_FOLDER / SET_ASIDE)
    except FileNotFoundError:
        return False, None if is_of_git(file.path) else f"{file.path}: is not there"
    except OSError as error:
        return False, f"{file.path}: cannot be read ({error.strerror or error})"
    except ReleaseKitError as error:
        return False, str(error)
    return True, None


def _copy_signature(files: Files, dest: Path) -> None:
    try:
        data = _read(files, SIGNATURE_FILE)
    except FileNotFoundError:
        return
    write_atomic(dest / SIGNATURE_FILE, data)


def _read(files: Files, path: str) -> bytes:
    with files.open(path) as stream:
        return stream.read()
