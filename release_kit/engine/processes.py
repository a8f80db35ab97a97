"""One worker process: quiet, one thread, ended when its controller is gone or asks it to stop.

Owns what happens between the start of a process and the loop of ``pull.py``. Whatever libraries print goes to a log;
events go through a pipe.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from release_kit.core.files import STATE_FOLDER
from release_kit.engine.pull import DEFAULT_RULES, Emit, Perform, Puller, Rules
from release_kit.engine.unit import Unit

LOGS_FOLDER = "logs"
ENVIRONMENT = {
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
}
"""Set before any library that reads it is imported: one thread a worker (two are slower), nothing from elsewhere."""


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """What a worker must know beside the study; the same for all workers of one command."""

    study_folder: Path
    plan: "Callable[[WorkerOptions], Sequence[Unit]]"
    """Returns the units, inside the worker: a function of a module, so that a new process finds it."""
    make_perform: "Callable[[WorkerOptions], Perform]"
    """Returns what does one unit, with everything that stays warm between units; a function of a module too."""
    device: str = "cpu"
    given: Mapping[str, Any] = field(default_factory=dict)
    """What ``plan`` and ``make_perform`` of this kind of study were told beside that."""
    rules: Rules = DEFAULT_RULES


def worker_main(options: WorkerOptions, number: int, events: Connection) -> None:
    """Be a worker process of a controller on this machine, until nothing is left to do or the controller is gone."""
    redirect_output(options.study_folder, f"worker-{number}.log")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(ENVIRONMENT)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    controller = parent_process()
    if controller is not None:
        threading.Thread(target=_stop_with, args=(controller.sentinel, stop), daemon=True).start()
    work(replace(options, device=device_of(options.device, number)), _sender(events, stop), stop)
    events.close()


def device_of(device: str, number: int) -> str:
    """Return the device of one of several workers: plain ``cuda`` spreads them over the GPUs of the machine."""
    if device != "cuda":
        return device
    import torch

    return f"cuda:{number % max(torch.cuda.device_count(), 1)}"


def work(options: WorkerOptions, emit: Emit, stop: threading.Event) -> None:
    """Pull units of the study until every one is done or failed, or ``stop`` is set."""
    os.environ.update(ENVIRONMENT)
    puller = Puller(
        study_folder=options.study_folder,
        units=options.plan(options),
        perform=options.make_perform(options),
        emit=emit,
        stop=stop,
        rules=options.rules,
    )
    puller.failures.keep_reserve()
    puller.run()


@contextlib.contextmanager
def stop_on_signals(stop: threading.Event, *more: int) -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and ``more`` signals end the block cleanly; a second Ctrl-C interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: Any) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM, *more)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def log_folder(study_folder: Path) -> Path:
    """Return where what the libraries of workers print is kept."""
    return study_folder / STATE_FOLDER / LOGS_FOLDER


def redirect_output(study_folder: Path, name: str) -> None:
    """Send what this process prints to a log file, so that stdout stays free for results."""
    folder = log_folder(study_folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError:
        descriptor = os.open(os.devnull, os.O_WRONLY)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _stop_with(sentinel: int, stop: threading.Event) -> None:
    """Stop when the controller ends, however it ends: nobody would see to this worker any more."""
    wait([sentinel])
    stop.set()


def _sender(events: Connection, stop: threading.Event) -> Emit:
    def send(event: Mapping[str, Any]) -> None:
        try:
            events.send(dict(event))
        except (BrokenPipeError, OSError):
            stop.set()

    return send


def quiet_close(connection: Connection) -> None:
    """Close a connection that may be closed already."""
    with contextlib.suppress(OSError):
        connection.close()
