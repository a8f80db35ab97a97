"""The gate of a publication: nothing leaves that may identify a person, and nothing that nobody has searched.

Owns who has said which words must appear nowhere, the refusal, and the memory of what was searched, which lies under
``.git`` and holds digests only. The search itself is ``sidecars/leaks.py``; what leaves is ``leaving.py``'s.
"""

import contextlib
import fcntl
import fnmatch
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from release_kit.bids.recipe.model import Privacy
from release_kit.bids.sidecars.leaks import Leak, find_leaks
from release_kit.bids.sidecars.privacy import scrub_reasons
from release_kit.bids.versioning.annex import Repository
from release_kit.bids.versioning.guard import STATE
from release_kit.bids.versioning.leaving import MESSAGES, Leaving, lay_out, link_or_copy, list_history
from release_kit.bids.versioning.provenance import RECIPE_FILE
from release_kit.core.canonical import canonical_bytes, digest
from release_kit.core.errors import IntegrityError, ReleaseKitError, UsageError
from release_kit.core.files import write_atomic
from release_kit.core.foreign_yaml import check_foreign_yaml
from release_kit.core.wording import counted

N_SHOWN = 20
MEMORY_FILE = "searched.json"
CLOSED = frozenset({"opaque", "unreadable"})
"""Findings that a file could not be looked into; whoever has looked may say so."""
_ABSENT = "absent"
_LOOK, _LOOK_AT_SAVE = "look-", "save-look-"
_ALWAYS = ("sidecars/leak*.py", "sidecars/privacy.py")
"""The code whose change makes every search before it worth nothing."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is searched for, and by whose word."""

    words: tuple[str, ...] | None = None
    """What must appear nowhere: names in the lab, hospital numbers. Empty: somebody says that there are none. None:
    nobody has said, so that only what was searched with somebody's words before may leave."""
    privacy: Privacy | None = None
    """The study's decisions; None takes those of the recipe in the dataset."""
    vouched: tuple[str, ...] = ()
    """Patterns of paths that cannot be looked into by a program and that somebody has looked into."""

    def covers(self, leak: Leak) -> bool:
        """Return whether somebody vouches for what could not be looked into; nothing that was found is covered."""
        return leak.code in CLOSED and any(fnmatch.fnmatchcase(leak.path, one) for one in self.vouched)


NOBODY_SAID = Search()


def search_of(folder: Path, search: Search) -> tuple[tuple[str, ...], Privacy]:
    """Return the words and the decisions that hold for a dataset."""
    return search.words or (), search.privacy or declared_privacy(folder)


def declared_privacy(folder: Path) -> Privacy:
    """Return the decisions in the recipe that a dataset carries; the built-in list where there are none to be had."""
    import yaml

    try:
        text = (folder / RECIPE_FILE).read_text(encoding="utf-8-sig")
        check_foreign_yaml(text)
        declared = yaml.safe_load(text)["privacy"]
        lists = {name: declared.get(name) or [] for name in ("keep", "scrub")}
        privacy = Privacy(**{name: tuple(one for one in some if isinstance(one, str)) for name, some in lists.items()})
        scrub_reasons(privacy)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError, ReleaseKitError):
        return Privacy()
    return privacy


def check_leaving(
    repository: Repository, leaving: Iterable[Leaving], search: Search, say: Callable[[Mapping[str, Any]], None]
) -> tuple[str, ...]:
    """Refuse a publication in which something identifying leaves, or something that was not searched.

    What was searched before, by its path and its key or git's id, is not searched again while the words, the decisions
    and the code of the search stay the same.

    Returns:
        What needs a look but tells nothing by itself.

    Raises:
        UsageError: nobody has said which words must appear nowhere.
        IntegrityError: with every place.
    """
    leaving = list(leaving)
    with _at_work(repository) as state:
        words, privacy = search_of(repository.folder, search)
        memory = _Memory.read(state / MEMORY_FILE, _identity(words, privacy) if search.words is not None else None)
        rest = [one for one in leaving if one.mark not in memory.marks]
        if not rest:
            return ()
        if search.words is None:
            _refuse_unsaid(repository.folder, rest)
        say({"event": "searching", "n": len(rest)})
        found, closed, notes = [], [], []
        with tempfile.TemporaryDirectory(prefix=_LOOK, dir=state) as scratch:
            for layer, place in lay_out(repository, rest, Path(scratch)):
                members = {_path_shown(one.path): one for one in rest if one.layer == layer}
                leaks = find_leaks(place, words, privacy)
                bad = [leak for leak in leaks if leak.severity != "warning" and not search.covers(leak)]
                told = {leak: _shown(leak, members.get(leak.path), repository) for leak in leaks}
                found += [told[leak] for leak in bad if leak.code not in (*CLOSED, _ABSENT)]
                closed += [told[leak] for leak in bad if leak.code in CLOSED]
                notes += [told[leak] for leak in leaks if leak.severity == "warning"]
                if {leak.path for leak in bad} <= members.keys():
                    good = members.keys() - {leak.path for leak in bad}
                    memory.marks |= {members[path].mark for path in good}
        memory.write(state / MEMORY_FILE)
        _refuse(repository.folder, found, closed)
        return tuple(dict.fromkeys(notes))


def remember_searched(repository: Repository, search: Search, say: Callable[[Mapping[str, Any]], None]) -> None:
    """Search what a publication would send while the words are at hand, so that it need not be told them again."""
    if search.words is not None:
        with contextlib.suppress(IntegrityError):  # a publication refuses it by name
            check_leaving(repository, list_history(repository), search, say)


