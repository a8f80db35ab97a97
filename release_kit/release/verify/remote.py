"""``verify --remote``: what a Hub lists for a release against its manifest; no content is read.

The Hub's listings carry the identities that the manifest has (sha256 of large files, git-sha1 of the others). One
listing for each repo and commit, and one look at the tags of each repo, since tags are what readers use.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from release_kit.core.errors import HubError
from release_kit.core.hashing import map_ordered
from release_kit.core.manifest import CellEntry, FileEntry, Manifest
from release_kit.hub.client import HubClient
from release_kit.hub.errors import NotFoundError
from release_kit.hub.reference import Repo
from release_kit.hub.remote import RemoteFile
from release_kit.release.download.source import RemoteRelease
from release_kit.release.download.target import cache_source
from release_kit.release.verify.compare import Observed, compare
from release_kit.release.verify.report import Difference, VerifyReport, as_it_lies
from release_kit.release.verify.scope import (
    cell_files,
    selected_names,
    tree_path_in_dataset,
    tree_path_in_index_repo,
    tree_path_under,
)

PUBLISH_AGAIN = "publish the release again, or take another version"
DEFAULT_WORKERS = 8


@dataclass(frozen=True, kw_only=True)
class _Listing:
    """One request for files: a repo at a commit, and which of its paths belong to which part of the tree."""

    repo: Repo
    revision: str
    prefix: str
    to_tree: Callable[[str], str | None]


def verify_remote(
    client: HubClient,
    release: RemoteRelease,
    *,
    manifest: Manifest | None = None,
    select: Sequence[str] = (),
    workers: int | None = None,
    on_start: Callable[[str, int], None] | None = None,
    on_step: Callable[[int], None] | None = None,
) -> VerifyReport:
    """Compare what a Hub lists with a manifest.

    Args:
        client: the Hub.
        release: the release there: it says where each part lies.
        manifest: what must be there; the release's own when None.
        select: ``factor=level`` terms; other cells are not looked at.
        workers: parallel requests.
        on_start: told a label and how many requests there will be.
        on_step: told 1 for each of them that is done.

    Returns:
        A report of kind ``hub``.

    Raises:
        HubError: the Hub cannot be reached, or answers what cannot be true.
    """
    expected_manifest = manifest or release.manifest
    names = selected_names(expected_manifest, select)
    cells = [cell for cell in expected_manifest.cells if names is None or cell.name in names]
    differences = _manifest_differences(release, manifest)
    placed = [cell for cell in cells if cell.name in release.placement.cells]
    differences += [
        Difference(code="missing", where=f"cells/{cell.name}", what="has no place on the Hub", next_step=PUBLISH_AGAIN)
        for cell in cells
        if cell.name not in release.placement.cells
    ]
    listings, tags = _listings(release, placed), _tags(release, placed)
    if on_start:
        on_start("asking the Hub", len(listings) + len(tags))
    step = on_step or (lambda n: None)
    observed: dict[str, Observed] = {}
    for answer in map_ordered(lambda one: _list(client, one), listings, workers or DEFAULT_WORKERS):
        step(1)
        if isinstance(answer, HubError):
            differences.append(_unreachable(answer))
        else:
            observed |= answer
    for found in map_ordered(lambda one: _check_tags(client, *one), tags.items(), workers or DEFAULT_WORKERS):
        step(1)
        differences += found
    expected = _expected(expected_manifest, placed, with_results=release.placement.results is not None)
    inside = {path: seen for path, seen in observed.items() if _is_covered(path, placed, names)}
    differences += compare(expected, inside, repair_step=PUBLISH_AGAIN)
    return VerifyReport(
        target=f"{release.index}@{release.revision}",
        kind="hub",
        how="verified by metadata",
        root=expected_manifest.root,
        study=expected_manifest.study,
        version=expected_manifest.version,
        differences=as_it_lies(differences, dataset=expected_manifest.is_dataset),
        n_files=len(expected),
        n_bytes=sum(entry.size_bytes for entry in expected.values()),
        n_read=0,
        n_bytes_read=0,
        n_cells=len(cells),
        n_requests=client.request_count,
    )


def _manifest_differences(release: RemoteRelease, manifest: Manifest | None) -> list[Difference]:
    if manifest is None or manifest.root == release.manifest.root:
        return []
    what = f"has the root digest {release.manifest.root[:12]}…, here it is {manifest.root[:12]}…"
    where = f"{release.index}@{release.revision}/manifest.json"
    return [Difference(code="manifest", where=where, what=what, next_step="download the version that you have again")]


def _listings(release: RemoteRelease, cells: Iterable[CellEntry]) -> list[_Listing]:
    """Return one listing for each repo and commit; in the index repo cells and cards share it."""
    dataset = release.manifest.is_dataset
    to_tree = tree_path_in_dataset(release.manifest) if dataset else tree_path_in_index_repo
    listings = [_Listing(repo=release.index, revision=release.commit, prefix="", to_tree=to_tree)]
    shared: dict[tuple[Repo, str], list[tuple[str, str]]] = defaultdict(list)
    for cell in cells:
        source = cache_source(release, f"cells/{cell.name}/")
        if (source.repo, source.revision) != (release.index, release.commit):
            shared[source.repo, source.revision].append((source.path, f"cells/{cell.name}/"))
    for (repo, revision), parts in shared.items():
        listings.append(_shared_listing(repo, revision, parts))
    if (place := release.placement.results) is not None:
        repo = Repo(place.repo_id, place.repo_type)
        listings.append(_shared_listing(repo, place.revision, [(place.prefix, "results/")]))
    return listings


def _shared_listing(repo: Repo, revision: str, parts: list[tuple[str, str]]) -> _Listing:
    """Return the listing of one repo at one commit that holds parts under ``(folder, tree prefix)``."""
    under = {folder: tree_path_under(prefix) for folder, prefix in parts}

    def to_tree(path: str) -> str | None:
        for folder, mapped in under.items():
            if path.startswith(folder):
                return mapped(path.removeprefix(folder))
        return None

    return _Listing(repo=repo, revision=revision, prefix=parts[0][0] if len(parts) == 1 else "", to_tree=to_tree)


def _list(client: HubClient, listing: _Listing) -> dict[str, Observed] | HubError:
    try:
        files = client.list_tree(listing.repo, listing.revision, listing.prefix)
    except NotFoundError as error:
        return error
    found = {}
    for file in files:
        if (tree_path := listing.to_tree(file.path)) is not None:
            found[tree_path] = _observed(file)
    return found


def _observed(file: RemoteFile) -> Observed:
    if file.lfs_sha256 is not None:
        return Observed(file.size_bytes, sha256=file.lfs_sha256)
    return Observed(file.size_bytes, git_sha1=file.git_oid)


def _expected(manifest: Manifest, cells: Iterable[CellEntry], *, with_results: bool) -> dict[str, FileEntry]:
    expected: dict[str, FileEntry] = {}
    for cell in cells:
        expected |= cell_files(cell)
    expected |= {f"index/{entry.path}": entry for entry in manifest.index}
    if with_results:
        expected |= {f"results/{entry.path}": entry for entry in manifest.results}
    return expected


def _is_covered(path: str, cells: Iterable[CellEntry], names: Sequence[str] | None) -> bool:
    """Return whether a listed file counts: with a selection, other cells of a shared repo do not."""
    return names is None or not path.startswith("cells/") or path.split("/", 2)[1] in names


def _tags(release: RemoteRelease, cells: Iterable[CellEntry]) -> dict[Repo, dict[str, str]]:
    """Return repo → {tag: commit} as readers rely on."""
    tag = f"v{release.manifest.version}"
    tags: dict[Repo, dict[str, str]] = defaultdict(dict)
    tags[release.index][tag] = release.commit
    for cell in cells:
        place = release.placement.cells[cell.name]
        repo = Repo(place.repo_id, place.repo_type)
        if repo != release.index:
            tags[repo][tag] = place.revision
        elif not (place.prefix or release.manifest.is_dataset):
            tags[repo][f"{tag}-{cell.name}"] = place.revision
    if (place := release.placement.results) is not None:
        tags[Repo(place.repo_id, place.repo_type)][tag] = place.revision
    return tags


def _check_tags(client: HubClient, repo: Repo, expected: dict[str, str]) -> list[Difference]:
    try:
        tags = client.list_refs(repo).tags
    except NotFoundError as error:
        return [_unreachable(error)]
    found = []
    for name, commit in sorted(expected.items()):
        got = tags.get(name)
        if got != commit:
            state = "is gone" if got is None else f"points to {got[:12]}"
            what = f"the tag {state}, the release is at {commit[:12]}"
            found.append(Difference(code="tag", where=f"{repo}@{name}", what=what, next_step=PUBLISH_AGAIN))
    return found


def _unreachable(error: HubError) -> Difference:
    return Difference(code="unreachable", where=error.where or "the Hub", what=error.what, next_step=error.next_step)
