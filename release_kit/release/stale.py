"""Clearing ``release/`` of what no longer belongs to it, without losing a word that a person wrote."""

import itertools
import os
from pathlib import Path

from release_kit.core.files import STATE_FOLDER, TEMPORARY_PREFIX
from release_kit.core.manifest import MANIFEST_FILE, RELEASE_FOLDER, Manifest
from release_kit.release.sign.release import SIGNATURE_FILE

HAND_WRITTEN_MARK = b"release_kit:hand-written"


def drop_signature(study_folder: Path, manifest_bytes: bytes) -> tuple[str, ...]:
    """Remove the release's signature if it is not over ``manifest_bytes``; call before these bytes are written.

    In this order no interruption leaves a signature beside a manifest that it does not sign.

    Returns:
        The path, relative to the study, that is gone from ``release/``; empty when the signature holds or is absent.
    """
    release = study_folder / RELEASE_FOLDER
    manifest, signature = release / MANIFEST_FILE, release / SIGNATURE_FILE
    if not signature.exists() or (manifest.is_file() and manifest.read_bytes() == manifest_bytes):
        return ()
    signature.unlink()
    return (f"{RELEASE_FOLDER}/{SIGNATURE_FILE}",)


def remove_stale(study_folder: Path, manifest: Manifest) -> tuple[str, ...]:
    """Remove files under ``release/`` that ``manifest`` does not name; the manifest's signature stays.

    Cards with hand-written sections are not deleted: they move to ``.release_kit/removed/``, beside earlier ones.

    Returns:
        The paths, relative to the study, that are gone from ``release/``.
    """
    release = study_folder / RELEASE_FOLDER
    keep = {path for path, _ in manifest.iter_files()} | {MANIFEST_FILE, SIGNATURE_FILE}
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
    if path.suffix == ".md" and path.is_file() and HAND_WRITTEN_MARK in path.read_bytes():
        refuge.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, _free_name(refuge))
    else:
        path.unlink()


def _free_name(path: Path) -> Path:
    """Return ``path``, or ``README-2.md`` and so on where that is taken."""
    names = (path.with_stem(f"{path.stem}-{n}") for n in itertools.count(2))
    return path if not path.exists() else next(name for name in names if not name.exists())
