"""``release-kit encoding fetch``: of a published dataset what one subject's analysis needs, by DataLad, and no more.

Owns the clone, the download and the proof by the keys of git-annex; which files are needed is ``fetch_plan.py``'s.
A second call continues where the first was interrupted, and adds further subjects and levels.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from release_kit.bids.versioning.annex import DESCRIPTION, NOBODY, Repository, failed_records
from release_kit.bids.versioning.select import ANNOTATIONS_TABLE, parse_levels, recorded, remember
from release_kit.bids.versioning.siblings import enable_directory
from release_kit.bids.versioning.sources import Reference, resolve
from release_kit.bids.versioning.tracked import Tracked, commit_files
from release_kit.core.errors import ReleaseKitError, UsageError
from release_kit.core.files import TEMPORARY_PREFIX
from release_kit.core.hashing import hash_file
from release_kit.encoding.data.fetch_plan import Wish, layout_of, plan_fetch
from release_kit.encoding.data.layout import ResponsesSpec
from release_kit.encoding.errors import ResponseError

Say = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class FetchFile:
    """One annexed file that the analysis needs."""

    path: str
    size_bytes: int | None
    """What its key says; None for keys that do not say it."""
    here: bool
    """Whether its content is in the folder."""


@dataclass(frozen=True, kw_only=True)
class FetchReport:
    """What a download is made of, and what was proved of it."""

    folder: Path
    layout: str
    files: tuple[FetchFile, ...]
    n_files: int
    """Annexed files of the whole dataset."""
    total_bytes: int
    """Bytes of the whole dataset."""
    n_fetched: int = 0
    n_verified: int = 0
    """Files whose bytes were read again and are those that their key names."""
    failed: tuple[str, ...] = ()
    dry_run: bool = False

    @property
    def ok(self) -> bool:
        """Whether everything is here and proved (of a dry run: nothing failed)."""
        return not self.failed and (self.dry_run or self.n_verified == len(self.files))

    @property
    def size_bytes(self) -> int:
        """Bytes of what is needed."""
        return sum(file.size_bytes or 0 for file in self.files)

    @property
    def missing_bytes(self) -> int:
        """Bytes of what is needed and was not here before."""
        return sum(file.size_bytes or 0 for file in self.files if not file.here)

    def to_dict(self) -> dict[str, Any]:
        """Return the form that ``--json`` prints."""
        return {
            "ok": self.ok, "folder": str(self.folder), "layout": self.layout, "dry_run": self.dry_run,
            "n_wanted": len(self.files), "size_bytes": self.size_bytes, "missing_bytes": self.missing_bytes,
            "n_files": self.n_files, "total_bytes": self.total_bytes, "n_fetched": self.n_fetched,
            "n_verified": self.n_verified, "failed": list(self.failed),
            "files": [{"path": f.path, "size_bytes": f.size_bytes, "here": f.here} for f in self.files],
        }  # fmt: skip


def fetch(
    source: str,
    dest: Path,
    subject: str,
    level: str | Iterable[str],
    *,
    language: str | None = None,
    tasks: Iterable[str] = (),
    responses: ResponsesSpec | None = None,
    version: str | None = None,
    workers: int = 2,
    dry_run: bool = False,
    on_event: Say | None = None,
) -> FetchReport:
    """Get responses and mask of one subject and the annotations of some levels; every byte is held against its key.

    Args:
        source: address or path of a DataLad dataset (git, RIA store, directory sibling).
        dest: a folder that does not exist, is empty, or holds an earlier download of ``source``.
        subject: label without ``sub-``.
        level: one level of annotation, or several.
        language: of the annotations; None: all.
        tasks: films; none named is all.
        responses: which recordings; None: of the published layout, told by the names.
        version: tag or commit; None: the newest.
        workers: files fetched at once.
        dry_run: say sizes and change nothing; only names and sizes are read, into a folder that is removed again.
        on_event: told ``{"event": "wanted", "n", "size_bytes"}`` and ``{"event": "fetched", "path"}``.

    Raises:
        UsageError: a subject, level, language, film or version that there is not.
        ReleaseKitError: ``dest`` holds something else, or the source cannot be read.
    """
    say, dest = on_event or (lambda event: None), Path(os.path.abspath(dest))
    reference = _reference(source)
    levels = (level,) if isinstance(level, str) else tuple(dict.fromkeys(level))
    wish = Wish(subject=subject.removeprefix("sub-"), levels=levels, language=language, tasks=tuple(tasks))
    with _cloned(reference, dest, version, keep=not dry_run) as repository:
        tracked = commit_files(repository)
        layout = responses.layout if responses else layout_of([file.path for file in tracked])
        spec = responses or ResponsesSpec(layout=layout)
        known = {} if layout == "ds005531" else _levels(repository, tracked)
        needed = set(plan_fetch([file.path for file in tracked], wish, spec, known, source))
        wanted = [file for file in tracked if file.key and file.path in needed]
        report = FetchReport(
            folder=dest,
            layout=layout,
            files=tuple(_as_file(repository, file) for file in wanted),
            n_files=sum(file.key is not None for file in tracked),
            total_bytes=sum(file.key.size_bytes or 0 for file in tracked if file.key),
            dry_run=dry_run,
        )
        return report if dry_run else _get(repository, wanted, report, workers, say)


def _reference(source: str) -> Reference:
    """Return where the source is; servers of git alone (GitHub) show no file that could be looked up."""
    if source.startswith(("http://", "https://")):
        return Reference(text=source, kind="git", base=source)
    if "://" not in source and not Path(source).is_dir():
        # As `check` and `run` end for a file that is not there: with 1, not as a command called wrongly.
        step = "name the folder or the address of a DataLad dataset"
        raise ResponseError("there is no such folder", where=source, next_step=step)
    found = resolve(source)
    if found.kind == "plain":
        step = "name the DataLad dataset, or copy the plain tree with `release-kit bids get`"
        raise UsageError("is a plain tree, which has no keys to fetch by", where=source, next_step=step)
    return found


@contextmanager
def _cloned(reference: Reference, dest: Path, version: str | None, *, keep: bool) -> Iterator[Repository]:
    """Yield a clone without contents at ``dest``, made beside it and moved; of a dry run one that goes again."""
    there = dest.exists() and (not dest.is_dir() or any(dest.iterdir()))
    if there:
        known = recorded(dest) if dest.is_dir() else None
        if known is None or known[0] != reference.text:
            what = f"holds a download of {known[0]}" if known else "is not empty"
            raise ReleaseKitError(what, where=str(dest), next_step="name a folder that does not exist")
        repository = Repository(dest, NOBODY, settings=reference.settings)
        _check_out(repository, version, reference, change=keep)
        yield repository
        return
    above = dest.parent if keep else Path(tempfile.gettempdir())
    above.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=above))
    try:
        repository = _clone_into(reference, scratch / "dataset")
        _check_out(repository, version, reference, change=True)
        if not keep:
            yield repository
            return
        remember(repository.folder, reference.text)
        if dest.exists():
            dest.rmdir()
        os.rename(repository.folder, dest)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    yield Repository(dest, NOBODY, settings=reference.settings)


def _clone_into(reference: Reference, folder: Path) -> Repository:
    above = Repository(folder.parent, NOBODY, settings=reference.settings)
    place = reference.git_url if reference.kind in ("git", "directory") else reference.text
    above.run(["datalad", "-f", "json", "clone", place, str(folder)])
    repository = Repository(folder, NOBODY, settings=reference.settings)
    for key, value in reference.settings.items():
        repository.git("config", "--local", key, value)
    repository.annex("init", "--quiet", DESCRIPTION)
    if reference.kind == "directory":
        enable_directory(repository, reference.base)
    return repository


def _check_out(repository: Repository, version: str | None, reference: Reference, *, change: bool) -> None:
    if version is None:
        return
    commit = repository.ask("rev-parse", "--verify", "--quiet", f"{version}^{{commit}}")
    if commit is None:
        there = ", ".join(repository.git("tag", "--list").splitlines()) or "none"
        raise UsageError(f"there is no version {version!r}; versions: {there}", where=reference.text)
    if commit != repository.git("rev-parse", "HEAD"):
        if not change:
            step = "run it without --dry-run, or look at the other version in an empty folder"
            raise UsageError(f"the folder holds another version than {version}", next_step=step)
        repository.git("checkout", "--quiet", version)


def _levels(repository: Repository, tracked: Sequence[Tracked]) -> dict[str, str]:
    """Return annotation id → level of a BIDS dataset; a table that is annexed is fetched for it."""
    table = repository.folder / ANNOTATIONS_TABLE
    if not table.exists() and any(file.path == ANNOTATIONS_TABLE for file in tracked):
        repository.annex_records("get", ANNOTATIONS_TABLE)
    return parse_levels(table.read_bytes()) if table.exists() else {}


def _as_file(repository: Repository, file: Tracked) -> FetchFile:
    size = file.key.size_bytes if file.key else None
    return FetchFile(path=file.path, size_bytes=size, here=_is_here(repository, file))


def _is_here(repository: Repository, file: Tracked) -> bool:
    path = repository.folder / file.path
    return path.exists() and (file.locked or path.stat().st_size == (file.key.size_bytes if file.key else None))


def _get(repository: Repository, wanted: Sequence[Tracked], report: FetchReport, workers: int, say: Say) -> FetchReport:
    say({"event": "wanted", "n": len(wanted), "size_bytes": report.missing_bytes})
    records = _annex_get(repository, wanted, workers)
    for record in records:
        say({"event": "fetched", "path": record.get("file"), "ok": record.get("success")})
    bad = [file for file in wanted if _is_here(repository, file) and not _is_as_named(repository, file)]
    if bad:  # git-annex sets aside what is not what its key says; then it can be had again
        repository.annex_records("fsck", "--", *[file.path for file in bad])
        records += _annex_get(repository, bad, workers)
    proved = [
        file for file in wanted if _is_here(repository, file) and (file not in bad or _is_as_named(repository, file))
    ]
    lacking = sorted({file.path for file in wanted} - {file.path for file in proved})
    reasons = {text.partition(": ")[0]: text for text in failed_records(records)}
    failed = [reasons.get(path, f"{path}: could not be had as its key names it") for path in lacking]
    n_fetched = sum(bool(record.get("success")) for record in records)
    return replace(report, n_fetched=n_fetched, n_verified=len(proved), failed=tuple(failed))


def _annex_get(repository: Repository, files: Sequence[Tracked], workers: int) -> list[dict[str, Any]]:
    if not files:
        return []
    asked = b"".join(os.fsencode(file.path) + b"\0" for file in files)
    return repository.annex_records("get", "--batch", "-z", f"--jobs={workers}", stdin=asked)


def _is_as_named(repository: Repository, file: Tracked) -> bool:
    """Return whether the bytes that are here are those of the key; keys without a sha256 are asked of git-annex."""
    path = repository.folder / file.path
    if file.key and file.key.sha256:
        found = hash_file(path, tensors=False, git=False)
        return (found.sha256, found.size_bytes) == (file.key.sha256, file.key.size_bytes or found.size_bytes)
    return not failed_records(repository.annex_records("fsck", "--", file.path))
