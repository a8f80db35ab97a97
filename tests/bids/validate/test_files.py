"""Files that nobody should load, links that lead nowhere, and content that is not here."""

import pickle
import time
from pathlib import Path

import numpy as np
import published_twin
import pytest

from release_kit.bids.validate.survey import parse_name, survey_dataset

KEY = "SHA256E-s1234--9d2f.nii.gz"
BOLD = "sub-01/func/sub-01_task-film_run-01_bold.nii.gz"


@pytest.mark.parametrize("name", ["a.pkl", "a.pickle", "a.joblib", "a.pt", "a", "a.dat"])
def test_pickle_is_found_by_name_or_by_its_first_bytes(dataset, found_in, name):
    (dataset / "code").mkdir()
    (dataset / "code" / name).write_bytes(pickle.dumps({"a": 1}))
    assert [one.path for one in found_in(dataset, "pickle")] == [f"code/{name}"]


def test_array_of_objects_is_a_pickle_and_an_array_of_numbers_is_not(dataset, found_in):
    folder = dataset / "derivatives" / "annotations"
    np.save(folder / "numbers.npy", np.arange(3))
    np.save(folder / "objects.npy", np.array([{}, None], dtype=object), allow_pickle=True)
    np.savez(folder / "numbers.npz", a=np.arange(3))
    np.savez(folder / "mixed.npz", a=np.arange(3), b=np.array([{}], dtype=object))
    names = {one.path.rpartition("/")[2]: one.what for one in found_in(dataset, "pickle")}
    assert set(names) == {"objects.npy", "mixed.npz"}
    assert "array b" in names["mixed.npz"]


def test_objects_behind_many_columns_of_numbers_are_found(dataset, found_in):
    kinds = [*((f"column{n}", "<f8") for n in range(90)), ("last", object)]
    np.save(dataset / "derivatives" / "annotations" / "wide.npy", np.zeros(2, dtype=kinds), allow_pickle=True)
    assert len(found_in(dataset, "pickle")) == 1


def test_nothing_is_ever_unpickled(dataset, found_in, tmp_path):
    marker = tmp_path / "loaded"
    for name in ("a.pkl", "b.npy", "c.mat", "d.npz", "e"):
        (dataset / "code").mkdir(exist_ok=True)
        (dataset / "code" / name).write_bytes(published_twin.trap(marker))
    assert found_in(dataset, "pickle")
    assert not marker.exists()
    pickle.loads(published_twin.trap(marker))
    assert marker.exists(), "the trap works, so nobody stepped into it above"


def test_array_with_a_sidecar_is_explained(dataset, found_in):
    path = dataset / "derivatives" / "annotations" / "task-film_desc-gpt2_features.npy"
    np.save(path, np.zeros((20, 4)))
    assert [one.path for one in found_in(dataset, "array-without-sidecar")] == ["derivatives/annotations"]
    path.with_suffix(".json").write_text("{}")
    assert found_in(dataset, "array-without-sidecar") == []


def test_foreign_format_is_counted_by_derivative(dataset, found_in):
    for number in range(3):
        (dataset / "derivatives" / "annotations" / f"v{number}.mat").write_bytes(b"MATLAB 5.0")
    (dataset / "sourcedata").mkdir()
    (dataset / "sourcedata" / "log.mat").write_bytes(b"MATLAB 5.0")
    (found,) = found_in(dataset, "foreign-format")
    assert (found.path, found.what) == ("derivatives/annotations", "3 .mat files (such as v0.mat) of MATLAB")


def test_link_out_of_the_dataset_and_link_to_nothing_are_found(dataset, found_in, tmp_path):
    (tmp_path / "outside.json").write_text("{}")
    (dataset / "code").mkdir()
    (dataset / "code" / "out.json").symlink_to("../../outside.json")
    (dataset / "code" / "nothing").symlink_to("nowhere")
    (dataset / "code" / "absolute").symlink_to(tmp_path / "outside.json")
    (dataset / "code" / "inside").symlink_to("../README.md")
    found = [one.path for one in found_in(dataset, "link-dangling")]
    assert found == ["code/absolute", "code/nothing", "code/out.json"]


