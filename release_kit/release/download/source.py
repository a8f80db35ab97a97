"""A release on a Hub: its manifest and placement, read and checked against each other, and where each file lies.

Everything here comes from a stranger: paths, repo ids and commits are checked before they are used, and nothing is
believed that the manifest does not confirm.
"""

import hashlib
import re
from dataclasses import dataclass

from release_kit.core import canonical
from release_kit.core.dataset_tree import TREE_LAYOUT, own_file
from release_kit.core.errors import HubError, IntegrityError, RecordError, UsageError
from release_kit.core.manifest import MANIFEST_FILE, Manifest
from release_kit.core.placement import PLACEMENT_FILE, Place, Placement
from release_kit.hub.client import HubClient
from release_kit.hub.errors import AccessError, NotFoundError
from release_kit.hub.reference import Reference, Repo, parse_reference

SIGNATURE_FILE = "manifest.sigstore.json"
MANIFEST_LIMIT_BYTES = 512 * 1024 * 1024
"""About two million files; what is longer is not a manifest."""

_COMMIT = re.compile(r"^[0-9a-f]{40}\Z")


@dataclass(frozen=True, slots=True)
class Source:
    """Where the bytes of one file lie: a path in a repo at a commit."""

    repo: Repo
    revision: str
    path: str

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision[:12]}/{self.path}"


@dataclass(frozen=True, kw_only=True)
class RemoteRelease:
    """A release on a Hub, pinned to one commit of its index repo."""

    index: Repo
    revision: str
    """As it was asked for: a tag, a branch or a commit."""
    commit: str
    manifest: Manifest
    manifest_bytes: bytes
    placement: Placement
    placement_bytes: bytes
    signature_bytes: bytes | None = None

    @property
    def manifest_sha256(self) -> str:
        """sha256 of the bytes of the manifest."""
        return hashlib.sha256(self.manifest_bytes).hexdigest()

    def source(self, tree_path: str) -> Source:
        """Return where a file of the release tree lies.

        Raises:
            HubError: the placement has no place for it.
        """
        group, _, rest = tree_path.partition("/")
        if group == "index":
            return Source(self.index, self.commit, rest)
        if group == "results":
            return _in_place(self.placement.results, rest, tree_path)
        name, _, inner = rest.partition("/")
        return _in_place(self.placement.cells.get(name), inner, tree_path)

    def beside(self) -> dict[str, bytes]:
        """Return the release's own files in a download, path → content, the manifest last."""
        files = {PLACEMENT_FILE: self.placement_bytes}
        if self.signature_bytes is not None:
            files[SIGNATURE_FILE] = self.signature_bytes
        files |= {MANIFEST_FILE: self.manifest_bytes}
        return {own_file(name, dataset=self.manifest.is_dataset): data for name, data in files.items()}


def open_remote(client: HubClient, reference: Reference) -> RemoteRelease:
    """Read manifest and placement of a release and check them against each other.

    A name without a type is that of a model repo or, where there is none, of a dataset.

    Raises:
        NotFoundError: there is no such repo, or it is no release.
        IntegrityError: manifest and placement belong to two different releases.
        RecordError: one of them is not valid.
    """
    revision = reference.revision or "main"
    index, commit = find_release(client, reference)
    return open_at(client, index, revision, commit)


def find_release(client: HubClient, reference: Reference) -> tuple[Repo, str]:
    """Return the index repo that a reference means, and the commit of its revision.

    Raises:
        UsageError: it names a space.
        NotFoundError: there is neither a model repo nor a dataset of this name, or no such revision.
    """
    repo, revision = reference.repo, reference.revision or "main"
    if repo.type == "space":
        step = "name the index of a release"
        raise UsageError(f"{repo} is a space; a release is a model repo or a dataset", next_step=step)
    try:
        return repo, client.resolve(repo, revision)
    except (NotFoundError, AccessError) as error:
        if repo.type != "model":
            raise
        dataset = Repo(repo.id, "dataset")
        try:
            return dataset, client.resolve(dataset, revision)
        except (NotFoundError, AccessError) as other:
            # A revision that a repo lacks says more than that there is no repo of the other type.
            raise (other if getattr(other, "code", "") == "RevisionNotFound" else error) from other


def release_file(index: Repo, name: str) -> str:
    """Return where one of the release's own files (``manifest.json``) lies in its index repo."""
    return own_file(name, dataset=index.type == "dataset")


