"""How a study stands: what is done, who works on what, what failed and why, what waits.

Reads the ledger and the markers of completion; changes nothing and needs no torch. What it says of running units is as
old as their last renewal.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from release_kit.core.cell import CELL_FILE, cell_folder
from release_kit.core.study import Level, Study
from release_kit.sft.engine.agreed import agree_together
from release_kit.sft.engine.failures import Failure, Failures
from release_kit.sft.engine.ledger import Lease, Ledger, ledger_folder
from release_kit.sft.engine.units import Unit, plan_units

GONE, LIVE, UNSEEN = "gone", "live", "unseen"
"""Its process is surely dead; surely alive; on a machine that cannot be looked into."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """One unit that a worker holds."""

    unit: Unit
    lease: Lease
    worker: str
    """``live``, ``gone`` or ``unseen``."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        lease = self.lease
        where = {"host": lease.owner.host, "pid": lease.owner.pid, "worker": self.worker}
        how_far = {"stage": lease.stage, "step": lease.step, "n_steps": lease.n_steps, "deaths": lease.deaths}
        return {"unit": self.unit.name, "title": self.unit.title, **where, **how_far}


@dataclass(frozen=True, kw_only=True)
class StudyState:
    """Where a study stands at one moment."""

    done: tuple[Unit, ...]
    running: tuple[Running, ...]
    failed: tuple[Failure, ...]
    waiting: tuple[Unit, ...]
    seconds_left: float | None
    """Work that is left on the workers that live now, from the time of finished runs; None before the first one."""

    @property
    def n_cells_done(self) -> int:
        """Cells of units that are done."""
        return sum(len(unit.cells) for unit in self.done)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "n_done": len(self.done),
            "n_cells_done": self.n_cells_done,
            "n_running": len(self.running),
            "n_failed": len(self.failed),
            "n_waiting": len(self.waiting),
            "seconds_left": self.seconds_left,
            "running": [running.to_dict() for running in self.running],
            "failed": [failure.to_dict() for failure in self.failed],
            "waiting": [unit.title for unit in self.waiting],
        }


def read_state(
    study: Study, select: Mapping[str, Sequence[Level]] | None = None, *, together: int | None = None
) -> StudyState:
    """Return where the study stands.

    Args:
        study: the study.
        select: partial levels, as for ``run_study``.
        together: as for ``run_study``.

    Raises:
        StudyError: the study cannot be planned.
    """
    units, ledger = (
        plan_units(study, select, together=agree_together(study.folder, together)),
        Ledger(ledger_folder(study.folder)),
    )
    failures = {one.unit: one for one in Failures(ledger.folder).read_all() if not one.reopened}
    latest = ledger.latest()
    done, running, failed, waiting = [], [], [], []
    for unit in units:
        lease = ledger.read(unit.name, latest.get(unit.name, 0))
        if unit.is_done(study.folder):
            done.append(unit)
        elif unit.name in failures:
            failed.append(failures[unit.name])
        elif lease is not None and not lease.released:
            running.append(Running(unit=unit, lease=lease, worker=_worker(lease)))
        else:
            waiting.append(unit)
    return StudyState(
        done=tuple(done),
        running=tuple(running),
        failed=tuple(failed),
        waiting=tuple(waiting),
        seconds_left=_seconds_left(study, done, running, waiting),
    )


def _worker(lease: Lease) -> str:
    if lease.owner.is_surely_dead():
        return GONE
    return LIVE if lease.owner.is_on_this_machine() else UNSEEN


def _seconds_left(
    study: Study, done: Sequence[Unit], running: Sequence[Running], waiting: Sequence[Unit]
) -> float | None:
    """Estimate from the seconds that finished units took, by how much work each is."""
    rates = [seconds / max(unit.cost, 1.0) for unit in done if (seconds := _seconds_of(study, unit)) is not None]
    n_workers = sum(one.worker != GONE for one in running)
    if not rates or not n_workers:
        return 0.0 if not running and not waiting else None
    left = sum(max(unit.cost, 1.0) for unit in waiting)
    left += sum(max(one.unit.cost, 1.0) * (1 - _part(one.lease)) for one in running)
    return round(statistics.median(rates) * left / n_workers, 1)


def _part(lease: Lease) -> float:
    return lease.step / lease.n_steps if lease.n_steps else 0.0


def _seconds_of(study: Study, unit: Unit) -> float | None:
    """Return what a unit took, training and evaluation, from the provenance of its cells."""
    total = 0.0
    for number, one in enumerate(unit.cell_ids):
        try:
            made = json.loads((cell_folder(study.folder, one) / CELL_FILE).read_bytes())["provenance"]
        except (OSError, ValueError, KeyError):
            return None
        total += made.get("evaluation_seconds") or 0.0
        total += (made.get("seconds") or 0.0) if number == 0 else 0.0
    return total
