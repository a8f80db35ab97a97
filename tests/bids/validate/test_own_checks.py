"""Each check finds the defect that it is for, where it is, and nothing in a sound dataset."""

import gzip
import json
from pathlib import Path

import bids_factory
import nibabel
import numpy as np
import pytest
from bids_changes import edit, swap

RUN = "sub-01/func/sub-01_task-film_run-01"
BOLD = f"{RUN}_bold.nii.gz"
OTHER = "sub-02/func/sub-02_task-film_run-01_bold.nii.gz"
EVENTS = f"{RUN}_events.tsv"
CUT = "derivatives/annotations/task-film_run-02_desc-storyA01_events.tsv"
STORY = "stimuli/stim-film_annot-storyA01_events.tsv"


def test_sound_dataset_has_no_finding(dataset, found_in):
    assert found_in(dataset) == []


# --- images


def test_truncated_image_is_found_without_reading_the_others(dataset, found_in):
    path = dataset / BOLD
    whole = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(whole[:-100], mtime=0))
    (found,) = found_in(dataset, "image-truncated")
    assert found.path == BOLD
    assert f"{len(whole) - 100:,} bytes of the {len(whole):,}" in found.what


def test_broken_off_gzip_stream_is_truncated(dataset, found_in):
    path = dataset / BOLD
    path.write_bytes(path.read_bytes()[:-500])
    assert [one.path for one in found_in(dataset, "image-truncated")] == [BOLD]


def test_gzip_of_two_members_is_not_truncated(dataset, found_in):
    path = dataset / BOLD
    whole = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(whole[:900], mtime=0) + gzip.compress(whole[900:], mtime=0) + bytes(512))
    assert found_in(dataset) == []


def test_text_under_the_name_of_an_image_is_unreadable(dataset, found_in):
    (dataset / BOLD).write_text("version https://git-lfs.github.com/spec/v1\n" * 20)
    assert [one.path for one in found_in(dataset, "image-unreadable")] == [BOLD]


def test_same_image_under_two_subjects_is_found(dataset, found_in):
    (dataset / OTHER).write_bytes((dataset / BOLD).read_bytes())
    (found,) = found_in(dataset, "content-under-two-labels")
    assert (found.path, found.severity) == (BOLD, "error")
    assert OTHER in found.what


def test_same_image_packed_differently_is_found(dataset, found_in):
    whole = gzip.decompress((dataset / BOLD).read_bytes())
    (dataset / OTHER).write_bytes(gzip.compress(whole, 1, mtime=7))
    assert [one.path for one in found_in(dataset, "content-under-two-labels")] == [BOLD]


def test_same_unpacked_image_is_found_and_same_size_alone_is_not(dataset, found_in):
    for path in (BOLD, OTHER):
        (dataset / path.removesuffix(".gz")).write_bytes(gzip.decompress((dataset / path).read_bytes()))
        (dataset / path).unlink()
    assert found_in(dataset, "content-under-two-labels") == []
    (dataset / OTHER[:-3]).write_bytes((dataset / BOLD[:-3]).read_bytes())
    assert [one.path for one in found_in(dataset, "content-under-two-labels")] == [BOLD[:-3]]


def test_forged_trailer_alone_is_no_evidence(dataset, found_in):
    one, other = (dataset / BOLD).read_bytes(), (dataset / OTHER).read_bytes()
    (dataset / OTHER).write_bytes(other[:-8] + one[-8:])
    assert found_in(dataset, "content-under-two-labels") == []


def test_anatomy_repeated_over_sessions_is_a_warning(dataset, found_in):
    for session in ("1", "2"):
        path = dataset / f"sub-01/ses-{session}/anat/sub-01_ses-{session}_T1w.nii.gz"
        bids_factory.write_nifti(path, np.ones((4, 4, 4)), tr_s=None)
    assert [one.severity for one in found_in(dataset, "content-under-two-labels")] == ["warning"]


