"""Bring a study of autoencoders to its tables: plan the units, let an engine work on them, say what came of it.

Owns the one entry point that commands call. Engines are ``engine/local.py`` and ``engine/slurm.py``; the work is
``work.py``.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from release_kit.core.errors import UsageError
from release_kit.core.files import TEMPORARY_PREFIX
from release_kit.core.records import nearest
from release_kit.engine.failures import Failure, Failures
from release_kit.engine.ledger import Ledger, ledger_folder
from release_kit.engine.local import LocalWorkers
from release_kit.engine.processes import WorkerOptions
from release_kit.engine.pull import DEFAULT_RULES, Emit, Order, Perform, Rules
from release_kit.engine.state import StudyState, read_state
from release_kit.sae.grid.stale import find_all_stale, see_to_stale
from release_kit.sae.grid.units import MODEL, Unit, plan_for_worker, plan_units
from release_kit.sae.grid.work import make_perform, seconds_of
from release_kit.sae.pipeline.paths import TABLES
from release_kit.sae.pipeline.plan import Selection, keys
from release_kit.sae.spec.model import SaeStudy

ENGINES = ("local", "slurm")


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """What one start did and what is left; units by their titles."""

    before: tuple[str, ...]
    """Complete at the start."""
    done: tuple[str, ...]
    """Completed meanwhile, by whatever worker."""
    failed: tuple[Failure, ...]
    waiting: tuple[str, ...]
    """Neither complete nor failed: another worker has them, or the run was stopped."""
    blocked: tuple[str, ...]
    """They need what failed."""
    n_saes: int
    """Autoencoders that are selected."""
    stale: tuple[str, ...]
    """Complete, and made from something else than what lies there now: models that were trained again, say."""
    tables: Path | None
    """Folder of the tables; None when they were not made, for something is not complete, or not selected and stale."""
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether everything that is selected is complete, and as the study asks for it."""
        return not (self.failed or self.waiting or self.blocked or self.stale)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        numbers = {"n_before": len(self.before), "n_done": len(self.done), "n_waiting": len(self.waiting)}
        names = ("done", "waiting", "blocked", "stale")
        lists = {name: list(getattr(self, name)) for name in names}
        failed = [failure.to_dict() for failure in self.failed]
        tables = None if self.tables is None else str(self.tables)
        return {"ok": self.ok, "n_saes": self.n_saes, "seconds": round(self.seconds, 1), **numbers, **lists,
                "failed": failed, "tables": tables}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a study is run; nothing here changes a result, except the kind of device."""

    device: str = "cpu"
    select: Selection = field(default_factory=dict)
    retry_failed: bool = False
    """Try again whatever failed before; without it only what had a cause outside the study, or failed under another."""
    redo_stale: bool = False
    """Make again what was made from something else; without it the run does not begin."""
    keep_activations: bool = False
    rules: Rules = DEFAULT_RULES
    context: str = "spawn"
    max_restarts: int = 5
    make_perform: Callable[[WorkerOptions], Perform] = make_perform
    """Makes the function that does one unit, inside the worker."""
    slurm: Mapping[str, Any] = field(default_factory=dict)
    """Options of ``slurm.SlurmOptions``."""


DEFAULT_OPTIONS = RunOptions()


def run_study(
    study: SaeStudy,
    *,
    workers: int = 2,
    engine: str = "local",
    on_event: Emit = lambda event: None,
    options: RunOptions = DEFAULT_OPTIONS,
) -> RunReport:
    """Train, measure and intervene until everything selected is complete; what fails is recorded, the rest goes on.

    Args:
        study: the study.
        workers: worker processes (or jobs of the array).
        engine: ``local`` or ``slurm``.
        on_event: called with what happens (``event``: worker, started, step, done, failed, stopped, lost, died).
        options: device, selection, retries.

    Raises:
        StaleError: something was made from other settings, texts or models, and is not to be made again.
        SaeError: the study cannot be planned.
        UsageError: there is no such engine.
    """
    if engine not in ENGINES:
        raise UsageError(f"no engine {engine!r}{nearest(engine, ENGINES)}", where="--engine")
    start = time.monotonic()
    units = plan_units(study, options.select)
    see_to_stale(study, units, redo=options.redo_stale)
    failures = Failures(ledger_folder(study.folder))
    failures.reopen(everything=options.retry_failed, study_file=study.file)
    Ledger(ledger_folder(study.folder)).forgive(unit.name for unit in units)
    before = [unit for unit in units if unit.is_done(study.folder)]
    if left := len(units) - len(before):
        told = worker_options(study, options)
        if engine == "slurm":
            from release_kit.engine.slurm import run_on_slurm

            run_on_slurm(study.name, told, units, workers, on_event, options.slurm)
        else:
            LocalWorkers(told, min(workers, left), on_event, options.context, options.max_restarts).run()
    return _report(study, units, before, failures, start, options)


def worker_options(study: SaeStudy, options: RunOptions) -> WorkerOptions:
    """Return what each worker of a command is told."""
    return WorkerOptions(
        study_folder=study.folder,
        plan=plan_for_worker,
        make_perform=options.make_perform,
        device=options.device,
        given={
            "file": study.file.name,
            "select": dict(options.select),
            "keep_activations": options.keep_activations,
        },
        rules=options.rules,
    )


def read_study_state(study: SaeStudy, select: Selection | None = None) -> StudyState:
    """Return where the study stands.

    Raises:
        SaeError: the study cannot be planned.
    """
    return read_state(study.folder, plan_units(study, select), lambda unit: seconds_of(study.folder, unit))


def _report(
    study: SaeStudy, units: list[Unit], before: list[Unit], failures: Failures, start: float, options: RunOptions
) -> RunReport:
    names = {unit.name for unit in units}
    done = [unit for unit in units if unit.is_done(study.folder)]
    complete, known = {unit.name for unit in done}, {unit.name for unit in before}
    failed = [one for one in failures.read_all() if not one.reopened and one.unit in names - complete]
    lost = {failure.unit for failure in failed}
    left = [unit for unit in units if unit.name not in complete | lost]
    order = Order(units, study.folder)
    blocked = [unit.title for unit in left if order.is_blocked(unit, lost)]
    stale, tables = [], None
    if len(done) == len(units) and any(unit.kind != MODEL for unit in units):
        stale = find_all_stale(study, units)
        if not stale and not _others_are_stale(study, options):
            tables = _tables(study)
    return RunReport(
        before=tuple(unit.title for unit in before),
        done=tuple(unit.title for unit in done if unit.name not in known),
        failed=tuple(failed),
        waiting=tuple(unit.title for unit in left if unit.title not in blocked),
        blocked=tuple(blocked),
        n_saes=len(keys(study, options.select)),
        stale=tuple(one.sentence() for one in stale),
        tables=tables,
        seconds=time.monotonic() - start,
    )


def _others_are_stale(study: SaeStudy, options: RunOptions) -> bool:
    """Return whether what was not selected is of an earlier declaration: tables would call it this study's."""
    return bool(options.select) and bool(find_all_stale(study, plan_units(study)))


def _tables(study: SaeStudy) -> Path:
    """Write the tables, and remove what a writing that was killed left."""
    from release_kit.sae.tables.build import build_tables

    folder = study.folder / TABLES
    for left in folder.rglob(f"{TEMPORARY_PREFIX}*"):
        left.unlink(missing_ok=True)
    build_tables(study)
    return folder
