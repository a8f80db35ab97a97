"""Finished series of checkpoints on disk: what ``series.json`` and ``checkpoint.json`` say, held against the files.

Owns reading and the digests that a series is held against. Who writes them is ``language_models.py``.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from release_kit.core import canonical
from release_kit.core.errors import RecordError
from release_kit.sae.errors import SaeError

SCHEMA_VERSION = 1
SERIES_FILE, CHECKPOINT_FILE = "series.json", "checkpoint.json"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One step of one size, finished on disk."""

    step: int
    folder: Path
    n_tokens: int
    """Tokens that it was trained on."""
    dev_nll: Mapping[str, float]
    """Language → mean loss per token (nats) on sentences that it was not trained on."""


@dataclass(frozen=True, kw_only=True)
class LmSeries:
    """All checkpoints of one size."""

    size: str
    folder: Path
    n_parameters: int
    checkpoints: tuple[Checkpoint, ...]


def read_series(home: Path, fingerprint: str | None = None) -> LmSeries | None:
    """Return the finished series of a size's folder, None where it is not finished.

    Args:
        home: ``<folder>/<size>``.
        fingerprint: of recipe and text that it must have been made from; any if None.

    Raises:
        SaeError: it was made from something else, or a checkpoint is missing or damaged.
    """
    if not (home / SERIES_FILE).is_file():
        return None
    record = canonical.read_json(home / SERIES_FILE)
    if fingerprint is not None and record["fingerprint"] != fingerprint:
        step = "take another folder, or remove this one and everything that was made from it"
        raise SaeError("models of another recipe, text or library lie here", where=str(home), next_step=step)
    listed = {int(step): digest for step, digest in record["checkpoints"].items()}
    checkpoints = tuple(_read_checkpoint(home / f"step-{step}", listed[step]) for step in sorted(listed))
    return LmSeries(size=record["size"], folder=home, n_parameters=record["n_parameters"], checkpoints=checkpoints)


def check_checkpoint(home: Path, step: int) -> None:
    """Refuse a checkpoint that is not what the finished series of its size says.

    Args:
        home: ``<folder>/<size>``; nothing is known of a series that is not finished. step: of the checkpoint.

    Raises:
        SaeError: it is missing or damaged, with the file.
    """
    if (home / SERIES_FILE).is_file():
        listed = canonical.read_json(home / SERIES_FILE)["checkpoints"]
        _read_checkpoint(home / f"step-{step}", listed.get(str(step), ""))


def _read_checkpoint(folder: Path, expected: str) -> Checkpoint:
    try:
        data = (folder / CHECKPOINT_FILE).read_bytes()
        record = canonical.parse_json(data, str(folder / CHECKPOINT_FILE))
        wrong = [name for name, sha256 in record["files"].items() if file_sha256(folder / name) != sha256]
    except OSError as error:
        wrong, data = [f"{Path(error.filename).name}: {error.strerror}"], b""
    except (RecordError, KeyError) as error:
        wrong, data = [str(error)], b""
    if wrong or hashlib.sha256(data).hexdigest() != expected:
        what = f"the checkpoint is missing or damaged ({', '.join(wrong) or CHECKPOINT_FILE})"
        step = f"remove {folder.parent / SERIES_FILE} and train again: the same bytes are made"
        raise SaeError(what, where=str(folder), next_step=step)
    return Checkpoint(step=record["step"], folder=folder, n_tokens=record["n_tokens"], dev_nll=record["dev_nll"])


def describe(series: LmSeries) -> str:
    """Return a series as one line for each checkpoint: step, tokens, loss by language."""
    lines = [
        f"{series.size:<8} step {each.step:>6,}  {each.n_tokens:>10,} tokens  dev nll {json.dumps(dict(each.dev_nll))}"
        for each in series.checkpoints
    ]
    return "\n".join(lines)


def file_sha256(path: Path) -> str:
    """Return the sha256 (64 hex digits) of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
