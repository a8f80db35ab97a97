"""What the Hub holds where a release is to go: refs, branches, and whether something has to change.

Makes repos and branches that are missing, since only that tells whether they are new. Content is judged by
``publish/state.py``; sending it is ``publish/target.py``.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from release_kit.core.errors import PublishError
from release_kit.core.wording import counted
from release_kit.hub.client import HubClient
from release_kit.hub.errors import MovedError, NotFoundError
from release_kit.hub.reference import Repo
from release_kit.hub.remote import Refs, RemoteFile
from release_kit.release.publish.journal import PublishJournal
from release_kit.release.publish.layout import PlacedFile, PublishPlan, Target
from release_kit.release.publish.state import Difference, Known, compare

Locate = Callable[[PlacedFile], Path | bytes]


@dataclass(kw_only=True)
class Context:
    """What all targets of one publication share."""

    client: HubClient
    plan: PublishPlan
    journal: PublishJournal
    known: Known
    locate: Locate
    earlier: frozenset[Repo] = frozenset()
    """Repos that exist from earlier publications."""
    placed: frozenset[str] = frozenset()
    """Commits that earlier publications placed."""
    pinned: tuple[Mapping[str, str], ...] = ()
    """Cell name → commit where an earlier publication has it; one mapping for each."""
    private: bool = False
    xet: bool = False
    on_bytes: Callable[[int], None] = lambda n: None
    notes: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    """Set when the publication has failed or was interrupted."""

    def proceed(self) -> None:
        """Go on only while nothing has failed elsewhere.

        Raises:
            PublishError: the publication was stopped.
        """
        if self.stop.is_set():
            raise PublishError("the publication was stopped", next_step="run the same command again; it continues")


@dataclass(frozen=True, kw_only=True)
class Base:
    """What a target's branch holds before we change it."""

    head: str | None
    """None for a repo that was made just now."""
    files: Sequence[RemoteFile] = ()
    tag_commit: str | None = None
    """Where the target's tag points."""
    own: bool = False
    """Whether the branch was made just now: whatever it inherited may go."""
    settled: str | None = None
    """A commit that holds exactly what is wanted already."""
    change: Difference | None = None
    """What has to be sent; for a settled target, what somebody deleted from the branch since."""


