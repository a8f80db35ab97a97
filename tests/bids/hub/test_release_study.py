"""``bids release``: every file of a dataset is in exactly one part, and nothing of the dataset is touched."""

import json
import shutil
from pathlib import Path

import pytest
from bids_hub import build, contents

from release_kit.bids.release_study import write_release_study
from release_kit.core.cell import read_cells
from release_kit.core.dataset_record import read_dataset
from release_kit.core.errors import ReleaseKitError, StudyError, UsageError
from release_kit.core.manifest import read_manifest
from release_kit.core.study import read_study
from release_kit.release.check import check_study


def parts_of(study: Path) -> dict[str, set[str]]:
    """Return ``subject=01`` … and ``shared`` → the files that the study lists there."""
    cells, problems = read_cells(study)
    assert not problems
    named = {}
    for cell in cells.values():
        (term,) = [f"{name}={level}" for name, level in cell.levels.items() if level != "none"]
        named[term] = set(cell.files)
    return named | {"shared": set(read_dataset(study).shared)}


def test_every_file_of_the_dataset_is_in_exactly_one_part(dataset: Path, tmp_path: Path):
    write_release_study(dataset, tmp_path / "study")
    parts = parts_of(tmp_path / "study")
    assert set(parts) == {"subject=01", "subject=02", "level=object", "level=story", "shared"}
    assert sum(map(len, parts.values())) == len(set().union(*parts.values()))
    assert set().union(*parts.values()) == set(contents(dataset))
    assert {path.split("/")[0] for path in parts["subject=01"]} == {"sub-01"}
    assert "stimuli/annotations/story.parquet" in parts["level=story"]
    assert all("story" in path for path in parts["level=story"])
    assert {"participants.tsv", "dataset_description.json", "stimuli/stimuli.tsv"} <= parts["shared"]


def test_the_dataset_is_linked_and_not_changed(dataset: Path, tmp_path: Path):
    before = contents(dataset)
    write_release_study(dataset, tmp_path / "study")
    build(tmp_path / "study")
    assert contents(dataset) == before
    assert (tmp_path / "study" / "dataset").is_symlink()
    moved = shutil.move(tmp_path / "study", tmp_path / "elsewhere")
    shutil.copytree(dataset, tmp_path / "dataset-of-elsewhere")
    assert read_study(Path(moved)).is_dataset


def test_a_second_call_writes_nothing_and_a_changed_dataset_is_built_only_after_another(dataset: Path, tmp_path: Path):
    study = tmp_path / "study"
    assert write_release_study(dataset, study).written
    build(study)
    assert write_release_study(dataset, study).written == ()
    (dataset / "README.md").write_text("# Another page of the same films, long enough to be read.\n")
    with pytest.raises(StudyError, match=r"README\.md.*bids release"):
        build(study)
    found = [problem.code for problem in check_study(read_study(study)).problems]
    assert "dataset-outdated" in found
    assert write_release_study(dataset, study).written == ("dataset.json",)
    build(study)
    assert check_study(read_study(study)).problems == ()


def test_what_people_add_to_the_study_stays(dataset: Path, tmp_path: Path):
    study = tmp_path / "study"
    write_release_study(dataset, study)
    path = study / "study.yaml"
    path.write_text(path.read_text() + "namespace: lab\nlimits: Two people are few.\n")
    write_release_study(dataset, study)
    assert (read_study(study).namespace, read_study(study).limits) == ("lab", "Two people are few.")


def test_a_subject_that_is_gone_leaves_no_part_behind(dataset: Path, tmp_path: Path):
    study = tmp_path / "study"
    write_release_study(dataset, study)
    shutil.rmtree(dataset / "sub-02")
    write_release_study(dataset, study)
    assert "subject=02" not in parts_of(study)
    build(study)
    assert {cell.levels["subject"] for cell in read_manifest(study / "release").cells} == {"01", "none"}


def test_a_dataset_without_annotations_has_subjects_only(tmp_path: Path):
    folder = tmp_path / "dataset"
    (folder / "sub-a1" / "anat").mkdir(parents=True)
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "Heads", "License": "CC0-1.0"}))
    (folder / "sub-a1" / "anat" / "sub-a1_T1w.json").write_text("{}\n")
    report = write_release_study(folder, tmp_path / "study", version="2.1")
    assert (report.study.name, report.study.version, report.levels) == ("heads", "2.1", ())
    build(tmp_path / "study")
    (cell,) = read_manifest(tmp_path / "study" / "release").cells
    assert (cell.name, cell.levels, cell.kind) == ("sub-a1", {"subject": "a1"}, "dataset")


