"""A finished autoencoder on disk: SAELens' files, the log of its training, and ``sae.json`` last.

Nothing in these files depends on when or how often training was interrupted, or on where the study lies.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.files import TEMPORARY_PREFIX, write_atomic
from release_kit.sae.config import SaeConfig
from release_kit.sae.formats.saelens import write_saelens
from release_kit.sae.pipeline.paths import SAE_FILE, TRAINING_FILE
from release_kit.sae.pipeline.read import SCHEMA_VERSION
from release_kit.sae.train.one import LOGGED, Trained


def write_finished(
    folder: Path,
    trained: Trained,
    *,
    config: SaeConfig,
    identity: Mapping[str, Any],
    metadata: Mapping[str, Any],
    tokens_seen: int,
    versions: Mapping[str, str],
) -> None:
    """Write everything of a finished autoencoder; it counts as there from the last file on.

    Args:
        folder: of the autoencoder; what is not finished there is replaced.
        trained: tensors and log.
        config: what it is, with the factor of its inputs.
        identity: what decided its bytes; ``warm_from`` among it.
        metadata: for SAELens: model, hook, context size, data.
        tokens_seen: activations that it was trained on.
        versions: of what calculated.

    Raises:
        ReleaseKitError: the disk is full or the folder cannot be written.
    """
    (folder / SAE_FILE).unlink(missing_ok=True)
    for left in folder.glob(f"{TEMPORARY_PREFIX}*"):
        left.unlink(missing_ok=True)
    write_saelens(trained.sae, folder, metadata)
    write_atomic(folder / TRAINING_FILE, canonical.document_bytes(_log(trained)))
    record = {
        "schema_version": SCHEMA_VERSION,
        "identity": dict(identity),
        "identity_digest": canonical.digest(dict(identity)),
        "config": config.to_json(),
        "files": {path.name: _digested(path) for path in sorted(folder.iterdir()) if path.is_file()},
        "tokens_seen": tokens_seen,
        "warm_from": identity["warm_from"],
        "versions": dict(versions),
    }
    write_atomic(folder / SAE_FILE, canonical.document_bytes(record))


def _log(trained: Trained) -> dict[str, Any]:
    rows = [[float(value) for value in row] for row in trained.log]
    final = dict(zip(LOGGED, rows[-1], strict=True))
    return {"logged_steps": trained.logged_steps.tolist(), "columns": list(LOGGED), "log": rows, "final": final}


def _digested(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
