"""What an earlier download left in a folder, and whether the next one may go on from there.

Reads the folder and, for the meaning of a tag, asks the Hub once; writes nothing.
"""

from dataclasses import dataclass
from pathlib import Path

from release_kit.core.errors import ReleaseKitError, UsageError
from release_kit.core.files import STATE_FOLDER
from release_kit.core.manifest import MANIFEST_FILE, Manifest, own_folder, read_manifest
from release_kit.core.placement import PLACEMENT_FILE
from release_kit.core.words import STUDY_FILE
from release_kit.hub.client import HubClient
from release_kit.hub.reference import Reference, Repo
from release_kit.release.download.source import SIGNATURE_FILE, RemoteRelease, assemble, find_release
from release_kit.release.download.state import Selection, read_selection, selection_path


@dataclass(frozen=True, kw_only=True)
class Before:
    """What an earlier call left in the folder."""

    root: Path
    selection: Selection | None
    manifest: Manifest | None
    manifest_bytes: bytes


def look_at(root: Path, update: bool) -> Before | None:
    """Look at the folder before anything is written to it.

    Raises:
        UsageError: it is a study, a file, or full of other things.
        ReleaseKitError: it cannot be read.
    """
    try:
        return _look(root, update)
    except OSError as error:
        step = "make the folder readable, or name another"
        raise ReleaseKitError(f"cannot be read ({error.strerror})", where=str(root), next_step=step) from error


def _look(root: Path, update: bool) -> Before | None:
    if root.exists() and not root.is_dir():
        raise UsageError("is not a folder", where=str(root), next_step="name a new or an empty folder")
    if (root / STUDY_FILE).is_file():
        raise UsageError("is a study, not a place for downloads", where=str(root), next_step="name an empty folder")
    selection = read_selection(selection_path(root))
    names = {path.name for path in root.iterdir()} - {STATE_FOLDER} if root.is_dir() else set()
    if not names and selection is None:
        return None
    path = own_folder(root) / MANIFEST_FILE
    if selection is None and not path.is_file() and not update:
        raise UsageError(
            "holds other things and is not a download",
            where=str(root),
            next_step="name an empty folder, or add --update to use what fits and keep the rest",
        )
    manifest_bytes = path.read_bytes() if path.is_file() else b""
    try:
        manifest = read_manifest(path) if manifest_bytes else None
    except ReleaseKitError:
        manifest = None
    return Before(root=root, selection=selection, manifest=manifest, manifest_bytes=manifest_bytes)


def commit_of(client: HubClient, reference: Reference, before: Before | None) -> tuple[Repo, str]:
    """Return the repo and commit that are asked for; a full commit id that is here already needs no request."""
    selection = before.selection if before is not None else None
    if selection is not None and selection.repo_id == reference.repo.id and reference.revision == selection.commit:
        dataset = before is not None and before.manifest is not None and before.manifest.is_dataset
        return Repo(reference.repo.id, "dataset" if dataset else reference.repo.type), selection.commit
    return find_release(client, reference)


def known_release(before: Before | None, index: Repo, commit: str, reference: Reference) -> RemoteRelease | None:
    """Return the release from the files of an earlier call, when that was complete and is of this commit."""
    selection = before.selection if before is not None else None
    if before is None or selection is None or not selection.complete:
        return None
    if (selection.repo_id, selection.commit) != (reference.repo.id, commit):
        return None
    try:
        home = own_folder(before.root)
        signature = home / SIGNATURE_FILE
        release = assemble(
            index,
            reference.revision or "main",
            commit,
            before.manifest_bytes,
            (home / PLACEMENT_FILE).read_bytes(),
            signature.read_bytes() if signature.is_file() else None,
            where=str(before.root),
        )
    except (OSError, ReleaseKitError):
        return None
    return release if release.manifest_sha256 == selection.manifest_sha256 else None


def refuse_mixing(root: Path, before: Before | None, release: RemoteRelease, update: bool) -> None:
    """Refuse to put a release into a folder that holds another one, unless that was asked for."""
    if before is None or update:
        return
    there = before.selection.manifest_sha256 if before.selection is not None else None
    if there is None and before.manifest is not None and before.manifest.root == release.manifest.root:
        return
    if there == release.manifest_sha256:
        return
    name = f"{before.manifest.study} {before.manifest.version}" if before.manifest is not None else "another release"
    wanted = f"{release.manifest.study} {release.manifest.version} ({release.manifest.root[:12]})"
    raise UsageError(
        f"holds {name}; {wanted} would be mixed into it",
        where=str(root),
        next_step="name another folder, or add --update to replace what differs",
    )
