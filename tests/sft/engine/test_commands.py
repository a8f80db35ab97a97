"""``release-kit sft run``, ``worker`` and ``status``: what they print and how they end."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cli_in_process import release_kit
from sft.engine import tiny, trivial

from release_kit.engine.ledger import Ledger, ledger_folder
from release_kit.engine.owner import this_owner
from release_kit.engine.pull import Rules
from release_kit.sft.engine.agreed import agree_together
from release_kit.sft.engine.grid import RunOptions, run_study
from release_kit.sft.engine.units import plan_units

FORKED = RunOptions(context="fork", rules=Rules(poll_s=0.02))


def _partly(folder: Path):
    """Return a study with three runs done, one failed, one held by another machine, one by a dead process."""
    study = trivial.write_study(folder, n_seeds=7)
    units = {unit.plans[0].seed: unit for unit in plan_units(study)}
    ledger = ledger_folder(study.folder)
    select = {"seed": (0, 1, 2, trivial.BROKEN_SEED)}
    run_study(study, options=replace(FORKED, make_perform=trivial.make_broken, select=select))
    held = Ledger(ledger, owner=replace(this_owner(), machine="other:1", host="node7", pid=4711)).claim(units[4].name)
    held.report("train", 12, 40)
    held.renew()
    Ledger(ledger, owner=replace(this_owner(), started="1")).claim(units[5].name)
    return study


def test_status_tells_done_running_failed_and_waiting(tmp_path: Path):
    study = _partly(tmp_path)
    shown = release_kit("sft", "status", study.folder)
    assert shown.returncode == 1
    assert "done     3 runs, 6 cells" in shown.stdout and "waiting  1 run" in shown.stdout
    assert "(node7:4711, train 12/40)" in shown.stdout and "its process is gone" in shown.stdout
    assert "seed=3: the loss is NaN (step 7) — lower the learning rate" in shown.stdout
    told = json.loads(release_kit("sft", "status", study.folder, "--json").stdout)
    assert (told["n_done"], told["n_running"], told["n_failed"], told["n_waiting"]) == (3, 2, 1, 1)
    assert [one["worker"] for one in told["running"]] == ["unseen", "gone"]
    assert told["failed"][0]["next_step"] == "lower the learning rate" and not told["ok"]


def test_status_changes_nothing(tmp_path: Path):
    study = _partly(tmp_path)
    before = {path: path.read_bytes() for path in study.folder.rglob("*") if path.is_file()}
    release_kit("sft", "status", study.folder)
    assert {path: path.read_bytes() for path in study.folder.rglob("*") if path.is_file()} == before


def test_status_of_a_selection(tmp_path: Path):
    study = _partly(tmp_path)
    shown = release_kit("sft", "status", study.folder, "--select", "seed=0,1")
    assert shown.returncode == 0 and "done     2 runs, 4 cells" in shown.stdout and "failed" not in shown.stdout
    wrong = release_kit("sft", "status", study.folder, "--select", "sed=0")
    assert wrong.returncode == 2 and "did you mean 'seed'" in wrong.stderr


def test_status_follows_what_was_agreed_on_runs_in_one_batch(tmp_path: Path):
    study = trivial.write_study(tmp_path, n_seeds=2)
    agree_together(study.folder, 4, write=True)
    assert release_kit("sft", "status", study.folder).returncode == 0


def test_run_says_what_failed_and_why_and_ends_with_one(tmp_path: Path):
    study = trivial.write_study(tmp_path, n_seeds=2)
    ran = release_kit("sft", "run", study.folder, "--workers", "1")
    assert ran.returncode == 1 and ran.stdout.count("data/colours.jsonl") == 2 and "failed   2 runs" in ran.stdout
    assert "failed   base_model=tiny" in ran.stderr and "sft prepare" in ran.stdout
    told = json.loads(release_kit("sft", "run", study.folder, "--json").stdout)
    assert not told["ok"] and len(told["failed"]) == 2 and told["failed"][0]["attempts"] == 1 and told["n_waiting"] == 0


def test_options_that_are_no_pairs_are_refused(tmp_path: Path):
    study = trivial.write_study(tmp_path, n_seeds=1)
    ran = release_kit("sft", "run", study.folder, "--engine", "slurm", "--slurm-set", "gres")
    assert ran.returncode == 2 and "NAME=VALUE" in ran.stderr


def test_worker_joins_and_says_what_is_left(tmp_path: Path):
    study = trivial.write_study(tmp_path, n_seeds=3)
    joined = release_kit("sft", "worker", study.folder, "--select", "seed=0", "--select", "seed=2", "--json")
    told = json.loads(joined.stdout)
    assert joined.returncode == 1 and (told["done"], told["failed"]) == (0, 2) and told["n_left"] == 0
    assert "colours.jsonl" in joined.stderr


@pytest.mark.slow
def test_run_and_worker_do_a_whole_study(tmp_path: Path):
    study = tiny.write_study(tmp_path / "study")
    ran = release_kit("sft", "run", study.folder, "--select", "method=lora", "--workers", "1")
    assert ran.returncode == 0 and "4 cells completed" in ran.stdout and "4/4 cells" in ran.stderr
    joined = release_kit("sft", "worker", study.folder)
    assert joined.returncode == 0 and joined.stdout.startswith("3 runs done here") and "0 left" in joined.stdout
    again = release_kit("sft", "run", study.folder)
    assert again.returncode == 0 and "0 cells completed" in again.stdout and "9 were complete before" in again.stdout