def test_odd_matrix_and_orientation_are_named_with_the_usual_ones(dataset, found_in):
    image = nibabel.Nifti1Image(np.zeros((4, 4, 5, 20), np.int16), np.diag((-2.0, 2.0, 2.0, 1.0)))
    image.header.set_zooms((2, 2, 2, 1.0))
    image.header.set_xyzt_units("mm", "sec")
    (dataset / BOLD).write_bytes(gzip.compress(image.to_bytes(), mtime=0))
    found = {one.what for one in found_in(dataset, "header-differs")}
    assert found == {"matrix is 4 x 4 x 5, 3 of 4 have 4 x 4 x 3", "orientation is LAS, 3 of 4 have RAS"}


def test_short_run_is_named_where_the_other_subjects_agree(dataset, found_in):
    for subject in ("03", "04"):
        random = np.random.default_rng(int(subject))
        path = dataset / f"sub-{subject}/func/sub-{subject}_task-film_run-01_bold.nii.gz"
        bids_factory.write_nifti(path, random.integers(0, 900, (4, 4, 3, 20 if subject == "03" else 17)))
    (found,) = found_in(dataset, "run-length-differs")
    assert "sub-04" in found.path
    assert found.what == "17 volumes, 3 of 4 subjects have 20"


def test_repetition_time_of_an_inherited_sidecar_is_held_against_the_header(dataset, found_in):
    edit(dataset / "task-film_bold.json", '"RepetitionTime": 1.0', '"RepetitionTime": 1.5')
    found = found_in(dataset, "tr-differs")
    assert len(found) == 4
    assert found[0].what == "the sidecar says 1.5 s, the header 1 s"


def test_milliseconds_in_the_header_are_understood(dataset, found_in):
    image = nibabel.Nifti1Image(np.random.default_rng(3).integers(0, 9, (4, 4, 3, 20)).astype(np.int16), np.eye(4) * 2)
    image.header.set_zooms((2, 2, 2, 1000.0))
    image.header.set_xyzt_units("mm", "msec")
    (dataset / BOLD).write_bytes(gzip.compress(image.to_bytes(), mtime=0))
    assert found_in(dataset, "tr-differs") == []


# --- events


def test_run_without_events_is_named(dataset, found_in):
    (dataset / EVENTS).unlink()
    assert [one.path for one in found_in(dataset, "events-absent")] == [BOLD]


def test_events_at_the_top_hold_for_every_run(dataset, found_in):
    (dataset / "task-film_run-01_events.tsv").write_text((dataset / EVENTS).read_text())
    (dataset / EVENTS).unlink()
    assert found_in(dataset) == []


def test_rest_needs_no_events(dataset, found_in):
    bids_factory.write_nifti(dataset / "sub-01/func/sub-01_task-rest_bold.nii.gz", np.arange(960).reshape(4, 4, 3, 20))
    assert found_in(dataset, "events-absent") == []


def test_event_that_outlasts_the_run_names_the_row(dataset, found_in):
    edit(dataset / EVENTS, "16\t4\tstim-film\t16\t20", "16\t9\tstim-film\t16\t25")
    (found,) = found_in(dataset, "event-beyond-run")
    assert (found.path, found.row, found.severity) == (EVENTS, 2, "error")
    assert found.what == "it ends at 25 s, the run lasts 20 s"


def test_event_that_begins_after_the_run_is_an_error_without_any_stimulus(dataset, found_in):
    (dataset / EVENTS).write_text("onset\tduration\ttrial_type\n0\t1\ta\n31\t1\tb\n")
    (found,) = found_in(dataset, "event-beyond-run")
    assert (found.row, found.severity) == (2, "error")


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("0\t20\tstim-film", "0\t20\tstim-other", "event-stimulus-unknown"),
        ("stim-film\t0\t20", "stim-film\t30\t50", "event-beyond-stimulus"),
        ("stim-film\t0\t20", "stim-film\t0\t12", "event-span"),
    ],
)
def test_contradiction_of_events_and_stimulus_is_found(dataset, found_in, old, new, code):
    edit(dataset / EVENTS, old, new)
    assert (EVENTS, 1) in {(one.path, one.row) for one in found_in(dataset, code)}


def test_events_without_position_are_named_when_there_are_stimuli(dataset, found_in):
    (dataset / EVENTS).write_text("onset\tduration\n0\t20\n")
    assert [one.path for one in found_in(dataset, "stimulus-position-unknown")] == [BOLD]


