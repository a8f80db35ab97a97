"""File patterns lead to one file each, or say why not."""

from pathlib import Path

import pytest

from release_kit.bids.recipe.read import anatomy_source, annotation_files, run_source, source_path
from release_kit.core.errors import StudyError, UnsafePathError


def test_patterns_are_filled_and_relative_to_the_sources(study: Path, reread):
    recipe = reread(("{source}/{task}_run{run}.nii.gz", "{subject}/{source}-{task}-{run:03d}-{stimulus}.nii"))
    path = run_source(recipe, recipe.runs[1], recipe.subjects[1])
    assert path == study / "02" / "CD34-film-002-film.nii"
    assert anatomy_source(recipe, recipe.anatomy[0], recipe.subjects[0]) == study / "AB12" / "t1.nii.gz"


def test_sources_may_lie_elsewhere(study: Path, reread):
    recipe = reread(("schema_version: 1\n", "schema_version: 1\nsources: ../data\n"))
    assert run_source(recipe, recipe.runs[0], recipe.subjects[0]) == study / "../data/AB12/film_run1.nii.gz"


def test_a_wildcard_is_one_file_or_refused(study: Path, reread):
    recipe = reread(("{source}/{task}_run{run}.nii.gz", "{source}/*_run{run}.*"))
    run, subject = recipe.runs[0], recipe.subjects[0]
    assert run_source(recipe, run, subject) == study / "AB12" / "film_run1.nii.gz"
    (study / "AB12" / "rest_run1.nii").write_bytes(b"")
    with pytest.raises(StudyError, match=r"2 files match: film_run1.nii.gz, rest_run1.nii"):
        run_source(recipe, run, subject)
    with pytest.raises(StudyError, match="no file matches"):
        source_path(recipe, "{source}/x*.nii", source="AB12")


def test_names_with_special_characters_match_themselves_only(study: Path, reread):
    recipe = reread(("AB12", "'A[B]12'"))
    for folder in ("A[B]12", "AB12x"):
        (study / folder).mkdir()
        (study / folder / "film_run1.nii").write_bytes(b"")
    assert source_path(recipe, "{source}/f*.nii", source="A[B]12") == study / "A[B]12" / "film_run1.nii"


def test_a_series_keeps_its_wildcard(study: Path, reread):
    recipe = reread(
        (
            'pattern: "{source}/{task}_run{run}.nii.gz", kind: nifti,',
            "pattern: '{source}/r{run}/v_*.nii', kind: nifti-series,",
        )
    )
    assert run_source(recipe, recipe.runs[0], recipe.subjects[0]) == study / "AB12" / "r1" / "v_*.nii"


def test_a_source_name_never_leads_out_of_the_folder(reread):
    recipe = reread(("AB12", "'../../etc'"))
    with pytest.raises(UnsafePathError):
        run_source(recipe, recipe.runs[0], recipe.subjects[0])


def test_a_name_that_is_not_known_is_said(reread):
    recipe = reread(("{source}/{task}_run{run}.nii.gz", "{session}/{task}.nii"))
    with pytest.raises(StudyError, match="the pattern needs 'session'"):
        run_source(recipe, recipe.runs[0], recipe.subjects[0])


def test_annotation_files_follow_their_clock(study: Path, reread):
    recipe = reread(
        (
            'annotations/{stimulus}_story_A01.csv"',
            'annotations/{task}_{run}.csv", clock: run, missing: {film_run-2: lost}',
        )
    )
    by_run, by_stimulus, _ = (annotation_files(recipe, source) for source in recipe.annotations)
    assert [(file.path.name, file.run.run, file.stimulus.label) for file in by_run] == [("film_1.csv", 1, "film")]
    assert [(file.path.name, file.run) for file in by_stimulus] == [("film_story_A02.csv", None)]


def test_a_film_seen_in_two_sessions_is_annotated_once(reread):
    again = "runs:\n  - {task: film, run: 1, session: b, shows: {stimulus: film, start_s: 0, duration_s: 20}}\n"
    recipe = reread(
        ("runs:\n", again), ('annotations/{stimulus}_story_A01.csv"', 'annotations/{task}_{run}.csv", clock: run')
    )
    assert [file.path.name for file in annotation_files(recipe, recipe.annotations[0])] == ["film_1.csv", "film_2.csv"]
