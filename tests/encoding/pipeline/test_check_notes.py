"""What ``check`` says beside errors, and that each error is said once."""

from pathlib import Path

import numpy as np
from cli_in_process import release_kit
from encoding_data_factory import nifti
from encoding_study_factory import ANALYSIS, N_VOLUMES, SHAPE, write_study

from release_kit.encoding.pipeline.check import check_analysis
from release_kit.encoding.spec.read import read_analysis


def test_volumes_after_the_end_of_the_stimulus_are_counted_with_run_and_subjects(tmp_path: Path):
    file = write_study(tmp_path)
    assert not [note for note in check_analysis(read_analysis(file)).notes if "come after" in note]
    for subject in ("01", "02"):
        path = next((tmp_path / f"dataset/derivatives/clean/sub-{subject}").rglob("*task-crown_run-02_space*.nii.gz"))
        nifti(path, np.random.default_rng(int(subject)).normal(size=(*SHAPE, N_VOLUMES + 12)).astype(np.float32))
    (said,) = [note for note in check_analysis(read_analysis(file)).notes if "come after" in note]
    assert said == (
        f"sub-01, sub-02, task-crown_run-02: 12 of {N_VOLUMES + 12} volumes come after the stimulus has ended "
        f"({N_VOLUMES} s) and are not used"
    )


def test_a_mask_that_is_not_there_is_named_once_with_the_key(tmp_path: Path):
    file = write_study(tmp_path, subjects=("01",))
    text = file.read_text()
    assert "dataset: {" in text and text == ANALYSIS
    file.write_text(text.replace("dataset: {", 'dataset: {mask: "masks/sub-{subject}.nii.gz", ', 1))
    (problem,) = check_analysis(read_analysis(file)).problems
    assert problem.subject == "01" and problem.what.endswith("masks/sub-01.nii.gz: there is no mask here")
    assert "dataset.mask" in (problem.next_step or "")


def test_the_command_says_that_not_every_value_was_read(tmp_path: Path):
    write_study(tmp_path, subjects=("01",))
    assert "--values reads every one" in release_kit("encoding", "check", tmp_path).stdout
    assert "--values reads" not in release_kit("encoding", "check", tmp_path, "--values").stdout
