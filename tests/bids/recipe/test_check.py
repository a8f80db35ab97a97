"""Everything that contradicts the recipe is found in one report, before anything is written."""

import gzip
import shutil
from pathlib import Path

import bids_factory
import nibabel
import numpy as np
import pytest

from release_kit.bids.recipe.check import RecipeReport, check_recipe
from release_kit.bids.recipe.codes import CODES
from release_kit.bids.recipe.problems import RecipeError

SHAPE = bids_factory.SHAPE


def write(path: Path, n_volumes: int = 20, seed: int = 1, shape: tuple = SHAPE, tr_s: float | None = 1.0) -> None:
    data = np.random.default_rng(seed).integers(0, 900, (*shape, n_volumes) if n_volumes > 1 else shape)
    bids_factory.write_nifti(path, data, tr_s=tr_s if n_volumes > 1 else None)


def found(report: RecipeReport) -> list[tuple[str, str]]:
    return [(problem.code, problem.where.split(" (")[0]) for problem in report.problems]


def said(report: RecipeReport, code: str) -> str:
    return "\n".join(problem.sentence() for problem in report.problems if problem.code == code)


def test_a_good_study_has_nothing_to_report(reread):
    report = check_recipe(reread())
    assert (report.ok, found(report), report.n_runs(), report.seconds()) == (True, [], 4, 80)
    report.refuse()
    facts = {one["name"]: one for one in report.to_dict()["recordings"]}
    assert facts["sub-02 task-film run-1"]["n_volumes"] == 20
    assert facts["sub-02 T1w"]["shape"] == list(SHAPE)


