"""Worker processes on this machine: started, watched, started again a bounded number of times, ended cleanly.

Owns processes and their events, nothing of what they do. The controller holds no state: it may be killed at any moment,
its workers then end at their next report, and the next start goes on from what is on disk.
"""

import contextlib
import multiprocessing
import signal
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from release_kit.engine.processes import WorkerOptions, quiet_close, stop_on_signals, worker_main
from release_kit.engine.pull import Emit

MAX_RESTARTS = 5
"""Times that a worker is started again without any unit having been finished in between."""
GRACE_S = 30.0
"""How long a worker may take to its next report after it was asked to stop; killing it later loses nothing more."""


@dataclass
class _Slot:
    """One worker: the process that fills it now."""

    number: int
    process: Any = None
    events: Connection | None = None


@dataclass
class LocalWorkers:
    """The worker processes of one command.

    Args:
        options: what every worker is told.
        n: how many.
        emit: called in this process with every event of every worker.
        context: how processes start: ``spawn`` (clean), or ``fork`` from a process that has no threads.
    """

    options: WorkerOptions
    n: int
    emit: Emit
    context: str = "spawn"
    max_restarts: int = MAX_RESTARTS
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Keep the workers running until each has ended because nothing was left to do, or until ``stop`` is set."""
        self._restarts = 0
        slots = [_Slot(number) for number in range(self.n)]
        with stop_on_signals(self.stop):
            try:
                for slot in slots:
                    self._start(slot)
                self._watch(slots)
            finally:
                self._end(slots)

    def _start(self, slot: _Slot) -> None:
        context = multiprocessing.get_context(self.context)
        slot.events, theirs = context.Pipe(duplex=False)
        arguments = (self.options, slot.number, theirs)
        slot.process = context.Process(target=worker_main, args=arguments, daemon=True)
        slot.process.start()
        theirs.close()
        self.emit({"event": "worker", "worker": slot.number, "pid": slot.process.pid})

    def _watch(self, slots: list[_Slot]) -> None:
        running = {slot.number: slot for slot in slots}
        while running and not self.stop.is_set():
            by_connection = {slot.events: slot for slot in running.values()}
            for connection in wait(list(by_connection), timeout=0.2):
                slot = by_connection[connection]
                if not self._take(slot):
                    self._ended(slot, running)

    def _take(self, slot: _Slot) -> bool:
        """Hand on one event; False when the worker's end of the pipe is closed or torn."""
        try:
            event = slot.events.recv()
        except (EOFError, OSError):
            return False
        except Exception:  # a worker that is killed while it writes leaves half an event
            return False
        if event["event"] in ("done", "failed"):
            self._restarts = 0
        self.emit({**event, "worker": slot.number})
        return True

    def _ended(self, slot: _Slot, running: dict[int, _Slot]) -> None:
        quiet_close(slot.events)
        slot.process.join()
        code = slot.process.exitcode
        if code == 0:
            del running[slot.number]
            return
        again = self._restarts < self.max_restarts
        self._restarts += 1
        self.emit({"event": "died", "worker": slot.number, "code": code, "again": again, "why": _why(code)})
        if again:
            self._start(slot)
        else:
            del running[slot.number]

    def _end(self, slots: list[_Slot]) -> None:
        """Ask the workers that still run to stop; kill those that do not."""
        alive = [slot for slot in slots if slot.process is not None and slot.process.is_alive()]
        for slot in alive:
            slot.process.terminate()
        deadline = time.monotonic() + GRACE_S
        for slot in alive:
            self._drain(slot, deadline)
            slot.process.join(max(0.0, deadline - time.monotonic()))
            if slot.process.is_alive():
                slot.process.kill()
                slot.process.join()
            quiet_close(slot.events)

    def _drain(self, slot: _Slot, deadline: float) -> None:
        """Read what a stopping worker still says; it could not end while its pipe is full."""
        with contextlib.suppress(OSError):
            while slot.events.poll(max(0.0, deadline - time.monotonic())) and self._take(slot):
                pass


def _why(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"
