"""Exact resume: what a run needs to go on as if it had never stopped, in ``state/`` of its folder.

One folder per checkpoint (``state/step-00000050``), named when it is whole; safetensors and JSON, nothing pickled.
No generator is saved: whatever is random in a step is drawn from (seed, step).
"""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import TEMPORARY_PREFIX, write_error
from release_kit.sft.train.artifacts import move_whole, scratch_beside
from release_kit.sft.train.energy import Cost
from release_kit.sft.train.log import LogRow

SCHEMA_VERSION = 1
STATE = "state"
_NAME = re.compile(r"step-(\d{8})")
_TENSORS, _DOCUMENT = "state.safetensors", "state.json"


@dataclass(frozen=True, kw_only=True)
class State:
    """A run between two steps."""

    step: int
    """Optimiser steps done."""
    micro_batch: int
    """Rows of one forward pass; smaller than the settings say after memory ran out."""
    rows: tuple[LogRow, ...]
    cost: Cost
    weights: Mapping[str, Any]
    """Trained parameters by name, float32."""
    moments: Mapping[str, tuple[Any, Any]]
    """AdamW's first and second moment by the name of the parameter."""
    failures: Mapping[str, Any] = field(default_factory=dict)
    """Runs of a group that stopped, and why; see ``together.py``."""


def write_state(folder: Path, state: State, fingerprint: str) -> None:
    """Make ``state`` the one that the next call resumes from; older ones are removed afterwards.

    Args:
        folder: of the run.
        state: between two steps.
        fingerprint: of the run; a state of another run is never resumed from.

    Raises:
        ReleaseKitError: the disk is full or the folder cannot be written; the older state is still whole.
    """
    from safetensors.torch import save_file

    target = folder / STATE / f"step-{state.step:08d}"
    scratch = scratch_beside(target)
    document = {
        "schema_version": SCHEMA_VERSION,
        "fingerprint": fingerprint,
        "step": state.step,
        "micro_batch": state.micro_batch,
        "rows": [row.to_dict() for row in state.rows],
        "cost": state.cost.to_dict(),
        "failures": dict(state.failures),
    }
    tensors = {f"weight.{name}": value for name, value in state.weights.items()}
    for name, (first, second) in state.moments.items():
        tensors |= {f"first.{name}": first, f"second.{name}": second}
    try:
        scratch.mkdir(parents=True)
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, scratch / _TENSORS)
        (scratch / _DOCUMENT).write_bytes(canonical.canonical_bytes(document))
        shutil.rmtree(target, ignore_errors=True)
        move_whole(scratch, target)
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        raise write_error(target, error) from error
    for path in _checkpoints(folder):
        if path != target:
            shutil.rmtree(path, ignore_errors=True)


def read_state(folder: Path, fingerprint: str) -> State | None:
    """Return the newest whole state of this run, or None: no state, one of another run, or one that cannot be read."""
    from safetensors.torch import load_file

    for path in reversed(_checkpoints(folder)):
        try:
            document = canonical.read_json(path / _DOCUMENT)
            if (document.get("schema_version"), document.get("fingerprint")) != (SCHEMA_VERSION, fingerprint):
                continue
            tensors = load_file(path / _TENSORS)
            return _state(document, tensors)
        except (ReleaseKitError, OSError, KeyError, TypeError, ValueError):
            continue  # training starts again from an older state or from the base: slower, but the same bytes
        except Exception as error:
            if type(error).__name__ != "SafetensorError":
                raise
    return None


def remove_state(folder: Path) -> None:
    """Remove what a finished run no longer needs: in one step out of sight, then file by file."""
    hidden = folder / f"{TEMPORARY_PREFIX}{STATE}"
    shutil.rmtree(hidden, ignore_errors=True)
    if (folder / STATE).is_dir():
        os.replace(folder / STATE, hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def _state(document: Mapping[str, Any], tensors: Mapping[str, Any]) -> State:
    def part(kind: str) -> dict[str, Any]:
        return {name.removeprefix(kind): value for name, value in tensors.items() if name.startswith(kind)}

    weights, first, second = part("weight."), part("first."), part("second.")
    return State(
        step=document["step"],
        micro_batch=document["micro_batch"],
        rows=tuple(LogRow(**row) for row in document["rows"]),
        cost=Cost(**document["cost"]),
        failures=document["failures"],
        weights=weights,
        moments={name: (first[name], second[name]) for name in first},
    )


def _checkpoints(folder: Path) -> Sequence[Path]:
    """Return the whole states of a run, oldest first."""
    state = folder / STATE
    if not state.is_dir():
        return []
    return sorted(path for path in state.iterdir() if _NAME.fullmatch(path.name))
