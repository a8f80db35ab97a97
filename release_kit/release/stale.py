"""Clearing ``release/`` of what no longer belongs to it, without losing a word that a person wrote."""

import os
from pathlib import Path

from release_kit.core.files import STATE_FOLDER, TEMPORARY_PREFIX
from release_kit.core.manifest import MANIFEST_FILE, RELEASE_FOLDER, Manifest

SIGNATURE_FILE = "manifest.sigstore.json"
HAND_WRITTEN_MARK = b"<!-- release_kit:hand-written"


def remove_stale(study_folder: Path, manifest: Manifest, *, manifest_changed: bool) -> tuple[str, ...]:
    """Remove files under ``release/`` that ``manifest`` does not name, and a signature that no longer holds.

    Cards with hand-written sections are not deleted: they move to ``.release_kit/removed/``.

    Returns:
        The paths, relative to the study, that are gone from ``release/``.
    """
    release = study_folder / RELEASE_FOLDER
    keep = {path for path, _ in manifest.iter_files()} | {MANIFEST_FILE}
    if not manifest_changed:
        keep.add(SIGNATURE_FILE)
    removed = []
    for folder, _, names in os.walk(release, topdown=False):
        for name in names:
            path = Path(folder) / name
            relative = path.relative_to(release).as_posix()
            if relative in keep:
                continue
            _drop(path, study_folder / STATE_FOLDER / "removed" / relative)
            if not name.startswith(TEMPORARY_PREFIX):
                removed.append(f"{RELEASE_FOLDER}/{relative}")
        if Path(folder) != release and not os.listdir(folder):
            os.rmdir(folder)
    return tuple(sorted(removed))


def _drop(path: Path, refuge: Path) -> None:
    if path.suffix == ".md" and HAND_WRITTEN_MARK in path.read_bytes():
        refuge.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, refuge)
    else:
        path.unlink()
