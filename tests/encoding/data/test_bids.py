"""A BIDS dataset gives runs, voxels and annotations as they stand in its files, or says all that keeps it."""

import gzip
import hashlib
import json
from dataclasses import replace

import encoding_data_factory as files
import nibabel
import numpy as np
import pytest

from release_kit.core.errors import ReleaseKitError, StudyError, UsageError
from release_kit.encoding.data.layout import ResponsesSpec, open_dataset
from release_kit.encoding.data.problems import DataError

VOLUMES = ResponsesSpec(
    derivative="clean", space="T1w", mask="sub-{subject}/anat/sub-{subject}_space-{space}_mask.nii.gz"
)
SURFACES = ResponsesSpec(
    derivative="clean", kind="surface", mask="sub-{subject}/anat/sub-{subject}_hemi-{hemi}_mask.shape.gii"
)


def test_runs_say_what_of_which_film_was_shown(write_dataset):
    dataset = open_dataset(write_dataset().root, VOLUMES)
    assert dataset.subjects == ("01", "02")
    runs = dataset.runs("02")
    assert [run.name for run in runs] == [f"task-{task}_run-{run}" for task, run, _ in files.RUNS]
    assert [run.title for run in runs] == ["crown", "crown", "glee", "glee"]
    assert {(run.n_volumes, run.tr_s, run.duration_s) for run in runs} == {(30, 1.0, 30.0)}
    assert [(run.stim_id, run.stim_start_s, run.overlap_s) for run in runs[:2]] == [("crown", 0, 0), ("crown", 20, 10)]


def test_responses_of_volumes_are_the_mask_in_c_order(write_dataset):
    written = write_dataset()
    dataset = open_dataset(written.root, VOLUMES)
    mask = dataset.mask("01")
    assert np.array_equal(mask.selected, written.selected)
    assert np.allclose(mask.affine, files.AFFINE)
    for run in dataset.runs("01"):
        found = dataset.responses("01", run)
        whole = written.values["01", run.name]
        assert found.dtype == np.float32 and found.flags.c_contiguous
        assert np.array_equal(found, whole[:, written.selected])
        back = mask.to_volume(found)
        assert np.array_equal(back[:, written.selected], found) and np.isnan(back[:, ~written.selected]).all()


def test_responses_of_surfaces_are_left_then_right(write_dataset):
    written = write_dataset("surface")
    dataset = open_dataset(written.root, SURFACES)
    run, mask = dataset.runs("01")[1], dataset.mask("01")
    found = dataset.responses("01", run)
    assert np.array_equal(found, written.values["01", run.name][:, written.selected])
    assert mask.shape == (5, 7) and mask.affine is None
    left, right = mask.hemispheres(found)
    assert left.shape == (30, 5) and right.shape == (30, 7)
    assert np.array_equal(np.concatenate([left, right], 1)[:, written.selected], found)


def test_surface_of_one_array_reads_as_one_of_many(write_dataset):
    written = write_dataset("surface")
    path = next(written.root.glob("derivatives/clean/sub-01/func/*crown_run-01_hemi-L*.func.gii"))
    values = written.values["01", "task-crown_run-01"][:, :5]
    array = nibabel.gifti.GiftiDataArray(np.ascontiguousarray(values.T), intent="NIFTI_INTENT_TIME_SERIES")
    nibabel.gifti.GiftiImage(darrays=[array]).to_filename(path)
    dataset = open_dataset(written.root, SURFACES)
    run = dataset.runs("01")[0]
    assert np.array_equal(dataset.responses("01", run), written.values["01", run.name][:, written.selected])


def test_without_a_mask_every_voxel_is_taken(write_dataset):
    written = write_dataset()
    dataset = open_dataset(written.root, ResponsesSpec(derivative="clean"))
    assert dataset.mask("01").n_voxels == 24
    run = dataset.runs("01")[0]
    assert np.array_equal(dataset.responses("01", run), written.values["01", run.name].reshape(30, -1))


def test_scaled_integers_are_read_as_the_values_they_stand_for(write_dataset):
    written = write_dataset()
    path = next(written.root.glob("derivatives/clean/sub-01/func/*glee_run-01*_bold.nii.gz"))
    image = nibabel.Nifti1Image(np.moveaxis(written.values["01", "task-glee_run-01"], 0, -1), files.AFFINE)
    image.header.set_data_dtype(np.int16)
    image.header.set_xyzt_units("mm", "sec")
    image.to_filename(path)
    expected = np.moveaxis(nibabel.load(path).get_fdata(), -1, 0)[:, written.selected]
    dataset = open_dataset(written.root, VOLUMES)
    run = next(run for run in dataset.runs("01") if run.name == "task-glee_run-01")
    assert np.allclose(dataset.responses("01", run), expected, atol=1e-4)


