"""Train and evaluate the cells of a study in worker processes, one thread each; finished cells are not touched.

Owns handing out cells and collecting what the workers say. A worker is ``python -m release_kit.sft.worker``: it reads
cell ids from stdin and writes one JSON line for each event, so it holds no state that could be lost with it.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core.cell import CELL_FILE, cell_folder
from release_kit.core.errors import ReleaseKitError
from release_kit.core.grid import cell_id, describe, iter_levels
from release_kit.core.study import Study

WORKER_LOG = "worker-{number}.log"


@dataclass(frozen=True, kw_only=True)
class GridReport:
    """What a run of the grid did."""

    done: tuple[str, ...]
    """Cell ids that this run finished."""
    before: tuple[str, ...]
    """Cell ids that were complete already."""


def run_grid(
    study: Study,
    *,
    workers: int = 2,
    log_folder: Path,
    on_event: Callable[[Mapping[str, Any]], None] = lambda event: None,
) -> GridReport:
    """Bring every declared cell to completion.

    Args:
        study: the study; its base model and data are in place.
        workers: worker processes.
        log_folder: where what the libraries say goes, one file for each worker.
        on_event: called for each event of a worker (``event``: ``step`` or ``done``; ``cell_id``, ``levels`` …).

    Raises:
        ReleaseKitError: some cells failed; the message names each. The others are complete.
    """
    cells = {cell_id(study, levels): levels for levels in iter_levels(study)}
    before = tuple(one for one in cells if (cell_folder(study.folder, one) / CELL_FILE).is_file())
    open_cells = [one for one in cells if one not in before]
    done, failed = [], dict.fromkeys(open_cells, "not started: the workers had ended")
    log_folder.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(_run_workers(study, open_cells, workers, log_folder)) as events:
        for event in events:
            if event["event"] == "done":
                done.append(event["cell_id"])
                del failed[event["cell_id"]]
            elif event["event"] == "failed":
                failed[event["cell_id"]] = event["what"]
            on_event({**event, "levels": cells[event["cell_id"]]})
    if failed:
        lines = [f"{describe(cells[one])} ({what})" for one, what in failed.items()]
        step = f"read {log_folder / '*.log'}, then run the same command again"
        raise ReleaseKitError(f"{len(failed)} cells failed: {'; '.join(lines)}", next_step=step)
    return GridReport(done=tuple(done), before=before)


def _run_workers(study: Study, open_cells: Sequence[str], workers: int, log_folder: Path) -> Iterator[dict[str, Any]]:
    """Yield what the workers say until every cell is done or failed, or no worker is left."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    for one in open_cells:
        waiting.put(one)
    n_open, n_workers = len(open_cells), min(workers, len(open_cells))
    with contextlib.ExitStack() as stack:
        for number in range(n_workers):
            stack.enter_context(_worker(study, number, waiting, events, log_folder))
        while n_workers and n_open:
            event = events.get()
            if event["event"] == "gone":
                n_workers -= 1
                continue
            n_open -= event["event"] in ("done", "failed")
            yield event


@contextlib.contextmanager
def _worker(
    study: Study, number: int, waiting: queue.SimpleQueue, events: queue.SimpleQueue, log_folder: Path
) -> Iterator[None]:
    """Start one worker process and the thread that feeds it; both are gone when the block ends."""
    command = [sys.executable, "-m", "release_kit.sft.worker", str(study.folder)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    environment.setdefault("HF_DATASETS_CACHE", str((log_folder / "datasets").resolve()))
    with open(log_folder / WORKER_LOG.format(number=number), "ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )
    feeder = threading.Thread(target=_feed, args=(process, waiting, events), daemon=True)
    feeder.start()
    try:
        yield
    except BaseException:
        process.kill()
        raise
    finally:
        feeder.join()
        process.wait()


def _feed(process: subprocess.Popen, waiting: queue.SimpleQueue, events: queue.SimpleQueue) -> None:
    """Give the worker one cell after the other; a worker that dies fails the cell it had, not the rest."""
    with process:
        while True:
            try:
                cell = waiting.get_nowait()
            except queue.Empty:
                return
            if not _feed_one(process, cell, events):
                events.put({"event": "gone"})
                return


def _feed_one(process: subprocess.Popen, cell: str, events: queue.SimpleQueue) -> bool:
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(cell + "\n")
        process.stdin.flush()
    for line in process.stdout:
        event = json.loads(line)
        events.put(event)
        if event["event"] in ("done", "failed"):
            return True
    code = process.wait()
    events.put({"event": "failed", "cell_id": cell, "what": f"the worker process ended with code {code}"})
    return False
