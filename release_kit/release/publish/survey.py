"""What the Hub has of a study already, and whether this release may be published over it.

Reads the index repo only: two files and the refs. The rules for versions live here: a version that readers can name
keeps its data for ever; its cards may be corrected.
"""

import hashlib
from dataclasses import dataclass, field

from release_kit.core import canonical
from release_kit.core.errors import PublishError, ReleaseKitError
from release_kit.core.manifest import MANIFEST_FILE, Manifest
from release_kit.core.placement import PLACEMENT_FILE, Placement
from release_kit.hub.client import HubClient
from release_kit.hub.errors import NotFoundError
from release_kit.hub.reference import Repo
from release_kit.hub.remote import Refs
from release_kit.release.download.source import release_file
from release_kit.release.publish.layout import PublishPlan
from release_kit.release.publish.state import changed_data

MANIFEST_LIMIT_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Published:
    """One publication found on the Hub: its manifest and where its parts are."""

    manifest: Manifest
    manifest_sha256: str
    placement: Placement


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What is there before anything is sent."""

    refs: Refs | None = None
    """Of the index repo; None when there is no such repo."""
    newest: Published | None = None
    """What ``main`` of the index holds."""
    same_version: Published | None = None
    """What readers of this version's tag get."""
    repos: frozenset[Repo] = field(default_factory=frozenset)
    """Repos that earlier publications made."""

    @property
    def manifests(self) -> list[Manifest]:
        """Manifests whose content is ours."""
        return [found.manifest for found in (self.newest, self.same_version) if found is not None]

    def pinned(self, layout: str) -> tuple[dict[str, str], ...]:
        """Return cell name → commit for the publications of one layout: the newest, then that of this version."""
        return tuple(
            {name: place.revision for name, place in found.placement.cells.items()}
            for found in (self.newest, self.same_version)
            if found is not None and found.placement.layout == layout
        )

    def commits(self) -> set[str]:
        """Return the commits that earlier publications placed."""
        found = [p.placement for p in (self.newest, self.same_version) if p is not None]
        places = [place for one in found for place in [*one.cells.values(), *([one.results] if one.results else [])]]
        return {place.revision for place in places}


def survey(client: HubClient, index: Repo, tag: str) -> Survey:
    """Return what the Hub has of the study.

    Raises:
        HubError: the Hub failed.
    """
    try:
        refs = client.list_refs(index)
    except NotFoundError:
        return Survey()
    main, tagged = refs.branches.get("main"), refs.tags.get(tag)
    newest = _published(client, index, main) if main else None
    same = newest if tagged == main else _published(client, index, tagged) if tagged else None
    repos = {index}
    for found in (newest, same):
        if found is not None:
            places = [*found.placement.cells.values()]
            places += [found.placement.results] if found.placement.results else []
            repos |= {Repo(place.repo_id, place.repo_type) for place in places}
    return Survey(refs=refs, newest=newest, same_version=same if tagged else None, repos=frozenset(repos))


def _published(client: HubClient, index: Repo, commit: str) -> Published | None:
    """Return the publication at a commit; None when there is none or it is not one of ours."""
    try:
        placement_bytes, data = (
            client.read_bytes(index, commit, release_file(index, name), limit_bytes=MANIFEST_LIMIT_BYTES)
            for name in (PLACEMENT_FILE, MANIFEST_FILE)
        )
    except NotFoundError:
        return None
    where = f"{index}@{commit[:12]}"
    try:
        placement = Placement.from_dict(canonical.parse_json(placement_bytes, where), f"{where}/{PLACEMENT_FILE}")
        manifest = Manifest.from_dict(canonical.parse_json(data, where), f"{where}/{MANIFEST_FILE}")
    except ReleaseKitError:
        return None
    sha256 = hashlib.sha256(data).hexdigest()
    return Published(manifest=manifest, manifest_sha256=sha256, placement=placement)


def check_version(plan: PublishPlan, manifest: Manifest, found: Survey, *, replace: bool) -> None:
    """Refuse to change what readers of a published version get, other than its cards.

    Raises:
        PublishError: the version is published with other data, or in another layout, or its tag is somebody else's.
    """
    before = found.same_version
    tagged = found.refs.tags.get(plan.tag) if found.refs else None
    if tagged and before is None and not replace:
        raise foreign_tag(plan.index_repo, plan.tag, tagged)
    if before is None or replace or before.manifest_sha256 == plan.manifest_sha256:
        if before is not None and before.placement.layout != plan.layout and not replace:
            raise PublishError(
                f"{plan.reference} is published as {before.placement.layout!r} already, not as {plan.layout!r}",
                next_step="publish to another account, raise `version` in study.yaml, or add --replace",
            )
        return
    changed = changed_data(before.manifest, manifest)
    if before.placement.layout != plan.layout:
        changed.append(f"the layout ({before.placement.layout} → {plan.layout})")
    if changed:
        more = f" … and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise PublishError(
            f"{plan.reference} is published already, with other data: {', '.join(changed[:5])}{more}",
            next_step="raise `version` in study.yaml and build again; --replace changes the published version",
        )


def foreign_tag(repo: Repo, tag: str, commit: str) -> PublishError:
    """Return the error for a tag that is where no publication of ours put it."""
    return PublishError(
        f"the tag {tag} of {repo} is at {commit[:12]}, a commit that this release did not make",
        next_step="look at it; then raise `version` in study.yaml, or add --replace to move the tag",
    )
