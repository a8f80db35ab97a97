"""Training of one run, or of several in one batch, from what the study declares to ``done.json``.

Owns a run's identity and folder, what is done when memory runs out, and the mark that a training is finished. The loop
belongs to ``train/``, cells to ``work.py``.
"""

import datetime
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import ArtifactError, ReleaseKitError
from release_kit.core.files import TEMPORARY_PREFIX, write_atomic
from release_kit.engine.pull import Watch
from release_kit.sft.engine import provenance
from release_kit.sft.engine.workshop import Workshop
from release_kit.sft.spec.identity import code_digest, run_id, run_identity
from release_kit.sft.spec.runs import RUNS_FOLDER, RunPlan
from release_kit.sft.spec.settings import TrainingSettings

SCHEMA_VERSION = 1
RUN_FILE, DONE_FILE = "run.json", "done.json"


class OutOfMemoryError(ReleaseKitError):
    """Even one row at a time does not fit into memory."""


class NotTogetherError(ReleaseKitError):
    """Runs that cannot share a batch, or not in this memory; each of them alone may be fine."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run with everything that decides its bytes."""

    plan: RunPlan
    """With the micro-batch and the type of numbers that are really used."""
    declared: TrainingSettings
    identity: Mapping[str, Any]
    folder: Path
    examples: list
    keep: Mapping[str, int]
    """Label of a checkpoint → step."""
    data: Mapping[str, str]
    """Dataset → sha256 of its file."""

    def with_identity(self, identity: Mapping[str, Any]) -> "Run":
        """Return the run under another identity, with the folder that belongs to it."""
        return replace(self, identity=identity, folder=self.folder.with_name(run_id(identity)))

    def with_micro_batch(self, micro_batch: int) -> "Run":
        """Return the run with other rows of a forward pass: another run to the last bit."""
        settings = replace(self.plan.settings, micro_batch=micro_batch)
        identity = {**self.identity, "settings": {**self.identity["settings"], "micro_batch": micro_batch}}
        return replace(self, plan=replace(self.plan, settings=settings)).with_identity(identity)

    def read_done(self) -> dict[str, Any] | None:
        """Return the facts of a finished training; None without, or when a checkpoint that is wanted is not there."""
        path = self.folder / DONE_FILE
        if not path.is_file():
            return None
        done = canonical.read_json(path)
        return (
            done if all(label in done["artifact"] and (self.folder / label).is_dir() for label in self.keep) else None
        )