def check_before_save(folder: Path, paths: Sequence[str], search: Search, git_folder: Path | None) -> tuple[str, ...]:
    """Refuse to make something identifying a part of the history, which every later publication sends.

    What cannot be looked into is told, not refused: a version may stay here.

    Args:
        folder: the dataset.
        paths: what is to be saved.
        search: what is searched for.
        git_folder: where its repository lies, held by the save; None where there is none, so that everything is new.

    Returns:
        The files that could not be looked into.

    Raises:
        IntegrityError: with every place.
    """
    words, privacy = search_of(folder, search)
    if git_folder is None:
        leaks = find_leaks(folder, words, privacy, content=False)
    else:
        for left in (git_folder / STATE).glob(f"{_LOOK_AT_SAVE}*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=_LOOK_AT_SAVE, dir=git_folder / STATE) as scratch:
            for path in paths:
                _lay_as_it_is(folder / path, Path(scratch) / path)
            leaks = find_leaks(Path(scratch), words, privacy, content=False)
    found = [f"{leak.path}: {leak.what}" for leak in leaks if leak.severity != "warning" and leak.code not in CLOSED]
    if found:
        raise IntegrityError(
            f"{_counted(found)} with something identifying: {_listed(found)}",
            where=str(folder),
            next_step="mend the files; if the version is never to leave this machine, --stays-here; nothing was saved",
        )
    return tuple(leak.path for leak in leaks if leak.code in CLOSED and not search.covers(leak))


def refuse_leaks(folder: Path, leaks: Sequence[Leak], search: Search) -> None:
    """Refuse what was found in a folder that is to leave as it lies there.

    Raises:
        IntegrityError: with every place.
    """
    bad = [leak for leak in leaks if leak.severity != "warning" and not search.covers(leak)]
    found, closed = (
        [f"{leak.path}: {leak.what}" for leak in bad if (leak.code in CLOSED) is closed] for closed in (False, True)
    )
    _refuse(folder, found, closed)


def _lay_as_it_is(source: Path, target: Path) -> None:
    if not os.path.lexists(source):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink() and not source.is_file():
        target.symlink_to(os.readlink(source))
    else:
        link_or_copy(Path(os.path.realpath(source)), target)


@contextlib.contextmanager
def _at_work(repository: Repository) -> Iterator[Path]:
    """Hold the search of a dataset, so that no other removes what this one has laid out; yields where it may write."""
    state = Path(repository.git("rev-parse", "--absolute-git-dir")) / STATE
    state.mkdir(exist_ok=True)
    with open(state / "search.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in state.glob(f"{_LOOK}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield state


@dataclass(kw_only=True)
class _Memory:
    """What was searched and found good."""

    identity: str
    code: str
    marks: set[str]

    @classmethod
    def read(cls, path: Path, identity: str | None) -> "_Memory":
        """Return what is remembered of a search with these words; ``identity`` None takes whatever words there were."""
        from release_kit.core.canonical import read_json

        empty = cls(identity=identity or "", code=_code(), marks=set())
        try:
            value = read_json(path)
            known = cls(identity=value["identity"], code=value["code"], marks=set(value["marks"]))
        except (OSError, ReleaseKitError, KeyError, TypeError):
            return empty
        return known if known.code == empty.code and identity in (None, known.identity) else empty

    def write(self, path: Path) -> None:
        """Keep it."""
        write_atomic(path, canonical_bytes({"identity": self.identity, "code": self.code, "marks": sorted(self.marks)}))


def _identity(words: Iterable[str], privacy: Privacy) -> str:
    return digest({"words": sorted(words), "keep": sorted(privacy.keep), "scrub": sorted(privacy.scrub),
                   "more": sorted(privacy.words)})  # fmt: skip


@cache
def _code() -> str:
    room = Path(__file__).parent.parent
    files = sorted(path for pattern in _ALWAYS for path in room.glob(pattern))
    return digest([[path.name, path.read_text(encoding="utf-8")] for path in files])


def _refuse_unsaid(folder: Path, rest: Sequence[Leaving]) -> None:
    raise UsageError(
        f"{counted(len(rest), 'file')} (such as {rest[0].path}) not searched for the names of who took part",
        where=str(folder),
        next_step="name the recipe that lists them: --recipe; or the words: --word; or say that there are none: "
        "--no-words; nothing was sent",
    )


def _refuse(folder: Path, found: Sequence[str], closed: Sequence[str]) -> None:
    if found:
        more = f"; and {counted(len(closed), 'file')} that cannot be looked into: {_listed(closed)}" if closed else ""
        raise IntegrityError(
            f"{_counted(found)} with something identifying: {_listed(found)}{more}",
            where=str(folder),
            next_step="mend the files and save them; what stands in an earlier commit leaves with the history, but not "
            "with a plain tree (--tree); nothing was sent",
        )
    if closed:
        raise IntegrityError(
            f"{counted(len(closed), 'file')} that cannot be looked into: {_listed(closed)}",
            where=str(folder),
            next_step="look into them yourself; then say so for each, or for a pattern: --vouch PATH; nothing was sent",
        )


def _shown(leak: Leak, one: Leaving | None, repository: Repository) -> str:
    if one is None:
        return f"{leak.path}: {leak.what}"
    if one.layer == MESSAGES:
        return f"the message of the {one.mode} {one.blob[:10]}: {leak.what}"
    newest = repository.ask("rev-parse", "--verify", "--quiet", f"HEAD:{one.path}") == one.blob
    return f"{leak.path}: {leak.what}" + ("" if newest else f" (in the history, commit {one.layer[:10]})")


def _path_shown(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode()


def _counted(found: Sequence[str]) -> str:
    return counted(len(found), "place")


def _listed(found: Sequence[str]) -> str:
    return "; ".join(found[:N_SHOWN]) + (f"; and {len(found) - N_SHOWN} more" if len(found) > N_SHOWN else "")
