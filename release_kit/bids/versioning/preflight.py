"""What a save would take, and what forbids it; decided before anything is written.

Owns the rule for changes of somebody else: conversion's own contents and the files of a save are taken, everything
else only when asked for.
"""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from release_kit.bids.versioning.annex import Repository
from release_kit.bids.versioning.contents import files_of
from release_kit.bids.versioning.guard import INIT_PREFIX
from release_kit.bids.versioning.manifest import Difference
from release_kit.bids.versioning.tracked import Change, changes, commit_files, has_commit, is_repository, key_of_link
from release_kit.core.digest_cache import DigestCache, default_cache_path, digest_files
from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import STATE_FOLDER, TEMPORARY_PREFIX, safe_relative_path
from release_kit.core.hashing import FileDigest
from release_kit.core.wording import counted

N_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What differs from HEAD, sorted by path, and what of it may not be saved."""

    folder: Path
    initialised: bool
    changes: tuple[Change, ...]
    problems: tuple[str, ...]
    """What no save takes: leftovers, links that leave the dataset, unsafe names."""
    foreign: tuple[Change, ...]
    """Changes that neither conversion nor a save made."""
    everything: bool

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that differ."""
        return tuple(change.path for change in self.changes)

    @property
    def difference(self) -> Difference:
        """What differs, told from names alone."""
        new = {change.path for change in self.changes if "?" in change.code or "A" in change.code}
        gone = {change.path for change in self.changes if change.removed}
        rest = set(self.paths) - new - gone
        return Difference(added=tuple(sorted(new)), removed=tuple(sorted(gone)), changed=tuple(sorted(rest)))

    def refuse(
        self, *, cut: bool = False, before: Collection[str] = (), taken: Callable[[str], bool] = lambda path: False
    ) -> None:
        """Refuse what cannot be saved, everything at once.

        Args:
            cut: a save before was cut off, so that what is staged is its own.
            before: paths that conversion owned at the last save; their removal is conversion's.
            taken: whether the save that was cut off had begun to save a path that nobody has changed since.

        Raises:
            ReleaseKitError: with the names.
        """
        if self.problems:
            step = "remove or mend them and run again; nothing was saved"
            raise ReleaseKitError(
                _sentence(f"{counted(len(self.problems), 'file')} cannot be saved", self.problems),
                where=str(self.folder),
                next_step=step,
            )
        staged = [] if cut or not self.initialised else [change for change in self.changes if change.staged]
        foreign = [
            change for change in self.foreign if not ((change.removed and change.path in before) or taken(change.path))
        ]
        named = sorted({change.sentence() for change in [*foreign, *staged]})
        if named and not self.everything:
            step = "commit them, take them back, or save them too with --all; nothing was saved"
            raise ReleaseKitError(
                _sentence(f"{counted(len(named), 'change')} not made by conversion", named),
                where=str(self.folder),
                next_step=step,
            )


def plan_save(
    folder: Path, *, written: Mapping[str, Collection[str]] | None, everything: bool, own: Sequence[str]
) -> Plan:
    """Return what a save of ``folder`` would take; nothing is written.

    Args:
        folder: root of the dataset.
        written: path → sha256 of contents of conversion; None when that is not known.
        everything: whether changes of others are taken too.
        own: the files of a save itself.
    """
    initialised = is_repository(folder)
    repository = Repository(folder)
    if initialised:
        _refuse_odd_branch(repository)
    found = changes(repository) if initialised else _everything_in(folder)
    found = [change for change in found if not is_leftover_of(change.path, own)]
    first = not (initialised and has_commit(repository))
    foreign: tuple[Change, ...] = ()
    if written is not None:
        foreign = _not_written(folder, found, written, own)
    elif not first:
        foreign = tuple(change for change in found if change.path not in own)
    problems = tuple(text for change in found if (text := _problem(folder, change, initialised)))
    return Plan(folder=folder, initialised=initialised, changes=tuple(found), problems=problems, foreign=foreign,
                everything=everything)  # fmt: skip


