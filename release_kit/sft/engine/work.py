"""The work on one unit, from the declared runs to their ``cell.json`` files.

Owns the order: data and base are identified, ``run.json``, training, ``done.json``, evaluation of every kept
checkpoint, ``cell.json`` last. Each step is skipped when its own marker is on disk, so that whatever was killed goes on
where it was. Training is ``training.py``; what the steps do belongs to ``data/``, ``train/`` and ``evaluate/``.
"""

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from release_kit.core import canonical
from release_kit.core.cell import CELL_FILE, Cell, cell_folder, write_cell
from release_kit.core.errors import ReleaseKitError
from release_kit.core.grid import cell_config
from release_kit.core.study import Study, read_study
from release_kit.engine.ledger import LeaseLostError
from release_kit.engine.processes import WorkerOptions
from release_kit.engine.pull import Perform, Watch
from release_kit.sft.engine import provenance
from release_kit.sft.engine.task_files import task_files_sha256
from release_kit.sft.engine.training import NotTogetherError, Run, Trainer, in_one_batch, sweep
from release_kit.sft.engine.units import Unit
from release_kit.sft.engine.workshop import Workshop
from release_kit.sft.spec.runs import RunCell, RunPlan, base_folder, role_level
from release_kit.sft.spec.settings import LORA, EvaluationSettings, evaluation_settings

EVAL_FOLDER = "eval"

FACTS = (
    "run_id", "started_at", "seconds", "joules", "n_tokens", "n_completion_tokens", "compute", "micro_batch",
    "n_together",
)  # fmt: skip
"""What a cell's provenance takes from its run's ``done.json``; seconds and joules are those of all runs of a batch."""


class GroupError(ReleaseKitError):
    """Some runs of a unit of several could not be done; the others are complete."""


def make_perform(options: WorkerOptions) -> Perform:
    """Return the function that does one unit of a study, with everything that stays warm between units."""
    return Worker(read_study(options.study_folder), options.device).perform


class Worker:
    """Does units one after the other."""

    def __init__(self, study: Study, device: str = "cpu"):
        self.study, self.device = study, device
        self.shop = Workshop(study, device)
        self.trainer = Trainer(self.shop)
        self.evaluation: EvaluationSettings = evaluation_settings(study)

    def perform(self, unit: Unit, watch: Watch) -> Mapping[str, Any]:
        """Bring every cell of the unit to completion.

        Raises:
            ReleaseKitError: bad input, a run that went wrong, a disk that is full; nothing of it looks finished.
        """
        start = time.monotonic()
        if not unit.plans:
            cell = unit.cells[0]
            base = str(role_level(self.study, cell.levels, "base_model"))
            self._evaluated(cell, base, None, {}, watch)
        elif len(unit.plans) == 1:
            self._alone(unit.plans[0], watch)
        else:
            self._group(unit.plans, watch)
        return {"seconds": _seconds(start)}

    def _alone(self, plan: RunPlan, watch: Watch) -> None:
        run, facts = self.trainer.alone(self.trainer.identify(plan, watch), watch)
        self._cells_of(run, facts, watch)

    def _group(self, plans: Sequence[RunPlan], watch: Watch) -> None:
        """Train the runs in one batch; one by one when that cannot be, or one was done otherwise before.

        The batch is always that of all runs of the unit: which runs share it decides their bytes, so it must not
        depend on what happens to be left.
        """
        runs, problems = [], []
        for plan in plans:
            try:
                runs.append(self.trainer.identify(plan, watch))
            except LeaseLostError:
                raise
            except ReleaseKitError as problem:
                problems.append(problem)
        trained = None
        if not problems and not self._done_otherwise(in_one_batch(runs)):
            with contextlib.suppress(NotTogetherError):
                trained = self.trainer.together(runs, watch)
        if trained is None:
            for run in runs:
                if not self._is_complete(run):
                    problems += self._tried(run, watch)
        for run, facts in trained or ():
            if isinstance(facts, ReleaseKitError):
                problems.append(facts)
            else:
                self._cells_of(run, facts, watch)
        if problems:
            what = " | ".join(problem.sentence() for problem in problems)
            step = "correct these; the other runs of the batch are complete"
            raise GroupError(f"{len(problems)} of {len(plans)} runs: {what}", next_step=step)

    def _tried(self, run: Run, watch: Watch) -> list[ReleaseKitError]:
        try:
            self._cells_of(*self.trainer.alone(run, watch), watch)
        except LeaseLostError:
            raise
        except ReleaseKitError as problem:
            return [problem]
        return []

    def _is_complete(self, run: Run) -> bool:
        return all((cell_folder(self.study.folder, x.cell_id) / CELL_FILE).is_file() for x in run.plan.cells)

    def _done_otherwise(self, runs: Sequence[Run]) -> bool:
        """Return whether a cell of the group was made by another run than the one in this batch."""
        for run in runs:
            for cell in run.plan.cells:
                path = cell_folder(self.study.folder, cell.cell_id) / CELL_FILE
                if path.is_file() and canonical.read_json(path)["provenance"].get("run_id") != run.folder.name:
                    return True
        return False

    def _cells_of(self, run: Run, facts: Mapping[str, Any], watch: Watch) -> None:
        for cell in run.plan.cells:
            self._evaluated(cell, run.plan.base_model, run, facts, watch)

    def _evaluated(self, cell: RunCell, base: str, run: Run | None, facts: Mapping[str, Any], watch: Watch) -> None:
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
        sweep(folder)
        watch.check()
        made = self._provenance(base, cell, run, facts) | {"evaluation_seconds": _seconds(start)}
        path = None if run is None else (run.folder / cell.label).relative_to(self.study.folder).as_posix()
        config = cell_config(self.study, cell.levels)
        write_cell(
            self.study.folder,
            Cell(cell_id=cell.cell_id, levels=cell.levels, config=config, artifact_path=path, provenance=made),
        )

    def _model(self, base: str, cell: RunCell, run: Run | None) -> Any:
        """Return the published files of a cell as what is evaluated: never the weights that are still in memory."""
        from release_kit.sft.evaluate.run import EvalModel

        if run is None:
            return EvalModel(base=base_folder(self.study, base))
        folder = run.folder / cell.label
        if run.plan.method == LORA:
            return EvalModel(base=base_folder(self.study, base), adapter=folder)
        return EvalModel(base=folder)

    def _provenance(self, base: str, cell: RunCell, run: Run | None, facts: Mapping[str, Any]) -> dict[str, Any]:
        threads = self.evaluation.threads if run is None else run.plan.settings.threads
        made: dict[str, Any] = {
            "base_model": self.shop.provenance_of(base),
            "versions": provenance.versions(),
            "hardware": provenance.hardware(self.device, threads),
            "tasks": {task: task_files_sha256(self.study.folder, task) for task in self.evaluation.tasks},
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


def _progress(run: Run | None, cell: RunCell) -> tuple[int, int]:
    return (0, 0) if run is None else (run.keep[cell.label], max(run.keep.values()))


def _seconds(start: float) -> float:
    return round(time.monotonic() - start, 1)