def test_raw_recordings_are_read_where_no_derivative_is_named(write_dataset):
    written = write_dataset()
    for path in (written.root / "derivatives/clean").glob("sub-*/func/*.nii.gz"):
        name = path.name.replace("_space-T1w_desc-clean", "")
        path.rename(written.root / name.partition("_")[0] / "func" / name)
    dataset = open_dataset(written.root, ResponsesSpec())
    run = dataset.runs("02")[3]
    assert np.array_equal(dataset.responses("02", run), written.values["02", run.name].reshape(30, -1))


def test_annotations_are_those_of_the_stimuli(write_dataset):
    written = write_dataset()
    dataset = open_dataset(written.root, VOLUMES)
    table = dataset.annotations()
    assert table.num_rows == 21 and set(table["level"].to_pylist()) == {"story", "object"}
    for path in (written.root / "stimuli").glob("*annot-object*"):
        path.unlink()
    assert set(dataset.annotations()["level"].to_pylist()) == {"story"}


def test_annotations_come_back_from_the_cuts_to_runs(write_dataset):
    written = write_dataset()
    table = open_dataset(written.root, VOLUMES).annotations()
    folder = written.root / "derivatives/annotations"
    for task, run, start in files.RUNS:
        rows = [row for row in table.to_pylist() if row["stim_id"] == task and row["level"] == "story"]
        shown = [row for row in rows if start <= row["onset_s"] < start + 30]
        lines = "".join(
            f"{row['onset_s'] - start:g}\t5\t{row['text']}\tn/a\tstim-{task}\t{row['onset_s']:g}\t5\n" for row in shown
        )
        files.text(
            folder / f"task-{task}_run-{run}_desc-storyA01_events.tsv",
            "onset\tduration\ttext\tspeaker\tstim_id\tstim_onset\tstim_duration\n" + lines,
        )
        facts = {"AnnotationLevel": "story", "Annotator": "A01", "Language": "en"}
        files.text(folder / f"task-{task}_desc-storyA01_events.json", json.dumps(facts))
    for path in (written.root / "stimuli").glob("*"):
        path.unlink()
    again = open_dataset(written.root, VOLUMES).annotations()
    assert again.to_pylist() == [row for row in table.to_pylist() if row["level"] == "story"]


def test_a_title_is_the_task_unless_the_events_say_otherwise(write_dataset):
    written = write_dataset()
    for path in written.root.glob("sub-01/func/*task-crown*_events.tsv"):
        path.write_text(files.events("crown", 0.0 if "run-01" in path.name else 20.0, title="The Crown"))
    assert {run.title for run in open_dataset(written.root, VOLUMES).runs("01")} == {"The Crown", "glee"}


def test_digest_is_that_of_the_bytes_and_of_the_mask(write_dataset):
    written = write_dataset()
    plain = open_dataset(written.root, ResponsesSpec(derivative="clean"))
    run = plain.runs("01")[0]
    (path,) = plain.files("01", run)
    assert plain.digest("01", run) == hashlib.sha256(path.read_bytes()).hexdigest()
    masked = open_dataset(written.root, VOLUMES)
    before = masked.digest("01", run)
    mask = masked.files("01", run)[1]
    files.nifti(mask, np.ones(files.SHAPE, np.uint8))
    assert open_dataset(written.root, VOLUMES).digest("01", run) != before != plain.digest("01", run)


def test_everything_that_is_wrong_with_a_subject_is_said_at_once(write_dataset):
    written = write_dataset()
    folder = written.root / "derivatives/clean/sub-01/func"
    names = {run: next(folder.glob(f"*task-{run}*")) for run in ("crown_run-01", "crown_run-02", "glee_run-01")}
    data = names["crown_run-01"].read_bytes()
    names["crown_run-01"].write_bytes(data[: len(data) // 2])
    files.nifti(names["crown_run-02"], np.zeros((*files.SHAPE, 30), np.float32), tr_s=2.0)
    files.nifti(names["glee_run-01"], np.zeros((*files.SHAPE, 20), np.float32))
    (written.root / "sub-01/func/sub-01_task-glee_run-02_events.tsv").unlink()
    with pytest.raises(DataError) as caught:
        open_dataset(written.root, VOLUMES).runs("01")
    said = {problem.run: problem.what for problem in caught.value.problems}
    assert "it ends in volume" in said["task-crown_run-01"]
    assert said["task-crown_run-02"] == "its TR differs: 1 s in the raw recording's sidecar, 2 s in the header"
    assert "responses end at 20 s (20 volumes of 1 s)" in said["task-glee_run-01"]
    assert said["task-glee_run-02"].startswith("there are no events (sub-01/func/sub-01_task-glee_run-02_events.tsv)")
    assert {problem.subject for problem in caught.value.problems} == {"01"}
    assert len(open_dataset(written.root, VOLUMES).runs("02")) == 4


def test_a_recording_that_breaks_off_is_named_when_it_is_read(write_dataset):
    written = write_dataset()
    path = next(written.root.glob("derivatives/clean/sub-01/func/*crown_run-01*"))
    dataset = open_dataset(written.root, ResponsesSpec(derivative="clean"))
    run = dataset.runs("01")[0]
    assert dataset.mask("01").n_voxels == 24
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[:-100]))
    with pytest.raises(DataError, match=r"sub-01, task-crown_run-01: .*it ends in volume 29 of 30"):
        dataset.responses("01", run)


