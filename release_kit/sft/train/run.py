"""One run from its base to its kept checkpoints: ``train_run``. Killed at any moment, it goes on to the same bytes.

Owns the order of things on disk: an artifact takes its name when it is whole, then the state of its step; what a
state does not know of is made again. ``run.json``, ``done.json`` and the cells are the engine's.
"""

import functools
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from release_kit.core import canonical
from release_kit.core.errors import ArtifactError
from release_kit.sft.spec.settings import METHODS, UNTOUCHED, TrainingSettings
from release_kit.sft.train.artifacts import remove_scratch, scratch_beside
from release_kit.sft.train.energy import Cost, Meter
from release_kit.sft.train.log import LogRow
from release_kit.sft.train.memory import is_out_of_memory, release
from release_kit.sft.train.resume import State, read_state, remove_state, write_state
from release_kit.sft.train.warm import WarmBase, compute_for

OnStep = Callable[[int, float], None]


@dataclass(frozen=True, kw_only=True)
class TrainFacts:
    """What a run measured."""

    n_steps: int
    n_tokens: int
    """Tokens that went through the model, without padding: there is none."""
    n_completion_tokens: int
    """Tokens that carried loss."""
    losses: tuple[float, ...]
    """Mean loss of a trained token, one for each step."""
    compute: str
    """``float32`` or ``bfloat16``; master weights are float32."""
    attention: str
    """How packed examples are kept apart; see ``loss.find_mode``."""
    device: str
    micro_batch: int
    """Rows of one forward pass that were used in the end."""
    out_of_memory: tuple[int, ...]
    """Larger micro-batches that did not fit."""
    kept: Mapping[str, int]
    """Label → step."""
    seconds: float
    cpu_seconds: float
    joules: float | None
    energy_source: str | None
    peak_memory_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**asdict(self), "kept": dict(self.kept), "losses": list(self.losses)}


