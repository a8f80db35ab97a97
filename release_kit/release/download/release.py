"""``download``: a release, or some of its cells, from a Hub into a folder or into the Hugging Face cache.

Decides what is needed and keeps the order that makes interruption harmless: selection (incomplete) → every file,
verified before it gets its name → placement → manifest → selection (complete). Bytes are ``download/fetch``'s, names
``download/target``'s business.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from release_kit.core.dataset_tree import local_path, own_file
from release_kit.core.digest_cache import DigestCache, digest_files
from release_kit.core.errors import UsageError
from release_kit.core.files import inside, write_atomic
from release_kit.core.hashing import FileDigest
from release_kit.hub.client import HubClient
from release_kit.hub.reference import Reference
from release_kit.release.download.before import Before, commit_of, known_release, look_at, refuse_mixing
from release_kit.release.download.cache import default_hub_cache, repo_folder_name, selection_file
from release_kit.release.download.fetch import remove_temporaries
from release_kit.release.download.run import Outcome, Run
from release_kit.release.download.source import SIGNATURE_FILE, RemoteRelease, find_release, open_at
from release_kit.release.download.state import Selection, locked, read_selection, selection_path, write_selection
from release_kit.release.download.target import (
    CacheTarget,
    FolderTarget,
    remove_empty_folders,
    set_aside,
)
from release_kit.release.verify.scope import selected_names

DEFAULT_WORKERS = 8


@dataclass(frozen=True, kw_only=True)
class DownloadOptions:
    """What to download and how."""

    select: Sequence[str] = ()
    """``factor=level`` terms; without any, all cells."""
    into_cache: bool = False
    """Into the Hugging Face cache instead of a folder of its own."""
    update: bool = False
    """The folder holds another version: keep what is the same, fetch the rest, remove what is no longer part."""
    workers: int = DEFAULT_WORKERS


@dataclass(frozen=True, kw_only=True)
class DownloadReport:
    """What a download did."""

    release: RemoteRelease
    folder: Path
    """The folder, or the snapshot of the index repo in the cache."""
    cells: tuple[str, ...]
    """Names of all cells that are now here."""
    n_files: int
    n_bytes: int
    outcome: Outcome
    n_requests: int
    removed: tuple[str, ...] = ()
    """Files of the version that was here before, which this one does not have."""


@dataclass(kw_only=True)
class Callbacks:
    """Who is told how it goes."""

    on_start: Callable[[str, int], None] = field(default=lambda label, n_bytes: None)
    on_bytes: Callable[[int], None] = field(default=lambda n: None)


def download_release(
    client: HubClient,
    reference: Reference,
    folder: Path | None,
    options: DownloadOptions | None = None,
    *,
    cache: DigestCache | None = None,
    callbacks: Callbacks | None = None,
) -> DownloadReport:
    """Download a release so that every file under its final name is what the manifest says.

    Running it again continues an interrupted download, adds cells that are newly selected, and sends no request for
    what is here and was verified.

    Args:
        client: the Hub.
        reference: the release, ``namespace/study@v1.0.0``.
        folder: where to; with ``into_cache`` the cache, None for the user's own.
        options: what and how.
        cache: remembered digests of files that were verified.
        callbacks: progress.

    Raises:
        UsageError: an unknown selection, or a folder that holds something else.
        IntegrityError: the Hub's content is not what its manifest says.
        HubError: the Hub cannot be reached or does not have what it lists.
        ReleaseKitError: disk full, folder not writable, another process at work.
    """
    options = options or DownloadOptions()
    root = (folder or default_hub_cache()) if options.into_cache else folder
    if root is None:
        raise UsageError("no folder to download into", next_step="name a folder, or use --into-cache")
    before = None if options.into_cache else look_at(root, options.update)
    found = find_release(client, reference) if options.into_cache else None
    with locked(root if found is None else root / repo_folder_name(found[0].id, found[0].type)):
        index, commit = found or commit_of(client, reference, before)
        release = known_release(before, index, commit, reference) or open_at(
            client, index, reference.revision or "main", commit
        )
        refuse_mixing(root, before, release, options.update)
        work = _Work(client, root, release, options, before, cache or DigestCache(None), callbacks or Callbacks())
        return work.run()


class _Work:
    """One download, from selection to report."""

    def __init__(
        self,
        client: HubClient,
        root: Path,
        release: RemoteRelease,
        options: DownloadOptions,
        before: Before | None,
        cache: DigestCache,
        callbacks: Callbacks,
    ):
        self._client, self._root, self._release, self._options = client, root, release, options
        self._before, self._cache, self._callbacks = before, cache, callbacks
        folder = root / repo_folder_name(release.index.id, release.index.type)
        self._record = selection_file(folder, release.commit) if options.into_cache else selection_path(root)

    def run(self) -> DownloadReport:
        """Do it."""
        manifest = self._release.manifest
        selection = self._selection()
        wanted = {cell.name for cell in manifest.cells if selection.wants(cell.name)}
        files = [
            (path, entry)
            for path, entry in manifest.iter_files()
            if not path.startswith("cells/") or path.split("/", 2)[1] in wanted
        ]
        target = self._target(wanted)
        items = [target.item(path, entry) for path, entry in files]
        run = Run(self._client, target, items, self._cache, self._options.workers, self._callbacks)
        run.prepare(outdated=self._outdated())
        if run.nothing_to_do and read_selection(self._record) == selection and self._beside_is_there(target):
            return self._report(target, wanted, files, run.outcome, ())
        run.check_space()
        write_selection(self._record, replace(selection, complete=False))
        run.carry_out()
        removed = () if self._options.into_cache else self._put_aside(run.quarantine)
        self._write_beside(target)
        write_selection(self._record, selection)
        remove_temporaries(self._root, self._record.parent)
        run.remember()
        return self._report(target, wanted, files, run.outcome, removed)

    def _selection(self) -> Selection:
        """Return what is to be here in the end: what was asked for now, and earlier of the same release."""
        release = self._release
        names = selected_names(release.manifest, self._options.select)
        old = read_selection(self._record)
        same = old is not None and old.manifest_sha256 == release.manifest_sha256
        if old is not None and names is not None and (same or self._options.update):
            there = {cell.name for cell in release.manifest.cells}
            names = None if old.cells is None else tuple(sorted({*names, *old.cells} & there))
        return Selection(
            endpoint=self._client.endpoint,
            repo_id=release.index.id,
            revision=release.revision,
            commit=release.commit,
            manifest_sha256=release.manifest_sha256,
            cells=names,
            complete=True,
        )

    def _target(self, wanted: set[str]) -> FolderTarget | CacheTarget:
        if not self._options.into_cache:
            return FolderTarget(root=self._root, release=self._release)
        from release_kit.release.download.into_cache import cache_target

        return cache_target(self._client, self._root, self._release, wanted, self._options.workers)

    def _beside_is_there(self, target: FolderTarget | CacheTarget) -> bool:
        if isinstance(target, CacheTarget):
            from release_kit.release.download.into_cache import beside_is_there

            return beside_is_there(target)
        files = self._release.beside()
        return all((self._root / name).is_file() for name in files) and all(
            (self._root / name).read_bytes() == data for name, data in files.items()
        )

    def _local(self, name: str) -> str:
        return own_file(name, dataset=self._release.manifest.is_dataset)

    def _write_beside(self, target: FolderTarget | CacheTarget) -> None:
        if isinstance(target, CacheTarget):
            from release_kit.release.download.into_cache import write_beside

            write_beside(target)
            return
        if self._release.signature_bytes is None:
            (self._root / self._local(SIGNATURE_FILE)).unlink(missing_ok=True)
        for name, data in self._release.beside().items():
            write_atomic(self._root / name, data)

    def _outdated(self) -> dict[str, str]:
        """Return ``{path: sha256}`` of the version that the folder held: such files need not be kept."""
        old = self._before.manifest if self._before is not None else None
        if old is None or old.root == self._release.manifest.root:
            return {}
        return {path: entry.sha256 for path, entry in old.iter_files()}

    def _former(self) -> dict[str, str]:
        """Return ``{path in the folder: sha256}`` of what the folder's former version had and this one has not."""
        manifest = self._release.manifest
        now = {local_path(path, dataset=manifest.is_dataset) for path, _ in manifest.iter_files()}
        old = self._before.manifest if self._before is not None else None
        dataset = old is not None and old.is_dataset
        before = {local_path(path, dataset=dataset): sha256 for path, sha256 in self._outdated().items()}
        return {path: sha256 for path, sha256 in before.items() if path not in now}

    def _put_aside(self, quarantine: Path) -> tuple[str, ...]:
        """Remove what the folder's former version had and this one has not; what was changed by hand is kept."""
        gone = self._former()
        paths = [path for path in gone if (self._root / path).is_file()]
        places = [inside(self._root, path) for path in paths]
        digests = digest_files(places, cache=self._cache, tensors=False, git=False)
        for path, digest in zip(paths, digests, strict=True):
            if isinstance(digest, FileDigest) and digest.sha256 == gone[path]:
                (self._root / path).unlink()
            else:
                set_aside(self._root / path, quarantine / path)
            remove_empty_folders(self._root, (self._root / path).parent)
        return tuple(paths)

    def _report(
        self,
        target: FolderTarget | CacheTarget,
        wanted: set[str],
        files: list,
        outcome: Outcome,
        removed: tuple[str, ...],
    ) -> DownloadReport:
        folder = self._root
        if isinstance(target, CacheTarget):
            from release_kit.release.download.into_cache import index_snapshot

            folder = index_snapshot(target)
        return DownloadReport(
            release=self._release,
            folder=folder,
            cells=tuple(sorted(wanted)),
            n_files=len(files),
            n_bytes=sum(entry.size_bytes for _, entry in files),
            outcome=outcome,
            n_requests=self._client.request_count,
            removed=removed,
        )
