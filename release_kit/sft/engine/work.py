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
from release_kit.core.files import TEMPORARY_PREFIX, write_atomic
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

SCHEMA_VERSION = 1
RUN_FILE, DONE_FILE = "run.json", "done.json"
EVAL_FOLDER = "eval"

FACTS = ("run_id", "started_at", "seconds", "joules", "n_tokens", "n_completion_tokens", "compute", "micro_batch")
"""What a cell's provenance takes from its run's ``done.json``."""


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
        run, facts = self._trained(self._prepared(unit.plan, watch), watch)
        for cell in run.plan.cells:
            self._evaluated(cell, run.plan.base_model, run, facts, watch)
        return {"seconds": _seconds(start), "run_id": run.folder.name}

    def _trained(self, run: _Run, watch: Watch) -> tuple[_Run, dict[str, Any]]:
        """Train unless that is done; when memory runs out, again with half the rows at a time."""
        while True:
            with watch.alone(run.folder.name):
                done = _read_done(run)
                if done is None:
                    too_large = self._train(run, watch)
                    done = None if too_large else _read_done(run)
                if done is not None:
                    self._finish(run)
                    return run, done
            run = self._halved(run, too_large, watch)

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
        _write_run(folder, identity)
        return _Run(
            plan=used,
            declared=plan.settings,
            folder=folder,
            examples=examples,
            keep=kept_steps(plan.cells, len(examples), plan.settings),
            data=selected.by_component,
        )

    def _train(self, run: _Run, watch: Watch) -> str | None:
        """Train and write ``done.json``; return what was said when memory ran out, None when all went well."""
        from release_kit.sft.train.memory import is_out_of_memory
        from release_kit.sft.train.run import train_run

        started, plan, keep = datetime.datetime.now(datetime.UTC), run.plan, _kept_with_earlier(run)
        n_steps = max(keep.values())

        def on_step(step: int, loss: float) -> None:
            watch.report("train", step, n_steps, loss=loss)

        warm = self.shop.warm(plan.base_model)
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
        done = {
            **facts.to_dict(),
            "schema_version": SCHEMA_VERSION,
            "run_id": run.folder.name,
            "base_model": plan.base_model,
            "method": plan.method,
            "micro_batch": {"declared": run.declared.micro_batch, "used": plan.settings.micro_batch},
            "started_at": started.isoformat(timespec="seconds"),
            "artifact": {label: provenance.artifact_digests(run.folder / label) for label in sorted(keep)},
        }
        write_atomic(run.folder / DONE_FILE, canonical.document_bytes(done))
        return None

    def _finish(self, run: _Run) -> None:
        """Take away what only an unfinished run needs."""
        from release_kit.sft.train.resume import remove_state

        remove_state(run.folder)
        _sweep(run.folder)

    def _halved(self, run: _Run, said: str, watch: Watch) -> _Run:
        """Return the same run with half the rows of a forward pass; another run to the last bit, and it says so."""
        from release_kit.sft.train.memory import release

        used = run.plan.settings.micro_batch
        if used == 1:
            what = f"one row of {run.plan.settings.max_length} tokens does not fit into memory ({said})"
            step = "lower max_length or set gradient_checkpointing: true in settings.training, or take a larger machine"
            raise OutOfMemoryError(what, where=run.plan.describe(), next_step=step)
        release(self.shop.warm(run.plan.base_model))
        watch.report("halve", micro_batch=used // 2)
        smaller = replace(run.plan, settings=replace(run.plan.settings, micro_batch=used // 2))
        identity = canonical.read_json(run.folder / RUN_FILE)["identity"]
        identity["settings"]["micro_batch"] = used // 2
        folder = run.folder.with_name(run_id(identity))
        _write_run(folder, identity)
        shutil.rmtree(run.folder, ignore_errors=True)
        return replace(run, plan=smaller, folder=folder)

    def _evaluated(self, cell: RunCell, base: str, run: _Run | None, facts: Mapping[str, Any], watch: Watch) -> None:
        """Evaluate one checkpoint and write its ``cell.json``, unless it is there."""
        folder = cell_folder(self.study.folder, cell.cell_id)
        if (folder / CELL_FILE).is_file():
            return
        from release_kit.sft.evaluate.run import evaluate_cell

        watch.report("evaluate", *_progress(run, cell))
        self.shop.identity(base)
        start = time.monotonic()
        evaluate_cell(
            self.study.folder, self._model(base, cell, run), self.evaluation, folder / EVAL_FOLDER,
            device=self.device, on_event=lambda *event: watch.report("evaluate", *_progress(run, cell)),
        )  # fmt: skip
        _sweep(folder)
        watch.check()
        made = self._provenance(base, cell, run, facts) | {"evaluation_seconds": _seconds(start)}
        path = None if run is None else (run.folder / cell.label).relative_to(self.study.folder).as_posix()
        config = cell_config(self.study, cell.levels)
        write_cell(
            self.study.folder,
            Cell(cell_id=cell.cell_id, levels=cell.levels, config=config, artifact_path=path, provenance=made),
        )

    def _model(self, base: str, cell: RunCell, run: _Run | None) -> Any:
        """Return the published files of a cell as what is evaluated: never the weights that are still in memory."""
        from release_kit.sft.evaluate.run import EvalModel

        if run is None:
            return EvalModel(base=base_folder(self.study, base))
        folder = run.folder / cell.label
        if run.plan.method == LORA:
            return EvalModel(base=base_folder(self.study, base), adapter=folder)
        return EvalModel(base=folder)

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
        made |= {name: facts[name] for name in FACTS if name in facts}
        return made | {
            "seed": run.plan.seed,
            "data": dict(run.data),
            "artifact": facts["artifact"][cell.label],
            "steps": run.keep[cell.label],
        }


def _write_run(folder: Path, identity: Mapping[str, Any]) -> None:
    document = {"schema_version": SCHEMA_VERSION, "run_id": folder.name, "identity": identity}
    write_atomic(folder / RUN_FILE, canonical.document_bytes(document))


def _halves(size: int) -> Iterator[int]:
    while size >= 1:
        yield size
        size //= 2


def _read_done(run: _Run) -> dict[str, Any] | None:
    """Return the facts of a finished training; None when there are none, or not for every checkpoint that is wanted."""
    if not (run.folder / DONE_FILE).is_file():
        return None
    done = canonical.read_json(run.folder / DONE_FILE)
    return done if set(run.keep) <= set(done["artifact"]) else None


def _kept_with_earlier(run: _Run) -> dict[str, int]:
    """Return the checkpoints to keep, with those that another unit of the same run has already; its mark is taken away.

    Two units share a run when their levels choose the same examples (all of them, and as many as there are).
    """
    path = run.folder / DONE_FILE
    earlier = canonical.read_json(path)["kept"] if path.is_file() else {}
    path.unlink(missing_ok=True)
    return {**earlier, **run.keep}


def _sweep(folder: Path) -> None:
    """Remove what writers that were killed left unfinished; nobody writes here any more."""
    for path in sorted(folder.rglob(f"{TEMPORARY_PREFIX}*"), reverse=True):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _progress(run: _Run | None, cell: RunCell) -> tuple[int, int]:
    return (0, 0) if run is None else (run.keep[cell.label], max(run.keep.values()))


def _seconds(start: float) -> float:
    return round(time.monotonic() - start, 1)
