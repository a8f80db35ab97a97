"""``verify --repair``: put right what is damaged, from what is on this disk first and from the Hub for the rest.

Works on what a verification found out. A damaged file is never overwritten: it goes to ``.release_kit/quarantine``.
Whether everything is right afterwards is for a second verification to say.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from release_kit.core import canonical
from release_kit.core.digest_cache import DigestCache
from release_kit.core.errors import RecordError, ReleaseKitError, UsageError
from release_kit.core.files import STATE_FOLDER, write_atomic
from release_kit.core.manifest import MANIFEST_FILE, FileEntry, Manifest, own_folder
from release_kit.core.placement import PLACEMENT_FILE
from release_kit.hub.client import HubClient
from release_kit.hub.filemodes import is_large_by_name
from release_kit.hub.reference import Reference, Repo
from release_kit.release.download.cache import CachePlace, link_blob, place_in_cache, snapshot_at
from release_kit.release.download.release import Callbacks
from release_kit.release.download.run import Outcome, Run
from release_kit.release.download.source import RemoteRelease, Source, find_release, open_at
from release_kit.release.download.state import Selection, locked, read_selection, selection_path
from release_kit.release.download.target import PARTIAL_FOLDER, Item, new_quarantine, set_aside
from release_kit.release.verify.report import Difference
from release_kit.release.verify.run import Inspection

FETCHED = ("missing", "renamed", "swapped", "mislabelled", "changed", "unreadable")
"""Codes of differences that right bytes put right."""


@dataclass(frozen=True, kw_only=True)
class RepairReport:
    """What a repair did."""

    outcome: Outcome
    repaired: tuple[str, ...]
    """Files that now hold what the manifest says."""
    put_aside: tuple[str, ...]
    """Files that did not belong to the release."""
    quarantine: Path

    def to_dict(self) -> dict:
        """Return the form for ``--json``."""
        return {
            "repaired": list(self.repaired),
            "put_aside": list(self.put_aside),
            "quarantine": str(self.quarantine),
            "n_fetched": self.outcome.n_fetched,
            "n_bytes_fetched": self.outcome.n_bytes_fetched,
            "n_copied": self.outcome.n_copied,
        }


def repair(
    inspection: Inspection,
    source: RemoteRelease | None = None,
    client: HubClient | None = None,
    *,
    cache: DigestCache | None = None,
    workers: int = 8,
    callbacks: Callbacks | None = None,
) -> RepairReport:
    """Put right what an inspection found wrong.

    Args:
        inspection: what ``verify.inspect`` learned.
        source: the same release on a Hub; None when everything that is needed is on this disk (``needs_hub``).
        client: the Hub of ``source``.
        cache: remembered digests.
        workers: parallel fetches.
        callbacks: progress.

    Raises:
        UsageError: ``source`` is another release, or is None and needed.
        ReleaseKitError: something could not be had; what was repaired by then stays.
    """
    scope = inspection.opened.scope
    _check_source(inspection, source)
    state = state_folder(scope.root)
    with locked(state.parent):
        places = _InPlace(state=state)
        bad = damaged_paths(inspection.differences)
        items = [_item(inspection, path, source, places) for path in bad]
        run = Run(
            client, places, items, cache or DigestCache(None), workers, callbacks or Callbacks(),
            local=local_content(inspection),
        )  # fmt: skip
        run.prepare()
        run.check_space()
        run.carry_out()
        extra = _put_extra_aside(inspection, run.quarantine)
    return RepairReport(outcome=run.outcome, repaired=tuple(bad), put_aside=extra, quarantine=run.quarantine)


def damaged_paths(differences: Sequence[Difference]) -> list[str]:
    """Return the files of the release that need right bytes, sorted."""
    return sorted({difference.where for difference in differences if difference.code in FETCHED})


def needs_hub(inspection: Inspection) -> bool:
    """Return whether some content that is needed is not on this disk."""
    local = local_content(inspection)
    wanted = [inspection.expected[path] for path in damaged_paths(inspection.differences)]
    return any(entry.size_bytes and entry.sha256 not in local for entry in wanted)


def local_content(inspection: Inspection) -> dict[str, Path]:
    """Return sha256 → file of everything that was read."""
    seen = inspection.observed.items()
    return {observed.sha256: Path(inspection.found[path][0]) for path, observed in seen if observed.sha256 is not None}


def recorded_source(root: Path) -> Selection | None:
    """Return where the release in ``root`` was downloaded from, or None when that is not recorded."""
    snapshot = snapshot_at(root)
    return read_selection(selection_path(root) if snapshot is None else snapshot.selection_file)


def reference_of(selection: Selection) -> Reference:
    """Return the reference of a recorded download, pinned to its commit; ``find_release`` tells the repo's type."""
    return Reference(Repo(selection.repo_id), selection.commit, selection.endpoint)


