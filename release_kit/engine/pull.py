"""The loop of one worker: pull a unit from the ledger, do it, say how it went, until nothing is left to do.

Owns leases around the work, fencing, units that wait for others, and what becomes of an error. What a unit's work is
comes in as a function; processes are ``local.py`` and ``slurm.py``.
"""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from release_kit.core.errors import ReleaseKitError
from release_kit.engine.failures import Failure, Failures, death_of, failure_of
from release_kit.engine.ledger import EXPIRY_S, RENEW_S, HeldLease, LeaseLostError, Ledger, ledger_folder
from release_kit.engine.unit import Unit

POLL_S = 1.0
MAX_DEATHS = 5

Emit = Callable[[Mapping[str, Any]], None]


class WorkStopped(Exception):
    """The worker was asked to stop; the unit goes back and is continued by whoever claims it next."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Times and limits of the ledger that all workers of a study share."""

    renew_s: float = RENEW_S
    expiry_s: float = EXPIRY_S
    poll_s: float = POLL_S
    """How often a worker without work looks for units that became free."""
    max_deaths: int = MAX_DEATHS
    """Workers that may die on one unit in a row, none getting further than the one before."""


DEFAULT_RULES = Rules()


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What the work on one unit reports to; every report is also the place where work is called off."""

    unit: Unit
    held: HeldLease
    stop: threading.Event
    emit: Emit
    rules: Rules = DEFAULT_RULES

    def report(self, stage: str, step: int = 0, n_steps: int = 0, **more: Any) -> None:
        """Say how far the unit is.

        Raises:
            WorkStopped: the worker is to stop.
            LeaseLostError: another worker has the unit.
        """
        self.held.report(stage, step, n_steps)
        self.emit(_event("step", self.unit, stage=stage, step=step, n_steps=n_steps, **more))
        if self.stop.is_set():
            raise WorkStopped
        if self.held.lost:
            self.held.check()

    def check(self) -> None:
        """Refuse to publish when the unit has another owner: call it right before a name becomes visible.

        Between this look and the publication the unit can still change hands. Then both workers publish the same
        bytes, because everything outside provenance follows from the unit's identity.

        Raises:
            LeaseLostError: another worker has the unit.
        """
        self.held.check()

    @contextlib.contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Hold a second name of the ledger for the block: units that share a folder write to it one after the other.

        Raises:
            WorkStopped: the worker is to stop.
        """
        while (other := self.held.ledger.claim(name)) is None:
            self.report("wait")
            self.stop.wait(self.rules.poll_s)
        with _renewed(other, self.rules.renew_s):
            try:
                yield
            finally:
                with contextlib.suppress(ReleaseKitError):
                    other.release(clean=True)  # and never forgotten: another unit may have claimed the name by now


Perform = Callable[[Unit, Watch], Mapping[str, Any]]
"""The work on one unit; returns what the ``done`` event says beside it."""


class Order:
    """Which units may be begun: those whose needs are done. Needs are units of the same plan, and never a circle."""

    def __init__(self, units: Sequence[Unit], study_folder: Path):
        """Take the units of a plan.

        Raises:
            ReleaseKitError: a unit needs one that is not planned, or a circle of units need each other.
        """
        self._folder = study_folder
        self._units = {unit.name: unit for unit in units}
        for unit in units:
            for need in unit.needs:
                if need not in self._units:
                    raise ReleaseKitError(f"needs {need}, which is not planned", where=unit.title)
        self._done: set[str] = set()
        self._refuse_circles()

    def is_ready(self, unit: Unit) -> bool:
        """Return whether everything that the unit needs is done."""
        return all(self._is_done(need) for need in unit.needs)

    def is_blocked(self, unit: Unit, failed: Container[str]) -> bool:
        """Return whether something that the unit needs, or that this needs in turn, has failed."""
        return any(
            not self._is_done(need) and (need in failed or self.is_blocked(self._units[need], failed))
            for need in unit.needs
        )

    def _is_done(self, name: str) -> bool:
        if name not in self._done and self._units[name].is_done(self._folder):
            self._done.add(name)
        return name in self._done

    def _refuse_circles(self) -> None:
        left = {name: set(unit.needs) for name, unit in self._units.items()}
        while free := [name for name, needs in left.items() if not needs & left.keys()]:
            for name in free:
                del left[name]
        if left:
            raise ReleaseKitError(f"units need each other in a circle: {', '.join(sorted(left)[:5])}", where="plan")


