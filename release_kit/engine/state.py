"""How a study stands: what is done, who works on what, what failed and why, what waits.

Reads the ledger and the markers of completion; changes nothing and needs no torch. What it says of running units is as
old as their last renewal.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.engine.failures import Failure, Failures
from release_kit.engine.ledger import Lease, Ledger, ledger_folder
from release_kit.engine.pull import Order
from release_kit.engine.unit import Unit

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
    blocked: tuple[Unit, ...]
    """They need a unit that has failed."""
    seconds_left: float | None
    """Work that is left on the workers that live now, from the time of finished runs; None before the first one."""

    @property
    def n_cells_done(self) -> int:
        """Cells of units that are done."""
        return sum(len(unit.cell_ids) for unit in self.done)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "n_done": len(self.done),
            "n_cells_done": self.n_cells_done,
            "n_running": len(self.running),
            "n_failed": len(self.failed),
            "n_waiting": len(self.waiting),
            "n_blocked": len(self.blocked),
            "seconds_left": self.seconds_left,
            "running": [running.to_dict() for running in self.running],
            "failed": [failure.to_dict() for failure in self.failed],
            "waiting": [unit.title for unit in self.waiting],
            "blocked": [unit.title for unit in self.blocked],
        }


def read_state(folder: Path, units: Sequence[Unit], seconds_of: Callable[[Unit], float | None]) -> StudyState:
    """Return where a study stands.

    Args:
        folder: of the study.
        units: everything that is to be done.
        seconds_of: what a finished unit took, where that is known.
    """
    ledger, order = Ledger(ledger_folder(folder)), Order(units, folder)
    failures = {one.unit: one for one in Failures(ledger.folder).read_all() if not one.reopened}
    latest = ledger.latest()
    done, running, failed, waiting, blocked = [], [], [], [], []
    for unit in units:
        lease = ledger.read(unit.name, latest.get(unit.name, 0))
        if unit.is_done(folder):
            done.append(unit)
        elif unit.name in failures:
            failed.append(failures[unit.name])
        elif lease is not None and not lease.released:
            running.append(Running(unit=unit, lease=lease, worker=_worker(lease)))
        else:
            (blocked if order.is_blocked(unit, failures) else waiting).append(unit)
    return StudyState(
        done=tuple(done),
        running=tuple(running),
        failed=tuple(failed),
        waiting=tuple(waiting),
        blocked=tuple(blocked),
        seconds_left=_seconds_left([(unit, seconds_of(unit)) for unit in done], running, waiting),
    )


def _worker(lease: Lease) -> str:
    if lease.owner.is_surely_dead():
        return GONE
    return LIVE if lease.owner.is_on_this_machine() else UNSEEN


def _seconds_left(
    done: Sequence[tuple[Unit, float | None]], running: Sequence[Running], waiting: Sequence[Unit]
) -> float | None:
    """Estimate from the seconds that finished units took, by how much work each is."""
    rates = [seconds / max(unit.cost, 1.0) for unit, seconds in done if seconds is not None]
    n_workers = sum(one.worker != GONE for one in running)
    if not rates or not n_workers:
        return 0.0 if not running and not waiting else None
    left = sum(max(unit.cost, 1.0) for unit in waiting)
    left += sum(max(one.unit.cost, 1.0) * (1 - _part(one.lease)) for one in running)
    return round(statistics.median(rates) * left / n_workers, 1)


def _part(lease: Lease) -> float:
    return lease.step / lease.n_steps if lease.n_steps else 0.0
