"""``publish``: a built release goes to a Hub so that readers see all of it or nothing.

The order is the promise: content is sent and compared with the manifest everywhere, then every repo is tagged, then
the collection is filled, and the index with its tag comes last. Each step can be repeated; an interrupted publication
continues, and a second one sends nothing.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from release_kit.core.dataset_tree import HOME_FOLDER, TREE_LAYOUT
from release_kit.core.digest_cache import DigestCache, stamp_of
from release_kit.core.errors import PublishError
from release_kit.core.hashing import FileDigest, digest_bytes
from release_kit.core.manifest import MANIFEST_FILE, FileEntry
from release_kit.core.placement import PLACEMENT_FILE, Placement
from release_kit.core.wording import counted
from release_kit.hub.client import HubClient
from release_kit.release.download.source import release_file
from release_kit.release.publish.finish import Tagger, fill_collection, placement
from release_kit.release.publish.journal import PublishJournal
from release_kit.release.publish.layout import PlacedFile, PublishPlan, Target, plan_publish
from release_kit.release.publish.observe import Context, Observer
from release_kit.release.publish.options import PublishOptions, PublishReport, Reporter
from release_kit.release.publish.pool import run_all
from release_kit.release.publish.searched import unsearched
from release_kit.release.publish.state import Known, identities
from release_kit.release.publish.survey import Survey, check_version, survey
from release_kit.release.publish.target import Settler
from release_kit.release.sign.release import SIGNATURE_FILE
from release_kit.release.tree import ReleaseTree

GROUP_TARGETS = 64
"""Branches of one repo whose large files are asked for together."""


def plan_of(tree: ReleaseTree, options: PublishOptions) -> PublishPlan:
    """Return what publishing a built release does; nothing is sent or asked.

    Raises:
        PublishError: names or sizes that the Hub refuses.
    """
    return plan_publish(
        tree.manifest,
        namespace=options.namespace,
        layout=options.layout,
        manifest_sha256=hashlib.sha256(tree.manifest_path.read_bytes()).hexdigest(),
        collection=options.collection is not None,
    )


def publish_release(
    tree: ReleaseTree,
    client: HubClient,
    options: PublishOptions,
    *,
    reporter: Reporter | None = None,
    cache: DigestCache | None = None,
) -> PublishReport:
    """Publish a built release.

    Args:
        tree: the built study.
        client: the Hub.
        options: where and how.
        reporter: shows progress.
        cache: remembered digests; files known to have changed since the build are refused before anything is sent.

    Raises:
        PublishError: it cannot be published as asked; the message says why and what to do.
        HubError: the Hub failed or refused. Running again continues.
    """
    return _Publication(tree, client, options, reporter, cache).run()


class _Publication:
    def __init__(
        self,
        tree: ReleaseTree,
        client: HubClient,
        options: PublishOptions,
        reporter: Reporter | None,
        cache: DigestCache | None,
    ):
        self._tree, self._client, self._options = tree, client, options
        self._reporter, self._cache = reporter, cache
        self._plan = plan_of(tree, options)
        self._signature = tree.manifest_path.with_name(SIGNATURE_FILE)
        self._extra: dict[str, bytes] = {}
        self._paths: dict[str, Path] = {}

    def run(self) -> PublishReport:
        started = time.monotonic()
        self._check_files()
        found = self._survey()
        with (
            PublishJournal(self._tree.root, self._client.endpoint, self._plan) as journal,
            ThreadPoolExecutor(self._options.workers) as inner,
            ThreadPoolExecutor(self._options.workers) as outer,
        ):
            context = self._context(journal, found)
            observer = Observer(context)
            settler = Settler(context, observer, inner)
            tagger = Tagger(context, observer, replace=self._options.replace)
            observer.prepare(self._plan.index_repo)
            self._stage(f"publishing to {counted(len(self._plan.repos), 'repo')}", self._plan.n_bytes)
            groups = list(_groups(self._plan))
            settled = [one for group in run_all(outer, settler.settle, groups, context.stop) for one in group]
            self._stage("tagging", len(settled), "tags")
            run_all(outer, lambda one: (tagger.tag(one), self._advance(1)), settled, context.stop)
            slug = self._collect(context, outer)
            self._stage("publishing the index", None)
            where = placement(self._plan, settled)
            index = settler.settle([self._index_target(where)])[0]
            tagger.tag(index)
            journal.done(self._plan.reference)
        return PublishReport(
            plan=self._plan,
            reference=self._plan.reference,
            endpoint=self._client.endpoint,
            placement=where,
            n_commits=settler.n_commits,
            n_tags=tagger.n_tags,
            n_bytes_sent=settler.n_bytes_sent,
            n_requests=self._client.request_count,
            n_writes=self._client.write_count,
            seconds=time.monotonic() - started,
            collection=slug,
            notes=tuple(sorted(context.notes)),
        )

    # ---- before anything is sent

    def _check_files(self) -> None:
        """Refuse files that are not there, have another size, or are remembered with another digest; those of a dataset
        that were not searched, too."""
        if refusal := unsearched(self._tree):
            raise refusal
        wrong = []
        for file in self._plan.iter_files():
            path = self._paths[file.tree_path] = self._tree.locate(file.tree_path)
            try:
                stamp = stamp_of(path.stat())
            except OSError as error:
                wrong.append(f"{file.tree_path} ({error.strerror})")
                continue
            seen = self._cache.lookup(stamp) if self._cache is not None else None
            if stamp[2] != file.entry.size_bytes or (seen is not None and seen.sha256 != file.entry.sha256):
                wrong.append(f"{file.tree_path} (changed)")
        if wrong:
            more = f" … and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            raise PublishError(
                f"{counted(len(wrong), 'file')} not as built: {', '.join(wrong[:5])}{more}",
                where=str(self._tree.root),
                next_step="run `release-kit build`, then publish again",
            )

    def _survey(self) -> Survey:
        found = survey(self._client, self._plan.index_repo, self._plan.tag)
        before = found.same_version or found.newest
        if self._options.layout is None and before is not None and before.placement.layout != self._plan.layout:
            layout = before.placement.layout
            self._plan = plan_of(self._tree, replace(self._options, layout=layout))
        check_version(self._plan, self._tree.manifest, found, replace=self._options.replace)
        return found

    def _context(self, journal: PublishJournal, found: Survey) -> Context:
        begun = journal.begin(self._tree.manifest)
        ours = identities([self._tree.manifest, *begun, *found.manifests])
        for path in (MANIFEST_FILE, PLACEMENT_FILE, SIGNATURE_FILE):
            ours |= self._index_identities(found, release_file(self._plan.index_repo, path))
        return Context(
            client=self._client,
            plan=self._plan,
            journal=journal,
            known=Known(frozenset(ours), everything=self._options.overwrite),
            locate=self._locate,
            earlier=found.repos,
            placed=frozenset(found.commits()),
            pinned=found.pinned(self._plan.layout),
            private=self._options.private,
            xet=self._options.xet,
            on_bytes=self._advance,
        )

    def _index_identities(self, found: Survey, path: str) -> set[str]:
        """Return the identity that a file of the index has on ``main`` now, when a publication of ours is there."""
        if found.refs is None or found.newest is None:
            return set()
        if not hasattr(self, "_index_files"):
            self._index_files = self._client.list_tree(self._plan.index_repo, found.refs.branches["main"])
        return {file.identity for file in self._index_files if file.path == path}

    # ---- parts

    def _collect(self, context: Context, pool: ThreadPoolExecutor) -> str | None:
        if self._options.collection is None:
            return None
        self._stage("filling the collection", len(self._plan.repos), "repos")
        return fill_collection(context, pool, self._options.collection, self._advance)[0]

    def _index_target(self, where: Placement) -> Target:
        extra = {MANIFEST_FILE: self._tree.manifest_path.read_bytes(), PLACEMENT_FILE: where.to_bytes()}
        if self._signature.is_file():
            extra[SIGNATURE_FILE] = self._signature.read_bytes()
        extra = self._extra = {release_file(self._plan.index_repo, name): data for name, data in extra.items()}
        added = tuple(_extra_file(path, digest_bytes(data)) for path, data in extra.items())
        return Target(
            key="index",
            repo=self._plan.index_repo,
            branch="main",
            tag=self._plan.tag,
            files=self._plan.index_files + added,
            domain={"folders": "!cells/", TREE_LAYOUT: f"{HOME_FOLDER}/"}.get(self._plan.layout),
        )

    def _locate(self, file: PlacedFile) -> Path | bytes:
        return self._extra[file.path] if file.tree_path in self._extra else self._paths[file.tree_path]

    def _stage(self, label: str, total: float | None, unit: str = "bytes") -> None:
        if self._reporter is not None:
            self._reporter.start(label, total, unit)

    def _advance(self, n: float) -> None:
        if self._reporter is not None:
            self._reporter.advance(n)


def _extra_file(path: str, digest: FileDigest) -> PlacedFile:
    return PlacedFile(path=path, tree_path=path, entry=FileEntry.of(path, digest))


def _groups(plan: PublishPlan) -> Iterator[Sequence[Target]]:
    """Yield targets that are settled together: branches of one repo in groups, everything else alone."""
    if plan.layout != "branches":
        yield from ([target] for target in plan.targets)
        return
    for start in range(0, len(plan.cell_targets), GROUP_TARGETS):
        yield plan.cell_targets[start : start + GROUP_TARGETS]
    if plan.results_target:
        yield [plan.results_target]
