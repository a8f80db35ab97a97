"""Everything that keeps a dataset from being analysed is found before anything is computed, and all at once."""

import encoding_data_factory as files
import numpy as np

from release_kit.encoding.data.check import check_dataset
from release_kit.encoding.data.layout import ResponsesSpec, open_dataset

SPEC = ResponsesSpec(derivative="clean", mask="sub-{subject}/anat/sub-{subject}_space-T1w_mask.nii.gz")


def test_a_dataset_that_fits_has_no_problem(write_dataset):
    dataset = open_dataset(write_dataset().root, SPEC)
    assert check_dataset(dataset, levels=[("story", "en"), ("story", None)]) == ()


def test_problems_of_all_subjects_are_told_together(write_dataset):
    root = write_dataset().root
    files.nifti(root / "derivatives/clean/sub-01/anat/sub-01_space-T1w_mask.nii.gz", np.ones((3, 3, 2), np.uint8))
    next(root.glob("derivatives/clean/sub-02/func/*glee_run-02*")).write_bytes(b"")
    (root / "sub-02/func/sub-02_task-crown_run-01_events.tsv").unlink()
    found = check_dataset(open_dataset(root, SPEC), levels=[("object", "en")])
    assert [(problem.subject, problem.run) for problem in found] == [
        ("01", None),
        ("02", "task-crown_run-01"),
        ("02", "task-glee_run-02"),
        (None, "task-glee_run-01"),
        (None, "task-glee_run-02"),
    ]
    assert found[3].what == "has no annotation of level 'object' in 'en' (glee, 0 to 30 s)"


def test_a_level_may_be_missing_where_a_run_is_left_out(write_dataset):
    dataset = open_dataset(write_dataset().root, SPEC)
    assert check_dataset(dataset, levels=[("object", None)], leave_out=["glee"]) == ()


def test_a_level_that_nobody_annotated_is_told_with_those_that_are(write_dataset):
    dataset = open_dataset(write_dataset().root, SPEC)
    (problem,) = check_dataset(dataset, levels=[("speech", None)])
    assert problem.what == "no annotation of level 'speech' is here; there are: object (en), story (en)"


def test_a_run_of_another_tr_is_named(write_dataset):
    root = write_dataset().root
    path = next(root.glob("derivatives/clean/sub-01/func/*glee_run-01*"))
    files.nifti(path, np.zeros((*files.SHAPE, 15), np.float32), tr_s=2.0)
    files.text(root / "sub-01/func/sub-01_task-glee_run-01_bold.json", '{"RepetitionTime": 2.0}')
    (problem,) = check_dataset(open_dataset(root, SPEC))
    assert (problem.subject, problem.run) == ("01", "task-glee_run-01")
    assert problem.what == "its TR is 2 s, that of the other runs 1 s"


def test_signs_for_no_text_and_rows_that_end_where_a_run_begins_are_no_annotation_of_it(write_dataset):
    root = write_dataset().root
    path = root / "stimuli/stim-crown_annot-objectA01_events.tsv"
    files.text(path, "onset\tduration\ttext\n0\t20\tdoor\n25\t5\t..\n")
    problems = check_dataset(open_dataset(root, SPEC), levels=[("object", "en")], leave_out=["glee"])
    assert [problem.run for problem in problems] == ["task-crown_run-02"]
    files.text(path, "onset\tduration\ttext\n20\t0\tdoor\n")
    problems = check_dataset(open_dataset(root, SPEC), levels=[("object", "en")], leave_out=["glee"])
    assert problems == (), "run 01 shows seconds 0 to 30, run 02 those from 20 on"
