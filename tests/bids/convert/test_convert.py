"""What a conversion gives, and what a second one does to it."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import bids_factory
import nibabel
import numpy as np
import pytest
from bids_factory import replace_in_recipe, snapshot

from release_kit.bids.convert.run import ConvertReport, convert
from release_kit.bids.recipe.read import read_recipe
from release_kit.core.errors import IntegrityError, ReleaseKitError, StudyError

Convert = Callable[..., ConvertReport]


def test_every_run_anatomy_and_annotation_is_in_the_dataset(study: Path, out: Path, converted: Convert):
    report = converted()
    found = snapshot(out)
    assert set(report.written) == set(found) and not report.unchanged and not report.problems
    for subject in ("01", "02"):
        for run in ("01", "02"):
            stem = f"sub-{subject}/func/sub-{subject}_task-film_run-{run}"
            assert {f"{stem}_bold.nii.gz", f"{stem}_bold.json", f"{stem}_events.tsv"} <= found.keys()
        assert f"sub-{subject}/anat/sub-{subject}_T1w.nii.gz" in found
    sidecar = json.loads((out / "sub-01/func/sub-01_task-film_run-01_bold.json").read_text())
    assert sidecar["RepetitionTime"] == 1.0 and sidecar["TaskName"] == "A film"
    report = json.loads((out / "code/release_kit/sidecar_report.json").read_text())
    counted = {part["suffix"]: {key["key"]: key for key in part["keys"]} for part in report["suffixes"]}
    assert counted["bold"]["TaskName"]["n_present"] == 4 and counted["bold"]["EchoTime"]["n_absent"] == 4
    assert list(counted["events"]) == ["StimulusPresentation"]
    copies = {p.name: p.read_bytes() for p in (out / "sourcedata/annotations").iterdir()}
    assert copies == {p.name: p.read_bytes() for p in (study / "annotations").iterdir()}


def test_voxels_and_geometry_of_each_run_are_those_of_its_recording(study: Path, out: Path, converted: Convert):
    converted()
    for subject, source in (("01", "AB12"), ("02", "CD34")):
        for run in (1, 2):
            made = nibabel.load(out / f"sub-{subject}/func/sub-{subject}_task-film_run-{run:02d}_bold.nii.gz")
            recorded = nibabel.load(study / source / f"film_run{run}.nii.gz")
            assert np.array_equal(np.asanyarray(made.dataobj), np.asanyarray(recorded.dataobj))
            assert np.array_equal(made.affine, recorded.affine)
            assert made.header.get_zooms() == recorded.header.get_zooms()


def test_dummy_scans_are_left_out_and_said(study: Path, out: Path, converted: Convert):
    replace_in_recipe(study, "kind: nifti, tr_s: 1.0}", "kind: nifti, tr_s: 1.0, dummy_scans: 3}")
    replace_in_recipe(study, "start_s: 0, duration_s: 20", "start_s: 0, duration_s: 17")
    replace_in_recipe(study, "start_s: 16, duration_s: 20, overlap_s: 4", "start_s: 13, duration_s: 17, overlap_s: 4")
    converted()
    made = nibabel.load(out / "sub-01/func/sub-01_task-film_run-01_bold.nii.gz")
    recorded = np.asanyarray(nibabel.load(study / "AB12" / "film_run1.nii.gz").dataobj)
    assert np.array_equal(np.asanyarray(made.dataobj), recorded[..., 3:])
    sidecar = json.loads((out / "sub-01/func/sub-01_task-film_run-01_bold.json").read_text())
    assert sidecar["NumberOfVolumesDiscardedByUser"] == 3


def test_second_conversion_changes_nothing_and_reads_no_recording(study: Path, out: Path, converted: Convert):
    converted()
    before = {path: (out / path).stat().st_mtime_ns for path in snapshot(out)}
    for source in ("AB12", "CD34"):
        for path in (study / source).iterdir():
            path.chmod(0o644)  # a changed inode is looked at again, and found the same
    events: list[str] = []
    report = converted(on_event=lambda event: events.append(event["event"]))
    assert not report.written and not report.removed and set(report.unchanged) == before.keys()
    assert {path: (out / path).stat().st_mtime_ns for path in snapshot(out)} == before
    events.clear()
    report = converted(on_event=lambda event: events.append(event["event"]))
    assert "image" not in events and "checked" not in events and "leaks" not in events
    assert set(report.unchanged) == before.keys()


def test_two_conversions_in_other_places_give_the_same_bytes(
    tmp_path: Path, study: Path, out: Path, converted: Convert
):
    converted()
    other = tmp_path / "elsewhere"
    bids_factory.make_recordings(other / "lab")
    convert(read_recipe(other / "lab"), other / "made", workers=2)
    assert snapshot(other / "made") == snapshot(out)


def test_dataset_that_was_moved_is_taken_over_without_converting_again(tmp_path: Path, study: Path, converted: Convert):
    converted()
    moved = tmp_path / "moved"
    os.rename(tmp_path / "dataset", moved)
    events: list[str] = []
    report = convert(read_recipe(study), moved, on_event=lambda event: events.append(event["event"]))
    assert not report.written and "image" not in events
    replace_in_recipe(study, "age: 28", "age: 29")
    assert "participants.tsv" in convert(read_recipe(study), moved).written


def test_dataset_whose_state_was_lost_is_compared_and_taken_over(study: Path, out: Path, converted: Convert):
    converted()
    before = snapshot(out)
    for path in (study / ".release_kit" / "bids").iterdir():
        path.unlink()
    report = converted()
    assert not report.written and set(report.unchanged) == set(before) and snapshot(out) == before


def test_changed_recipe_changes_only_what_follows_from_it(study: Path, out: Path, converted: Convert):
    converted()
    replace_in_recipe(study, "age: 28", "age: 29")
    report = converted()
    assert report.written == ("code/release_kit/recipe.yaml", "participants.tsv")
    assert "sub-01\t29" in (out / "participants.tsv").read_text()


def test_changed_annotation_leaves_recordings_alone(study: Path, out: Path, converted: Convert):
    converted()
    path = study / "annotations" / "film_story_A02.csv"
    path.write_text(path.read_text().replace("story_A02 at 0 s", "a door opens"))
    report = converted()
    assert "sourcedata/annotations/film_story_A02.csv" in report.written
    assert "stimuli/stim-film_annot-storyA02_events.tsv" in report.written
    assert not [p for p in report.written if p.endswith(".nii.gz") or "storyA01" in p]


def test_changed_recording_is_converted_again(study: Path, out: Path, converted: Convert):
    converted()
    data = np.full((*bids_factory.SHAPE, 20), 5)
    bids_factory.write_nifti(study / "AB12" / "film_run1.nii.gz", data)
    assert converted().written == ("sub-01/func/sub-01_task-film_run-01_bold.nii.gz",)
    made = nibabel.load(out / "sub-01/func/sub-01_task-film_run-01_bold.nii.gz")
    assert np.array_equal(np.asanyarray(made.dataobj), data)


def test_run_that_left_the_recipe_is_removed(study: Path, out: Path, converted: Convert):
    converted()
    replace_in_recipe(study, "overlap_s: 4}}", 'overlap_s: 4}, missing: {"02": scanner stopped}}')
    os.remove(study / "CD34" / "film_run2.nii.gz")
    report = converted()
    stem = "sub-02/func/sub-02_task-film_run-02"
    assert set(report.removed) == {f"{stem}_bold.nii.gz", f"{stem}_bold.json", f"{stem}_events.tsv"}
    assert "scanner stopped" in (out / "README.md").read_text()
    assert "run-02" not in (out / "sub-02/sub-02_scans.tsv").read_text()


def test_file_of_a_lost_run_that_somebody_changed_stays_and_is_told(study: Path, out: Path, converted: Convert):
    converted()
    sidecar = out / "sub-02/func/sub-02_task-film_run-02_bold.json"
    sidecar.write_text("{}\n")
    replace_in_recipe(study, "overlap_s: 4}}", 'overlap_s: 4}, missing: {"02": scanner stopped}}')
    os.remove(study / "CD34" / "film_run2.nii.gz")
    report = converted()
    assert sidecar.read_text() == "{}\n" and any("_run-02_bold.json" in problem for problem in report.problems)


@pytest.mark.parametrize(
    "path", ["README.md", "sub-01/func/sub-01_task-film_run-01_bold.nii.gz", "stimuli/stimuli.tsv", "participants.tsv"]
)
def test_file_that_conversion_did_not_write_is_refused_by_name(path: str, out: Path, converted: Convert):
    (out / path).parent.mkdir(parents=True)
    (out / path).write_bytes(b"mine\n")
    with pytest.raises(StudyError) as refused:
        converted()
    assert path in str(refused.value) and "nothing was overwritten" in str(refused.value)
    assert snapshot(out) == {path: snapshot(out)[path]} and (out / path).read_bytes() == b"mine\n"


def test_all_foreign_files_are_named_at_once(out: Path, converted: Convert):
    converted()
    for path in ("README.md", "participants.json", "sub-02/func/sub-02_task-film_run-01_bold.nii.gz"):
        (out / path).write_bytes(b"changed by hand\n")
    before = snapshot(out)
    with pytest.raises(StudyError) as refused:
        converted()
    assert all(p in str(refused.value) for p in ("README.md", "participants.json", "sub-02_task-film_run-01_bold"))
    assert snapshot(out) == before


def test_changes_belongs_to_people_once_it_is_begun(out: Path, converted: Convert):
    converted()
    (out / "CHANGES").write_text("1.1.0 2026-01-02\n  - More.\n")
    converted()
    assert (out / "CHANGES").read_text() == "1.1.0 2026-01-02\n  - More.\n"


def test_file_that_equals_what_would_be_written_is_taken_over(
    tmp_path: Path, study: Path, out: Path, converted: Convert
):
    converted()
    kept = (out / "participants.tsv").read_bytes()
    other = tmp_path / "second"
    other.mkdir()
    (other / "participants.tsv").write_bytes(kept)
    report = convert(read_recipe(study), other)
    assert "participants.tsv" in report.unchanged and snapshot(other) == snapshot(out)


def test_recipe_that_contradicts_the_recordings_is_refused_before_anything_is_written(
    study: Path, out: Path, converted: Convert
):
    replace_in_recipe(study, "tr_s: 1.0}", "tr_s: 1.5}")
    os.remove(study / "CD34" / "film_run2.nii.gz")
    with pytest.raises(StudyError) as refused:
        converted()
    assert "1.5" in str(refused.value) and "run2" in str(refused.value)
    assert not out.exists()


def test_name_from_the_lab_is_found_and_refused(study: Path, out: Path, converted: Convert):
    beside = study / "CD34" / "film_run2.json"
    beside.write_text(json.dumps({"SequenceName": "of AB12"}))
    for _ in range(2):  # what was refused once is looked at again
        with pytest.raises(IntegrityError) as refused:
            converted()
        assert "sub-02_task-film_run-02_bold.json" in str(refused.value) and "AB12" not in str(refused.value)
    beside.write_text(json.dumps({"SequenceName": "epfid2d1_96"}))
    late = ("dataset_description.json", "derivatives/annotations/dataset_description.json")
    assert converted().written == (*late, "sub-02/func/sub-02_task-film_run-02_bold.json")


def test_damaged_recordings_are_all_named_and_stop_no_other(study: Path, out: Path, converted: Convert):
    whole = {}
    for source in ("AB12", "CD34"):
        path = study / source / "film_run1.nii.gz"
        whole[path] = path.read_bytes()
        path.write_bytes(whole[path][:9000] + b"\xff" * 50 + whole[path][9050:])
    with pytest.raises(ReleaseKitError) as refused:
        converted()
    assert all(str(path) in str(refused.value) for path in whole)
    assert len(list(out.rglob("*.nii.gz"))) == 4 and not list(out.rglob("*run-01_bold*"))
    for path, data in whole.items():
        path.write_bytes(data)
    assert len([path for path in converted().written if path.endswith(".nii.gz")]) == 2


def test_two_conversions_at_once_do_not_mix(study: Path, out: Path, converted: Convert):
    def second(event) -> None:
        if event["event"] == "planned":
            with pytest.raises(ReleaseKitError, match="another conversion is at work"):
                converted()
            with pytest.raises(ReleaseKitError, match="another process is at the same job"):
                convert(read_recipe(study), out.with_name("other"))

    converted(on_event=second)


def test_annotations_alone_follow_from_the_recipe_that_the_dataset_carries(out: Path, converted: Convert):
    converted()
    before = snapshot(out)
    for path in list(before):
        if path.startswith(("stimuli/", "derivatives/annotations/")) or path.endswith("_events.tsv"):
            (out / path).unlink()
    report = convert(read_recipe(out / "code/release_kit/recipe.yaml"), out, only="annotations")
    assert snapshot(out) == before and not [path for path in report.written if path.endswith(".nii.gz")]
