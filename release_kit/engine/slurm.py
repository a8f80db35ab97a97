"""The same units on a Slurm cluster: an array of workers that pull from the ledger; the only import of ``submitit``.

Owns submitting, and what a job does when its time is over. Jobs need nothing from the command that submitted them: it
may be closed, started again, or run on another login node. A job that Slurm starts again after the death of its node
finds the ledger as it is.
"""

import shutil
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import MissingExtraError, ReleaseKitError
from release_kit.core.files import STATE_FOLDER
from release_kit.engine.failures import Failures
from release_kit.engine.ledger import ledger_folder
from release_kit.engine.processes import WorkerOptions, work
from release_kit.engine.pull import Emit, Order
from release_kit.engine.unit import Unit

JOBS_FOLDER = "slurm"
LOOK_S = 2.0
SIGNAL_AHEAD_S = 90
"""Seconds before the time limit at which Slurm signals a job: it gives its unit back and asks to be queued again."""
MAX_TIMEOUTS = 10_000
"""Times that a job may reach its time limit; what is left to do is in the ledger, not in this number."""


@dataclass(frozen=True, kw_only=True)
class SlurmOptions:
    """How jobs are submitted; nothing here changes a result."""

    partition: str | None = None
    minutes: int = 60
    """Time limit of one job; then it is queued again."""
    cpus: int = 1
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Any other parameter of sbatch: ``{"account": "lab", "gres": "gpu:1"}``."""
    detach: bool = False
    """Return when the jobs are submitted."""
    signal_ahead_s: int = SIGNAL_AHEAD_S


class SlurmWorker:
    """What one job runs. submitit pickles it, and calls ``checkpoint`` when the job is about to lose its node."""

    def __init__(self, options: WorkerOptions):
        self.options = options

    def __call__(self) -> None:
        """Pull units until none is left."""
        work(self.options, _print_event, threading.Event())

    def checkpoint(self, *arguments: Any, **named: Any) -> Any:
        """Return the job to queue again: this one, because all that it knew is on disk.

        submitit then ends the process by ``SystemExit``, on which the lease is given back.
        """
        import submitit

        return submitit.helpers.DelayedSubmission(SlurmWorker(self.options))


def run_on_slurm(
    study_name: str, options: WorkerOptions, units: Sequence[Unit], workers: int, emit: Emit, slurm: Mapping[str, Any]
) -> None:
    """Submit as many workers as are missing, and watch until every unit is done or failed or no job is left.

    Args:
        study_name: part of the jobs' name.
        options: what every worker is told; the study's folder is one that all nodes share.
        units: what is to be done.
        workers: jobs that shall run at once; those of an earlier command that are still queued or running count.
        emit: called with ``job``, ``done`` and ``failed`` events.
        slurm: fields of ``SlurmOptions``.

    Raises:
        ReleaseKitError: Slurm is not here, or refused the jobs.
        MissingExtraError: submitit is not installed.
    """
    wanted = SlurmOptions(**slurm)
    name = job_name(study_name, options.study_folder)
    missing = min(workers, len(units)) - count_jobs(name)
    if missing > 0:
        job = _submit(options, missing, name, wanted)
        emit({"event": "job", "job": job, "n": missing, "name": name})
    if not wanted.detach:
        _watch(options.study_folder, units, name, emit)


def job_name(study_name: str, folder: Path) -> str:
    """Return the name of a study's jobs: the same for the same folder, so that they are found again."""
    return f"rk-{study_name[:24]}-{canonical.digest(str(folder.resolve()))[:8]}"


def count_jobs(name: str) -> int:
    """Return how many jobs of this name Slurm still has, queued or running.

    Raises:
        ReleaseKitError: Slurm is not here or does not answer.
    """
    if shutil.which("squeue") is None:
        step = "run this on a login node of the cluster, or use --engine local"
        raise ReleaseKitError("there is no Slurm here (squeue was not found)", where="--engine slurm", next_step=step)
    command = ["squeue", "--noheader", "--array", f"--name={name}", "--format=%i"]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        raise ReleaseKitError(f"squeue said: {ran.stderr.strip()[:300]}", where="Slurm", next_step="try again later")
    return len(ran.stdout.split())


def _submit(options: WorkerOptions, n: int, name: str, wanted: SlurmOptions) -> str:
    """Submit an array of ``n`` workers and return its job id."""
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise MissingExtraError("submitit", "slurm") from error
    folder = options.study_folder / STATE_FOLDER / JOBS_FOLDER
    executor = submitit.AutoExecutor(folder=folder, cluster="slurm", slurm_max_num_timeout=MAX_TIMEOUTS)
    parameters: dict[str, Any] = {
        "name": name,
        "timeout_min": wanted.minutes,
        "cpus_per_task": wanted.cpus,
        "slurm_array_parallelism": n,
        "slurm_signal_delay_s": wanted.signal_ahead_s,
        "slurm_additional_parameters": {"requeue": True, **wanted.extra},
    }
    if wanted.partition:
        parameters["slurm_partition"] = wanted.partition
    try:
        executor.update_parameters(**parameters)
        with executor.batch():
            jobs = [executor.submit(SlurmWorker(options)) for _ in range(n)]
    except submitit.core.utils.FailedJobError as error:
        what = f"Slurm refused the jobs: {' '.join(str(error).split())[:300]}"
        raise ReleaseKitError(what, where="sbatch", next_step="correct --slurm-partition or --slurm-set") from error
    return str(jobs[0].job_id).partition("_")[0]


def _watch(folder: Path, units: Sequence[Unit], name: str, emit: Emit) -> None:
    failures, order = Failures(ledger_folder(folder)), Order(units, folder)
    left = {unit.name: unit for unit in units if not unit.is_done(folder)}
    while left:
        alive = count_jobs(name)
        for unit in list(left.values()):
            event = {"unit": unit.name, "title": unit.title, "cells": list(unit.cell_ids)}
            if unit.is_done(folder):
                emit({"event": "done", **event})
                del left[unit.name]
            elif (failure := failures.read(unit.name)) and not failure.reopened:
                emit({"event": "failed", **event, "failure": failure.to_dict(), "what": failure.sentence()})
                del left[unit.name]
        failed = failures.open_units()
        left = {key: unit for key, unit in left.items() if not order.is_blocked(unit, failed)}
        if not alive:
            return
        if left:
            time.sleep(LOOK_S)


def _print_event(event: Mapping[str, Any]) -> None:
    """Leave a line in the job's log; steps would fill it."""
    if event["event"] != "step":
        print(f"{event['event']}: {event.get('what') or event.get('title', '')}", flush=True)
