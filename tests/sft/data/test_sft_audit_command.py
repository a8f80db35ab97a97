"""``release-kit sft audit``: what it prints, what it writes, and when it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
from cli_in_process import release_kit


def test_audit_of_a_sound_study_counts_what_is_trained(data_study: Callable):
    study = data_study()
    ran = release_kit("sft", "audit", study.folder)
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[0].split()[:6] == ["base", "dataset", "runs", "examples", "tokens", "trained"]
    assert [line.split()[:4] for line in lines[1:4]] == [
        ["tiny", "low", "4", "12"],
        ["tiny", "high", "4", "7"],
        ["tiny", "both", "4", "19"],
    ]
    assert lines[-1] == "12 runs sound"


def test_audit_refuses_runs_in_which_answers_vanish_and_names_the_lines(
    data_study: Callable, write_data: Callable, tmp_path: Path
):
    study = data_study(training={"truncation": "completion", "max_length": 32})
    rows = [{"prompt": "why " * 60, "completion": " because"}, {"prompt": "why?", "completion": " because"}]
    write_data(study.folder / "data" / "high.jsonl", rows)
    ran = release_kit("sft", "audit", study.folder, "--examples", tmp_path / "out")
    assert ran.returncode == 1
    assert "truncation leaves nothing of the completion" in ran.stdout
    assert "data/high.jsonl, line 1" in ran.stdout
    assert "8 runs of 12 refused" in ran.stdout
    (table,) = (tmp_path / "out").glob("*-high-tiny.parquet")
    assert pq.read_table(table).column("fault").to_pylist() == ["completion-vanishes", None]


def test_audit_of_some_runs_gives_json_for_programs(data_study: Callable):
    study = data_study()
    ran = release_kit("sft", "audit", study.folder, "--run", "dataset=low", "--run", "method=lora", "--json")
    value = json.loads(ran.stdout)
    assert ran.returncode == 0 and value["ok"] and value["n_runs"] == 2
    (group,) = value["groups"]
    assert group["counts"]["n_examples"] == 12 and group["steps_per_epoch"] == 3 and 0 < group["fill"] <= 1


def test_data_that_cannot_be_read_refuses_its_runs_and_no_others(data_study: Callable):
    study = data_study()
    (study.folder / "data" / "high.jsonl").unlink()
    ran = release_kit("sft", "audit", study.folder, "--json")
    value = json.loads(ran.stdout)
    assert ran.returncode == 1
    assert {group["dataset"]: group["ok"] for group in value["groups"]} == {"low": True, "high": False, "both": False}
    assert "sft prepare" in value["groups"][1]["problems"][0]["next_step"]


def test_a_base_that_is_not_there_is_named(data_study: Callable):
    study = data_study()
    (study.folder / "bases" / "tiny" / "config.json").unlink()
    ran = release_kit("sft", "audit", study.folder)
    assert ran.returncode == 1
    assert "there is no base model" in ran.stdout and "12 runs of 12 refused" in ran.stdout


def test_a_level_that_does_not_exist_is_wrong_usage(data_study: Callable):
    ran = release_kit("sft", "audit", data_study().folder, "--run", "dataset=hihg")
    assert ran.returncode == 2
    assert "did you mean 'high'" in ran.stderr