def state_folder(root: Path) -> Path:
    """Return the folder that keeps the quarantine: beside a snapshot in its repo's folder, else in ``root``."""
    snapshot = snapshot_at(root)
    return (root if snapshot is None else snapshot.repo_folder) / STATE_FOLDER


def repair_manifest(root: Path, client: HubClient, selection: Selection) -> bool:
    """Fetch manifest and placement of a download again when they are damaged; returns whether anything was written.

    Raises:
        RecordError: the Hub's manifest is not the one that was downloaded.
    """
    if _manifest_is(root, selection):
        return False
    index, _ = find_release(client, reference_of(selection))
    release = open_at(client, index, selection.revision, selection.commit)
    if release.manifest_sha256 != selection.manifest_sha256:
        raise RecordError(
            "the Hub has another manifest than the one that was downloaded",
            where=f"{selection.repo_id}@{selection.commit[:12]}",
            next_step="download the release into an empty folder and compare",
        )
    quarantine = new_quarantine(state_folder(root))
    for name, data in release.beside().items():
        path = root / name
        if not path.is_file() or path.read_bytes() != data:
            set_aside(path, quarantine / name)
            write_atomic(path, data)
    return True


def _manifest_is(root: Path, selection: Selection) -> bool:
    try:
        home = own_folder(root)
        data = (home / MANIFEST_FILE).read_bytes()
        Manifest.from_dict(canonical.parse_json(data, MANIFEST_FILE), MANIFEST_FILE)
        canonical.read_json(home / PLACEMENT_FILE)
    except (OSError, ReleaseKitError):
        return False
    return hashlib.sha256(data).hexdigest() == selection.manifest_sha256


def _check_source(inspection: Inspection, source: RemoteRelease | None) -> None:
    manifest = inspection.opened.scope.manifest
    if source is None and needs_hub(inspection):
        raise UsageError(
            "it is not recorded where this release came from",
            where=str(inspection.opened.scope.root),
            next_step="name it: --repair --from NAMESPACE/STUDY@VERSION",
        )
    if source is not None and source.manifest.root != manifest.root:
        raise UsageError(
            f"is {source.manifest.study} {source.manifest.version} with root {source.manifest.root[:12]}, "
            f"not the release that lies here ({manifest.root[:12]})",
            where=f"{source.index}@{source.revision}",
            next_step="name the reference that was downloaded",
        )


class _InPlace:
    """The files where they lie now; in a cache, links to them are made again where they are wrong."""

    def __init__(self, state: Path):
        self.state = state
        self.places: dict[str, CachePlace] = {}

    def linked(self, item: Item) -> bool:
        """Return whether the file has its name."""
        place = self.places.get(item.tree_path)
        return place is None or os.path.realpath(place.link) == os.path.realpath(place.blob)

    def name(self, item: Item) -> None:
        """Make the link of a snapshot; elsewhere the bytes lie under their name."""
        if (place := self.places.get(item.tree_path)) is not None:
            link_blob(place, self.state / PARTIAL_FOLDER)


def _item(inspection: Inspection, path: str, source: RemoteRelease | None, places: _InPlace) -> Item:
    """Return what is to be done for one file, and note its link when it lies in a cache."""
    entry, file = inspection.expected[path], inspection.opened.scope.locate(path)
    place = place_in_cache(file, _identity(file, entry))
    if place is not None and (file.is_symlink() or not file.exists()):
        places.places[path] = place
        file = place.blob
    where = source.source(path) if source is not None else Source(Repo("this/disk"), "0" * 40, path)
    return Item(tree_path=path, entry=entry, source=where, path=file)


def _identity(file: Path, entry: FileEntry) -> str:
    """Return the name of a file's blob: what its link says when that fits, else what the Hub most likely chose."""
    linked = os.path.basename(os.readlink(file)) if file.is_symlink() else ""
    if linked in (entry.sha256, entry.git_sha1):
        return linked
    large = entry.git_sha1 is None or is_large_by_name(entry.path, entry.size_bytes) is True
    return entry.sha256 if large else str(entry.git_sha1)


def _put_extra_aside(inspection: Inspection, quarantine: Path) -> tuple[str, ...]:
    """Move files that do not belong to the release into the quarantine."""
    extra: Mapping[str, Path] = {
        path: Path(file) for path, (file, _) in sorted(inspection.found.items()) if path not in inspection.expected
    }
    return tuple(path for path, file in extra.items() if set_aside(file, quarantine / "extra" / path))
