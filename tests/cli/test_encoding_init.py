"""``release-kit encoding init``: what a dataset says is written down, what it cannot say is left open and named."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_in_process import release_kit
from encoding_data_factory import nifti
from encoding_study_factory import SHAPE, write_study

from release_kit.encoding.pipeline.check import check_analysis
from release_kit.encoding.spec.read import read_analysis


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    write_study(tmp_path / "study")
    return tmp_path / "study/dataset"


def test_what_is_found_is_written_and_check_names_what_is_open(dataset: Path, tmp_path: Path):
    file = tmp_path / "analysis/encoding.yaml"
    outcome = release_kit("encoding", "init", dataset, "--out", file)
    assert outcome.returncode == 0 and "3 lines to fill in" in outcome.stdout, outcome.stderr
    text = file.read_text(encoding="utf-8")
    for said in (
        "# sub-01: 6 runs of 3 titles (crown, glee, suits), 90 volumes, TR 1 s",
        "# 540 annotations by A01",
        'story-words: {level: story, language: en, kind: bag-of-words, pca: 100}',
        "space: MNI",
        "derivative: clean",
        'path: "../study/dataset"',
        "# held out: the last run of each title",
    ):  # fmt: skip
        assert said in text, text
    refused = release_kit("encoding", "check", file)
    assert refused.returncode == 1
    for key in ("description", "features.story-model.model", "features.object-model.model"):
        assert f"`{key}` is still to be filled in" in refused.stderr
    assert not (tmp_path / "analysis/fits").exists()


def test_filled_in_it_is_an_analysis_that_can_be_run(dataset: Path, tmp_path: Path):
    file = tmp_path / "analysis/encoding.yaml"
    assert release_kit("encoding", "init", dataset, "--out", file).returncode == 0
    filled = file.read_text().replace('kind: causal, model: "FILL IN"', "kind: bag-of-words, min_count: 3")
    file.write_text(filled.replace("FILL IN: what is asked, in a sentence or two", "Words."))
    found = check_analysis(read_analysis(file))
    assert found.ok, found.problems
    assert {row["run"] for row in found.runs if row["n_held_out"]} == {
        "task-crown_run-02",
        "task-glee_run-02",
        "task-suits_run-02",
    }


def test_a_title_with_one_run_is_held_out_as_a_whole_and_other_responses_and_masks_are_named(
    dataset: Path, tmp_path: Path
):
    for path in [*dataset.rglob("*task-glee_run-02_*")]:
        path.unlink()
    func = dataset / "derivatives/clean/sub-01/func"
    for path in [*func.glob("*_space-MNI_*")]:
        shutil.copy(path, path.with_name(path.name.replace("space-MNI", "space-T1w")))
    for subject in ("01", "02"):
        name = f"derivatives/clean/sub-{subject}/anat/sub-{subject}_space-MNI_mask.nii.gz"
        nifti(dataset / name, np.ones(SHAPE, np.uint8))
    file = tmp_path / "encoding.yaml"
    assert release_kit("encoding", "init", dataset, "--out", file).returncode == 0
    text = file.read_text()
    assert "test: leave-one-title-out" in text and "of glee there is one run only" in text
    assert 'mask: "sub-{subject}/anat/sub-{subject}_space-MNI_mask.nii.gz"' in text
    assert "# also here: clean, volume, T1w, clean (5 files)" in text


def test_what_is_there_is_never_overwritten_and_a_folder_without_recordings_is_refused(dataset: Path, tmp_path: Path):
    file = tmp_path / "encoding.yaml"
    file.write_text("mine")
    outcome = release_kit("encoding", "init", dataset, "--out", file)
    assert outcome.returncode == 1 and "an analysis is there already" in outcome.stderr and file.read_text() == "mine"
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.11.1"}')
    outcome = release_kit("encoding", "init", tmp_path / "empty", "--out", tmp_path / "new.yaml")
    assert outcome.returncode == 1 and "there is no sub-*_task-*_bold recording here" in outcome.stderr
    assert not (tmp_path / "new.yaml").exists()


def test_the_same_dataset_gives_the_same_bytes(dataset: Path, tmp_path: Path):
    for name in ("one", "two"):
        assert release_kit("encoding", "init", dataset, "--out", tmp_path / f"{name}/encoding.yaml").returncode == 0
    assert (tmp_path / "one/encoding.yaml").read_bytes() == (tmp_path / "two/encoding.yaml").read_bytes()
