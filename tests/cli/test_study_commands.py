"""``release-kit plan``, ``import`` and ``results``: what people and programs read, and the exit codes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from study_factory import write_json, write_safetensors

from release_kit.cli.build import build_command
from release_kit.cli.study import import_command, plan_command, results_command
from release_kit.core.grid import cell_id, iter_levels
from release_kit.core.results import read_results

CHECKOUT = Path(__file__).parents[2]
REAL_TABLE = CHECKOUT.parent / "shared" / "data" / "massive-sft" / "evaluation_result.csv"


def call(command, *arguments):
    """Return (exit code, stdout) of a command; a traceback fails the test."""
    outcome = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    return outcome.exit_code, outcome.stdout


def call_json(command, *arguments):
    code, text = call(command, *arguments, "--json")
    return code, json.loads(text)


def change(study, **changes):
    file = study.folder / "study.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changes, sort_keys=False))


def test_plan_shows_grid_names_sources_and_what_is_missing(make_study):
    study = make_study()
    shutil.rmtree(next(iter(study.folder.glob("cells/*/model"))))
    code, text = call(plan_command, study.folder)
    assert code == 0
    assert text.startswith("tiny-grid 1.0.0 — A tiny grid\n9 cells, 1 of them without weights (results only)\n")
    assert "dataset     alpaca (4)  lima (4)  none (1)" in text
    assert "tiny-llama-alpaca-full-s0" in text
    assert "lm-eval  cells/*/eval/*.json  (27 found)" in text
    assert "on disk  8 cells; 1 still lack their artifact" in text
    code, value = call_json(plan_command, study.folder)
    assert (code, value["ok"], value["n_cells"], value["n_on_disk"], value["n_missing"]) == (0, True, 9, 8, 1)
    assert value["first"][0]["name"] == "tiny-llama-alpaca-full-s0"
    assert value["factors"][1] == {
        "name": "dataset", "role": "dataset",
        "levels": [{"level": "alpaca", "n_cells": 4}, {"level": "lima", "n_cells": 4}, {"level": "none", "n_cells": 1}],
    }  # fmt: skip
    assert len(value["missing"]) == 1


def test_plan_writes_nothing(make_study):
    study = make_study()
    before = sorted(study.folder.rglob("*"))
    call(plan_command, study.folder)
    assert sorted(study.folder.rglob("*")) == before


def test_plan_names_wrong_declarations_and_names_that_cannot_be(make_study):
    study = make_study()
    change(study, results=[{"format": "cvs"}], names="{base_modle}")
    code, value = call_json(plan_command, study.folder)
    assert (code, value["ok"]) == (1, False)
    assert len(value["problems"]) == 2
    assert set(value["problems"][0]) == {"code", "severity", "where", "what", "next_step"}
    code, text = call(plan_command, study.folder)
    assert code == 1
    assert "problems (2)" in text
    assert "did you mean 'csv'?" in text
    assert "'base_modle', which is no factor; did you mean 'base_model'?" in text


RULE = {"path": "runs/{dataset}-{method}-seed{seed}/checkpoint-*", "levels": {"base_model": "tiny-llama"}}


def write_run(folder: Path, name: str, step: int) -> None:
    write_safetensors(folder / "runs" / name / f"checkpoint-{step}" / "model.safetensors", {})
    write_json(folder / "runs" / name / f"checkpoint-{step}" / "config.json", {})


def test_import_takes_in_what_follows_the_rule_and_names_the_rest(make_study):
    study = make_study()
    shutil.rmtree(study.folder / "cells")
    change(study, checkpoints=[RULE])
    write_run(study.folder, "lima-full-seed0", 10)
    write_run(study.folder, "limo-full-seed0", 10)
    code, text = call(import_command, study.folder, "--dry-run")
    assert code == 0
    assert text.startswith("1 cells would be written, 0 unchanged")
    assert not (study.folder / "cells").exists()
    code, text = call(import_command, study.folder)
    assert code == 0
    assert text.startswith("1 cells written, 0 unchanged")
    assert "not explained by a rule (1)" in text
    assert "dataset has no level 'limo'; did you mean 'lima'?" in text
    assert "cells without a checkpoint (7)" in text
    code, value = call_json(import_command, study.folder)
    assert (code, value["written"], value["n_unchanged"]) == (0, [], 1)
    assert [problem["severity"] for problem in value["problems"]] == ["warning"]
    write_run(study.folder, "lima-full-seed0", 11)
    code, value = call_json(import_command, study.folder)
    assert (code, value["ok"]) == (1, False)
    assert value["problems"][0]["code"] == "checkpoint-refused"
    assert "2 folders for the one cell" in value["problems"][0]["what"]


def move_to_foreign_layout(study) -> None:
    """Turn a study into what people have: runs and evaluations by path, no ``cells`` folder; two steps of each run."""
    for levels in iter_levels(study):
        cell = study.folder / "cells" / cell_id(study, levels)
        run = f"{levels['dataset']}-{levels['method']}-s{levels['seed']}"
        if (cell / "model").is_dir():
            for step in (30, 9):
                shutil.copytree(cell / "model", study.folder / "runs" / run / f"checkpoint-{step}")
        shutil.copytree(cell / "eval", study.folder / "evals" / run)
    shutil.rmtree(study.folder / "cells")
    fixed = {"levels": {"base_model": "tiny-llama"}}
    change(
        study,
        checkpoints=[{"path": "runs/{dataset}-{method}-s{seed}/checkpoint-*", "pick": "last", **fixed}],
        results=[{"format": "lm-eval", "path": "evals/{dataset}-{method}-s{seed}/*.json", **fixed}],
    )


def test_what_people_have_goes_in_and_is_built_without_being_moved(make_study):
    study = make_study()
    move_to_foreign_layout(study)
    assert call(plan_command, study.folder)[0] == 0
    runs = {path: path.stat().st_mtime_ns for path in (study.folder / "runs").rglob("*")}
    code, value = call_json(import_command, study.folder)
    assert (code, len(value["written"]), value["problems"], value["without_checkpoint"]) == (0, 8, [], [])
    code, value = call_json(results_command, study.folder)
    assert (code, value["n_rows"], value["n_cells"]) == (0, 27, 9)
    code, built = call_json(build_command, study.folder)
    assert (code, built["n_cells"], built["n_missing"]) == (0, 9, 0)
    assert {path: path.stat().st_mtime_ns for path in (study.folder / "runs").rglob("*")} == runs
    assert not any("checkpoint-9/" in path for path in built["written"])
    assert call_json(results_command, study.folder)[1]["changed"] is False
    code, again = call_json(build_command, study.folder)
    assert (code, again["written"], again["root"]) == (0, [], built["root"])


def test_import_without_a_rule_says_what_to_write(make_study):
    outcome = CliRunner().invoke(import_command, [str(make_study().folder)])
    assert outcome.exit_code == 1
    assert "`checkpoints` declares no rule" in str(outcome.exception)
    assert "docs/formats/study.md" in str(outcome.exception)


def test_results_writes_one_table_and_then_leaves_it_alone(make_study):
    study = make_study()
    code, text = call(results_command, study.folder)
    assert (code, text) == (
        0, "27 results of 9 cells from 27 files (0 without a value)\ntables/results.parquet: written\n"
    )  # fmt: skip
    assert len(read_results(study.folder / "tables" / "results.parquet")) == 27
    code, value = call_json(results_command, study.folder)
    assert (code, value["ok"], value["changed"], value["n_rows"]) == (0, True, False, 27)


def test_results_with_a_problem_writes_nothing(make_study):
    study = make_study()
    next(iter(study.folder.glob("cells/*/eval/arc_tiny.json"))).write_text("{")
    code, value = call_json(results_command, study.folder)
    assert (code, value["ok"], value["table"]) == (1, False, None)
    assert [problem["code"] for problem in value["problems"]] == ["results-source"]
    assert not (study.folder / "tables").exists()
    code, text = call(results_command, study.folder)
    assert code == 1
    assert "tables/results.parquet: not written" in text
    assert "is not valid JSON" in text


def test_results_of_cells_outside_the_grid_are_left_out_and_named(make_study):
    study = make_study()
    change(study, exclude=[{"dataset": "lima"}])
    code, value = call_json(results_command, study.folder)
    assert (code, value["ok"], value["n_rows"]) == (1, False, 15)
    assert {problem["code"] for problem in value["problems"]} == {"results-undeclared"}
    assert len(read_results(study.folder / "tables" / "results.parquet")) == 15


@pytest.mark.skipif(not REAL_TABLE.is_file(), reason="the released table is not beside the checkout")
def test_the_released_table_goes_in_by_command(tmp_path):
    shutil.copy(CHECKOUT / "studies" / "massive-sft.yaml", tmp_path / "study.yaml")
    shutil.copy(REAL_TABLE, tmp_path / "evaluation_result.csv")
    code, text = call(results_command, tmp_path)
    assert code == 0
    assert text.startswith("29816 results of 1027 cells from 1 files (204 without a value)\n")
    assert "method=none is written in several ways: '' (2 rows) and 'None' (9 rows)" in text


@pytest.mark.parametrize("name", ["plan", "import", "results"])
def test_a_missing_study_is_one_line_and_exit_code_one(tmp_path, name):
    command = [sys.executable, "-c", "from release_kit.cli import main; main()", name, str(tmp_path), "--json"]
    outcome = subprocess.run(command, capture_output=True, text=True)
    assert outcome.returncode == 1
    assert outcome.stderr.count("\n") == 1
    assert "no study can be read here" in outcome.stderr
    assert json.loads(outcome.stdout)["ok"] is False
