"""Training one autoencoder from a stream of batches, interrupted anywhere and continued to the same bytes.

Owns the state on disk (parameters, moments, counts, what was logged) and the log. A step is ``step/``'s; which batches
come, and what happens to a finished autoencoder, is the grid's.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from release_kit.core.errors import ArtifactError
from release_kit.core.files import write_atomic
from release_kit.core.safetensors import read_header
from release_kit.sae.config import SaeConfig
from release_kit.sae.dictionary import Sae
from release_kit.sae.errors import SaeError
from release_kit.sae.step.settings import StepReport, StepSettings
from release_kit.sae.step.state import TrainState
from release_kit.sae.step.train import train_step

if TYPE_CHECKING:
    import torch

STATE_FILE = "state.safetensors"
LOGGED = tuple(one.name for one in fields(StepReport))
"""Columns of the log, beside the step."""
_LOG, _LOGGED_STEPS = "log", "logged_steps"

Batches = Callable[[int], "Iterator[torch.Tensor]"]
"""Number of the first batch → the batches from there on, (n_tokens, d_in) each, without end."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long, and how often something is written down."""

    n_steps: int
    checkpoint_every: int = 200
    log_every: int = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A finished autoencoder.

    Attributes:
        sae: its tensors.
        logged_steps: (n,) int64 steps that were logged, counted from 1; the last one always is.
        log: (n, len(LOGGED)) float64.
    """

    sae: Sae
    logged_steps: "np.ndarray"
    log: "np.ndarray"


def train_one(
    config: SaeConfig,
    batches: Batches,
    settings: StepSettings,
    schedule: Schedule,
    folder: Path,
    *,
    seed: int,
    warm: Sae | None = None,
    device: str = "cpu",
    report: Callable[[int, int, StepReport], None] = lambda step, n_steps, found: None,
) -> Trained:
    """Train an autoencoder, from where an earlier attempt stopped.

    Args:
        config: what it is.
        batches: from the number of the first batch on; the same ones every time.
        settings: of a step.
        schedule: how many steps, how often a state is written.
        folder: where the state lies; nothing else is written there.
        seed: of the first tensors.
        warm: the autoencoder to begin with, instead of random tensors.
        device: of torch.
        report: called after every step; what it raises ends the training, which can be continued.

    Raises:
        SaeError: the stream ended, the state on disk is of another autoencoder, or ``warm`` is.
        ActivationError: activations that are no numbers; the last state stays.
    """
    path = folder / STATE_FILE
    stored = _read(path)
    stream = batches(int(stored["n_steps"]) if stored else 0)
    first = _next(stream, folder)
    state = _begin(config, seed, first, warm, device)
    steps: list[int] = []
    log: list[list[float]] = []
    if stored:
        _restore(state, stored, steps, log, path)
    batch = first
    while state.n_steps < schedule.n_steps:
        found = train_step(state, batch.to(device), settings)
        done = state.n_steps
        if done % schedule.log_every == 0 or done in (1, schedule.n_steps):
            steps.append(done)
            log.append([float(getattr(found, name)) for name in LOGGED])
        if done % schedule.checkpoint_every == 0 and done < schedule.n_steps:
            _write(path, state, steps, log)
        report(done, schedule.n_steps, found)
        if done < schedule.n_steps:
            batch = _next(stream, folder)
    _write(path, state, steps, log)
    return Trained(
        sae=state.sae.to("cpu"),
        logged_steps=np.array(steps, np.int64),
        log=np.array(log, np.float64).reshape(-1, len(LOGGED)),
    )


def remove_state(folder: Path) -> None:
    """Remove the state of an autoencoder that is kept elsewhere now."""
    (folder / STATE_FILE).unlink(missing_ok=True)


def _begin(config: SaeConfig, seed: int, sample: "torch.Tensor", warm: Sae | None, device: str) -> TrainState:
    if warm is None:
        return TrainState.start(config, seed, sample, device)
    if warm.config != config:
        raise SaeError("is none to begin with: it has other settings", where="warm start")
    return TrainState.continued(warm.to(device), seed)


def _next(stream: "Iterator[torch.Tensor]", folder: Path) -> "torch.Tensor":
    try:
        return next(stream)
    except StopIteration:
        raise SaeError("there are no more activations", where=str(folder)) from None


def _read(path: Path) -> "dict[str, torch.Tensor] | None":
    """Return the state on disk; one that is damaged is not used."""
    from safetensors.torch import load_file

    try:
        read_header(path)
        return load_file(path)
    except (OSError, ArtifactError):
        return None


def _restore(
    state: TrainState, stored: "dict[str, torch.Tensor]", steps: list[int], log: list[list[float]], path: Path
) -> None:
    stored = dict(stored)
    logged, values = stored.pop(_LOGGED_STEPS), stored.pop(_LOG)
    try:
        state.restore(stored)
    except SaeError as error:
        raise SaeError(error.what, where=str(path), next_step="remove this file to start again") from error
    steps.extend(logged.tolist())
    log.extend(values.tolist())


def _write(path: Path, state: TrainState, steps: list[int], log: list[list[float]]) -> None:
    import torch
    from safetensors.torch import save

    tensors = {name: value.detach().cpu().contiguous() for name, value in state.tensors().items()}
    tensors[_LOGGED_STEPS] = torch.tensor(steps, dtype=torch.int64)
    tensors[_LOG] = torch.tensor(log, dtype=torch.float64).view(-1, len(LOGGED))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, save(tensors))