# --- stimuli


@pytest.mark.parametrize(
    ("path", "old", "new", "code"),
    [
        ("stimuli/stimuli.tsv", "stim-film\tfalse", "stim-film\ttrue", "stimulus-missing"),
        ("stimuli/stimuli.tsv", "stim-film\tfalse\t36\n", "stim-film\tfalse\t36\n" * 2, "stimulus-twice"),
        ("stimuli/stimuli.tsv", "stimulus_id", "id", "stimuli-table"),
        ("stimuli/annotations.tsv", "storyA01\tstory", "storyB01\tstory", "annotation-unlisted"),
        ("stimuli/annotations.tsv", "storyA01\tstory", "storyB01\tstory", "annotation-without-file"),
        (STORY, "32\t4\tA01 at 32", "32\t9\tA01 at 32", "annotation-beyond-stimulus"),
        (STORY, "\n4\t4\t", "\n4\t-4\t", "annotation-row"),
        (STORY, "\n4\t4\t", "\nfour\t4\t", "annotation-row"),
        (STORY, "\n4\t4\tA01 at 4\n8\t4\tA01 at 8\n", "\n8\t4\tA01 at 8\n4\t4\tA01 at 4\n", "annotation-order"),
        (STORY, "duration", "length", "stimuli-table"),
    ],
)
def test_defect_of_stimuli_is_found(dataset, found_in, path, old, new, code):
    edit(dataset / path, old, new)
    assert found_in(dataset, code)


def test_annotation_copied_under_another_annotator_is_found(dataset, found_in):
    copy = "stimuli/stim-film_annot-storyA02_events.tsv"
    (dataset / copy).write_text((dataset / STORY).read_text())
    (found,) = found_in(dataset, "annotation-same")
    assert {found.path, found.what} == {STORY, f"the same as {copy}"}


def test_stimuli_without_a_table_are_named(dataset, found_in):
    (dataset / "stimuli/stimuli.tsv").unlink()
    assert found_in(dataset, "stimuli-unlisted")


# --- description and participants


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("BIDSVersion", "v1.9.0", "bids-version"),
        ("BIDSVersion", 1.9, "bids-version"),
        ("License", "", "licence-absent"),
        ("Authors", [], "authors-absent"),
    ],
)
def test_poor_description_is_found(dataset, found_in, key, value, code):
    path = dataset / "dataset_description.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    assert found_in(dataset, code)


def test_citation_file_may_hold_authors_and_licence(dataset, found_in):
    (dataset / "dataset_description.json").write_text('{"Name": "a", "BIDSVersion": "1.11.1"}')
    (dataset / "CITATION.cff").write_text("cff-version: 1.2.0\nauthors:\n  - name: Ada\nlicense: CC0-1.0\n")
    assert found_in(dataset) == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("README.md", "readme-absent"),
        ("CHANGES", "changes-absent"),
        ("participants.tsv", "participants-absent"),
        ("participants.json", "columns-undescribed"),
        ("dataset_description.json", "description-absent"),
        ("derivatives/annotations/dataset_description.json", "derivative-undescribed"),
    ],
)
def test_missing_file_is_named(dataset, found_in, name, code):
    (dataset / name).unlink()
    assert found_in(dataset, code)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("sub-02\t33\n", "", "participant-unlisted"),
        ("sub-02\t33\n", "sub-02\t33\nsub-03\t30\n", "participant-without-data"),
        ("sub-02\t33\n", "sub-02\t33\nsub-02\t34\n", "participant-twice"),
        ("sub-02\t33", "sub-02\t", "cell-empty"),
        ("sub-02\t33", "sub-02\t33\tleft", "file-unreadable"),
        ("participant_id", "id", "file-unreadable"),
        ("sub-02\t33", "sub-02\t95", "identity-leak"),
    ],
)
def test_defect_of_participants_is_found(dataset, found_in, old, new, code):
    edit(dataset / "participants.tsv", old, new)
    assert found_in(dataset, code)


