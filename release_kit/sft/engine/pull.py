"""The loop of one worker: pull a unit from the ledger, do it, say how it went, until nothing is left to do.

Owns leases around the work, fencing, and what becomes of an error. What a unit's work is comes in as a function
(``work.py`` in earnest); processes are ``local.py`` and ``slurm.py``.
"""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from release_kit.core.errors import ReleaseKitError
from release_kit.sft.engine.failures import Failure, Failures, death_of, failure_of
from release_kit.sft.engine.ledger import EXPIRY_S, RENEW_S, HeldLease, LeaseLostError, Ledger, ledger_folder
from release_kit.sft.engine.units import Unit

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
        bytes, because everything outside provenance follows from the run's identity.

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
    """Base model that is loaded."""

    def __post_init__(self) -> None:
        folder = ledger_folder(self.study_folder)
        self.ledger = Ledger(folder, expiry_s=self.rules.expiry_s)
        self.failures = Failures(folder)
        self._left = {unit.name: unit for unit in self.units}

    def run(self) -> None:
        """Work until every unit is done or has failed, or until ``stop`` is set."""
        while self._left and not self.stop.is_set():
            if not self._work_on_one() and self._left:
                self.stop.wait(self.rules.poll_s)

    def _work_on_one(self) -> bool:
        """Claim and do the first unit that is free; False when others hold all that are left."""
        latest, failed = self.ledger.latest(), self.failures.open_units()
        for unit in self._candidates(latest):
            if unit.name in failed or unit.is_done(self.study_folder):
                del self._left[unit.name]
            elif held := self.ledger.claim(unit.name, latest.get(unit.name, 0)):
                self._do(unit, held)
                return True
        return False

    def _candidates(self, latest: Mapping[str, int]) -> list[Unit]:
        """Return what is left: the loaded base first, then bases that fewest others work on."""
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
            raise ReleaseKitError("the work ended without an error, but not every cell.json is there", where=unit.name)
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
