"""What a recipe declares missing: for a subject, a run, one session of it; for annotations and for derivatives."""

from pathlib import Path

import pytest
from bids_factory import add_preprocessed, replace_in_recipe

from release_kit.bids.annotations.stimuli import STIMULUS_COLUMNS
from release_kit.bids.convert.run import convert
from release_kit.bids.recipe.check import check_recipe
from release_kit.bids.recipe.problems import RecipeError
from release_kit.bids.recipe.read import annotation_files, read_recipe

SESSIONS = """\
runs:
  - {task: film, run: 1, session: a, shows: {stimulus: film, start_s: 0, duration_s: 20}}
  - {task: film, run: 1, session: b, shows: {stimulus: film, start_s: 16, duration_s: 20, overlap_s: 4}}
"""
ANNOTATIONS = """\
annotations:
  - {id: storyA01, annotator: A01, level: story, language: en, reader: intervals, clock: run, missing: {NAME: lost},
     pattern: "annotations/film_{session}_{run}.csv"}
"""


def found(report) -> list[tuple[str, str]]:
    return [(problem.code, problem.where.rsplit("/")[-1]) for problem in report.problems]


@pytest.mark.parametrize(("name", "left"), [("ses-b_film_run-1", ["film_a_1.csv"]), ("film_run-1", []), ("film", [])])
def test_annotations_of_one_session_can_be_missing(study: Path, name: str, left: list[str]):
    text = (study / "recipe.yaml").read_text()
    head = text.split("runs:\n")[0]
    (study / "recipe.yaml").write_text(head + SESSIONS + ANNOTATIONS.replace("NAME", name))
    recipe = read_recipe(study)
    assert [file.path.name for file in annotation_files(recipe, recipe.annotations[0])] == left


def test_a_name_in_missing_that_is_no_run_is_refused(study: Path):
    add_preprocessed(study)
    replace_in_recipe(
        study, "kind: mat,", 'kind: mat, missing: {film_run-7: lost, sub-01_film_run-2: lost, "02": lost},'
    )
    with pytest.raises(RecipeError, match="film_run-7") as refused:
        read_recipe(study)
    (problem,) = refused.value.problems
    assert "derivatives[0].missing.film_run-7" in problem.what


def test_derivative_of_a_run_can_be_missing_and_is_then_not_made(study: Path, tmp_path: Path):
    add_preprocessed(study)
    (study / "preprocessed/AB12_run2.mat").unlink()
    with pytest.raises(RecipeError, match=r"AB12_run2\.mat"):
        convert(read_recipe(study), tmp_path / "out")
    replace_in_recipe(study, "kind: mat,", "kind: mat, missing: {sub-01_film_run-2: scanner log lost},")
    assert check_recipe(read_recipe(study)).ok
    report = convert(read_recipe(study), tmp_path / "out")
    made = [
        path for path in report.written if path.startswith("derivatives/preprocessed/") and path.endswith(".nii.gz")
    ]
    assert len(made) == 3 and not any("sub-01" in path and "run-02" in path for path in made)
    assert "- sub-01_film_run-2, preprocessed: scanner log lost" in (tmp_path / "out/README.md").read_text()
    assert "scanner log lost" in (tmp_path / "out/code/release_kit/recipe.yaml").read_text()


def test_derivative_that_is_declared_missing_but_there_is_told(study: Path):
    add_preprocessed(study)
    replace_in_recipe(study, "kind: mat,", 'kind: mat, missing: {"02": lost},')
    assert found(check_recipe(read_recipe(study))) == [
        ("missing-but-there", "sub-02 task-film run-1 preprocessed"),
        ("missing-but-there", "sub-02 task-film run-2 preprocessed"),
    ]


@pytest.mark.parametrize("name", [*STIMULUS_COLUMNS, "stim_id", "Language"])
def test_column_of_a_stimulus_that_another_key_fills_is_refused(study: Path, name: str):
    replace_in_recipe(study, "license: CC0-1.0}\n", f"license: CC0-1.0, columns: {{{name}: x, series: y}}}}\n")
    with pytest.raises(RecipeError, match="written from other keys") as refused:
        read_recipe(study)
    (problem,) = refused.value.problems
    assert f"stimuli.film.columns.{name}" in problem.what


@pytest.mark.parametrize("kind", ["dicom", "nifti-series"])
def test_two_folders_with_the_same_files_are_told(study: Path, kind: str):
    for source in ("AB12", "CD34"):
        (study / source / "scan").mkdir()
        for n in range(3):
            name = f"{source}_{n}.nii.gz" if kind == "nifti-series" else f"{source}-{n}.dcm"
            (study / source / "scan" / name).write_bytes((study / "AB12/t1.nii.gz").read_bytes() + bytes(n))
    replace_in_recipe(study, '"{source}/t1.nii.gz"', f'"{{source}}/scan", kind: {kind}')
    same = [one for one in check_recipe(read_recipe(study)).problems if one.code == "same-content"]
    assert [one.where for one in same] == ["sub-01 T1w"] and "sub-02 T1w" in same[0].what
    last = max((study / "CD34/scan").iterdir())
    last.write_bytes(last.read_bytes()[:-1] + b"\1")
    assert not [one for one in check_recipe(read_recipe(study)).problems if one.code == "same-content"]
