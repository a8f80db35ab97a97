"""The grid on a real Slurm of three nodes: the bytes of a local run, also when a node dies or a job must leave."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sft.engine.campaign import differences
from sft.engine.tiny import write_study
from slurm.cluster import Cluster, cluster, missing_binaries, wait_until

from release_kit.core.study import Study
from release_kit.engine.ledger import Lease, Ledger, ledger_folder
from release_kit.engine.slurm import job_name

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(missing_binaries()), reason=f"not installed: {', '.join(missing_binaries())}"),
]
SEEDS = [0, 1, 2, 3]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory):
    with cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Return the study as two local workers finish it."""
    study = write_study(tmp_path_factory.mktemp("local") / "study", seeds=SEEDS)
    assert _command(os.environ, study, "--workers", "2").returncode == 0
    return study


def _command(environment, study: Study, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "release_kit", "sft", "run", str(study.folder), "--json", *options]
    quiet = {**environment, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=quiet)


def _start(slurm: Cluster, study: Study, workers: int) -> str:
    """Submit the study's workers and return the id of their job."""
    ran = _command(slurm.environment, study, "--engine", "slurm", "--workers", str(workers), "--detach")
    assert ran.returncode == 0, ran.stderr
    lines = slurm.run("squeue", "--noheader", f"--name={job_name(study.name, study.folder)}", "--format=%F").split()
    return lines[0]


def _held(study: Study) -> dict[int, Lease]:
    """Return process → lease of every unit that is being trained."""
    ledger = Ledger(ledger_folder(study.folder))
    leases = [ledger.read(unit, generation) for unit, generation in ledger.latest().items()]
    return {one.owner.pid: one for one in leases if one and not one.released and not one.owner.is_surely_dead()}


def _finish(slurm: Cluster, study: Study) -> dict:
    """Watch the study's jobs as a second command does, after the first has gone away."""
    ran = _command(slurm.environment, study, "--engine", "slurm", "--workers", "3")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(ran.stdout)


def test_three_nodes_of_which_one_dies_give_the_bytes_of_a_local_run(slurm: Cluster, local: Study, tmp_path: Path):
    study = write_study(tmp_path / "study", seeds=SEEDS)
    _start(slurm, study, 3)
    wait_until(lambda: set(_held(study)) & set(slurm.processes_of("n2")), 120, "a unit to be worked on by n2")
    held = _held(study)
    on_node = set(slurm.processes_of("n2")) & set(held)
    assert slurm.kill_node("n2") >= 3
    report = _finish(slurm, study)
    assert report["ok"] and not report["failed"] and on_node
    assert differences(local.folder, study.folder) == []
    wait_until(lambda: slurm.node_states()["n2"].startswith("down"), 90, "Slurm to see that n2 is gone")
    slurm.start_node("n2")
    wait_until(lambda: slurm.node_states()["n2"] == "idle", 90, "n2 to come back")


def test_job_that_must_leave_its_node_is_queued_again_and_goes_on(slurm: Cluster, local: Study, tmp_path: Path):
    study = write_study(tmp_path / "study", seeds=SEEDS)
    job = _start(slurm, study, 1)
    wait_until(lambda: _held(study), 120, "the first unit to be begun")
    (pid,) = _held(study)
    slurm.run("scancel", "--signal=USR2", job)
    wait_until(lambda: pid not in _held(study), 60, "the unit to be given back")
    wait_until(lambda: "Restarts=1" in slurm.run("scontrol", "show", "job", job), 60, "the job to be queued again")
    assert _finish(slurm, study)["ok"]
    assert differences(local.folder, study.folder) == []


def test_command_that_is_started_again_submits_no_second_array(slurm: Cluster, local: Study, tmp_path: Path):
    study = write_study(tmp_path / "study", seeds=SEEDS[:1])
    job = _start(slurm, study, 2)
    assert _start(slurm, study, 2) == job
    listed = slurm.run("squeue", "--noheader", "--array", f"--name={job_name(study.name, study.folder)}", "--format=%i")
    assert len(listed.split()) == 2
    assert _finish(slurm, study)["ok"]


def test_what_slurm_refuses_is_said(slurm: Cluster, tmp_path: Path):
    study = write_study(tmp_path / "study", seeds=SEEDS[:1])
    options = ["--engine", "slurm", "--slurm-partition", "nowhere"]
    ran = _command(slurm.environment, study, *options)
    assert ran.returncode == 1 and "invalid partition" in ran.stderr and "Traceback" not in ran.stderr
