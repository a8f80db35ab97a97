"""``release-kit encoding check``, ``features`` and ``run``: what they say, and how they end."""

import json
from pathlib import Path

import pytest
from cli_in_process import release_kit
from encoding_study_factory import ANALYSIS, write_study


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_study(tmp_path, subjects=("01",))
    return tmp_path


def test_check_says_samples_models_and_cost_and_writes_nothing(folder: Path):
    before = sorted(folder.rglob("*"))
    outcome = release_kit("encoding", "check", folder)
    assert outcome.returncode == 0, outcome.stderr
    assert "sub-01 (corrected): 258 training and 258 held-out samples, 6 runs of 3 titles" in outcome.stdout
    assert "task-glee_run-02                      0 train     86 held out of 90" in outcome.stdout
    assert "story-words: 1 layer of 4 columns, 540 seconds of 3 stimuli" in outcome.stdout
    assert "2 fits and 1 union of bands: about 0.0 GB of memory" in outcome.stdout
    assert outcome.stdout.rstrip().endswith("0 errors: it can be run")
    assert sorted(folder.rglob("*")) == before


def test_check_says_everything_wrong_at_once_and_ends_with_1(folder: Path):
    (folder / "encoding.yaml").write_text(ANALYSIS.replace("level: object", "level: objects").replace(
        "block_s: 10", "block_s: 60"))  # fmt: skip
    next((folder / "dataset/derivatives/clean/sub-01").rglob("*crown_run-01*.nii.gz")).unlink()
    outcome = release_kit("encoding", "check", folder, "--json")
    assert outcome.returncode == 1
    found = json.loads(outcome.stdout)
    said = " ".join(problem["what"] for problem in found["problems"])
    assert "no annotation of level 'objects'" in said
    assert {problem["run"] for problem in found["problems"]} >= {"task-crown_run-01"}


def test_check_says_how_many_permutations_it_takes(folder: Path):
    said = (
        "statistics.permutations: with 50, q <= 0.05 (bh) needs 39 % of voxels with the smallest p (0.02); 199 or more"
    )
    file = folder / "encoding.yaml"
    file.write_text(ANALYSIS.replace("permutations: 99", "permutations: 50"))
    assert said in release_kit("encoding", "check", folder).stdout
    file.write_text(ANALYSIS.replace("permutations: 99", "permutations: 10"))
    assert "with 10, q <= 0.05 (bh) is impossible" in release_kit("encoding", "check", folder).stdout
    file.write_text(ANALYSIS.replace("permutations: 99", "permutations: 199"))
    assert "statistics.permutations" not in release_kit("encoding", "check", folder).stdout


def test_a_file_that_is_no_yaml_is_refused_by_its_name_alone(folder: Path):
    (folder / "encoding.yaml").write_text("name: [films\nfeatures: {}\n")
    outcome = release_kit("encoding", "check", folder)
    assert outcome.returncode == 1 and "encoding.yaml" in outcome.stderr and "unicode string" not in outcome.stderr
    assert "line 2" in outcome.stderr


@pytest.mark.parametrize(
    "arguments",
    [("check",), ("run",), ("report",), ("features",), ("fetch", "dest", "--subject", "01", "--level", "story")],
    ids=lambda arguments: arguments[0],
)
def test_a_folder_that_is_not_there_is_named_and_ends_every_command_with_1(tmp_path: Path, arguments: tuple[str, ...]):
    command, *others = arguments
    others = [tmp_path / "dest" if each == "dest" else each for each in others]
    outcome = release_kit("encoding", command, tmp_path / "nowhere", *others)
    assert outcome.returncode == 1 and str(tmp_path / "nowhere") in outcome.stderr, outcome.stderr
    assert not list(tmp_path.iterdir())


def test_features_are_made_and_kept(folder: Path):
    outcome = release_kit("encoding", "features", folder, "--feature", "story-words")
    assert outcome.returncode == 0 and "layers 0" in outcome.stdout and "object-words" not in outcome.stdout
    key = json.loads(release_kit("encoding", "features", folder, "--json").stdout)["features"]["story-words"]["key"]
    assert (folder / "features" / key / "features.json").is_file()
    wrong = release_kit("encoding", "features", folder, "--feature", "story-word")
    assert wrong.returncode == 2 and "did you mean 'story-words'?" in wrong.stderr


def test_run_says_scores_and_what_it_did_and_continues(folder: Path):
    outcome = release_kit("encoding", "run", folder)
    assert outcome.returncode == 0, outcome.stderr
    assert "sub-01 story-words: r 0.2" in outcome.stdout
    assert "of 38 voxels at q <= 0.05" in outcome.stdout
    unusable = (
        "1 voxel without any change and 1 voxel with values that are no numbers (task-crown_run-01 and 5 more runs)"
    )
    assert f"note     sub-01: {unusable}: not scored" in outcome.stdout
    assert "3 models fitted, 0 kept" in outcome.stdout
    again = json.loads(release_kit("encoding", "run", folder, "--json").stdout)
    assert (again["ok"], again["fitted"], again["kept"], again["modes"]) == (True, 0, 3, ["corrected"])
    (folder / "encoding.yaml").write_text(ANALYSIS.replace("seconds: [4]", "seconds: [4, 5]"))
    changed = release_kit("encoding", "run", folder, "--remove-unused")
    assert "3 models fitted, 0 kept" in changed.stdout and "4 folders removed" in changed.stdout
    assert len(list((folder / "fits").iterdir())) == 3


def test_a_file_that_is_wrong_is_refused_by_line(folder: Path):
    (folder / "encoding.yaml").write_text(ANALYSIS.replace("kind: bag-of-words", "kind: bag-of-word", 1))
    outcome = release_kit("encoding", "run", folder)
    assert outcome.returncode == 1
    assert "encoding.yaml:8" in outcome.stderr and "did you mean 'bag-of-words'?" in outcome.stderr