def open_at(client: HubClient, index: Repo, revision: str, commit: str) -> RemoteRelease:
    """Read the release at one commit of its index repo; see ``open_remote``."""
    where = f"{index}@{revision}"
    manifest_bytes = _read(client, index, commit, release_file(index, MANIFEST_FILE))
    placement_bytes = _read(client, index, commit, release_file(index, PLACEMENT_FILE))
    return assemble(
        index, revision, commit, manifest_bytes, placement_bytes, _signature(client, index, commit), where=where
    )


def assemble(
    index: Repo,
    revision: str,
    commit: str,
    manifest_bytes: bytes,
    placement_bytes: bytes,
    signature_bytes: bytes | None,
    *,
    where: str,
) -> RemoteRelease:
    """Parse what was read from a Hub or from a download, and check that it belongs together.

    Raises:
        IntegrityError: manifest and placement belong to two different releases.
        RecordError: one of them is not valid.
    """
    manifest = _parsed(Manifest, manifest_bytes, f"{where}/{MANIFEST_FILE}")
    placement = _parsed(Placement, placement_bytes, f"{where}/{PLACEMENT_FILE}")
    release = RemoteRelease(
        index=index,
        revision=revision,
        commit=commit,
        manifest=manifest,
        manifest_bytes=manifest_bytes,
        placement=placement,
        placement_bytes=placement_bytes,
        signature_bytes=signature_bytes,
    )
    _check_together(release, where)
    return release


def _check_together(release: RemoteRelease, where: str) -> None:
    manifest, placement = release.manifest, release.placement
    problems = []
    if manifest.is_dataset != (release.index.type == "dataset") or manifest.is_dataset != (
        placement.layout == TREE_LAYOUT
    ):
        problems.append(f"a {release.index.type} repo does not hold such a release (layout {placement.layout!r})")
    if placement.manifest_sha256 != release.manifest_sha256:
        problems.append(f"the placement is that of another manifest ({placement.manifest_sha256[:12]}…)")
    if (placement.study, placement.version) != (manifest.study, manifest.version):
        problems.append(f"the placement is of {placement.study} {placement.version}")
    lost = [cell.name for cell in manifest.cells if cell.name not in placement.cells]
    if lost:
        problems.append(f"{len(lost)} cells have no place, the first is {lost[0]}")
    if manifest.results and placement.results is None:
        problems.append("the results have no place")
    if problems:
        raise IntegrityError(
            "manifest and placement do not belong together: " + "; ".join(problems),
            where=where,
            next_step="take another version, or ask the publisher to publish again",
        )
    for place in [*placement.cells.values(), *([placement.results] if placement.results else [])]:
        _check_place(place, where)


def _check_place(place: Place, where: str) -> None:
    prefix = "" if place.repo_type == "model" else f"{place.repo_type}s/"
    try:
        repo = parse_reference(f"{prefix}{place.repo_id}").repo
    except UsageError:
        repo = None
    if repo != Repo(place.repo_id, place.repo_type) or not _COMMIT.match(place.revision):
        raise RecordError(
            f"the place {place.repo_type} {place.repo_id!r} at {place.revision!r} is not a repo at a commit",
            where=f"{where}/{PLACEMENT_FILE}",
            next_step="nothing was written; do not trust this release",
        )


def _parsed(record: type, data: bytes, where: str):
    return record.from_dict(canonical.parse_json(data, where), where)


def _read(client: HubClient, index: Repo, commit: str, path: str) -> bytes:
    try:
        return client.read_bytes(index, commit, path, limit_bytes=MANIFEST_LIMIT_BYTES)
    except NotFoundError as error:
        raise HubError(
            f"is not a release: it has no {path}",
            where=f"{index}@{commit[:12]}",
            next_step=f"try {index.id.removesuffix('-results')}"
            if index.type == "dataset" and index.id.endswith("-results")
            else f"for repos made without release_kit: release-kit audit {index}",
        ) from error


def _signature(client: HubClient, index: Repo, commit: str) -> bytes | None:
    try:
        return client.read_bytes(index, commit, release_file(index, SIGNATURE_FILE), limit_bytes=1 << 20)
    except NotFoundError:
        return None


def _in_place(place: Place | None, inner: str, tree_path: str) -> Source:
    if place is None:
        raise HubError("the placement has no place for it", where=tree_path)
    return Source(Repo(place.repo_id, place.repo_type), place.revision, place.prefix + inner)
