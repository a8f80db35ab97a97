"""The folder of an autoencoder in training: which one its state is of, and its removal.

A state fits every autoencoder of the same widths: without a name on it, one of other settings could go on from it.
"""

import contextlib
import os
from pathlib import Path

from release_kit.core.files import TEMPORARY_PREFIX, write_atomic
from release_kit.sae.train.one import remove_state

IDENTITY_FILE = "identity"
_DEPTH = 3
"""Folders above it that belong to size, step and layer."""


def claim_run(folder: Path, identity_digest: str) -> None:
    """Make the folder that of one autoencoder; a state of any other is removed.

    Raises:
        ReleaseKitError: the disk is full or the folder cannot be written.
    """
    path = folder / IDENTITY_FILE
    try:
        known = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        known = ""
    if known != identity_digest:
        remove_state(folder)
        write_atomic(path, identity_digest.encode("ascii"))


def forget_run(folder: Path) -> None:
    """Remove everything of an autoencoder that is finished, and folders that this leaves empty."""
    remove_state(folder)
    for left in (folder / IDENTITY_FILE, *folder.glob(f"{TEMPORARY_PREFIX}*")):
        left.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        for place in (folder, *list(folder.parents)[:_DEPTH]):
            os.rmdir(place)
