"""The last steps of a publication: tags, collection, and the placement that makes the release readable.

Everything here happens after all content was compared with the manifest. The index and its tag come last of all.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor

from release_kit.core.placement import Place, Placement
from release_kit.hub.errors import NotFoundError
from release_kit.hub.reference import Repo
from release_kit.hub.writing import TITLE_CHARACTERS
from release_kit.release.publish.layout import PublishPlan
from release_kit.release.publish.observe import Context, Observer
from release_kit.release.publish.pool import run_all
from release_kit.release.publish.survey import foreign_tag
from release_kit.release.publish.target import Settled


class Tagger:
    """Puts the version's tags where they belong; usable from many threads."""

    def __init__(self, context: Context, observer: Observer, *, replace: bool):
        self._context, self._observer, self._replace = context, observer, replace
        self._client = context.client
        self.n_tags = 0

    def tag(self, settled: Settled) -> None:
        """Make the tag of one target, or move it from a commit that we made.

        Raises:
            PublishError: the tag is at somebody else's commit.
        """
        target, commit = settled.target, settled.commit
        if target.tag is None or settled.tag_commit == commit:
            return
        message = f"{self._context.plan.study}, manifest sha256 {self._context.plan.manifest_sha256}"
        current = settled.tag_commit
        if current is None:
            if self._client.create_tag(target.repo, target.tag, commit, message):
                self.n_tags += 1
                return
            current = self._observer.refs(target.repo, again=True).tags.get(target.tag)
        if current == commit:
            return
        if not (self._replace or self._is_ours(settled, current)):
            raise foreign_tag(target.repo, target.tag, str(current))
        self._client.delete_tag(target.repo, target.tag)
        if not self._client.create_tag(target.repo, target.tag, commit, message):
            made = self._observer.refs(target.repo, again=True).tags.get(target.tag)
            if made != commit:
                raise foreign_tag(target.repo, target.tag, str(made))
        self.n_tags += 1

    def _is_ours(self, settled: Settled, commit: str | None) -> bool:
        context = self._context
        known = commit in context.placed or commit in context.journal.commits
        # The index's tag was judged before anything was sent (``check_version``).
        return known or settled.target.key == "index"


def placement(plan: PublishPlan, settled: Iterable[Settled]) -> Placement:
    """Return where every part of the release lies, pinned by commit."""
    cells: dict[str, Place] = {}
    results = None
    for one in settled:
        repo = one.target.repo
        if one.target.key == "results":
            results = Place(repo_id=repo.id, repo_type=repo.type, revision=one.commit)
        for name, prefix in one.target.cells.items():
            cells[name] = Place(repo_id=repo.id, repo_type=repo.type, revision=one.commit, prefix=prefix)
    return Placement(
        study=plan.study,
        version=plan.version,
        layout=plan.layout,
        manifest_sha256=plan.manifest_sha256,
        cells=cells,
        results=results,
    )


def fill_collection(
    context: Context, pool: Executor, title: str, on_done: Callable[[int], None] = lambda n: None
) -> tuple[str, int]:
    """Put every repo of the release into one collection, made if there is none of that title.

    Returns:
        The slug of the collection, and how many repos were added now.
    """
    client, plan = context.client, context.plan
    title = title[:TITLE_CHARACTERS].strip()
    slug = client.find_collection(plan.namespace, title)
    present: frozenset = frozenset()
    if slug is None:
        description = f"{len(plan.repos)} repos of {plan.index_repo.id}, published by release_kit"
        slug = client.create_collection(plan.namespace, title, description, private=context.private)
    else:
        try:
            present = client.read_collection(slug).items
        except NotFoundError:
            present = frozenset()
    missing: Sequence[Repo] = [repo for repo in plan.repos if repo not in present]
    on_done(len(plan.repos) - len(missing))

    def add(repo: Repo) -> bool:
        context.proceed()
        added = client.add_to_collection(slug, repo)
        on_done(1)
        return added

    return slug, sum(run_all(pool, add, missing, context.stop))
