"""``release-kit cards`` as a person or a program runs it."""

import json
import shutil
from pathlib import Path

import pytest
import study_factory
from click.testing import CliRunner

from release_kit.cli import cli
from release_kit.cli.output import run
from release_kit.core.results import RESULTS_FILE, read_results, write_results
from release_kit.release.build import build_release

CELL = "tiny-llama-alpaca-lora-s0"


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cards-command") / "study"
    build_release(study_factory.make_study(folder))
    return folder


@pytest.fixture
def study(template, tmp_path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "study"))


def call(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["cards", *map(str, arguments)], standalone_mode=False)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.return_value or 0, result.stdout


def worsen(study: Path) -> None:
    path = study / RESULTS_FILE
    rows = read_results(path)
    from dataclasses import replace

    write_results(path, [replace(rows[0], value=0.0001), *rows[1:]])


def test_check_says_that_all_is_well_and_exits_0(study):
    code, out = call(study, "--check")
    assert code == 0 and out.startswith("11 cards, ") and "all follow from the results" in out


def test_check_names_stale_numbers_with_file_and_line_and_exits_1(study):
    worsen(study)
    code, out = call(study, "--check")
    assert code == 1
    assert str(study / "release/cells") in out and "0.0001" in out and "[number-stale]" in out
    assert "next: run: release-kit cards" in out
    code, out = call(study, "--check", "--json")
    value = json.loads(out)
    assert code == 1 and value["ok"] is False and value["n_cards"] == 11
    first = next(p for p in value["problems"] if p["code"] == "number-stale" and "Value" in p["what"])
    assert first["now"] == "0.0001" and first["row"]["source_key"] and first["where"].startswith("cells/")


def test_diff_shows_and_writes_nothing(study):
    worsen(study)
    before = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    code, out = call(study, "--diff")
    assert code == 1 and "+++ b/cells/" in out and "0.0001" in out
    assert json.loads(call(study, "--diff", "--json")[1])["changed"]
    assert {path: path.read_bytes() for path in study.rglob("*") if path.is_file()} == before
    call(study)
    assert call(study, "--diff") == (0, "no card would change\n")


def test_plain_cards_writes_only_what_changed_and_says_what_is_next(study):
    assert call(study) == (0, "no card changed\n")
    worsen(study)
    before = {path: path.stat().st_mtime_ns for path in (study / "release").rglob("*")}
    code, out = call(study)
    touched = {
        path.relative_to(study / "release").as_posix()
        for path in (study / "release").rglob("*")
        if path.is_file() and before.get(path) != path.stat().st_mtime_ns
    }
    listed = {line.strip() for line in out.split("\n") if line.startswith("  ")}
    assert code == 0 and touched == listed and f"release-kit build {study}" in out
    assert "results/results.parquet" not in touched
    assert call(study, "--check")[0] == 0


def test_lint_of_our_own_cards_is_clean_but_for_warnings(study):
    code, out = call(study, "--lint", "--json")
    assert code == 0 and {p["severity"] for p in json.loads(out)["problems"]} <= {"warning"}


def test_cards_of_others_are_checked_against_their_table(study, tmp_path):
    folder = tmp_path / "models" / "alpha"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(
        "---\nlicense: mit\nbase_model: a/b\nmodel-index:\n- name: alpha\n  results:\n"
        "  - task: {type: other}\n    dataset: {type: mmlu, name: mmlu}\n    metrics: [{type: acc, value: 0.5}]\n---\n"
    )
    (tmp_path / "t.csv").write_text("who,mmlu\nalpha,0.7\n")
    options = ("--check", "--results", tmp_path / "t.csv", "--map", "model=who")
    code, out = call(folder.parent, *options)
    assert code == 1 and "shows 0.5, but t.csv, row 1, has 0.7" in out
    assert json.loads(call(folder.parent, *options, "--json")[1])["table_sha256"]
    (tmp_path / "t.csv").write_text("who,mmlu\nalpha,0.5\n")
    assert call(folder.parent, *options)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["STUDY", "--check", "--diff"], "different questions"),
        (["STUDY", "--results", "x.csv"], "belong to --check"),
        (["EMPTY"], "holds no study.yaml"),
        (["EMPTY", "--check", "--map", "a=b"], "--map needs --results"),
    ],
)
def test_wrong_use_exits_2_with_one_line(study, tmp_path, capsys, arguments, says):
    (tmp_path / "empty").mkdir()
    places = {"STUDY": str(study), "EMPTY": str(tmp_path / "empty")}
    assert run(cli, ["cards", *(places.get(argument, argument) for argument in arguments)]) == 2
    assert says in capsys.readouterr().err


def test_study_that_was_not_built_is_refused_with_the_next_step(tmp_path, capsys):
    study_factory.make_study(tmp_path / "study")
    assert run(cli, ["cards", str(tmp_path / "study"), "--check"]) == 1
    assert "release-kit build" in capsys.readouterr().err