def edited_since(
    repository: Repository, plan: Plan, written: Mapping[str, Collection[str]], own: Sequence[str]
) -> tuple[str, ...]:
    """Return what conversion wrote and is not as it wrote it, sorted: no command gives these files.

    Args:
        repository: the dataset.
        plan: what the save takes.
        written: path → sha256 of contents of conversion.
        own: files that people and saves go on writing.
    """
    changed, foreign = set(plan.paths), {change.path for change in plan.foreign}
    committed = files_of(repository, commit_files(repository)) if has_commit(repository) else {}
    found = []
    for path in written.keys() - set(own):
        kept = path not in foreign if path in changed else path in committed and committed[path].sha256 in written[path]
        if not kept:
            found.append(path)
    return tuple(sorted(found))


def is_leftover_of(path: str, own: Sequence[str]) -> bool:
    """Return whether a file is the temporary form of one that a save writes: what a killed save left."""
    folder, _, name = path.rpartition("/")
    for file in own:
        place, _, target = file.rpartition("/")
        if folder == place and name.startswith(f"{TEMPORARY_PREFIX}{target[:40]}-"):
            return True
    return False


def _refuse_odd_branch(repository: Repository) -> None:
    branch = repository.ask("symbolic-ref", "--quiet", "--short", "HEAD")
    if branch is None:
        raise ReleaseKitError("no branch is checked out (a version or a commit is)", where=str(repository.folder),
                              next_step="git switch main, and run again")  # fmt: skip
    if branch.startswith("adjusted/"):
        what = f"the branch {branch} is a view of git-annex on another"
        step = "git annex sync --no-pull --no-push, switch to the other, run again"
        raise ReleaseKitError(what, where=str(repository.folder), next_step=step)


def _everything_in(folder: Path) -> list[Change]:
    """List a folder that git does not know yet."""
    found = []
    for place, folders, names in os.walk(folder):
        if place != str(folder) and ".git" in (*folders, *names):
            found.append(Change(path=os.path.relpath(place, folder), code="??"))
            folders.clear()
            continue
        skipped = (".git", *(name for name in folders if place == str(folder) and name.startswith(INIT_PREFIX)))
        folders[:] = sorted(name for name in folders if name not in skipped)
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in [*names, *links]:
            found.append(Change(path=os.path.relpath(os.path.join(place, name), folder), code="??"))
    return sorted(found, key=lambda change: change.path)


def _not_written(
    folder: Path, found: Sequence[Change], written: Mapping[str, Collection[str]], own: Sequence[str]
) -> tuple[Change, ...]:
    """Return the changes whose content is none that conversion wrote."""
    asked = [change for change in found if change.path not in own]
    known = [change for change in asked if change.path in written and (folder / change.path).is_file()]
    with DigestCache(default_cache_path()) as cache:
        digests = list(digest_files([folder / change.path for change in known], cache=cache, tensors=False, git=False))
    good = {
        change.path
        for change, digest in zip(known, digests, strict=True)
        if isinstance(digest, FileDigest) and digest.sha256 in written[change.path]
    }
    return tuple(change for change in asked if change.path not in good)


def _problem(folder: Path, change: Change, initialised: bool) -> str | None:
    name = change.path.rsplit("/", 1)[-1]
    if "U" in change.code:
        return f"{change.path} (in conflict)"
    if name.startswith(TEMPORARY_PREFIX) or STATE_FOLDER in change.path.split("/"):
        return f"{change.path} (left over from an interrupted command)"
    place = folder / change.path
    if place.is_symlink() and key_of_link(os.readlink(place)) is None:
        return f"{change.path} (a symbolic link)"
    if place.is_symlink() and not initialised:
        return f"{change.path} (a link into an annex that is not here)"
    if place.is_dir():
        return f"{change.path} (a repository of its own)"
    try:
        safe_relative_path(change.path)
    except ReleaseKitError:
        return f"{change.path!r} (a name that not every system can hold)"
    return None


def _sentence(what: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - N_SHOWN} more" if len(names) > N_SHOWN else ""
    return f"{what}: {', '.join(names[:N_SHOWN])}{more}"