class Trainer:
    """Trains runs one after the other, or several at once, with what the workshop keeps warm."""

    def __init__(self, shop: Workshop):
        self.shop, self.device = shop, shop.device

    def identify(self, plan: RunPlan, watch: Watch) -> Run:
        """Return a run with its data read, audited and tokenised; nothing is written.

        Raises:
            ReleaseKitError: the data or the base model are not what the study needs.
        """
        from release_kit.sft.data.examples import select_for
        from release_kit.sft.data.packing import kept_steps

        watch.report("prepare")
        study, declared = self.shop.study, plan.settings
        plan = replace(plan, settings=replace(declared, compute=self._compute(declared)))
        selected = select_for(study, plan)
        base = self.shop.identity(plan.base_model)
        examples = self.shop.examples(plan, selected, plan.settings)
        identity = run_identity(plan, base, selected.sha256, code_digest(), self.device.partition(":")[0])
        return Run(
            plan=plan,
            declared=declared,
            identity=identity,
            folder=study.folder / RUNS_FOLDER / run_id(identity),
            examples=examples,
            keep=kept_steps(plan.cells, len(examples), plan.settings),
            data=selected.by_component,
        )

    def _compute(self, settings: TrainingSettings) -> str:
        """Return the type that this machine computes in: ``auto`` in an identity would name two different runs."""
        import torch

        from release_kit.sft.train.warm import compute_for

        return compute_for(settings.compute, torch.device(self.device))

    def _warm(self, run: Run) -> Any:
        """Return the base that a run starts from, with as many threads as its identity says."""
        import torch

        warm = self.shop.warm(run.plan.base_model)
        torch.set_num_threads(run.plan.settings.threads)
        return warm

    def alone(self, run: Run, watch: Watch) -> tuple[Run, dict[str, Any]]:
        """Train one run unless that is done; when memory runs out, again with half the rows at a time.

        Returns:
            The run as it was trained in the end, and the facts of ``done.json``.

        Raises:
            ReleaseKitError: the run went wrong, or one row alone does not fit into memory.
        """
        run = _as_begun_before(run)
        while True:
            with watch.alone(run.folder.name):
                done, said = run.read_done(), ""
                if done is None:
                    said = self._train(run, watch)
                    done = run.read_done()
                if done is not None:
                    _finish(run)
                    return run, done
            run = self._halved(run, said, watch)

    def together(self, runs: Sequence[Run], watch: Watch) -> list[tuple[Run, dict[str, Any] | ReleaseKitError]]:
        """Train LoRA runs of one base in one batch, each to its own ``done.json``.

        Which runs share the batch decides the last bits of all of them, so it is part of each one's identity.

        Returns:
            Each run under its identity in the group, with its facts or why it stopped.

        Raises:
            NotTogetherError: these runs cannot share a batch; nothing of it is left.
            ReleaseKitError: the group cannot be trained.
        """
        runs = in_one_batch(runs)
        told: list[Any] = [run.read_done() for run in runs]
        if None in told:
            started = datetime.datetime.now(datetime.UTC)
            told = self._train_together(runs, watch)
            watch.check()
            for run, facts in zip(runs, told, strict=True):
                if not isinstance(facts, ReleaseKitError):
                    _write_done(run, facts, run.keep, started, n_together=len(runs))
        for run in runs:
            _finish(run)
        return [
            (run, facts if isinstance(facts, ReleaseKitError) else run.read_done())
            for run, facts in zip(runs, told, strict=True)
        ]

    def _train_together(self, runs: Sequence[Run], watch: Watch) -> list[Any]:
        from release_kit.sft.train.memory import is_out_of_memory, release
        from release_kit.sft.train.run import Job
        from release_kit.sft.train.together import train_together

        warm = self._warm(runs[0])
        n_steps = max(step for run in runs for step in run.keep.values())
        jobs = [
            Job(
                base=warm, examples=run.examples, settings=run.plan.settings, method=run.plan.method,
                seed=run.plan.seed, keep=dict(run.keep), folder=run.folder,
            )
            for run in runs
        ]  # fmt: skip
        for run in runs:
            _write_run(run)
        watch.report("train", 0, n_steps)
        try:
            return train_together(
                warm, jobs, folder=runs[0].folder, on_step=lambda step, losses: watch.report("train", step, n_steps)
            )
        except (ArtifactError, MemoryError, RuntimeError) as error:
            if not isinstance(error, ArtifactError) and not is_out_of_memory(error):
                raise
            said = " ".join(str(error).split())[:200]
        release(warm)
        for run in runs:
            if run.read_done() is None:
                shutil.rmtree(run.folder, ignore_errors=True)
        raise NotTogetherError(f"{len(runs)} runs cannot share a batch ({said})", where=runs[0].plan.describe())

    def _train(self, run: Run, watch: Watch) -> str:
        """Train and write ``done.json``; return what was said when memory ran out."""
        from release_kit.sft.train.memory import is_out_of_memory
        from release_kit.sft.train.run import train_run

        _write_run(run)
        started, plan, keep = datetime.datetime.now(datetime.UTC), run.plan, _kept_with_earlier(run)
        n_steps = max(keep.values())

        def on_step(step: int, loss: float) -> None:
            watch.report("train", step, n_steps, loss=loss)

        warm = self._warm(run)
        watch.report("train", 0, n_steps)
        try:
            facts = train_run(
                warm, run.examples, plan.settings, method=plan.method, seed=plan.seed, keep=keep,
                folder=run.folder, on_step=on_step,
            )  # fmt: skip
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return " ".join(str(error).split())[:200]
        watch.check()
        _write_done(run, facts, keep, started)
        return ""

    def _halved(self, run: Run, said: str, watch: Watch) -> Run:
        """Return the same run with half the rows of a forward pass, and take the folder of the larger one away."""
        from release_kit.sft.train.memory import release

        used = run.plan.settings.micro_batch
        if used == 1:
            what = f"one row of {run.plan.settings.max_length} tokens does not fit into memory ({said})"
            step = "lower max_length or set gradient_checkpointing: true in settings.training, or take a larger machine"
            raise OutOfMemoryError(what, where=run.plan.describe(), next_step=step)
        release(self.shop.warm(run.plan.base_model))
        watch.report("halve", micro_batch=used // 2)
        smaller = run.with_micro_batch(used // 2)
        _write_run(smaller)
        shutil.rmtree(run.folder, ignore_errors=True)
        return smaller


def in_one_batch(runs: Sequence[Run]) -> list[Run]:
    """Return the runs under the identities that they have when they share a batch in this order."""
    names = [run_id(run.identity) for run in runs]
    return [
        run.with_identity({**run.identity, "together": {"runs": names, "index": index}})
        for index, run in enumerate(runs)
    ]


def sweep(folder: Path) -> None:
    """Remove what writers that were killed left unfinished; call it where nobody writes any more."""
    for path in sorted(folder.rglob(f"{TEMPORARY_PREFIX}*"), reverse=True):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _write_run(run: Run) -> None:
    document = {"schema_version": SCHEMA_VERSION, "run_id": run.folder.name, "identity": run.identity}
    write_atomic(run.folder / RUN_FILE, canonical.document_bytes(document))


def _write_done(run: Run, facts: Any, keep: Mapping[str, int], started: datetime.datetime, n_together: int = 1) -> None:
    done = {
        **facts.to_dict(),
        "schema_version": SCHEMA_VERSION,
        "run_id": run.folder.name,
        "base_model": run.plan.base_model,
        "method": run.plan.method,
        "micro_batch": {"declared": run.declared.micro_batch, "used": run.plan.settings.micro_batch},
        "n_together": n_together,
        "started_at": started.isoformat(timespec="seconds"),
        "artifact": {label: provenance.artifact_digests(run.folder / label) for label in sorted(keep)},
    }
    write_atomic(run.folder / DONE_FILE, canonical.document_bytes(done))


def _finish(run: Run) -> None:
    """Take away what only an unfinished run needs."""
    from release_kit.sft.train.resume import remove_state

    remove_state(run.folder)
    sweep(run.folder)


def _as_begun_before(run: Run) -> Run:
    """Return the run with the fewest rows at a time that an earlier worker had come down to."""
    begun = [run.with_micro_batch(size) for size in _halves(run.plan.settings.micro_batch // 2)]
    return next((smaller for smaller in reversed(begun) if (smaller.folder / RUN_FILE).is_file()), run)


def _halves(size: int) -> Iterator[int]:
    while size >= 1:
        yield size
        size //= 2


def _kept_with_earlier(run: Run) -> dict[str, int]:
    """Return the checkpoints to keep, with those that another unit of the same run has already.

    Two units share a run when their levels choose the same examples (all of them, and as many as there are). The mark
    of the other one stays until there is a new one: a training that is killed must know again what to make again.
    """
    path = run.folder / DONE_FILE
    earlier = canonical.read_json(path)["kept"] if path.is_file() else {}
    return {**earlier, **run.keep}