def test_annexed_file_without_content_is_no_defect_but_a_gap(dataset, found_in):
    _drop(dataset / BOLD)
    (found,) = found_in(dataset)
    assert (found.code, found.severity) == ("content-absent", "note")
    assert found.what.startswith("1 of ")


def test_pointer_of_an_unlocked_file_is_an_absent_file(dataset, found_in):
    (dataset / BOLD).write_text(f"/annex/objects/{KEY}\n")
    entry = survey_dataset(dataset).by_path[BOLD]
    assert (entry.absent, entry.key, entry.size_bytes) == (True, KEY, 1234)
    assert [one.code for one in found_in(dataset)] == ["content-absent"]


def test_demanded_content_that_is_absent_is_an_error(dataset, found_in):
    _drop(dataset / BOLD)
    assert [one.severity for one in found_in(dataset, "content-demanded", content=True)] == ["error"]


def test_equal_annex_keys_show_one_image_under_two_labels_without_content(dataset, found_in):
    _drop(dataset / BOLD)
    _drop(dataset / BOLD.replace("run-01", "run-02"))
    assert [one.path for one in found_in(dataset, "content-under-two-labels")] == [BOLD]


def test_keys_that_are_no_digests_are_no_evidence(dataset, found_in):
    for run in ("run-01", "run-02"):
        _drop(dataset / BOLD.replace("run-01", run), key="WORM-s1234-m1--bold.nii.gz")
    assert found_in(dataset, "content-under-two-labels") == []


def test_derivative_that_was_not_fetched_is_told(dataset, found_in):
    (dataset / "derivatives" / "fmriprep").mkdir()
    assert [one.path for one in found_in(dataset, "dataset-not-installed")] == ["derivatives/fmriprep"]


@pytest.mark.parametrize(
    ("name", "entities", "suffix", "extension"),
    [
        ("sub-01/func/sub-01_task-a_bold.nii.gz", {"sub": "01", "task": "a"}, "bold", ".nii.gz"),
        ("task-a_events.json", {"task": "a"}, "events", ".json"),
        ("participants.tsv", {}, "participants", ".tsv"),
        ("derivatives/feature/crown_run-01_mean.mat", {}, "", ".mat"),
        ("README", {}, "README", ""),
        ("a b_c.txt", {}, "", ".txt"),
        (".bidsignore", {}, "", ".bidsignore"),
    ],
)
def test_names_are_taken_apart_as_the_specification_does(name, entities, suffix, extension):
    assert parse_name(name) == (entities, suffix, extension)


def test_nearest_sidecar_wins(dataset):
    (dataset / "sub-01" / "sub-01_task-film_bold.json").write_text('{"RepetitionTime": 2.0}')
    survey = survey_dataset(dataset)
    values = survey.metadata(survey.parts[0], survey.by_path[BOLD])
    assert values == {"TaskName": "film", "RepetitionTime": 2.0}


@pytest.mark.slow
def test_thousands_of_files_take_seconds(tmp_path, found_in):
    """7,000 files, 2,000 of them events tables, below 6 s on a busy machine; the checks must not be quadratic."""
    folder = tmp_path / "large"
    for subject in range(50):
        for run in range(20):
            stem = folder / f"sub-{subject:02d}" / "func" / f"sub-{subject:02d}_task-a{run}_run-{run:02d}"
            stem.parent.mkdir(parents=True, exist_ok=True)
            Path(f"{stem}_events.tsv").write_text("onset\tduration\n0\t1\n")
            for suffix in ("bold.json", "physio.json", "events.json", "sbref.json", "mag.json"):
                Path(f"{stem}_{suffix}").write_text("{}")
            _drop(Path(f"{stem}_bold.nii.gz"), key=f"SHA256E-s9--{subject}{run}.nii.gz")
    begun = time.process_time()
    assert len(survey_dataset(folder).entries) == 7000
    assert {one.code for one in found_in(folder)} >= {"content-absent", "scans-absent"}
    assert time.process_time() - begun < 6


def _drop(path: Path, key: str = KEY) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(f"../../.git/annex/objects/aa/bb/{key}/{key}")
