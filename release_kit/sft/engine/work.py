"""The work on one unit, from the declared run to its ``cell.json`` files.

Owns the order: data and base are identified, ``run.json``, training, ``done.json``, evaluation of every kept
checkpoint, ``cell.json`` last. Each step is skipped when its own marker is on disk, so that whatever was killed goes on
where it was. What the steps do belongs to ``data/``, ``train/`` and ``evaluate/``.
"""

import datetime
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.cell import CELL_FILE, Cell, cell_folder, write_cell
from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import write_atomic
from release_kit.core.grid import cell_config
from release_kit.core.study import Study, read_study
from release_kit.sft.engine import provenance
from release_kit.sft.engine.processes import WorkerOptions
from release_kit.sft.engine.pull import Perform, Watch
from release_kit.sft.engine.units import Unit
from release_kit.sft.engine.workshop import Workshop
from release_kit.sft.spec.identity import code_digest, run_id, run_identity
from release_kit.sft.spec.runs import RUNS_FOLDER, RunCell, RunPlan, base_folder, role_level
from release_kit.sft.spec.settings import LORA, EvaluationSettings, TrainingSettings, evaluation_settings

RUN_FILE, DONE_FILE = "run.json", "done.json"
EVAL_FOLDER = "eval"


class OutOfMemoryError(ReleaseKitError):
    """Even one row at a time does not fit into memory."""


