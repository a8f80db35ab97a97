"""A release in the Hugging Face cache: the listing that names its blobs, the index repo's own files, the refs.

The cache names a blob by the Hub's identity of the file, which only the Hub knows (LFS or regular): one listing for
each repo and commit.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from release_kit.core.files import inside, write_atomic
from release_kit.core.hashing import digest_bytes, map_ordered
from release_kit.core.manifest import FileEntry
from release_kit.hub.client import HubClient
from release_kit.release.download.cache import link_blob, repo_folder_name, snapshot_folder, write_ref
from release_kit.release.download.fetch import remove_partials, remove_temporaries
from release_kit.release.download.source import RemoteRelease, Source
from release_kit.release.download.target import PARTIAL_FOLDER, CacheTarget, cache_source


def cache_target(
    client: HubClient, root: Path, release: RemoteRelease, wanted: Iterable[str], workers: int
) -> CacheTarget:
    """List every repo that the wanted cells lie in and return the cache as a target."""
    manifest = release.manifest
    places = {Source(release.index, release.commit, "")}
    names = set(wanted)
    for path, _ in manifest.iter_files():
        if not path.startswith("cells/") or path.split("/", 2)[1] in names:
            source = cache_source(release, path)
            places.add(Source(source.repo, source.revision, ""))
    ordered = sorted(places, key=str)
    regular: dict[tuple[Source, str], str] = {}
    listings = map_ordered(lambda place: client.list_tree(place.repo, place.revision), ordered, workers)
    for place, files in zip(ordered, listings, strict=True):
        regular |= {(place, file.path): file.git_oid for file in files if file.lfs_sha256 is None}
    return CacheTarget(root=root, release=release, regular=regular)


def index_snapshot(target: CacheTarget) -> Path:
    """Return the snapshot of the index repo."""
    release = target.release
    return snapshot_folder(target.root, release.index.id, release.index.type, release.commit)


def beside_is_there(target: CacheTarget) -> bool:
    """Return whether manifest, placement and refs stand in the cache."""
    snapshot = index_snapshot(target)
    files = target.release.beside()
    there = all((snapshot / name).is_file() and (snapshot / name).read_bytes() == files[name] for name in files)
    return there and all(_ref_is(folder, name, commit) for folder, name, commit in _refs(target))


def write_beside(target: CacheTarget) -> None:
    """Put manifest, placement and refs into the cache, the manifest last of the files."""
    for name, data in target.release.beside().items():
        place = target.place(f"index/{name}", FileEntry.of(name, digest_bytes(data)))
        write_atomic(place.blob, data)
        link_blob(place, target.state / PARTIAL_FOLDER)
    for folder, name, commit in _refs(target):
        write_ref(folder, name, commit)
    remove_partials(target.state / PARTIAL_FOLDER)
    for folder in {folder for folder, _, _ in _refs(target)}:
        remove_temporaries(folder / "blobs", folder / "refs")


def _refs(target: CacheTarget) -> list[tuple[Path, str, str]]:
    """Return ``(repo folder, revision, commit)`` for every name under which clients ask for parts of the release."""
    release = target.release
    tag = f"v{release.manifest.version}"
    index = _folder(target, release.index.id, release.index.type)
    refs = [(index, name, release.commit) for name in {release.revision, tag}]
    if release.manifest.is_dataset:
        return sorted(ref for ref in refs if (ref[0] / "snapshots" / ref[2]).is_dir())
    for name, place in release.placement.cells.items():
        folder = _folder(target, place.repo_id, place.repo_type)
        if place.repo_id != release.index.id:
            refs.append((folder, tag, place.revision))
        elif not place.prefix:
            refs.append((folder, f"{tag}-{name}", place.revision))
    if release.placement.results is not None:
        place = release.placement.results
        refs.append((_folder(target, place.repo_id, place.repo_type), tag, place.revision))
    return sorted(ref for ref in refs if (ref[0] / "snapshots" / ref[2]).is_dir())


def _folder(target: CacheTarget, repo_id: str, repo_type: str) -> Path:
    return inside(target.root, repo_folder_name(repo_id, repo_type))


def _ref_is(folder: Path, name: str, commit: str) -> bool:
    path = folder / "refs" / name
    return name == commit or (os.path.isfile(path) and path.read_text() == commit)
