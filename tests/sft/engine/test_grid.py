"""A grid in worker processes: complete, quick, continued after anything, failures named without losing the rest."""

import json
import os
import select
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sft.engine import trivial
from sft.engine.campaign import children, start_controller

from release_kit.core.cell import read_cells
from release_kit.core.errors import RecordError, UsageError
from release_kit.engine.failures import Failure, Failures, death_of, failure_of
from release_kit.engine.ledger import Ledger, ledger_folder
from release_kit.engine.owner import Owner, process_start, this_owner
from release_kit.engine.processes import WorkerOptions
from release_kit.engine.pull import Puller, Rules
from release_kit.sft.engine.grid import RunOptions, run_study, worker_options
from release_kit.sft.engine.units import plan_for_worker, plan_units

QUICK = Rules(poll_s=0.02)
FORKED = RunOptions(context="fork", make_perform=trivial.make_noop, rules=QUICK)


def test_thousand_units_that_do_nothing_take_less_than_five_milliseconds_each(tmp_path: Path):
    study = trivial.write_study(tmp_path, n_seeds=1000, epochs=(1,))
    options = WorkerOptions(study_folder=study.folder, plan=plan_for_worker, make_perform=trivial.make_noop)
    units = plan_units(study)
    events: list = []
    puller = Puller(study_folder=study.folder, units=units, perform=trivial.make_noop(options), emit=events.append)
    start = time.process_time()
    puller.run()
    assert len(units) == 1000 and all(unit.is_done(study.folder) for unit in units)
    assert sum(event["event"] == "done" for event in events) == 1000
    assert (time.process_time() - start) / 1000 < 0.005


def test_grid_is_completed_and_a_second_run_does_nothing(tmp_path: Path):
    study = trivial.write_study(tmp_path, n_seeds=6, bases=("a", "b"))
    events: list = []
    report = run_study(study, workers=2, on_event=events.append, options=FORKED)
    cells, problems = read_cells(study.folder)
    assert report.ok and not problems and set(report.done) == set(cells) and len(cells) == 24
    assert sum(event["event"] == "done" for event in events) == 12
    again = run_study(study, workers=2, options=FORKED)
    assert again.ok and not again.done and len(again.before) == 24
    assert Ledger(ledger_folder(study.folder)).latest() == {}


def test_spawned_workers_do_the_same(tmp_path: Path):
    study = trivial.write_study(tmp_path, n_seeds=2)
    assert run_study(study, workers=1, options=replace(FORKED, context="spawn")).ok


def test_selection_takes_runs_with_all_their_cells(tmp_path: Path):
    study = trivial.write_study(tmp_path)
    report = run_study(study, options=replace(FORKED, select={"seed": (1,), "epoch": (2,)}))
    assert report.ok and sorted(cell.levels["epoch"] for cell in read_cells(study.folder)[0].values()) == [1, 2]


def test_failure_is_recorded_shown_and_does_not_stop_the_rest(tmp_path: Path):
    study = trivial.write_study(tmp_path)
    broken = replace(FORKED, make_perform=trivial.make_broken)
    report = run_study(study, workers=2, options=broken)
    (failure,) = report.failed
    assert not report.ok and len(report.done) == 6 and not report.waiting
    assert (failure.what, failure.where, failure.next_step) == ("the loss is NaN", "step 7", "lower the learning rate")
    assert "seed=3" in failure.sentence() and len(failure.cells) == 2 and failure.attempts == 1
    assert not any((study.folder / "cells" / cell / "cell.json").exists() for cell in failure.cells)
    assert run_study(study, options=FORKED).failed == (failure,), "a failure stays until someone asks for another try"
    again = run_study(study, options=replace(broken, retry_failed=True))
    assert again.failed[0].attempts == 2
    mended = run_study(study, options=replace(FORKED, retry_failed=True))
    assert mended.ok and not Failures(ledger_folder(study.folder)).read_all()