def make_perform(options: WorkerOptions) -> Perform:
    """Return the function that does one unit of a study, with everything that stays warm between units."""
    return Worker(read_study(options.study_folder), options.device).perform


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One run with everything that decides its bytes."""

    plan: RunPlan
    """With the micro-batch that is really used."""
    declared: TrainingSettings
    folder: Path
    examples: list
    keep: Mapping[str, int]
    data: Mapping[str, str]


class Worker:
    """Does units one after the other."""

    def __init__(self, study: Study, device: str = "cpu"):
        self.study, self.device = study, device
        self.shop = Workshop(study, device)
        self.evaluation: EvaluationSettings = evaluation_settings(study)

    def perform(self, unit: Unit, watch: Watch) -> Mapping[str, Any]:
        """Bring every cell of the unit to completion.

        Raises:
            ReleaseKitError: bad input, a run that went wrong, a disk that is full; nothing of it looks finished.
        """
        start = time.monotonic()
        if unit.plan is None:
            cell = unit.cells[0]
            base = str(role_level(self.study, cell.levels, "base_model"))
            self._evaluated(cell, base, None, {}, watch)
            return {"seconds": _seconds(start)}
        run, facts = self._trained(unit.plan, watch)
        for cell in run.plan.cells:
            self._evaluated(cell, run.plan.base_model, run, facts, watch)
        return {"seconds": _seconds(start), "run_id": run.folder.name}

    def _trained(self, plan: RunPlan, watch: Watch) -> tuple[_Run, dict[str, Any]]:
        """Train unless that is done; when memory runs out, again with half the rows at a time."""
        run = self._prepared(plan, watch)
        while True:
            done = _read_done(run)
            if done is not None:
                return run, done
            try:
                return run, self._train(run, watch)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                run = self._halved(run, error, watch)

    def _prepared(self, plan: RunPlan, watch: Watch) -> _Run:
        """Identify everything that a run is made from, and give it its folder."""
        from release_kit.sft.data.examples import select_for
        from release_kit.sft.data.packing import kept_steps

        watch.report("prepare")
        selected = select_for(self.study, plan)
        base = self.shop.identity(plan.base_model)
        examples = self.shop.examples(plan, selected, plan.settings)

        def candidate(micro_batch: int) -> tuple[RunPlan, Path, dict[str, Any]]:
            used = replace(plan, settings=replace(plan.settings, micro_batch=micro_batch))
            identity = run_identity(used, base, selected.sha256, code_digest(), self.device.partition(":")[0])
            return used, self.study.folder / RUNS_FOLDER / run_id(identity), identity

        sizes = list(_halves(plan.settings.micro_batch))
        chosen = next((size for size in reversed(sizes[1:]) if (candidate(size)[1] / RUN_FILE).is_file()), sizes[0])
        used, folder, identity = candidate(chosen)
        write_atomic(folder / RUN_FILE, canonical.document_bytes(identity))
        return _Run(
            plan=used,
            declared=plan.settings,
            folder=folder,
            examples=examples,
            keep=kept_steps(plan.cells, len(examples), plan.settings),
            data=selected.by_component,
        )

    def _train(self, run: _Run, watch: Watch) -> dict[str, Any]:
        from release_kit.sft.train.run import train_run

        started, plan = datetime.datetime.now(datetime.UTC), run.plan
        n_steps = max(run.keep.values())

        def on_step(step: int, loss: float, *more: Any) -> None:
            watch.report("train", step, n_steps, loss=loss)

        warm = self.shop.warm(plan.base_model)
        watch.report("train", 0, n_steps)
        facts = train_run(
            warm, run.examples, plan.settings, method=plan.method, seed=plan.seed, keep=run.keep,
            folder=run.folder, on_step=on_step,
        )  # fmt: skip
        watch.check()
        done = {
            **facts.to_dict(),
            "schema_version": 1,
            "run_id": run.folder.name,
            "base_model": plan.base_model,
            "method": plan.method,
            "micro_batch": {"declared": run.declared.micro_batch, "used": plan.settings.micro_batch},
            "started_at": started.isoformat(timespec="seconds"),
            "artifacts": {label: provenance.artifact_digests(run.folder / label) for label in sorted(run.keep)},
        }
        write_atomic(run.folder / DONE_FILE, canonical.document_bytes(done))
        return done

    def _halved(self, run: _Run, error: Exception, watch: Watch) -> _Run:
        """Return the same run with half the rows of a forward pass; another run to the last bit, and it says so."""
        used = run.plan.settings.micro_batch
        if used == 1:
            what = f"one row of {run.plan.settings.max_length} tokens does not fit into memory"
            step = "lower max_length or set gradient_checkpointing: true in settings.training, or take a larger machine"
            raise OutOfMemoryError(what, where=run.plan.describe(), next_step=step) from error
        _release_memory(self.device)
        watch.report("halve", micro_batch=used // 2)
        smaller = replace(run.plan, settings=replace(run.plan.settings, micro_batch=used // 2))
        identity = canonical.read_json(run.folder / RUN_FILE)
        identity["settings"]["micro_batch"] = used // 2
        folder = run.folder.with_name(run_id(identity))
        write_atomic(folder / RUN_FILE, canonical.document_bytes(identity))
        shutil.rmtree(run.folder, ignore_errors=True)
        return replace(run, plan=smaller, folder=folder)

    def _evaluated(self, cell: RunCell, base: str, run: _Run | None, facts: Mapping[str, Any], watch: Watch) -> None:
        """Evaluate one checkpoint and write its ``cell.json``, unless it is there."""
        folder = cell_folder(self.study.folder, cell.cell_id)
        if (folder / CELL_FILE).is_file():
            return
        from release_kit.sft.evaluate.run import evaluate_cell

        watch.report("evaluate", *_progress(run, cell))
        start = time.monotonic()
        evaluate_cell(
            self.study.folder, self._model(base, cell, run, facts), self.evaluation, folder / EVAL_FOLDER,
            device=self.device, on_event=lambda *event: watch.report("evaluate", *_progress(run, cell)),
        )  # fmt: skip
        watch.check()
        made = self._provenance(base, cell, run, facts) | {"evaluation_seconds": _seconds(start)}
        path = None if run is None else (run.folder / cell.label).relative_to(self.study.folder).as_posix()
        config = cell_config(self.study, cell.levels)
        write_cell(
            self.study.folder,
            Cell(cell_id=cell.cell_id, levels=cell.levels, config=config, artifact_path=path, provenance=made),
        )

    def _model(self, base: str, cell: RunCell, run: _Run | None, facts: Mapping[str, Any]) -> Any:
        from release_kit.sft.evaluate.run import EvalModel

        digest = self.shop.identity(base).weights_sha256
        if run is None:
            return EvalModel(base=self.shop.warm(base), adapter=None, weights_digest=digest)
        folder = run.folder / cell.label
        digest = canonical.digest({"base": digest, "artifact": facts["artifacts"][cell.label]})
        if run.plan.method == LORA:
            return EvalModel(base=base_folder(self.study, base), adapter=folder, weights_digest=digest)
        return EvalModel(base=folder, adapter=None, weights_digest=digest)

    def _provenance(self, base: str, cell: RunCell, run: _Run | None, facts: Mapping[str, Any]) -> dict[str, Any]:
        threads = self.evaluation.threads if run is None else run.plan.settings.threads
        made: dict[str, Any] = {
            "base_model": self.shop.provenance_of(base),
            "versions": provenance.versions(),
            "hardware": provenance.hardware(self.device, threads),
        }
        if commit := provenance.code_commit():
            made["code_commit"] = commit
        if run is None:
            return made
        kept = (
            "run_id",
            "started_at",
            "seconds",
            "joules",
            "n_tokens",
            "n_completion_tokens",
            "compute",
            "micro_batch",
        )
        made |= {name: facts[name] for name in kept if name in facts}
        return made | {
            "seed": run.plan.seed,
            "data": dict(run.data),
            "artifact": facts["artifacts"][cell.label],
            "steps": run.keep[cell.label],
        }


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is memory that ran out: Python's, the accelerator's, or the CPU allocator's."""
    if isinstance(error, MemoryError) or (type(error).__name__ == "OutOfMemoryError" and not _is_ours(error)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("DefaultCPUAllocator" in text or "out of memory" in text.lower())


def _is_ours(error: BaseException) -> bool:
    return isinstance(error, ReleaseKitError)


def _halves(size: int) -> Iterator[int]:
    while size >= 1:
        yield size
        size //= 2


def _read_done(run: _Run) -> dict[str, Any] | None:
    """Return the facts of a finished training; None when there are none, or not for every checkpoint that is wanted."""
    if not (run.folder / DONE_FILE).is_file():
        return None
    done = canonical.read_json(run.folder / DONE_FILE)
    return done if set(run.keep) <= set(done["artifacts"]) else None


def _release_memory(device: str) -> None:
    import gc

    gc.collect()
    if device != "cpu":
        import torch

        torch.cuda.empty_cache()


def _progress(run: _Run | None, cell: RunCell) -> tuple[int, int]:
    return (0, 0) if run is None else (run.keep[cell.label], max(run.keep.values()))


def _seconds(start: float) -> float:
    return round(time.monotonic() - start, 1)