def test_everything_is_reported_at_once_and_refused_together(study: Path, reread):
    shutil.copy(study / "AB12/film_run1.nii.gz", study / "AB12/film_run2.nii.gz")
    whole = (study / "CD34/film_run1.nii.gz").read_bytes()
    (study / "CD34/film_run1.nii.gz").write_bytes(whole[: len(whole) // 2])
    (study / "CD34/film_run2.nii.gz").rename(study / "CD34/film_run02.nii.gz")
    (study / "annotations/film_story_A01.csv").unlink()
    (study / "annotations/film_story_A02.csv").write_text("onset,duration,text\n0,x,y\n", encoding="utf-8")
    (study / "annotations/film_object_A01.csv").write_text("onset,duration,text\n0,60,y\n", encoding="utf-8")
    report = check_recipe(reread(("start_s: 16", "start_s: 15"), ("tr_s: 1.0", "tr_s: 2.0")))
    assert found(report) == [
        ("overlap", "task-film run-2"),
        ("file-missing", "sub-02 task-film run-2"),
        ("same-content", "sub-01 task-film run-1"),
        ("unreadable", "sub-02 task-film run-1"),
        ("tr", "sub-01 task-film run-1"),
        ("annotation-missing", "annotations storyA01 film"),
        ("annotation-unreadable", f"{study}/annotations/film_story_A02.csv:2"),
        ("annotation-long", f"{study}/annotations/film_object_A01.csv"),
        ("file-surplus", f"{study}/CD34"),
    ]
    assert "volume 1 of 20" in said(report, "unreadable") or "of 20" in said(report, "unreadable")
    assert "is it 'film_run02.nii.gz', which no run names?" in said(report, "file-missing")
    with pytest.raises(RecipeError) as caught:
        report.refuse()
    assert len(caught.value.problems) == 8, "warnings do not refuse"


@pytest.mark.parametrize(
    ("n_volumes", "code"), [(20, None), (19, "run-short"), (15, "run-short"), (29, None), (31, "run-long")]
)
def test_volumes_times_tr_must_cover_the_stimulus(study: Path, reread, n_volumes: int, code: str | None):
    for source, seed in (("AB12", 1), ("CD34", 2)):
        write(study / source / "film_run1.nii.gz", n_volumes, seed)
    report = check_recipe(reread())
    assert found(report) == ([(code, f"sub-{label} task-film run-1") for label in ("01", "02")] if code else [])


def test_onset_and_dummy_scans_count(study: Path, reread):
    for source, seed in (("AB12", 1), ("CD34", 2)):
        for run in (1, 2):
            write(study / source / f"film_run{run}.nii.gz", 27, 10 * seed + run)
    assert check_recipe(reread(("tr_s: 1.0", "tr_s: 1.0, dummy_scans: 3, onset_s: 4"))).ok
    report = check_recipe(reread(("tr_s: 1.0", "tr_s: 1.0, dummy_scans: 3, onset_s: 5")))
    assert "24 volumes x 1 s after 3 dummy scans = 24 s" in said(report, "run-short")
    assert "1 s too short" in said(report, "run-short")
    assert {code for code, _ in found(check_recipe(reread(("tr_s: 1.0", "tr_s: 1.0, dummy_scans: 27"))))} == {
        "dummy-scans"
    }


def test_tr_is_compared_once_for_all_runs_and_milliseconds_without_a_unit_are_known(study: Path, reread):
    report = check_recipe(reread(("tr_s: 1.0", "tr_s: 1.35")))
    assert found(report) == [("tr", "sub-01 task-film run-1")]
    assert "TR is 1 s, expected 1.35 s" in said(report, "tr")
    for source in ("AB12", "CD34"):
        for run in (1, 2):
            path = study / source / f"film_run{run}.nii.gz"
            image = nibabel.Nifti1Image.from_bytes(gzip.decompress(path.read_bytes()))
            image.header.set_xyzt_units("mm", None)
            image.header["pixdim"][4] = 1000
            path.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
    report = check_recipe(reread())
    assert (report.ok, found(report)) == (True, [("tr-unknown", "sub-01 task-film run-1")])
    assert "in milliseconds" in said(report, "tr-unknown")


def test_geometry_that_differs_inside_a_study_is_named_with_those_who_have_it(study: Path, reread):
    path = study / "CD34/film_run2.nii.gz"
    image = nibabel.Nifti1Image(np.zeros((8, 8, 5, 20), np.int16), np.diag((-3.0, 2.0, 2.0, 1.0)))
    image.header.set_xyzt_units("mm", "sec")
    path.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
    report = check_recipe(reread())
    assert found(report) == [("geometry", "sub-02 task-film run-2")] * 3
    text = said(report, "geometry")
    assert "matrix 8x8x5 in 1 of 4 bold images (sub-02 task-film run-2); 3 have 8x8x6" in text
    assert "voxel size 3x2x2 mm" in text and "orientation LAS" in text


def test_what_authors_allow_is_told_but_does_not_refuse(study: Path, reread):
    write(study / "CD34/film_run2.nii.gz", 15, 9)
    allow = "allow: [{code: run-short, where: sub-02, reason: scanner stopped}, {code: tr, reason: none}]\n"
    report = check_recipe(reread(("annotations:\n", allow + "annotations:\n")))
    assert found(report) == [("unused", "allow"), ("length-differs", "sub-02 task-film run-2")]
    assert report.ok
    assert [(one.where.split(" (")[0], reason) for one, reason in report.accepted] == [
        ("sub-02 task-film run-2", "scanner stopped")
    ]


def test_missing_runs_must_be_declared_and_declared_ones_must_be_missing(study: Path, reread):
    (study / "CD34/film_run2.nii.gz").unlink()
    run_2 = "overlap_s: 4}"
    assert found(check_recipe(reread())) == [("file-missing", "sub-02 task-film run-2")]
    assert not found(check_recipe(reread((run_2, run_2 + ', missing: {"02": stopped}'))))
    report = check_recipe(reread((run_2, run_2 + ', missing: {"01": ill, "02": stopped}')))
    assert found(report) == [("missing-but-there", "sub-01 task-film run-2")]


def test_surplus_recordings_are_named_with_what_their_names_say(study: Path, reread):
    write(study / "AB12/film_run3.nii.gz", 5, 3)
    write(study / "EF56/film_run1.nii.gz", 5, 4)
    write(study / "AB12/fieldmap.nii.gz", 1, 5)
    report = check_recipe(reread())
    assert report.ok
    text = said(report, "file-surplus")
    assert "2 recordings that no run names: fieldmap.nii.gz, film_run3.nii.gz (source AB12, task film, run 3)" in text
    assert "film_run1.nii.gz (source EF56, task film, run 1)" in text


def test_two_files_for_one_run_are_refused(study: Path, reread):
    write(study / "AB12/film_run1.nii", 20, 3)
    report = check_recipe(reread())
    assert ("two-files", "sub-01 task-film run-1") in found(report)
    assert "film_run1.nii, film_run1.nii.gz" in said(report, "two-files")
    report = check_recipe(reread(("{source}/{task}_run{run}.nii.gz", "{source}/{task}_run{run}.*")))
    assert "2 files match" in said(report, "two-files")


def test_two_runs_for_one_file_are_refused(reread):
    report = check_recipe(reread(("{source}/{task}_run{run}.nii.gz", "{source}/{task}_run1.nii.gz")))
    assert [code for code, _ in found(report)].count("two-runs") == 2
    assert "is one file for 2 recordings: sub-01 task-film run-1, sub-01 task-film run-2" in said(report, "two-runs")


def test_a_link_to_another_run_is_one_file_for_two(study: Path, reread):
    (study / "AB12/film_run2.nii.gz").unlink()
    (study / "AB12/film_run2.nii.gz").symlink_to("film_run1.nii.gz")
    assert "two-runs" in [code for code, _ in found(check_recipe(reread()))]


def test_equal_samples_alone_are_not_the_same_content(study: Path, reread):
    """Two files of equal size whose middle and end are equal, but not their beginning."""
    for number, (source, run) in enumerate([("AB12", 1), ("AB12", 2), ("CD34", 1), ("CD34", 2)]):
        data = np.zeros((16, 16, 8, 20), np.int16)
        data[..., 0] = number
        image = nibabel.Nifti1Image(data, np.diag((2.0, 2, 2, 1)))
        image.header.set_xyzt_units("mm", "sec")
        (study / source / f"film_run{run}.nii").write_bytes(image.to_bytes())
        (study / source / f"film_run{run}.nii.gz").unlink()
    assert not found(check_recipe(reread(("run{run}.nii.gz", "run{run}.nii"))))


def test_one_volume_is_no_run(study: Path, reread):
    write(study / "AB12/film_run1.nii.gz", 1, 3)
    assert ("not-a-series", "sub-01 task-film run-1") in found(check_recipe(reread()))


def test_an_empty_place_is_one_problem(study: Path, reread):
    recipe = reread(("schema_version: 1\n", "schema_version: 1\nsources: nowhere\n"))
    assert found(check_recipe(recipe)) == [("sources-missing", str(study / "nowhere"))]


def test_the_order_of_problems_does_not_depend_on_the_number_of_threads(study: Path, reread):
    for source in ("AB12", "CD34"):
        for run in (1, 2):
            write(study / source / f"film_run{run}.nii.gz", 10 + run, run + len(source))
    reports = [check_recipe(reread(), workers=workers).to_dict() for workers in (1, 2, 8)]
    assert reports[0] == reports[1] == reports[2]


def test_progress_is_told_for_every_recording(reread):
    events = []
    check_recipe(reread(), on_event=lambda *event: events.append(event))
    assert events == [("recording", done, 6) for done in range(1, 7)]


def test_every_code_that_is_used_has_an_entry():
    import re

    used = set()
    package = Path(__file__).parents[3] / "release_kit"
    for path in [*(package / "bids/recipe").glob("*.py"), *(package / "core/grammar").glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        used |= set(re.findall(r"problem\(\s*\"([a-z-]+)\"", text)) | set(
            re.findall(r"code(?:: str )?=\s?\"([a-z-]+)\"", text)
        )
        used |= set(re.findall(r"groups\[\"([a-z-]+)\"", text))
    assert used == set(CODES), used ^ set(CODES)