def test_a_surface_that_breaks_off_is_named(write_dataset):
    written = write_dataset("surface")
    path = next(written.root.glob("derivatives/clean/sub-02/func/*glee_run-02_hemi-R*"))
    path.write_bytes(path.read_bytes()[:-400])
    dataset = open_dataset(written.root, SURFACES)
    with pytest.raises(DataError, match=r"sub-02, task-glee_run-02: .*hemi-R.*: cannot be read as GIFTI"):
        dataset.responses("02", dataset.runs("02")[3])


def test_a_missing_hemisphere_is_named(write_dataset):
    written = write_dataset("surface")
    next(written.root.glob("derivatives/clean/sub-01/func/*crown_run-02_hemi-R*")).unlink()
    with pytest.raises(DataError, match="task-crown_run-02: expected a file each of hemi-L and hemi-R"):
        open_dataset(written.root, SURFACES).runs("01")


def test_a_mask_of_another_shape_is_refused(write_dataset):
    written = write_dataset()
    files.nifti(
        written.root / "derivatives/clean/sub-02/anat/sub-02_space-T1w_mask.nii.gz", np.ones((3, 3, 2), np.uint8)
    )
    dataset = open_dataset(written.root, VOLUMES)
    assert dataset.mask("01").shape == files.SHAPE
    with pytest.raises(DataError, match=r"sub-02: the mask .* is \(3, 3, 2\), the responses are \(3, 4, 2\)"):
        dataset.mask("02")


def test_several_responses_of_a_run_must_be_told_apart(write_dataset):
    written = write_dataset()
    path = next(written.root.glob("derivatives/clean/sub-01/func/*crown_run-01*"))
    path.with_name(path.name.replace("desc-clean", "desc-other")).write_bytes(path.read_bytes())
    with pytest.raises(DataError, match="several files are its response"):
        open_dataset(written.root, VOLUMES).runs("01")
    chosen = ResponsesSpec(derivative="clean", desc="clean")
    assert len(open_dataset(written.root, chosen).runs("01")) == 4


def test_what_is_not_there_is_said_with_what_there_is(write_dataset):
    root = write_dataset().root
    with pytest.raises(StudyError, match=r"no responses .* in derivatives/claen .* derivatives with recordings: clean"):
        open_dataset(root, ResponsesSpec(derivative="claen"))
    with pytest.raises(UsageError, match="no responses of a subject '1'"):
        open_dataset(root, VOLUMES).runs("1")
    with pytest.raises(UsageError, match="layout 'bid' is not known"):
        ResponsesSpec(layout="bid")
    with pytest.raises(UsageError, match="mask of a surface is two files"):
        ResponsesSpec(kind="surface", mask="mask.gii")


def test_content_that_is_elsewhere_is_named_with_the_way_to_get_it(write_dataset):
    written = write_dataset()
    path = next(written.root.glob("derivatives/clean/sub-01/func/*crown_run-01*"))
    key = f"SHA256E-s{path.stat().st_size}--{'0' * 64}.nii.gz"
    path.unlink()
    path.symlink_to(f"../../../../.git/annex/objects/aa/bb/{key}/{key}")
    with pytest.raises(DataError, match=r"its content is not here: derivatives/clean/sub-01/func/.* — datalad get"):
        open_dataset(written.root, VOLUMES).runs("01")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("onset\tduration\n0\t30\n", "its columns lack stim_id, stim_start"),
        ("onset\tduration\tstim_id\tstim_start\ttrial_type\n0\t30\tstim-a\t0\tscene\n", "no row says which stimulus"),
        ("onset\tduration\tstim_id\tstim_start\n0\t9\tstim-a\t0\n9\t9\tstim-b\t0\n", "2 stimuli are shown in one run"),
        ("onset\tduration\tstim_id\tstim_start\n0\tsoon\tstim-a\t0\n", "duration is 'soon', expected seconds"),
        ("onset\tduration\tstim_id\tstim_start\n0\t9\tstim-a\tn/a\n", "stim_start is None, expected seconds"),
    ],
)
def test_events_that_say_too_little_are_refused(write_dataset, content, what):
    written = write_dataset()
    files.text(written.root / "sub-01/func/sub-01_task-crown_run-01_events.tsv", content)
    with pytest.raises(ReleaseKitError, match=what):
        open_dataset(written.root, VOLUMES).runs("01")


