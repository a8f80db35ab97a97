"""``release-kit check`` as people and programs call it: text, JSON, SARIF, exit codes."""

import json
import shutil
import subprocess
import sys

import pytest
from study_factory import change_study, find_cell


def run(*arguments, cwd=None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "release_kit", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


@pytest.fixture
def copied(make_study):
    study = make_study(seeds=(0, 1), with_base=False)
    one, two = (find_cell(study, dataset="lima", method="full", seed=seed) / "model" for seed in (0, 1))
    shutil.copy(one / "model.safetensors", two)
    return study


def test_clean_study_is_good_with_exit_code_0(make_study):
    study = make_study()
    done = run("check", study.folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("tiny-grid 1.0.0: good")
    assert "9 cells declared, 0 missing, 9 on disk" in done.stdout


def test_errors_are_listed_by_family_with_exit_code_1(copied):
    done = run("check", copied.folder)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "PAYLOADS"
    assert "error payload-identical-file" in done.stdout
    assert "dataset=lima method=full seed=1: model.safetensors is byte for byte equal" in done.stdout
    assert "next: find out which label the weights belong to" in done.stdout
    assert "\x1b[" not in done.stdout and done.stdout.endswith("not built yet\n")


def test_json_and_sarif(copied, tmp_path):
    sarif = tmp_path / "reports" / "check.sarif"
    done = run("check", copied.folder, "--json", "--sarif", sarif)
    value = json.loads(done.stdout)
    assert done.returncode == 1 and value["ok"] is False
    assert [each["code"] for each in value["problems"]] == ["payload-identical-file"]
    assert json.loads(sarif.read_text())["version"] == "2.1.0"


def test_warnings_are_refused_only_when_strict(make_study):
    study = make_study()
    (find_cell(study, dataset="lima", method="full", seed=1) / "eval" / "copa_tiny.json").unlink()
    assert run("check", study.folder).returncode == 0
    strict = run("check", study.folder, "--strict")
    assert strict.returncode == 1 and "refused, 1 warning " in strict.stdout


def test_accepted_problems_do_not_refuse(copied):
    change_study(copied, allow=[{"code": "payload-identical-file", "reason": "averaged on purpose"}])
    done = run("check", copied.folder, "--strict")
    assert done.returncode == 0 and "accepted: averaged on purpose" in done.stdout


def test_explanations():
    done = run("check", "--explain", "payload-is-base")
    assert done.returncode == 0 and "this is not fine-tuned" in done.stdout.lower()
    everything = json.loads(run("check", "--explain", "all", "--json").stdout)
    assert {"name", "family", "severity", "summary", "why", "next_step"} == set(everything["codes"][0])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["check"], "no STUDY is given"), (["check", "--explain", "nothing"], "no code 'nothing'")],
)
def test_wrong_use_is_exit_code_2(arguments, said):
    done = run(*arguments)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


def test_folder_without_a_study(tmp_path):
    done = run("check", tmp_path)
    assert done.returncode == 1 and "no study can be read here" in done.stderr and "Traceback" not in done.stderr


def test_sarif_into_a_place_that_cannot_be_written(make_study, tmp_path):
    (tmp_path / "file").write_text("")
    done = run("check", make_study().folder, "--sarif", tmp_path / "file" / "check.sarif")
    assert done.returncode == 1 and "cannot be written" in done.stderr and "Traceback" not in done.stderr