def test_unit_that_kills_its_workers_is_given_up_and_the_rest_is_done(tmp_path: Path):
    study = trivial.write_study(tmp_path)
    deadly = replace(FORKED, make_perform=trivial.make_deadly, rules=replace(QUICK, max_deaths=3))
    events: list = []
    report = run_study(study, workers=2, options=deadly, on_event=events.append)
    (failure,) = report.failed
    assert failure.error == "WorkerDied" and "3 workers died" in failure.what and len(report.done) == 6
    assert [event["why"] for event in events if event["event"] == "died"] == ["killed by SIGKILL"] * 3
    assert run_study(study, options=replace(FORKED, retry_failed=True)).ok


def test_workers_that_cannot_start_end_the_run_instead_of_hanging_it(tmp_path: Path):
    study = trivial.write_study(tmp_path)
    events: list = []
    options = replace(FORKED, make_perform=_cannot_start, max_restarts=2)
    report = run_study(study, workers=2, options=options, on_event=events.append)
    assert len(report.waiting) == 8 and sum(event["event"] == "died" for event in events) == 4


def _cannot_start(options: WorkerOptions):
    raise OSError("no such library")


def test_units_held_elsewhere_are_waited_for_and_taken_when_their_worker_is_gone(tmp_path: Path):
    study = trivial.write_study(tmp_path, n_seeds=1)
    folder = ledger_folder(study.folder)
    (unit,) = plan_units(study)
    elsewhere = replace(this_owner(), machine="another-boot:1")
    Ledger(folder, owner=elsewhere).claim(unit.name)
    options = replace(FORKED, rules=Rules(poll_s=0.02, expiry_s=0.3))
    assert run_study(study, options=options).ok


def test_two_commands_at_once_share_the_work(tmp_path: Path):
    study = trivial.write_study(tmp_path, n_seeds=6)
    options = replace(FORKED, make_perform=trivial.make_slow)
    pids = [start_controller(study.folder, options, 2) for _ in range(2)]
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0]
    assert len(read_cells(study.folder)[0]) == 12 and Ledger(ledger_folder(study.folder)).latest() == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_that_is_asked_to_stop_leaves_no_process_and_no_lease(number: int, tmp_path: Path):
    study = trivial.write_study(tmp_path, n_seeds=6)
    options = replace(FORKED, make_perform=trivial.make_slow)
    ledger = Ledger(ledger_folder(study.folder))
    pid = start_controller(study.folder, options, 2)
    watched = os.pidfd_open(pid)
    while len(ledger.latest()) < 2:
        assert not select.select([watched], [], [], 0.005)[0], "the run ended before it was asked to"
    workers = children(pid)
    os.kill(pid, number)
    os.close(watched)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1 and len(workers) == 2
    assert [process_start(worker) for worker in workers] == [None, None]
    held = [ledger.read(unit, generation) for unit, generation in ledger.latest().items()]
    assert held and all(lease.released and not lease.deaths for lease in held)
    assert run_study(study, options=options).ok


def test_failures_and_owners_read_as_they_were_written(tmp_path: Path):
    owner = this_owner()
    assert Owner.from_dict(owner.to_dict(), "x") == owner
    known = {"unit": "run-1", "title": "seed=1", "cells": ("a", "b")}
    errors = [ValueError("no"), OSError(28, "No space left on device"), RecordError("bad", where="f", next_step="s")]
    for failure in [*(failure_of(error, **known) for error in errors), death_of(3, **known)]:
        assert Failure.from_dict(json.loads(json.dumps(failure.to_dict())), "x") == failure
    assert [failure_of(error, **known).transient for error in errors] == [False, True, False]


def test_engine_must_be_known(tmp_path: Path):
    with pytest.raises(UsageError, match="did you mean 'slurm'"):
        run_study(trivial.write_study(tmp_path), engine="slrum")


def test_workers_are_told_what_the_command_was_told(tmp_path: Path):
    study = trivial.write_study(tmp_path)
    options = RunOptions(device="cuda:1", select={"seed": (1,)}, rules=QUICK)
    told = worker_options(study, options)
    assert (told.device, told.given["select"], told.rules) == ("cuda:1", {"seed": (1,)}, QUICK)