def test_session_in_the_name_of_the_task_is_found(dataset, found_in):
    old = "sub-01/func/sub-01_task-film_run-02_bold.nii.gz"
    (dataset / old).rename(dataset / old.replace("task-film", "task-filmSess2"))
    (found,) = found_in(dataset, "session-in-task")
    assert "filmSess2: the task is film" in found.what


def test_hours_without_a_session_are_found(dataset, found_in):
    document = json.loads((dataset / "task-film_bold.json").read_text())
    (dataset / "task-film_bold.json").write_text(json.dumps({**document, "RepetitionTime": 400.0}))
    assert {one.path for one in found_in(dataset, "sessions-absent")} == {"sub-01", "sub-02"}


def test_bidsignore_is_told(dataset, found_in):
    (dataset / ".bidsignore").write_text("# ours\nextra/\n*.mat\n")
    (found,) = found_in(dataset, "bidsignore")
    assert (found.severity, found.what) == ("note", "hidden: extra/, *.mat")


def test_bidsignore_that_leads_nowhere_does_not_end_the_validation(dataset, found_in):
    (dataset / ".bidsignore").symlink_to("nowhere")
    assert [one.path for one in found_in(dataset, "link-dangling")] == [".bidsignore"]


# --- identity


def test_word_of_the_lab_is_found_and_masked(dataset, found_in):
    edit(dataset / "README.md", "Two people", "Mariko Tanaka")
    found = found_in(dataset, "identity-leak", words=["Tanaka"])
    assert [one.path for one in found] == ["README.md"]
    assert "Tanaka" not in str(found)


def test_kept_key_is_a_decision_of_the_study(dataset, found_in):
    from release_kit.bids.recipe.model import Privacy

    edit(dataset / "task-film_bold.json", "{", '{"StationName": "MRC1",')
    assert found_in(dataset, "identity-leak")
    assert [one.code for one in found_in(dataset, privacy=Privacy(keep=("StationName",)))] == ["identity-kept"]


def test_decision_in_the_dataset_itself_is_respected_and_shown(dataset, found_in):
    edit(dataset / "task-film_bold.json", "{", '{"StationName": "MRC1",')
    (dataset / "code/release_kit").mkdir(parents=True)
    (dataset / "code/release_kit/recipe.yaml").write_text("privacy:\n  keep: [StationName]\n")
    (found,) = found_in(dataset)
    assert (found.code, found.what) == ("identity-kept", "kept: StationName")


@pytest.mark.parametrize(
    "text", ["privacy: 3", "privacy: {keep: StationName}", "- a", "privacy: {keep: [&a 1, *a]}", "{"]
)
def test_recipe_that_is_none_decides_nothing(dataset, found_in, text):
    edit(dataset / "task-film_bold.json", "{", '{"StationName": "MRC1",')
    (dataset / "code/release_kit").mkdir(parents=True)
    (dataset / "code/release_kit/recipe.yaml").write_text(text)
    assert [one.code for one in found_in(dataset)] == ["identity-leak"]


def test_derivative_given_by_itself_needs_no_events_and_participants(dataset, found_in):
    edit(dataset / "dataset_description.json", '"raw"', '"derivative"')
    (dataset / EVENTS).unlink()
    (dataset / "participants.tsv").unlink()
    (dataset / "participants.json").unlink()
    for table in (dataset / "derivatives/annotations").glob("task-film_run-*"):
        table.unlink()
    assert found_in(dataset) == []


def test_swapped_runs_of_two_lengths_disagree_with_their_events(dataset, found_in):
    bids_factory.write_nifti(dataset / OTHER, np.random.default_rng(5).integers(0, 9, (4, 4, 3, 12)))
    swap(dataset / BOLD, dataset / OTHER)
    assert {one.path for one in found_in(dataset, "event-beyond-run")} == {EVENTS}


def test_paths_of_findings_are_files_of_the_dataset(dataset, found_in):
    (dataset / OTHER).write_bytes((dataset / BOLD).read_bytes())
    edit(dataset / CUT, "A01 at 20", "A01 at 21")
    for one in found_in(dataset):
        assert (dataset / one.path).exists()
        assert not Path(one.path).is_absolute()