@dataclass
class Puller:
    """One worker's view of what is left to do."""

    study_folder: Path
    units: Sequence[Unit]
    perform: Perform
    emit: Emit
    stop: threading.Event = field(default_factory=threading.Event)
    rules: Rules = DEFAULT_RULES
    group: str | None = None
    """What is loaded."""

    def __post_init__(self) -> None:
        folder = ledger_folder(self.study_folder)
        self.ledger = Ledger(folder, expiry_s=self.rules.expiry_s)
        self.failures = Failures(folder)
        self._left = {unit.name: unit for unit in self.units}
        self._order = Order(self.units, self.study_folder)

    def run(self) -> None:
        """Work until every unit is done, has failed or waits for one that has, or until ``stop`` is set."""
        while self._left and not self.stop.is_set():
            if not self._work_on_one() and self._left:
                self.stop.wait(self.rules.poll_s)

    def _work_on_one(self) -> bool:
        """Claim and do the first unit that is free; False when others hold all that are left."""
        latest, failed = self.ledger.latest(), self.failures.open_units()
        for unit in self._candidates(latest):
            if unit.name in failed or unit.is_done(self.study_folder) or self._order.is_blocked(unit, failed):
                del self._left[unit.name]
            elif not self._order.is_ready(unit):
                continue
            elif held := self.ledger.claim(unit.name, latest.get(unit.name, 0)):
                self._do(unit, held)
                return True
        return False

    def _candidates(self, latest: Mapping[str, int]) -> list[Unit]:
        """Return what is left: the loaded group first, then groups that fewest others work on."""
        busy = Counter(self._left[name].group for name in latest if name in self._left)
        return sorted(self._left.values(), key=lambda unit: (unit.group != self.group, busy[unit.group]))

    def _do(self, unit: Unit, held: HeldLease) -> None:
        if unit.is_done(self.study_folder) or self.failures.is_open(unit.name):
            held.release(clean=True)
            return
        if held.deaths >= self.rules.max_deaths:
            self._failed(unit, held, death_of(held.deaths, unit=unit.name, title=unit.title, cells=unit.cell_ids))
            return
        self.group = unit.group
        self.emit(_event("started", unit))
        with _renewed(held, self.rules.renew_s):
            try:
                told = self.perform(unit, Watch(unit=unit, held=held, stop=self.stop, emit=self.emit, rules=self.rules))
                self._finished(unit, told)
            except WorkStopped:
                held.release()
                self.emit(_event("stopped", unit))
            except LeaseLostError:
                self.emit(_event("lost", unit))
            except Exception as error:
                if held.is_lost():
                    self.emit(_event("lost", unit))
                    return
                known = {"unit": unit.name, "title": unit.title, "cells": unit.cell_ids}
                self._failed(unit, held, failure_of(error, **known))
            except BaseException:
                held.release()
                raise

    def _finished(self, unit: Unit, told: Mapping[str, Any]) -> None:
        if not unit.is_done(self.study_folder):
            raise ReleaseKitError("the work ended without an error, but is not complete on disk", where=unit.name)
        self._left.pop(unit.name, None)
        self.failures.clear(unit.name)
        self.ledger.forget(unit.name)
        self.emit(_event("done", unit, **told))

    def _failed(self, unit: Unit, held: HeldLease, failure: Failure) -> None:
        """Write the failure down before the unit is given back, so that nobody starts it in between."""
        self._left.pop(unit.name, None)
        with contextlib.suppress(ReleaseKitError):
            failure = self.failures.record(failure)
        with contextlib.suppress(ReleaseKitError):
            held.release(clean=True)
        self.emit(_event("failed", unit, failure=failure.to_dict(), what=failure.sentence()))


@contextlib.contextmanager
def _renewed(held: HeldLease, renew_s: float) -> Iterator[None]:
    """Renew a lease in the background for the block; a renewal that cannot be written is tried again."""
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(renew_s):
            with contextlib.suppress(ReleaseKitError, OSError):
                held.renew()

    thread = threading.Thread(target=keep, name=f"renew-{held.lease.unit}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _event(kind: str, unit: Unit, **more: Any) -> dict[str, Any]:
    return {"event": kind, "unit": unit.name, "title": unit.title, "cells": list(unit.cell_ids), **more}
