"""``release-kit sft evaluate`` says what it measured, keeps it, and refuses what it cannot mean."""

import json

import pytest
from cli_in_process import release_kit

from release_kit.core.files import write_atomic


def test_the_command_prints_and_writes_scores(study, model_folder, tmp_path):
    result = release_kit(
        "sft", "evaluate", model_folder, "--tasks", study / "tasks", "--out", tmp_path / "o", "--limit", 3
    )
    assert result.returncode == 0, result.stderr
    assert "choice_3_first  3 documents, 3-shot" in result.stdout
    assert "extraction_failure (first-letters)" in result.stdout
    assert sorted(path.stem for path in (tmp_path / "o").glob("*.json")) == sorted(
        path.stem for path in (study / "tasks").glob("*.yaml")
    )


def test_the_json_names_weights_scorer_and_metrics(study, model_folder, tmp_path):
    arguments = ("--study", study, "--tasks", "letters,prose", "--out", tmp_path / "o", "--json")
    result = release_kit("sft", "evaluate", model_folder, *arguments)
    value = json.loads(result.stdout)
    assert value["ok"] and sorted(value["tasks"]) == ["letters", "prose"]
    assert value["tasks"]["letters"]["scorer"]["name"] == "fast"
    assert len(value["tasks"]["prose"]["weights_sha256"]) == 64
    assert value["tasks"]["letters"]["metrics"]["acc,none"] >= 0


def test_rescore_needs_no_model_and_restores_a_results_file(study, model_folder, tmp_path):
    arguments = ("--study", study, "--tasks", "letters", "--out", tmp_path / "o")
    assert release_kit("sft", "evaluate", model_folder, *arguments).returncode == 0
    path = tmp_path / "o" / "letters.json"
    good = path.read_bytes()
    document = json.loads(good)
    document["results"]["letters"]["acc,none"] = 0.99
    write_atomic(path, json.dumps(document).encode())
    result = release_kit("sft", "evaluate", "--rescore", *arguments)
    assert result.returncode == 0, result.stderr
    assert path.read_bytes() == good


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (("--rescore",), "give MODEL, or --rescore without one"),
        (("--base", "somewhere"), "is not an adapter"),
    ],
)
def test_contradictions_are_wrong_usage(extra, said, study, model_folder, tmp_path):
    result = release_kit(
        "sft", "evaluate", model_folder, "--study", study, "--tasks", "letters", "--out", tmp_path / "o", *extra
    )
    assert result.returncode == 2
    assert said in result.stderr


def test_a_folder_without_weights_is_refused(study, tmp_path):
    (tmp_path / "empty").mkdir()
    arguments = ("--study", study, "--tasks", "letters", "--out", tmp_path / "o")
    result = release_kit("sft", "evaluate", tmp_path / "empty", *arguments)
    assert result.returncode == 1
    assert "there are no weights" in result.stderr