@pytest.mark.parametrize(
    ("make", "out", "said"),
    [
        (lambda folder: None, "dataset/study", "inside the dataset"),
        (lambda folder: (folder / "dataset_description.json").unlink(), "study", "not a BIDS dataset"),
        (lambda folder: shutil.rmtree(folder / "code"), "study", "which version"),
        (lambda folder: (folder.parent / "study").mkdir() or (folder.parent / "study" / "x").touch(), "study", "empty"),
        (lambda folder: (folder / ".release").mkdir() or (folder / ".release" / "x").touch(), "study", r"\.release/x"),
        (lambda folder: (folder / "sub-none").mkdir() or (folder / "sub-none" / "sub-none_scans.tsv").touch(), "study",
         "'none'"),
    ],
    ids=["inside", "no-bids", "no-version", "foreign-folder", "reserved", "none"],
)  # fmt: skip
def test_what_cannot_be_released_is_refused_before_anything_is_written(dataset: Path, make, out: str, said: str):
    make(dataset)
    if (dataset / "CHANGES").is_file():
        (dataset / "CHANGES").write_text("nothing of a version\n")
    with pytest.raises((UsageError, StudyError), match=said):
        write_release_study(dataset, dataset.parent / out)
    assert not (dataset.parent / out / "study.yaml").exists()


def test_a_file_that_vanished_is_named_by_build_and_check(dataset: Path, tmp_path: Path):
    write_release_study(dataset, tmp_path / "study")
    gone = "sub-01/func/sub-01_task-film_run-01_bold.nii.gz"
    (dataset / gone).unlink()
    with pytest.raises(ReleaseKitError, match="sub-01_task-film_run-01_bold"):
        build(tmp_path / "study")
    (found,) = [p for p in check_study(read_study(tmp_path / "study")).problems if p.code == "dataset-file"]
    assert "sub-01_task-film_run-01_bold" in found.what


def test_a_study_can_be_made_once_the_content_that_was_missing_is_here(dataset: Path, tmp_path: Path):
    image = next(dataset.glob("sub-01/func/*_bold.nii.gz"))
    elsewhere = image.rename(tmp_path / "content")
    image.symlink_to("../../.git/annex/objects/nowhere")
    with pytest.raises(StudyError, match="get their content first"):
        write_release_study(dataset, tmp_path / "study")
    image.unlink()
    elsewhere.rename(image)
    assert write_release_study(dataset, tmp_path / "study").written


def test_a_study_whose_making_was_killed_after_its_first_step_is_made(dataset: Path, tmp_path: Path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "dataset").symlink_to("../dataset")
    assert write_release_study(dataset, tmp_path / "study").written


def test_authors_as_one_text_are_one_author(dataset: Path, tmp_path: Path):
    path = dataset / "dataset_description.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "Authors": "Ada Example"}), encoding="utf-8")
    assert write_release_study(dataset, tmp_path / "study").study.authors == ("Ada Example",)


@pytest.mark.parametrize(
    ("path", "damage"),
    [
        ("stimuli/annotations/story.parquet", b"PAR1 and no more PAR1"),
        ("CITATION.cff", "authors: [{name: M\u00fcller}]".encode("latin-1")),
    ],
)
def test_a_damaged_file_of_the_dataset_is_refused_by_name(path: str, damage: bytes, dataset: Path, tmp_path: Path):
    (dataset / path).write_bytes(damage)
    with pytest.raises(StudyError, match=path):
        write_release_study(dataset, tmp_path / "study")


def test_tables_that_others_wrote_are_taken_as_they_are(dataset: Path, tmp_path: Path):
    """No length, an empty table, a cell longer than readers of CSV take."""
    table = dataset / "stimuli" / "stimuli.tsv"
    table.write_text("stimulus_id\ttitle\tduration\nstim-a\tA\tnan\nstim-b\t" + "b" * 140_000 + "\n")
    write_release_study(dataset, tmp_path / "study")
    shown = {table.name: table.rows for table in read_dataset(tmp_path / "study").tables}["stimuli"]
    assert [row.shown for row in shown] == [("n/a",), ("n/a",)]
    table.write_text("")
    write_release_study(dataset, tmp_path / "study")
    assert "stimuli" not in {table.name for table in read_dataset(tmp_path / "study").tables}
