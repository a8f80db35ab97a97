"""Carry out a download or a repair: what is here already, what is here under another name, what must be fetched.

Works on ``Item``s: equal content is fetched once, in parallel, largest first. Everything that goes wrong is collected
and told at once; what was finished by then stays.
"""

import os
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from release_kit.core.digest_cache import DigestCache, digest_files, stamp_of
from release_kit.core.errors import HubError, IntegrityError, ReleaseKitError
from release_kit.core.hashing import FileDigest
from release_kit.hub.client import HubClient
from release_kit.hub.errors import AccessError, UnreachableError
from release_kit.release.download.fetch import Fetcher, remove_partials
from release_kit.release.download.target import (
    PARTIAL_FOLDER,
    Item,
    Namer,
    copy_checked,
    new_quarantine,
    put,
)
from release_kit.release.verify.report import human_bytes

SPARE_BYTES = 16 * 1024 * 1024
"""Room that a download leaves free on the disk."""

_SETTLE_S = 0.02
"""A timestamp older than this changes when the file does."""


class Progress(Protocol):
    """Who is told how it goes."""

    on_start: Callable[[str, int], None]
    on_bytes: Callable[[int], None]


@dataclass(kw_only=True)
class Outcome:
    """What was done."""

    n_present: int = 0
    """Files that were here and right."""
    n_fetched: int = 0
    """Contents that came from the Hub."""
    n_bytes_fetched: int = 0
    n_copied: int = 0
    """Files whose content was on this disk under another name."""
    replaced: tuple[str, ...] = ()
    """Files that were here and wrong; they are kept in the quarantine."""


class Run:
    """One download or repair.

    Args:
        client: the Hub.
        target: where files go.
        items: all files that must be right in the end.
        cache: remembered digests.
        workers: parallel fetches.
        progress: told about bytes.
        local: content that is on this disk already, sha256 → file, besides the items themselves.
    """

    def __init__(
        self,
        client: HubClient,
        target: Namer,
        items: Sequence[Item],
        cache: DigestCache,
        workers: int,
        progress: Progress,
        local: dict[str, Path] | None = None,
    ):
        self._client, self._target, self._items, self._cache = client, target, items, cache
        self._workers, self._progress = workers, progress
        self._here: dict[str, Path] = dict(local or {})
        self._needed: dict[str, list[Item]] = {}
        self._wrong: set[Path] = set()
        self._lock = threading.Lock()
        self.outcome = Outcome()
        self._unlinked: list[Item] = []
        self._quarantine = new_quarantine(target.state)
        self._scratch = target.state / PARTIAL_FOLDER

    @property
    def quarantine(self) -> Path:
        """Where this run keeps what it replaces; made when there is something to keep."""
        return self._quarantine

    @property
    def nothing_to_do(self) -> bool:
        """Whether every file is here and has its name."""
        return not self._needed and not self._unlinked

    def prepare(self, outdated: Mapping[str, str] | None = None) -> None:
        """Look at what is here: right files stay, wrong ones are marked to be put aside.

        Args:
            outdated: tree path → sha256 of files that may be replaced without being kept.
        """
        outdated = outdated or {}
        candidates = [(item, stat) for item in self._items if (stat := _stat(item.path)) is not None]
        self._progress.on_start("checking what is here", sum(stat.st_size for _, stat in candidates))
        paths = [item.path for item, _ in candidates]
        outcomes = digest_files(paths, cache=self._cache, tensors=False, git=False, on_bytes=self._progress.on_bytes)
        right = set()
        for (item, _), outcome in zip(candidates, outcomes, strict=True):
            if isinstance(outcome, FileDigest) and outcome.sha256 == item.entry.sha256:
                right.add(item.path)
                self._here[outcome.sha256] = item.path
            else:
                got = outcome.sha256 if isinstance(outcome, FileDigest) else ""
                if got != outdated.get(item.tree_path):
                    self._wrong.add(item.path)
                self._here.setdefault(got, item.path)
        needed: dict[str, list[Item]] = defaultdict(list)
        for item in self._items:
            if item.path not in right:
                needed[item.entry.sha256].append(item)
            elif not self._target.linked(item):
                self._unlinked.append(item)
        self._needed = dict(needed)
        self.outcome.n_present = len(self._items) - sum(map(len, needed.values()))
        self.outcome.replaced = tuple(
            sorted(item.tree_path for items in needed.values() for item in items if item.path in self._wrong)
        )

    def carry_out(self) -> None:
        """Fetch and copy what is needed; afterwards every item is right and has its name.

        Raises:
            ReleaseKitError: something could not be had; all of it is named, and what was finished stays.
        """
        partials = self._scratch
        groups = sorted(self._needed.values(), key=lambda items: -items[0].entry.size_bytes)
        n_bytes = sum(items[0].entry.size_bytes for items in groups)
        self._progress.on_start(f"downloading {human_bytes(n_bytes)}", n_bytes)
        fetcher = Fetcher(self._client, partials, self._progress.on_bytes)
        aside = self._spare_local_sources()
        errors = _each(groups, lambda items: self._obtain(fetcher, items, aside), self._workers)
        if errors:
            raise _together(errors, len(groups))
        for item in self._unlinked:
            self._target.name(item)
        remove_partials(partials)

    def remember(self) -> None:
        """Remember the digests of all files, so that the next call need not read them."""
        newest = 0.0
        stamps = []
        for item in self._items:
            stat = os.stat(item.path)
            newest = max(newest, stat.st_ctime)
            stamps.append((stamp_of(stat), item.entry))
        if 0 < (fresh := newest + _SETTLE_S - time.time()) <= _SETTLE_S:
            time.sleep(fresh)
        for stamp, entry in stamps:
            digest = FileDigest(size_bytes=entry.size_bytes, sha256=entry.sha256, git_sha1=entry.git_sha1)
            self._cache.remember(stamp, digest, tensors=False, values=False)

    def _spare_local_sources(self) -> dict[Path, Path]:
        """Return where wrong files will lie once they are put aside: some hold what another item needs."""
        aside = {}
        for items in self._needed.values():
            for item in items:
                if item.path in self._wrong:
                    aside[item.path] = self._quarantine / item.tree_path
        return aside

    def _obtain(self, fetcher: Fetcher, items: list[Item], aside: dict[Path, Path]) -> None:
        """Bring one content to all files that are to hold it."""
        first, *others = items
        if not self._from_here(first, aside):
            put(first, fetcher.fetch(first.source, first.entry), self._kept(first))
            with self._lock:
                self.outcome.n_fetched += 1
                self.outcome.n_bytes_fetched += first.entry.size_bytes
        self._target.name(first)
        for item in others:
            if item.path != first.path:
                copy_checked(first.path, item, self._scratch, self._kept(item))
                with self._lock:
                    self.outcome.n_copied += 1
            self._target.name(item)

    def _from_here(self, item: Item, aside: dict[Path, Path]) -> bool:
        """Try to copy the content from another file of this disk; it may have been put aside meanwhile."""
        source = self._here.get(item.entry.sha256)
        if source is None or source == item.path:
            return False
        for path in (source, aside.get(source)):
            if path is None:
                continue
            try:
                copy_checked(path, item, self._scratch, self._kept(item))
            except (IntegrityError, ReleaseKitError) as error:
                if isinstance(error.__cause__, FileNotFoundError) or isinstance(error, IntegrityError):
                    continue
                raise
            with self._lock:
                self.outcome.n_copied += 1
            self._progress.on_bytes(item.entry.size_bytes)
            return True
        return False

    def _kept(self, item: Item) -> Path | None:
        return self._quarantine if item.path in self._wrong else None

    def check_space(self) -> None:
        """Refuse what the disk cannot hold, before anything is written.

        Raises:
            ReleaseKitError: how much is free, how much is needed, and what to do.
        """
        partials = self._scratch
        needed = sum(items[0].entry.size_bytes * len({item.path for item in items}) for items in self._needed.values())
        there = sum((_size(partials / sha256) for sha256 in self._needed), 0)
        folder = self._target.state
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free
        if needed - there + SPARE_BYTES > free and needed > there:
            raise ReleaseKitError(
                f"the disk has {human_bytes(free)} free, the download needs {human_bytes(needed - there)}",
                where=str(folder),
                next_step="free some space, take another disk, or take fewer cells with --select",
            )


