"""A first recipe is written from names and headers; what nobody can guess is left open, and the check names it."""

import shutil
from pathlib import Path

import bids_factory
import numpy as np
import pytest

from release_kit.bids.recipe.check import check_recipe
from release_kit.bids.recipe.draft import draft_recipe
from release_kit.bids.recipe.guess_names import common_pattern, guess_name, guess_sources
from release_kit.bids.recipe.read import parse_recipe
from release_kit.core.errors import StudyError


def filled(text: str) -> str:
    """What a person does: every FILL IN becomes an answer."""
    text = text.replace('license: "FILL IN"', "license: CC0-1.0").replace('language: "FILL IN"', "language: en")
    return text.replace("FILL IN", "answer")


def checked(text: str, folder: Path):
    recipe, unfilled = parse_recipe(text, folder=folder)
    assert not unfilled
    return check_recipe(recipe)


def test_the_draft_of_a_study_names_what_is_left_and_is_right_once_filled_in(study: Path):
    (study / "recipe.yaml").unlink()
    text = draft_recipe(study)
    recipe, unfilled = parse_recipe(text, folder=study)
    open_keys = {problem.what.split("`")[1] for problem in unfilled}
    assert {"dataset.name", "dataset.license", "stimuli.film.title", "annotations[0].language"} <= open_keys
    assert {problem.code for problem in check_recipe(recipe, known=unfilled).problems} == {"fill-in"}
    report = checked(filled(text), study)
    assert (report.ok, report.problems) == (True, ())
    recipe = report.recipe
    assert [(one.label, one.source) for one in recipe.subjects] == [("01", "AB12"), ("02", "CD34")]
    assert [(run.task, run.run, run.tr_s, run.shows.start_s, run.shows.duration_s) for run in recipe.runs] == [
        ("film", 1, 1.0, 0, 20),
        ("film", 2, 1.0, 20, 20),
    ]
    assert [(one.id, one.level, one.annotator, one.pattern) for one in recipe.annotations] == [
        ("objectA01", "object", "A01", "annotations/{stimulus}_object_A01.csv"),
        ("storyA01", "story", "A01", "annotations/{stimulus}_story_A01.csv"),
        ("storyA02", "story", "A02", "annotations/{stimulus}_story_A02.csv"),
    ]
    assert [one.suffix for one in recipe.anatomy] == ["T1w"]


def test_the_draft_leads_to_recordings_that_lie_elsewhere(study: Path, tmp_path: Path):
    (study / "recipe.yaml").unlink()
    (tmp_path / "lab").mkdir()
    assert checked(filled(draft_recipe(study, recipe_folder=tmp_path / "lab")), tmp_path / "lab").ok


def test_the_same_folder_gives_the_same_draft(study: Path):
    assert draft_recipe(study) == draft_recipe(study)


def test_published_names_are_understood(tmp_path: Path):
    """The layout of a public study of nine titles: session coded in the task, annotations a file a run."""
    random = np.random.default_rng(1)
    for subject in ("S01", "S02"):
        for task, n_runs in (("breakingbad", 2), ("dreamgirlsSess1", 1), ("dreamgirlsSess2", 1)):
            for run in range(1, n_runs + 1):
                name = f"sub-{subject}/func/sub-{subject}_task-{task}_run-{run:02d}_bold.nii.gz"
                bids_factory.write_nifti(tmp_path / name, random.integers(0, 9, (2, 2, 2, 30)))
                preprocessed = tmp_path / f"derivatives/preprocessed_data/sub-{subject}"
                preprocessed.mkdir(parents=True, exist_ok=True)
                (preprocessed / f"sub-{subject}_task-{task}_run-{run:02d}.mat").write_bytes(b"")
        bids_factory.write_nifti(
            tmp_path / f"sub-{subject}/anat/sub-{subject}_T1w.nii.gz", random.integers(0, 9, (2, 2, 2)), tr_s=None
        )
    folder = tmp_path / "derivatives/annotation"
    folder.mkdir()
    for task, n_runs in (("breakingbad", 2), ("dreamgirlsSess1", 1), ("dreamgirlsSess2", 1)):
        for run in range(1, n_runs + 1):
            for kind, line in (
                ("speechTranscription", "メイン#A:はい"),
                ("speechTranscription_EN", "yes"),
                ("story", "話"),
            ):
                lines = "".join(f"[{second}] {line}\n" for second in range(30))
                (folder / f"{task}_run-{run:02d}_{kind}_each1sec.txt").write_text(lines, encoding="utf-8")
    text = draft_recipe(tmp_path)
    assert 'pattern: "sub-{source}/func/sub-{source}_task-{task}_run-{run:02d}_bold.nii.gz"' in text
    assert 'pattern: "sub-{source}/anat/sub-{source}_T1w.nii.gz"' in text
    assert 'pattern: "derivatives/preprocessed_data/sub-{source}/sub-{source}_task-{task}_run-{run:02d}.mat"' in text
    assert (
        'language: ja, reader: seconds, clock: run, pattern: "derivatives/annotation/{task}_run-{run:02d}_speech'
        in text
    )
    assert "id: speechA01en, level: speech, annotator: A01, language: en" in text
    start, end = text.index("derivatives:\n"), text.index("sidecars:")
    report = checked(filled(text[:start] + text[end:]), tmp_path)
    assert report.ok and report.n_runs() == 8


