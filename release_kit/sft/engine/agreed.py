"""What all commands on one study must agree on, kept beside its ledger from the first run on.

How many runs share a batch decides which units there are: a worker that cut the grid otherwise would do the same cells
a second time, as other runs.
"""

import os
import secrets
from pathlib import Path

from release_kit.core import canonical
from release_kit.core.errors import UsageError
from release_kit.core.files import TEMPORARY_PREFIX
from release_kit.core.records import Fields
from release_kit.engine.ledger import ledger_folder

AGREED_FILE = "agreed.json"


def agree_together(study_folder: Path, wanted: int | None, *, write: bool = False) -> int:
    """Return how many LoRA runs of a study share a batch.

    Args:
        study_folder: of the study.
        wanted: what a command was told; None takes what was agreed, or 1.
        write: make it the agreement when there is none; of two commands at once the first wins.

    Raises:
        UsageError: something else was agreed.
    """
    path = ledger_folder(study_folder) / AGREED_FILE
    if write and not path.is_file():
        _write_once(path, canonical.document_bytes({"together": wanted or 1}))
    agreed = _read(path)
    if agreed is None:
        return wanted or 1
    if wanted is not None and wanted != agreed:
        step = f"leave --together out, or remove {path} when no worker runs and other runs may be made"
        raise UsageError(f"is {wanted}, but this study was begun with {agreed}", where="--together", next_step=step)
    return agreed


def _read(path: Path) -> int | None:
    if not path.is_file():
        return None
    fields = Fields(canonical.read_json(path), str(path))
    agreed = fields.take("together", int)
    fields.done()
    return agreed


def _write_once(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
    temporary.write_bytes(data)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError:
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