def _each(groups: Iterable[list[Item]], work: Callable[[list[Item]], None], workers: int) -> list[ReleaseKitError]:
    """Do the work for all groups in threads; collect what goes wrong, stop early when the Hub is gone."""
    errors: list[ReleaseKitError] = []
    waiting = iter(groups)
    with ThreadPoolExecutor(workers) as pool:
        running = set()
        gone = False
        try:
            while True:
                while not gone and len(running) < 2 * workers and (items := next(waiting, None)) is not None:
                    running.add(pool.submit(work, items))
                if not running:
                    return errors
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    try:
                        future.result()
                    except ReleaseKitError as error:
                        errors.append(error)
                        gone = gone or _is_final(error)
        finally:
            for future in running:
                future.cancel()


def _is_final(error: ReleaseKitError) -> bool:
    """Return whether the next file would fail for the same reason: no Hub, no rights, no disk."""
    if isinstance(error, UnreachableError | AccessError):
        return True
    return not isinstance(error, HubError | IntegrityError)


def _together(errors: list[ReleaseKitError], n_groups: int) -> ReleaseKitError:
    """Return one error that names everything that went wrong; why it stopped is told once, not for every file."""
    final = [error for error in errors if _is_final(error)]
    told = {str(error): error for error in [*errors, *final[:1]] if error not in final[1:]}
    if len(told) == 1:
        return next(iter(told.values()))
    kind = IntegrityError if any(isinstance(error, IntegrityError) for error in errors) else HubError
    shown = "; ".join(sorted(told)[:20])
    more = f"; and {len(told) - 20} more" if len(told) > 20 else ""
    return kind(
        f"{len(told)} of {n_groups} files could not be had: {shown}{more}",
        next_step="what came is kept; run the same command again to continue",
    )


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _size(path: Path) -> int:
    stat = _stat(path)
    return 0 if stat is None else stat.st_size