def test_what_differs_between_subjects_becomes_a_wildcard(tmp_path: Path):
    random = np.random.default_rng(1)
    for source, number in (("DM01", 12), ("DM03", 7)):
        for run in (1, 2):
            path = tmp_path / f"{source}_{number + run:04d}_heroes{run}.nii.gz"
            bids_factory.write_nifti(path, random.integers(0, 9, (2, 2, 2, 12)))
    bids_factory.write_nifti(tmp_path / "DM01_0020_heroes3.nii.gz", random.integers(0, 9, (2, 2, 2, 12)))
    text = draft_recipe(tmp_path)
    assert '"{source}_*_{task}{run}.nii.gz"' in text
    assert 'missing: {"02": "FILL IN: why"}' in text
    report = checked(filled(text), tmp_path)
    assert report.ok and report.n_runs() == 5, [problem.sentence() for problem in report.problems]


def test_single_volumes_by_the_dozen_are_a_run(tmp_path: Path):
    for volume in range(12):
        bids_factory.write_nifti(
            tmp_path / "AB12" / "run1" / f"vol_{volume:03d}.nii", np.full((2, 2, 2), volume), tr_s=None
        )
        path = tmp_path / "AB12" / "run1" / f"vol_{volume:03d}.nii"
        import gzip

        path.write_bytes(gzip.decompress(path.read_bytes()))
    text = draft_recipe(tmp_path)
    assert "kind: nifti-series" in text and 'tr_s: "FILL IN"' in text
    text = text.replace('duration_s: "FILL IN"', "duration_s: 24").replace('tr_s: "FILL IN"', "tr_s: 2")
    report = checked(filled(text), tmp_path)
    assert report.ok and report.facts[0].facts.n_volumes == 12, [problem.sentence() for problem in report.problems]


@pytest.mark.slow
def test_real_dicom_series_become_runs_with_their_tr(tmp_path: Path, real_package):
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("dcm2niix")
    package = real_package("heudiconv")
    names = [name for name in package.names("heudiconv/tests/data/b0dwiForFmap") if name.endswith(".dcm")]
    for source in ("P01", "P02"):
        for run in (1, 2):
            folder = tmp_path / source / f"dicom{run}"
            folder.mkdir(parents=True)
            for name in names:
                path = folder / name.rsplit("/")[-1]
                path.write_bytes(package.read(name))
                image = pydicom.dcmread(path)
                image.SeriesDescription = image.ProtocolName = f"bold_film_run{run}"
                image.SeriesInstanceUID += f".{source[-1]}.{run}"  # no two scans have the same files
                image.save_as(path)
    text = draft_recipe(tmp_path)
    assert "tr_s: 4.15" in text and "kind: dicom" in text
    report = checked(filled(text), tmp_path)
    assert report.ok and report.n_runs() == 4, [problem.sentence() for problem in report.problems]


def test_files_that_cannot_be_read_are_told_in_the_draft(study: Path):
    (study / "CD34/film_run2.nii.gz").write_bytes(b"not an image")
    text = draft_recipe(study)
    assert "# Could not be read:" in text and "film_run2.nii.gz" in text


def test_labels_that_yaml_would_misread_are_quoted(tmp_path: Path):
    bids_factory.write_nifti(tmp_path / "AB12/task-no_run-1.nii.gz", np.zeros((2, 2, 2, 9)))
    bids_factory.write_nifti(tmp_path / "AB12/task-007_run-1.nii.gz", np.ones((2, 2, 2, 9)))
    report = checked(filled(draft_recipe(tmp_path)), tmp_path)
    assert [run.task for run in report.recipe.runs] == ["007", "no"]


def test_a_folder_without_recordings_is_refused(tmp_path: Path):
    with pytest.raises(StudyError, match="no series of volumes"):
        draft_recipe(tmp_path)
    with pytest.raises(StudyError, match="is not a folder"):
        draft_recipe(tmp_path / "nothing")


def test_real_recordings_give_their_own_tr(tmp_path: Path, real_package):
    package = real_package("nitime")
    (tmp_path / "S1").mkdir()
    for number in (1, 2):
        (tmp_path / "S1" / f"rest_run{number}.nii.gz").write_bytes(package.read(f"nitime/data/fmri{number}.nii.gz"))
    text = draft_recipe(tmp_path)
    assert "stimuli" not in text, "nothing is shown at rest"
    report = checked(filled(text), tmp_path)
    assert [one.facts.n_volumes for one in report.facts] == [40, 40]
    assert report.ok, [problem.sentence() for problem in report.problems]


@pytest.mark.parametrize(
    ("paths", "sources", "pattern"),
    [
        (["AB12/film_run1.nii.gz", "CD34/film_run1.nii.gz"], ["AB12", "CD34"], "{source}/{task}_run{run}.nii.gz"),
        (
            ["func/P01/ses2/big_bang_run-02.nii", "func/P02/ses2/big_bang_run-02.nii"],
            ["P01", "P02"],
            "func/{source}/ses{session}/big_bang_run-{run:02d}.nii",
        ),
        (["DM01_0012_crown1.nii", "DM03_0007_crown1.nii"], ["DM01", "DM03"], "{source}_*_{task}{run}.nii"),
        (["rest.nii.gz"], [], "{task}.nii.gz"),
    ],
)
def test_patterns_of_names(paths: list[str], sources: list[str], pattern: str):
    assert guess_sources(paths) == sources
    assert common_pattern(guess_name(path, sources).pattern for path in paths) == pattern


def test_drafting_changes_nothing_in_the_folder(study: Path):
    before = {path: path.stat().st_mtime_ns for path in study.rglob("*")}
    copy = shutil.copytree(study, study.parent / "copy")
    draft_recipe(study)
    assert before == {path: path.stat().st_mtime_ns for path in study.rglob("*")}
    assert copy.is_dir()
