"""Bring every run of a study to completion: plan the units, let an engine work on them, say what came of it.

Owns the one entry point that commands call. Engines are ``local.py`` and ``slurm.py``; the work is ``work.py``.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from release_kit.core.cell import CELL_FILE, cell_folder
from release_kit.core.errors import UsageError
from release_kit.core.records import nearest
from release_kit.core.study import Level, Study
from release_kit.engine.failures import Failure, Failures
from release_kit.engine.ledger import Ledger, ledger_folder
from release_kit.engine.local import LocalWorkers
from release_kit.engine.processes import WorkerOptions
from release_kit.engine.pull import DEFAULT_RULES, Emit, Perform, Rules
from release_kit.sft.engine.agreed import agree_together
from release_kit.sft.engine.stale import StaleCell, find_stale, remove_stale
from release_kit.sft.engine.units import Unit, plan_for_worker, plan_units
from release_kit.sft.engine.work import make_perform

ENGINES = ("local", "slurm")


@dataclass(frozen=True, kw_only=True)
class GridReport:
    """What one start of the grid did and what is left."""

    before: tuple[str, ...]
    """Ids of cells that were complete at the start."""
    done: tuple[str, ...]
    """Ids of cells that were completed meanwhile, by whatever worker."""
    failed: tuple[Failure, ...]
    waiting: tuple[str, ...]
    """Ids of cells that are neither complete nor failed: another worker has them, or the run was stopped."""
    stale: tuple[StaleCell, ...]
    """Complete cells that were made from other data or another base than lie there now."""
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every cell is complete and follows from what lies there."""
        return not self.failed and not self.waiting and not self.stale

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        failed = [failure.to_dict() for failure in self.failed]
        numbers = {"n_before": len(self.before), "n_done": len(self.done), "n_waiting": len(self.waiting)}
        lists = {"done": list(self.done), "waiting": list(self.waiting), "failed": failed}
        lists["stale"] = [cell.to_dict() for cell in self.stale]
        return {"ok": self.ok, "seconds": round(self.seconds, 1), **numbers, **lists}


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a grid is run; nothing here changes a result, except the kind of device and ``together``."""

    device: str = "cpu"
    select: Mapping[str, Sequence[Level]] = field(default_factory=dict)
    """Only runs with a cell that matches."""
    together: int | None = None
    """LoRA runs of one base that are trained in one batch; part of those runs' identity. None: as agreed, else 1."""
    retry_failed: bool = False
    """Try again whatever failed before; without it only failures with a cause outside the study."""
    redo_stale: bool = False
    """Make complete cells again whose data or base have changed; without it they are reported."""
    rules: Rules = DEFAULT_RULES
    context: str = "spawn"
    max_restarts: int = 5
    make_perform: Callable[[WorkerOptions], Perform] = make_perform
    """Makes the function that does one unit, inside the worker."""
    slurm: Mapping[str, Any] = field(default_factory=dict)
    """Options of ``slurm.SlurmOptions``."""


DEFAULT_OPTIONS = RunOptions()


def run_study(
    study: Study,
    *,
    workers: int = 2,
    engine: str = "local",
    on_event: Emit = lambda event: None,
    options: RunOptions = DEFAULT_OPTIONS,
) -> GridReport:
    """Train and evaluate every run of a study that is not done; what fails is recorded and the rest goes on.

    Args:
        study: the study, with bases, data and tasks in place.
        workers: worker processes (or jobs of the array).
        engine: ``local`` or ``slurm``.
        on_event: called with what happens (``event``: worker, started, step, done, failed, stopped, lost, died).
        options: device, selection, retries.

    Raises:
        StudyError: the study cannot be planned.
        UsageError: there is no such engine, or ``together`` is not what the study was begun with.
    """
    if engine not in ENGINES:
        raise UsageError(f"no engine {engine!r}{nearest(engine, ENGINES)}", where="--engine")
    start = time.monotonic()
    options = replace(options, together=agree_together(study.folder, options.together, write=True))
    units = plan_units(study, options.select, together=options.together)
    failures = Failures(ledger_folder(study.folder))
    failures.reopen(everything=options.retry_failed)
    Ledger(ledger_folder(study.folder)).forgive(unit.name for unit in units)
    if options.redo_stale:
        remove_stale(study, find_stale(study, units))
    before = complete_cells(study, units)
    told = worker_options(study, options)
    if any(not unit.is_done(study.folder) for unit in units):
        if engine == "slurm":
            from release_kit.engine.slurm import run_on_slurm

            run_on_slurm(study.name, told, units, workers, on_event, options.slurm)
        else:
            n = min(workers, sum(not unit.is_done(study.folder) for unit in units))
            LocalWorkers(told, n, on_event, options.context, options.max_restarts).run()
    return _report(study, units, before, failures, time.monotonic() - start)


def worker_options(study: Study, options: RunOptions) -> WorkerOptions:
    """Return what each worker of a command is told."""
    return WorkerOptions(
        study_folder=study.folder,
        plan=plan_for_worker,
        make_perform=options.make_perform,
        device=options.device,
        given={"select": options.select, "together": agree_together(study.folder, options.together)},
        rules=options.rules,
    )


def complete_cells(study: Study, units: Sequence[Unit]) -> tuple[str, ...]:
    """Return the ids of cells of these units that have their ``cell.json``."""
    return tuple(
        cell.cell_id
        for unit in units
        for cell in unit.cells
        if (cell_folder(study.folder, cell.cell_id) / CELL_FILE).is_file()
    )


def _report(
    study: Study, units: Sequence[Unit], before: tuple[str, ...], failures: Failures, seconds: float
) -> GridReport:
    names, complete = {unit.name for unit in units}, set(complete_cells(study, units))
    failed = tuple(one for one in failures.read_all() if one.unit in names and not one.reopened)
    lost = {cell for one in failed for cell in one.cells}
    everything = [cell for unit in units for cell in unit.cell_ids]
    return GridReport(
        before=before,
        done=tuple(cell for cell in everything if cell in complete and cell not in set(before)),
        failed=failed,
        waiting=tuple(cell for cell in everything if cell not in complete and cell not in lost),
        stale=tuple(find_stale(study, units)),
        seconds=seconds,
    )