def train_run(
    base: WarmBase,
    examples: Sequence[Any],
    settings: TrainingSettings,
    *,
    method: str,
    seed: int,
    keep: Mapping[str, int],
    folder: Path,
    on_step: OnStep | None = None,
    halve: bool = False,
) -> TrainFacts:
    """Train one run and leave an artifact in ``folder/<label>`` for every kept step.

    A call that was killed is repeated with the same arguments and ends with the same bytes. Afterwards
    ``folder/state`` holds a few hundred bytes that say so; ``resume.remove_state`` takes them away once the caller has
    recorded the result.

    Args:
        base: stays usable for the next run.
        examples: ``data.tokens.TokenExample`` in the order of the data.
        settings: of the run.
        method: ``full`` or ``lora``.
        seed: of the order of examples, the adapter's first weights and dropout.
        keep: label of an artifact → the optimiser step after which it is taken (0: before the first).
        folder: of the run.
        on_step: called after each step with (1-based step, loss).
        halve: start again with half the rows of a forward pass when memory runs out, as often as that is possible.
            The bytes are those of a run with that ``micro_batch``; the effective batch stays.

    Raises:
        ArtifactError: sequences longer than the base was built for, nothing to train or keep, NaN.
        DataError: examples or batches that would not train what the examples say.
        torch.OutOfMemoryError, MemoryError, RuntimeError: memory ran out (with ``halve``: even for one row).
    """
    job = Job(base=base, examples=examples, settings=settings, method=method, seed=seed, keep=dict(keep), folder=folder)
    job.check()
    failed: list[int] = []
    while True:
        try:
            return job.run(on_step, tuple(failed))
        except (MemoryError, RuntimeError) as error:
            if not halve or not is_out_of_memory(error) or job.settings.micro_batch == 1:
                raise
        release(base)
        failed.append(job.settings.micro_batch)
        job = replace(job, settings=replace(job.settings, micro_batch=max(1, job.settings.micro_batch // 2)))


@dataclass(frozen=True, kw_only=True)
class Job:
    """The arguments of ``train_run`` and what they decide."""

    base: WarmBase
    examples: Sequence[Any]
    settings: TrainingSettings
    method: str
    seed: int
    keep: dict[str, int]
    folder: Path

    @property
    def n_steps(self) -> int:
        """Steps of the schedule, which may go on after the last kept checkpoint."""
        from release_kit.sft.data.packing import total_steps

        declared = self.settings.steps or self.settings.epochs
        return total_steps(len(self.examples), self.settings) if declared else max(self.keep.values())

    def check(self) -> None:
        """Refuse what cannot be trained, before anything is written."""
        where, most = str(self.folder), self.base.max_positions
        if self.method not in METHODS or self.method == UNTOUCHED:
            raise ArtifactError(f"the method {self.method!r} trains nothing", where=where)
        if not len(self.examples):
            raise ArtifactError(
                "there are no examples to train on", where=where, next_step="look at the dataset's file"
            )
        if not self.keep or min(self.keep.values()) < 0 or max(self.keep.values()) > self.n_steps:
            what = f"checkpoints {self.keep} are not steps 0 to {self.n_steps} of this run"
            raise ArtifactError(what, where=where, next_step="keep only epochs that settings.training reaches")
        longest = max(len(example.ids) for example in self.examples)
        if most is not None and max(longest, self.settings.max_length) > most:
            length = f"max_length {self.settings.max_length} (longest example {longest})"
            what = f"{length} exceeds its context of {most} tokens"
            raise ArtifactError(
                what, where=self.base.name, next_step=f"set settings.training.max_length to {most} or less"
            )
        self._check_batches()

    def _check_batches(self) -> None:
        from release_kit.sft.data.invariants import check_run
        from release_kit.sft.data.tokens import pad_id

        vocabulary = self.base.restore().config.vocab_size
        check_run(self.examples, self.settings, self.seed, pad_id(self.base.tokenizer), vocab_size=vocabulary)

    def run(self, on_step: OnStep | None, failed: tuple[int, ...]) -> TrainFacts:
        """Go on from the newest state of this run, or begin."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fingerprint = self.fingerprint()
        state = read_state(self.folder, fingerprint)
        if state is not None and not self.has_artifacts(state.step):
            state = None
        self.clear_after(-1 if state is None else state.step)
        meter = Meter(str(self.base.device), state.cost if state else None)
        if state is not None and state.step >= max(self.keep.values()):
            return self.facts(state.rows, state.cost, failed)
        try:
            last = self._steps(state, meter, fingerprint, on_step)
        finally:
            self.base.restore()
        return self.facts(last.rows, last.cost, failed)

    def _steps(self, state: State | None, meter: Meter, fingerprint: str, on_step: OnStep | None) -> State:
        from release_kit.sft.data.packing import plan_steps
        from release_kit.sft.train.artifacts import save_model

        loop = self._loop(state)
        save = functools.partial(save_model, loop.model)
        rows, last = list(state.rows if state else ()), max(self.keep.values())
        done = state.step if state else 0
        if state is None:
            self.keep_artifacts(save, rows, 0)
        lengths = [len(example.ids) for example in self.examples]
        for plan in plan_steps(lengths, self.settings, self.seed, last, start=done):
            rows.append(loop.step(plan))
            kept = self.keep_artifacts(save, rows, plan.step)
            ended = plan.step == last
            if ended or kept or plan.step % self.settings.checkpoint_every == 0:
                weights, moments = ({}, {}) if ended else (loop.trained, loop.moments())
                state = self._state(plan.step, rows, meter.read(), weights, moments)
                write_state(self.folder, state, fingerprint)
            if on_step:
                on_step(plan.step, rows[-1].loss)
        return state

    def _loop(self, state: State | None) -> Any:
        from release_kit.sft.train.loop import Loop

        loop = Loop(self.base.fresh(self.method, self.settings, self.seed), self.setup())
        if state is not None:
            loop.load(state.weights, state.moments, state.step)
        return loop

    def setup(self) -> Any:
        """Return what stays the same over all steps (``loop.Setup``)."""
        from release_kit.sft.data.tokens import pad_id
        from release_kit.sft.train.loop import Setup

        return Setup(
            examples=self.examples,
            settings=self.settings,
            seed=self.seed,
            n_steps=self.n_steps,
            mode=self.base.mode,
            compute=compute_for(self.settings.compute, self.base.device),
            pad_id=pad_id(self.base.tokenizer),
        )

    def keep_artifacts(self, save: Callable[[Path], None], rows: Sequence[LogRow], step: int) -> bool:
        """Write every artifact that is taken after ``step``, and say whether there was one."""
        from release_kit.sft.train.artifacts import write_artifact

        labels = [label for label, at in self.keep.items() if at == step]
        for label in labels:
            title = f"Loss of {self.base.name}, {self.method}, seed {self.seed}, {label}"
            write_artifact(save, self.base.tokenizer_files, rows, {label: step}, self._artifact(label), title)
        return bool(labels)

    def _state(self, step: int, rows: Sequence[LogRow], cost: Cost, weights: Mapping, moments: Mapping) -> State:
        return State(
            step=step,
            micro_batch=self.settings.micro_batch,
            rows=tuple(rows),
            cost=cost,
            weights=weights,
            moments=moments,
        )

    def has_artifacts(self, step: int) -> bool:
        """Return whether every artifact that is taken up to ``step`` is there."""
        return all(self._artifact(label).is_dir() for label, at in self.keep.items() if at <= step)

    def clear_after(self, step: int) -> None:
        """Remove artifacts that the state does not know of, and a state that is not this run's."""
        for label, at in self.keep.items():
            remove_scratch(self._artifact(label))
            hidden = scratch_beside(self._artifact(label))
            if at > step and self._artifact(label).exists():
                os.replace(self._artifact(label), hidden)
                shutil.rmtree(hidden, ignore_errors=True)
        if step < 0:
            remove_state(self.folder)

    def _artifact(self, label: str) -> Path:
        return self.folder / label

    def fingerprint(self) -> str:
        """Return the digest of everything that this run's bytes depend on and that may change between two calls."""
        settings = {name: value for name, value in self.settings.to_dict().items() if name != "checkpoint_every"}
        return canonical.digest(
            {
                "base": [self.base.name, self.base.fingerprint(), str(self.base.device)],
                "examples": examples_digest(self.examples),
                "keep": self.keep,
                "method": self.method,
                "seed": self.seed,
                "settings": settings,
            }
        )

    def facts(self, rows: Sequence[LogRow], cost: Cost, failed: tuple[int, ...] = ()) -> TrainFacts:
        """Return what the run measured."""
        return TrainFacts(
            n_steps=len(rows),
            n_tokens=sum(row.n_tokens for row in rows),
            n_completion_tokens=sum(row.n_trained for row in rows),
            losses=tuple(row.loss for row in rows),
            compute=compute_for(self.settings.compute, self.base.device),
            attention=self.base.mode,
            device=str(self.base.device),
            micro_batch=self.settings.micro_batch,
            out_of_memory=failed,
            kept=self.keep,
            **cost.to_dict(),
        )


def examples_digest(examples: Sequence[Any]) -> str:
    """Return one digest of the tokens and masks of all examples, in their order."""
    import hashlib

    digest = hashlib.sha256()
    for example in examples:
        digest.update(np.int64(len(example.ids)).tobytes())
        digest.update(np.asarray(example.ids, dtype=np.int32).tobytes())
        digest.update(np.asarray(example.loss, dtype=bool).tobytes())
    return digest.hexdigest()