class Observer:
    """Looks at repos and branches, each once; usable from many threads."""

    def __init__(self, context: Context):
        self._context, self._client, self._journal = context, context.client, context.journal
        self._lock = threading.Lock()
        self._repo_locks: dict[Repo, threading.RLock] = {}
        self._refs: dict[Repo, Refs | None] = {}
        self._starts: dict[tuple[Repo, str], list[RemoteFile]] = {}

    def _repo_lock(self, repo: Repo) -> threading.RLock:
        with self._lock:
            return self._repo_locks.setdefault(repo, threading.RLock())

    def prepare(self, repo: Repo) -> Refs | None:
        """Return the refs of a repo, made if it does not exist; None for one that was made just now.

        Raises:
            AccessError: the token may not make it.
        """
        with self._repo_lock(repo):
            if repo not in self._refs:
                self._refs[repo] = self._find_or_make(repo)
            return self._refs[repo]

    def _find_or_make(self, repo: Repo) -> Refs | None:
        if repo in self._context.earlier or repo in self._journal.made:
            try:
                return self._client.list_refs(repo)
            except NotFoundError:
                pass
        if not self._client.create_repo(repo, private=self._context.private):
            return self._client.list_refs(repo)
        self._journal.repo_made(repo)
        return None

    def refs(self, repo: Repo, *, again: bool = False) -> Refs:
        """Return the refs of a repo; ``again`` asks the Hub anew."""
        with self._repo_lock(repo):
            found = None if again else self.prepare(repo)
            if found is None:
                found = self._refs[repo] = self._client.list_refs(repo)
            return found

    def moved(self, repo: Repo, branch: str, commit: str) -> None:
        """Take note that we moved a branch ourselves."""
        with self._repo_lock(repo):
            known = self._refs.get(repo)
            if known is not None:
                self._refs[repo] = Refs({**known.branches, branch: commit}, known.tags)
            elif branch == "main":
                self._refs.pop(repo, None)

    def observe(self, target: Target) -> Base:
        """Return what the target's branch holds and what has to change; the branch is made when it is missing.

        Raises:
            PublishError: it holds files that are not of this release.
            MovedError: somebody makes the same branch at the same time.
        """
        refs = self.prepare(target.repo)
        if refs is None and target.branch == "main":
            return Base(head=None, own=True, change=compare((), target.entries, Known(), target.domain))
        refs = refs or self.refs(target.repo)
        tagged, head = refs.tags.get(target.tag or ""), refs.branches.get(target.branch)
        for published in [tagged] if target.tag else self._pinned(target):
            if published and self._holds(target, published):
                return self._look_at_moved(target, published, head)
        if head is None:
            return self._branch_off(target, refs, tagged)
        if self._journal.is_ready(target, head):
            return Base(head=head, tag_commit=tagged, settled=head)
        files = self._client.list_tree(target.repo, head)
        change = compare(files, target.entries, self._context.known, target.domain)
        if change.foreign:
            raise self.foreign(target, change.foreign, head)
        if change.none:
            self._journal.ready(target, head)
        settled = head if change.none else None
        return Base(head=head, files=files, tag_commit=tagged, settled=settled, change=None if settled else change)

    def _pinned(self, target: Target) -> list[str | None]:
        """Return the commits where earlier publications have all cells of a target that carries no tag of its own."""
        found = [{pinned.get(name) for name in target.cells} for pinned in self._context.pinned]
        return [commits.pop() for commits in found if len(commits) == 1]

    def _holds(self, target: Target, commit: str) -> bool:
        if self._journal.is_ready(target, commit):
            return True
        try:
            files = self._client.list_tree(target.repo, commit)
        except NotFoundError:
            return False
        if not compare(files, target.entries, Known(), target.domain).none:
            return False
        self._journal.ready(target, commit)
        return True

    def _branch_off(self, target: Target, refs: Refs, tagged: str | None) -> Base:
        start = refs.branches.get("main")
        if start is None:
            raise PublishError(f"{target.repo} has no branch main", next_step="look at the repo on the Hub")
        with self._repo_lock(target.repo):
            key = (target.repo, start)
            if key not in self._starts:
                self._starts[key] = self._client.list_tree(target.repo, start)
            files = self._starts[key]
        if not self._client.create_branch(target.repo, target.branch, start):
            raise MovedError(f"the branch {target.branch} of {target.repo} was made meanwhile")
        change = compare(files, target.entries, Known(everything=True), target.domain)
        return Base(head=start, files=files, tag_commit=tagged, own=True, change=change)

    def _look_at_moved(self, target: Target, tagged: str, head: str | None) -> Base:
        """The tag is right; when the branch is elsewhere, find what was deleted and speak of anything else."""
        base = Base(head=head, tag_commit=tagged, settled=tagged)
        if head is None or head == tagged or head in self._context.placed or self._journal.is_ready(target, head):
            return base
        files = self._client.list_tree(target.repo, head)
        change = compare(files, target.entries, self._context.known, target.domain)
        present = {file.path for file in files}
        if change.send and not (change.foreign or change.delete or present & set(change.send)):
            return Base(head=head, files=files, tag_commit=tagged, settled=tagged, change=change)
        if change.none:
            self._journal.ready(target, head)
        elif target.tag:
            self._context.notes.append(
                f"{target.repo}@{target.branch} has moved on since ({self.who(target, head)}); "
                f"readers of {target.tag} are not affected"
            )
        return base

    def foreign(self, target: Target, paths: Sequence[str], head: str | None) -> PublishError:
        """Return the error for files that are not ours to change."""
        who = f" ({self.who(target, head)})" if head else ""
        files = f"{counted(len(paths), 'file')} foreign to this release: {some(paths)}"
        return PublishError(
            f"{target.repo}@{target.branch} holds {files}{who}",
            next_step="look at them; then move them elsewhere, or add --overwrite (the repo's history keeps them)",
        )

    def who(self, target: Target, commit: str) -> str:
        """Return who made a commit, for messages."""
        newest = self._client.list_commits(target.repo, commit, limit=1)
        if not newest:
            return f"commit {commit[:12]}"
        return f"commit {commit[:12]} {newest[0]['title']!r} by {newest[0]['author'] or 'unknown'}"


def some(paths: Sequence[str], n: int = 3) -> str:
    """Return the first few of many names."""
    more = f" … and {len(paths) - n} more" if len(paths) > n else ""
    return ", ".join(paths[:n]) + more
