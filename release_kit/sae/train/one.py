"""Training one autoencoder from a stream of batches, interrupted anywhere and continued to the same bytes.

Owns the state on disk (parameters, moments, counts, what was logged) and the log. A step is ``step/``'s; which batches
come, and what happens to a finished autoencoder, is the grid's.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
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
_LOG, _LOGGED_STEPS, _DIGEST = "log", "logged_steps", "sha256"

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


class Training:
    """One autoencoder in training: from the state on disk, or from the start, one batch after the other.

    Args:
        config: what it is.
        settings: of a step.
        schedule: how many steps, how often a state is written.
        folder: where the state lies; nothing else is written there.
        seed: of the first tensors.
        warm: the autoencoder to begin with, instead of random tensors.
        device: of torch.

    Raises:
        SaeError: the state on disk is of another autoencoder, or ``warm`` is.
    """

    def __init__(
        self, config: SaeConfig, settings: StepSettings, schedule: Schedule, folder: Path, *, seed: int,
        warm: Sae | None = None, device: str = "cpu",
    ):  # fmt: skip
        self.config, self.settings, self.schedule, self.folder = config, settings, schedule, folder
        self._seed, self._warm, self._device = seed, warm, device
        self._path = folder / STATE_FILE
        self._steps: list[int] = []
        self._log: list[list[float]] = []
        self._state: TrainState | None = None
        if stored := _read(self._path):
            self._state = _begin(config, seed, None, warm, device)
            _restore(self._state, stored, self._steps, self._log, self._path)

    @property
    def n_steps(self) -> int:
        """Steps that are done, and so the number of the batch that comes next."""
        return self._state.n_steps if self._state else 0

    @property
    def is_done(self) -> bool:
        """Whether every step is done."""
        return self.n_steps >= self.schedule.n_steps

    def take(self, batch: "torch.Tensor") -> StepReport:
        """Take one step; the state is written down where the schedule says so, and at the end.

        Raises:
            ActivationError: activations that are no numbers; the last state stays.
        """
        if self._state is None:
            self._state = _begin(self.config, self._seed, batch, self._warm, self._device)
        state, schedule = self._state, self.schedule
        found = train_step(state, batch.to(self._device), self.settings)
        done = state.n_steps
        if done % schedule.log_every == 0 or done in (1, schedule.n_steps):
            self._steps.append(done)
            self._log.append([float(getattr(found, name)) for name in LOGGED])
        if done % schedule.checkpoint_every == 0 or done == schedule.n_steps:
            _write(self._path, state, self._steps, self._log)
        return found

    def trained(self) -> Trained:
        """Return the autoencoder as it is now."""
        assert self._state is not None
        log = np.array(self._log, np.float64).reshape(-1, len(LOGGED))
        return Trained(sae=self._state.sae.to("cpu"), logged_steps=np.array(self._steps, np.int64), log=log)


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
    """Train an autoencoder, from where an earlier attempt stopped; arguments as ``Training``.

    Args:
        config, settings, schedule, folder, seed, warm, device: see ``Training``.
        batches: from the number of the first batch on; the same ones every time.
        report: called after every step; what it raises ends the training, which can be continued.

    Raises:
        SaeError: the stream ended, the state on disk is of another autoencoder, or ``warm`` is.
        ActivationError: activations that are no numbers; the last state stays.
    """
    training = Training(config, settings, schedule, folder, seed=seed, warm=warm, device=device)
    stream = batches(training.n_steps) if not training.is_done else iter(())
    while not training.is_done:
        found = training.take(_next(stream, folder))
        report(training.n_steps, schedule.n_steps, found)
    return training.trained()


def remove_state(folder: Path) -> None:
    """Remove the state of an autoencoder that is kept elsewhere now."""
    (folder / STATE_FILE).unlink(missing_ok=True)


def _begin(config: SaeConfig, seed: int, sample: "torch.Tensor | None", warm: Sae | None, device: str) -> TrainState:
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
    """Return the state on disk; one with a damaged byte is not used."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        said = read_header(path).metadata.get(_DIGEST)
        tensors = load_file(path)
    except (OSError, ArtifactError, SafetensorError):
        return None
    return tensors if said == _digest(tensors) else None


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
    write_atomic(path, save(tensors, {_DIGEST: _digest(tensors)}))


def _digest(tensors: "Mapping[str, torch.Tensor]") -> str:
    """Return the sha256 of names and values, in the order of names."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode())
        total.update(tensors[name].numpy().data)
    return total.hexdigest()
