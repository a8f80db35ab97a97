"""Annotations at run time are where the events of every subject put them, and nothing is said of sound ones."""

from bids_changes import edit

CUT = "derivatives/annotations/task-film_run-02_desc-storyA01_events.tsv"


def test_annotations_for_all_subjects_are_held_against_the_run_of_each(dataset, found_in):
    path = dataset / "sub-02/func/sub-02_task-film_run-01_events.tsv"
    path.write_text(path.read_text().replace("0\t20\tstim-film\t0\t20\n16\t4\tstim-film\t16\t20\n",
                                             "2\t18\tstim-film\t0\t18\n"))  # fmt: skip
    found = found_in(dataset, "annotation-drift")
    assert [one.row for one in found] == [1, 2, 3, 4, 5]
    assert all("shown at" in one.what and "of sub-02/func/" in one.what for one in found)


def test_a_stimulus_shown_twice_in_a_run_is_annotated_at_either_time(dataset, found_in):
    for subject in ("01", "02"):
        path = dataset / f"sub-{subject}/func/sub-{subject}_task-film_run-01_events.tsv"
        path.write_text(path.read_text().replace("16\t4\tstim-film\t16\t20\n", "16\t4\tstim-film\t0\t4\n"))
    cut = dataset / "derivatives/annotations/task-film_run-01_desc-storyA01_events.tsv"
    cut.write_text(cut.read_text() + "16\t4\tA01 at 0\tstim-film\t0\n")
    assert found_in(dataset, "annotation-drift") == []
    cut.write_text(cut.read_text() + "17\t3\tA01 at 0\tstim-film\t0\n")
    assert [one.row for one in found_in(dataset, "annotation-drift")] == [7]


def test_shifted_run_time_annotation_is_found(dataset, found_in):
    edit(dataset / CUT, "4\t4\tA01 at 20", "5\t4\tA01 at 20")
    (found,) = found_in(dataset, "annotation-drift")
    assert (found.path, found.row) == (CUT, 2)
    assert found.what == "onset is 5 s, second 20 of the stimulus is shown at 4 s"


def test_edited_text_no_longer_agrees_with_the_stimulus(dataset, found_in):
    edit(dataset / CUT, "A01 at 20", "A01 at 21")
    assert [one.row for one in found_in(dataset, "annotation-drift")] == [2]


def test_annotation_longer_than_the_scan_is_found(dataset, found_in):
    edit(dataset / CUT, "16\t4\tA01 at 32", "16\t14\tA01 at 32")
    assert [(one.path, one.row) for one in found_in(dataset, "annotation-beyond-run")] == [(CUT, 5)]


def test_annotation_of_a_run_that_is_not_there_is_found(dataset, found_in):
    (dataset / CUT).rename(dataset / CUT.replace("run-02", "run-07"))
    assert "run-07" in found_in(dataset, "annotation-beyond-run")[0].what


def test_annotation_of_a_run_that_only_absent_people_have_is_no_defect(dataset, found_in):
    for path in dataset.glob("sub-*/func/*run-02*"):
        path.unlink()
    edit(dataset / "participants.tsv", "sub-02\t33\n", "sub-02\t33\nsub-03\t30\n")
    assert found_in(dataset, "annotation-beyond-run") == []
    (found,) = {one.what: one for one in found_in(dataset, "annotation-without-run")}.values()
    assert found.severity == "note" and found.what.endswith("run-02 here; sub-03 may have it")


def test_label_without_description_is_found(dataset, found_in):
    edit(dataset / "derivatives/annotations/descriptions.tsv", "storyA01", "storyA09")
    assert "storyA01" in found_in(dataset, "annotation-undescribed")[0].what