def test_runs_of_another_shape_are_named(write_dataset):
    written = write_dataset()
    path = next(written.root.glob("derivatives/clean/sub-01/func/*glee_run-01*"))
    files.nifti(path, np.zeros((3, 3, 2, 30), np.float32))
    with pytest.raises(
        DataError, match=r"task-glee_run-01: its volumes are 3 x 3 x 2, those of task-crown_run-01 3 x 4 x 2"
    ):
        open_dataset(written.root, VOLUMES).runs("01")


def test_a_film_that_was_shown_and_has_no_response_is_named_unless_left_out(write_dataset):
    written = write_dataset()
    next(written.root.glob("derivatives/clean/sub-01/func/*glee_run-02*")).unlink()
    rest = "onset\tduration\ttrial_type\n0\t10\teyes-closed\n"
    files.text(written.root / "sub-01/func/sub-01_task-rest_events.tsv", rest)
    with pytest.raises(DataError, match=r"sub-01, task-glee_run-02: its events are here .* but no response"):
        open_dataset(written.root, VOLUMES).runs("01")
    assert len(open_dataset(written.root, VOLUMES).runs("02")) == 4
    spec = replace(VOLUMES, leave_out=("task-glee_run-02",))
    assert len(open_dataset(written.root, spec).runs("01")) == 3


@pytest.mark.parametrize("name", ["glee", "task-glee_run-02"])
def test_runs_that_are_left_out_need_not_be_here(write_dataset, name):
    written = write_dataset()
    for path in written.root.glob("sub-*/func/*task-glee*_events.tsv"):
        path.write_text(path.read_text().replace("stim-glee", "stim-gleepilot"))
    next(written.root.glob("derivatives/clean/sub-01/func/*glee_run-02*")).write_bytes(b"")
    dataset = open_dataset(written.root, replace(VOLUMES, leave_out=(name,)))
    assert len(dataset.runs("01")) == (2 if name == "glee" else 3)
    by_stimulus = open_dataset(written.root, replace(VOLUMES, leave_out=("gleepilot",)))
    assert {run.task for run in by_stimulus.runs("01")} == {"crown"}
    assert by_stimulus.mask("01").n_voxels == written.selected.sum()


def test_a_name_to_leave_out_that_nothing_has_is_refused(write_dataset):
    root = write_dataset().root
    with pytest.raises(UsageError, match=r"leave_out names no task, run or stimulus: 'gleee'.*'glee'"):
        open_dataset(root, replace(VOLUMES, leave_out=("gleee",)))
    with pytest.raises(StudyError, match="every run is left out"):
        open_dataset(root, replace(VOLUMES, leave_out=("glee", "crown")))


@pytest.mark.parametrize("moved", [np.diag([-2.0, 2.0, 2.0, 1.0]), np.diag([2.0, 2.0, 2.0, 1.0])[[0, 2, 1, 3]]])
def test_mask_or_run_of_the_same_shape_that_lies_elsewhere_is_refused(write_dataset, moved):
    root = write_dataset().root
    mask = root / "derivatives/clean/sub-01/anat/sub-01_space-T1w_mask.nii.gz"
    image = nibabel.load(mask)
    nibabel.Nifti1Image(np.asarray(image.dataobj), moved).to_filename(mask)
    with pytest.raises(DataError, match=r"the mask sub-01_space-T1w_mask.nii.gz lies \d\.\d voxels from the responses"):
        open_dataset(root, VOLUMES).mask("01")
    run = next(root.glob("derivatives/clean/sub-02/func/*glee_run-01*"))
    nibabel.Nifti1Image(nibabel.load(run).get_fdata(dtype=np.float32), moved).to_filename(run)
    with pytest.raises(
        DataError, match=r"task-glee_run-01: its volumes lie \d\.\d voxels from those of task-crown_run-01"
    ):
        open_dataset(root, VOLUMES).runs("02")


def test_rounding_of_a_position_and_none_at_all_are_no_other_place(write_dataset):
    root = write_dataset().root
    mask = root / "derivatives/clean/sub-01/anat/sub-01_space-T1w_mask.nii.gz"
    values = np.asarray(nibabel.load(mask).dataobj)
    for affine in (files.AFFINE + 1e-3, None):
        nibabel.Nifti1Image(values, affine).to_filename(mask)
        assert np.array_equal(open_dataset(root, VOLUMES).mask("01").selected, values != 0)
