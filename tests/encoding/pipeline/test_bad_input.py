"""Inputs that cannot be analysed are named with run and level, all at once, before anything is made."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from encoding_data_factory import nifti
from encoding_study_factory import ANALYSIS, N_VOLUMES, SHAPE, write_study

from release_kit.encoding.data.problems import DataError
from release_kit.encoding.pipeline.check import check_analysis
from release_kit.encoding.pipeline.run import run_analysis
from release_kit.encoding.spec.read import read_analysis


def sentences(folder: Path) -> list[str]:
    return [problem.sentence() for problem in check_analysis(read_analysis(folder)).problems]


def responses(folder: Path, run: str) -> Path:
    return next((folder / "dataset/derivatives/clean/sub-01").rglob(f"*{run}_space*.nii.gz"))


def annotation(folder: Path, film: str, level: str) -> Path:
    return folder / f"dataset/stimuli/stim-{film}_annot-{level}A01_events.tsv"


def lack_a_level(folder: Path) -> None:
    annotation(folder, "glee", "object").write_text("onset\tduration\ttext\n0\t1\tdoor\n")


def break_an_annotation(folder: Path) -> None:
    path = annotation(folder, "crown", "story")
    path.write_text(path.read_text().replace("3\t1\t", "three\t1\t", 1))


def truncate_a_recording(folder: Path) -> None:
    path = responses(folder, "task-suits_run-02")
    path.write_bytes(path.read_bytes()[:200])


def shorten_a_recording(folder: Path) -> None:
    values = np.zeros((*SHAPE, N_VOLUMES - 20), np.float32)
    nifti(responses(folder, "task-crown_run-02"), values)


def change_a_tr(folder: Path) -> None:
    nifti(responses(folder, "task-glee_run-01"), np.zeros((*SHAPE, N_VOLUMES), np.float32), tr_s=2.0)


def write_a_mask_of_another_shape(folder: Path) -> None:
    nifti(folder / "dataset/mask.nii.gz", np.ones((2, 2, 2), np.uint8))
    file = folder / "encoding.yaml"
    file.write_text(file.read_text().replace("space: MNI}", "space: MNI, mask: mask.nii.gz}"))


def name_a_voxel_that_there_is_not(folder: Path) -> None:
    (folder / "regions.tsv").write_text("voxel\tregion\n3\tstory\n40\tstory\n")


def name_a_model_that_there_is_not(folder: Path) -> None:
    file = folder / "encoding.yaml"
    lm = "{level: story, kind: causal, model: models/lm}"
    file.write_text(file.read_text().replace("{level: story, kind: bag-of-words}", lm))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lack_a_level, ("task-glee_run-02", "level 'object'")),
        (break_an_annotation, ("stim-crown_annot-storyA01_events.tsv", "three")),
        (truncate_a_recording, ("sub-01, task-suits_run-02",)),
        (shorten_a_recording, ("sub-01, task-crown_run-02", "70")),
        (change_a_tr, ("sub-01, task-glee_run-01", "TR", "2 s")),
        (write_a_mask_of_another_shape, ("sub-01", "mask.nii.gz is (2, 2, 2), the responses are (4, 5, 2)")),
        (name_a_voxel_that_there_is_not, ("voxel '40' of region 'story': there are voxels 0 to 39",)),
        (name_a_model_that_there_is_not, ("features.story-words", "no config.json")),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_it_is_named_before_anything_is_made(tmp_path: Path, spoil: Callable[[Path], None], said: tuple[str, ...]):
    write_study(tmp_path, subjects=("01",))
    assert sentences(tmp_path) == []
    spoil(tmp_path)
    found = sentences(tmp_path)
    assert any(all(part in line for part in said) for line in found), found
    with pytest.raises(DataError):
        run_analysis(read_analysis(tmp_path))
    assert not (tmp_path / "fits").exists() and not (tmp_path / "features").exists()


def test_more_features_than_samples_and_columns_that_repeat_are_fitted(tmp_path: Path):
    text = ANALYSIS.replace("seconds: [4]", f"seconds: {list(range(70))}").replace(
        "permutations: 99", "permutations: 0"
    )
    text = text.replace("bootstrap: 50", "bootstrap: 0")
    analysis = read_analysis(write_study(tmp_path, subjects=("01",), analysis=text))
    result = run_analysis(analysis).results[0]
    whole = result.partitions[0].fitted
    assert whole.facts["n_train"] == [258] and 2 * 4 * 70 > 258
    assert np.nanmean(whole.r[:18]) > 0.3
