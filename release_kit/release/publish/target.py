"""Bringing branches to the state that a release wants, and proving it from the Hub's own listing.

One ``Settler`` serves all targets of a publication: it sends what is missing, commits, compares. Every step starts
from what the Hub says (``publish/observe.py``), so that it does not matter where an earlier run was stopped.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

from release_kit.core.errors import PublishError
from release_kit.core.wording import counted
from release_kit.hub.errors import MovedError, RefusedError
from release_kit.hub.reference import Repo
from release_kit.hub.upload import NewCommit, SendFile, iter_batches
from release_kit.release.publish.layout import PlacedFile, Target, iter_parts
from release_kit.release.publish.observe import Base, Context, Observer, some
from release_kit.release.publish.state import Difference, Known, compare

MOVES = 4
"""How often a branch may move under us before we give up."""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A target that is on the Hub as it should be."""

    target: Target
    commit: str
    tag_commit: str | None = None
    """Where the target's tag points; None when there is none."""


class Settler:
    """Settles targets; usable from many threads.

    Args:
        context: what all targets share.
        observer: looks at the Hub.
        pool: carries single files, and single targets of a group; its work never waits for other work in it.
    """

    def __init__(self, context: Context, observer: Observer, pool: Executor):
        self._context, self._observer, self._pool = context, observer, pool
        self._client, self._journal = context.client, context.journal
        self._lock = threading.Lock()
        self._reported: dict[str, int] = {}
        self.n_commits = 0
        self.n_bytes_sent = 0

    def settle(self, targets: Sequence[Target]) -> list[Settled]:
        """Bring targets of one repo to the Hub; their large files are asked for together.

        Raises:
            PublishError: a place holds somebody else's files, or keeps moving, or a local file changed.
            HubError: the Hub failed or refused.
        """
        if len(targets) == 1:
            return [self._settle_one(targets[0], self._observe(targets[0]), self._pool)]
        bases = list(self._pool.map(self._observe, targets))
        work = list(zip(targets, bases, strict=True))
        files = [target.sources[path] for target, base in work if base.change for path in base.change.send]
        self.upload(targets[0].repo, _large(map(self._send_file, files)), self._pool)
        return list(self._pool.map(lambda item: self._settle_one(*item, None), work))

    def _observe(self, target: Target) -> Base:
        self._context.proceed()
        for _ in range(MOVES):
            try:
                return self._observer.observe(target)
            except MovedError:
                self._observer.refs(target.repo, again=True)
        raise _keeps_moving(target)

    def _settle_one(self, target: Target, base: Base, pool: Executor | None) -> Settled:
        for _ in range(MOVES):
            commit = base.settled
            try:
                if base.change is not None:
                    made = self._send(target, base, base.change, pool)
                    self._observer.moved(target.repo, target.branch, made)
                    commit = self._restored(target, base) if base.settled else made
            except MovedError:
                self._observer.refs(target.repo, again=True)
                base = self._observe(target)
                continue
            self._report_rest(target)
            return Settled(target=target, commit=commit or "", tag_commit=base.tag_commit)
        raise _keeps_moving(target)

    def _restored(self, target: Target, base: Base) -> str | None:
        n = len(base.change.send) if base.change else 0
        self._context.notes.append(f"{target.repo}@{target.branch}: {counted(n, 'file')} had been deleted and put back")
        return base.settled

    def _send(self, target: Target, base: Base, change: Difference, pool: Executor | None) -> str:
        """Upload, commit and compare; returns the commit that holds exactly what is wanted."""
        files = [target.sources[path] for path in change.send]
        parts = list(iter_parts(tuple(files))) if target.by_parts and files else [files]
        head = base.head
        for number, part in enumerate(parts, 1):
            plan = self._context.plan
            title = f"{plan.study} {plan.tag}" + (f" ({number} of {len(parts)})" if len(parts) > 1 else "")
            commit = NewCommit(
                title=title,
                description=f"release_kit, manifest sha256 {plan.manifest_sha256}",
                files=[self._send_file(file) for file in part],
                deleted=change.delete if number == len(parts) else (),
                parent=head,
            )
            head = self._commit(target, commit, pool)
        self._check(target, head)
        self._journal.ready(target, head)
        return head

    def _commit(self, target: Target, commit: NewCommit, pool: Executor | None) -> str:
        self._context.proceed()
        large = _large(commit.files)
        if pool is not None:
            self.upload(target.repo, large, pool)
        commit = replace(commit, large=frozenset(file.path for file in large))
        try:
            made = self._try_commit(target, commit)
        except RefusedError as refusal:
            made = self._try_commit(target, self._as_the_hub_wants(target, commit, refusal))
        with self._lock:
            self.n_commits += 1
        return made

    def _try_commit(self, target: Target, commit: NewCommit) -> str:
        applied: Callable[[], str | None] = lambda: self._applied(target, commit)  # noqa: E731
        try:
            return self._client.commit(target.repo, target.branch, commit, find_applied=applied)
        except MovedError:
            # Our own commit may be what moved the branch, when its reply was lost.
            if (found := applied()) is None:
                raise
            return found

    def _as_the_hub_wants(self, target: Target, commit: NewCommit, refusal: RefusedError) -> NewCommit:
        """Ask which files the Hub stores as large ones, after it refused what was decided here; send those."""
        large = self._client.ask_large(target.repo, target.branch, commit.files)
        objects = [file for file in commit.files if file.path in commit.large | large]
        pairs = self._client.ask_upload(target.repo, objects)
        if large <= commit.large and not pairs:
            raise refusal
        for pair in pairs:
            self._client.upload_object(*pair, self._count)
        return replace(commit, large=commit.large | large)

    def _applied(self, target: Target, commit: NewCommit) -> str | None:
        """Return the head of the branch if it holds what ``commit`` brings: then it was made."""
        head = self._client.resolve(target.repo, target.branch)
        if head == commit.parent:
            return None
        present = {file.path: file for file in self._client.list_tree(target.repo, head)}
        entries = {file.path: target.entries[file.path] for file in commit.files}
        there = [present[path] for path in entries if path in present]
        gone = not any(path in present for path in commit.deleted)
        return head if gone and compare(there, entries, Known()).none else None

    def upload(self, repo: Repo, files: Iterable[SendFile], pool: Executor) -> None:
        """Send the objects that the Hub lacks, several at a time."""
        for batch in iter_batches(files):
            if self._context.xet and all(isinstance(file.source, Path) for file in batch):
                self._client.upload_xet(repo, "main", batch, self._count)
                with self._lock:
                    self._reported |= {file.sha256: file.size_bytes for file in batch}
                continue
            pairs = self._client.ask_upload(repo, batch)
            if len(pairs) == 1:
                self._client.upload_object(*pairs[0], self._count)
            else:
                for _ in pool.map(lambda pair: self._client.upload_object(*pair, self._count), pairs):
                    pass
            with self._lock:
                self._reported |= {file.sha256: file.size_bytes for file, _ in pairs}

    def _count(self, n: int) -> None:
        self._context.proceed()
        with self._lock:
            self.n_bytes_sent += n
        self._context.on_bytes(n)

    def _report_rest(self, target: Target) -> None:
        """Report the bytes of a finished target that were not reported while they were sent."""
        with self._lock:
            reported = sum(self._reported.pop(file.entry.sha256, 0) for file in target.files)
        self._context.on_bytes(max(0, target.size_bytes - reported))

    def _check(self, target: Target, commit: str) -> None:
        """Hold the Hub's own listing against the manifest.

        Raises:
            PublishError: they differ.
        """
        self._context.proceed()
        files = self._client.list_tree(target.repo, commit)
        change = compare(files, target.entries, Known(), target.domain)
        if change.none:
            return
        wrong = [path for path in (*change.send, *change.foreign) if path in target.entries]
        if not wrong:
            raise self._observer.foreign(target, change.foreign, commit)
        raise PublishError(
            f"{target.repo}@{commit[:12]} does not hold what was sent: {some(wrong)}",
            next_step="run the same command again; nothing of this was tagged",
        )

    def _send_file(self, file: PlacedFile) -> SendFile:
        entry = file.entry
        return SendFile(
            path=file.path,
            size_bytes=entry.size_bytes,
            sha256=entry.sha256,
            git_sha1=entry.git_sha1,
            source=self._context.locate(file),
        )


def _large(files: Iterable[SendFile]) -> list[SendFile]:
    return [file for file in files if file.is_large]


def _keeps_moving(target: Target) -> PublishError:
    return PublishError(
        f"{target.repo}@{target.branch} keeps moving while it is published",
        next_step="find out who else writes to it, then run the same command again",
    )
