"""One publication at a time, and one special remote of a name: what keeps a killed publication from spoiling the next.

Children of a killed call live on and finish their work, so the next call waits for them by name. What two calls at once
have left before (two remotes of one name in git-annex's branch) is settled here; what is sent where is ``siblings``'.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from release_kit.bids.versioning.annex import Repository
from release_kit.bids.versioning.guard import STATE
from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import write_error

LOCK_FILE = "publish.lock"
PATIENCE_S = 60.0
_STEP_S = 0.2
_N_WORDS = 4

Say = Callable[[Mapping[str, Any]], None]


@contextlib.contextmanager
def publishing(git_folder: Path, say: Say, *, patience_s: float = PATIENCE_S) -> Iterator[int]:
    """Hold a dataset for one publication; yields the descriptor of the lock, for children to inherit.

    The lock is free when the last child has ended. Children whose call was killed are waited for.

    Args:
        git_folder: the repository's own folder.
        say: told ``{"event": "waiting", "who"}`` once, when children of a killed call are still at work.
        patience_s: how long they are waited for.

    Raises:
        ReleaseKitError: another publication is at work, or such children do not end; both by name.
    """
    path = git_folder / STATE / LOCK_FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise write_error(path, error) from error
    try:
        _wait(descriptor, path, say, patience_s)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _wait(descriptor: int, path: Path, say: Say, patience_s: float) -> None:
    started, told = time.monotonic(), False
    while not _taken(descriptor):
        holders = _holders(path)
        caller = os.pread(descriptor, 20, 0).decode("ascii", "replace")
        who = "; ".join(f"{words} (process {pid})" for pid, words in sorted(holders.items())) or "a child of it"
        if caller in holders:
            step = "wait until it ends, then run again"
            raise ReleaseKitError("another publication is at work here", where=f"process {caller}", next_step=step)
        if time.monotonic() - started > patience_s:
            what = f"of a publication that was ended, this is still at work: {who}"
            raise ReleaseKitError(what, where=str(path), next_step="wait until it ends, or end it; then run again")
        if not told:
            say({"event": "waiting", "who": who})
            told = True
        time.sleep(_STEP_S)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holders(path: Path) -> dict[str, str]:
    """Return process id → first words of its command, of every other process that has the lock's file open.

    Only where the system tells (``/proc``); elsewhere nothing is found, and nobody is named.
    """
    found: dict[str, str] = {}
    name, own = os.path.realpath(path), str(os.getpid())
    for place in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if place.parts[2] not in (own, *found) and os.readlink(place) == name:
                words = (Path("/proc") / place.parts[2] / "cmdline").read_bytes().split(b"\0")
                shown = [os.path.basename(os.fsdecode(word)) for word in words if word]
                found[place.parts[2]] = " ".join(shown[:_N_WORDS]) or "a process that is ending"
    return found


def described(repository: Repository, name: str) -> dict[str, dict[str, str]]:
    """Return uuid → settings of every special remote of this name that git-annex's branch describes."""
    code, log = repository.run(["git", "cat-file", "blob", "git-annex:remote.log"], ok=(0, 128))
    found = {}
    for line in os.fsdecode(log).splitlines() if code == 0 else ():
        uuid, *words = line.split()
        settings = dict(word.split("=", 1) for word in words if "=" in word)
        if settings.get("name") == name:
            found[uuid] = settings
    return found


def refuse_taken(repository: Repository, name: str, place: Path) -> None:
    """Refuse a name that the history gives to a special remote which is unknown here: it lies elsewhere.

    Raises:
        ReleaseKitError: there is one.
    """
    if repository.ask("config", "--local", f"remote.{name}.annex-uuid") is None and described(repository, name):
        what = f"the history describes a sibling {name!r} already, which somebody has made elsewhere"
        raise ReleaseKitError(what, where=str(place), next_step="give this one another name: --name")


def settle_store(repository: Repository, name: str, url: str) -> None:
    """Leave one special remote of this name: the others of the same store, left by two calls at once, are put aside.

    They describe the same contents in the same place. Each gets a name of its own, is not enabled by itself in clones,
    and is marked dead.

    Args:
        repository: the dataset.
        name: of the special remote.
        url: of the store.

    Raises:
        ReleaseKitError: the history gives the name to another store.
    """
    there = described(repository, name)
    if foreign := sorted({at.get("url", "another place") for at in there.values() if not _same(at.get("url"), url)}):
        what = f"the history describes a sibling {name!r} at {foreign[0]}"
        raise ReleaseKitError(what, where=url, next_step="publish there, or give this one another name: --name")
    own = repository.ask("config", "--local", f"remote.{name}.annex-uuid")
    kept = own if own in there else min(there, key=lambda uuid: (there[uuid].get("timestamp", ""), uuid), default=None)
    for uuid in sorted(set(there) - {kept}):
        aside = f"{name}-left-{uuid[:8]}"
        repository.annex("renameremote", uuid, aside)
        repository.annex("configremote", aside, "autoenable=false")
        repository.annex("dead", uuid)


def _same(one: str | None, other: str) -> bool:
    paths = [os.path.realpath(url.removeprefix("ria+file://")) for url in (one or "", other)]
    return paths[0] == paths[1]
