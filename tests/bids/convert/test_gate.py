"""What a conversion looks at again, although an earlier one found everything good; what it never writes over."""

import json
from collections.abc import Callable
from pathlib import Path

import bids_factory
import pytest
from bids_factory import replace_in_recipe

from release_kit.bids.convert.jobs import ImageJob
from release_kit.bids.convert.metadata import metadata_outputs
from release_kit.bids.convert.private import with_private
from release_kit.bids.convert.run import ConvertReport
from release_kit.bids.recipe.model import Anatomy, Recording
from release_kit.bids.recipe.read import read_recipe
from release_kit.bids.recordings.header import read_facts
from release_kit.core.errors import IntegrityError, RecordError, StudyError

Convert = Callable[..., ConvertReport]


def test_annotation_that_was_made_too_long_since_the_last_conversion_is_refused(
    study: Path, out: Path, converted: Convert
):
    converted()
    before = bids_factory.snapshot(out)
    path = study / "annotations/film_story_A01.csv"
    path.write_text(path.read_text() + "300,4,long after the end\n")
    with pytest.raises(StudyError, match="304 s"):
        converted()
    assert bids_factory.snapshot(out) == before


def test_file_that_somebody_put_into_the_dataset_is_looked_into_too(out: Path, converted: Convert):
    converted()
    (out / "sourcedata/notes.txt").write_text("AB12 slept.\n")
    with pytest.raises(IntegrityError, match=r"sourcedata/notes\.txt"):
        converted()
    (out / "sourcedata/notes.txt").unlink()
    events: list[str] = []
    converted(on_event=lambda event: events.append(event["event"]))
    assert "leaks" not in events, "nothing is new, so nothing is looked into"


def test_folder_with_something_identifying_is_no_dataset(out: Path, converted: Convert):
    (out / "sourcedata").mkdir(parents=True)
    (out / "sourcedata/notes.txt").write_text("AB12 slept.\n")
    with pytest.raises(IntegrityError, match=r"no dataset_description\.json"):
        converted()
    assert (out / "README.md").is_file() and not list(out.rglob("*dataset_description*"))
    (out / "sourcedata/notes.txt").unlink()
    converted()
    whole = bids_factory.snapshot(out)
    assert {"dataset_description.json", "derivatives/annotations/dataset_description.json"} <= whole.keys()
    (out / "sourcedata/notes.txt").write_text("AB12 slept.\n")
    with pytest.raises(IntegrityError):
        converted(only="annotations")
    assert not list(out.rglob("*dataset_description*"))
    (out / "sourcedata/notes.txt").unlink()
    report = converted(only="annotations")
    assert "dataset_description.json is not there" in report.problems[0]
    converted()
    assert bids_factory.snapshot(out) == whole


def test_word_in_the_description_itself_keeps_it_from_its_name(study: Path, out: Path, converted: Convert):
    bids_factory.add_to_recipe(study, "privacy: {words: [DatasetType]}\n")
    with pytest.raises(IntegrityError, match=r": dataset_description\.json: the word") as refused:
        converted()
    assert not list(out.rglob("*dataset_description*")) and "rk-tmp" not in str(refused.value)


def test_description_of_somebody_else_is_not_taken_away(out: Path, converted: Convert):
    converted(only="annotations")
    (out / "dataset_description.json").write_text('{"Name": "AB12"}')
    with pytest.raises(IntegrityError):
        converted(only="annotations")
    assert (out / "dataset_description.json").is_file()


@pytest.mark.parametrize("name", ["sub-01", "SUB-01", "01"])
def test_name_in_the_lab_that_is_the_published_label_hides_nothing(
    name: str, study: Path, out: Path, converted: Convert
):
    (study / "AB12").rename(study / name)
    replace_in_recipe(study, "source: AB12", f'source: "{name}"')
    converted()
    assert (out / "sub-01/func/sub-01_task-film_run-01_bold.nii.gz").is_file()


def test_tr_that_the_study_accepts_is_written(study: Path, out: Path, converted: Convert):
    replace_in_recipe(study, "tr_s: 1.0}", "tr_s: 1.1}")
    bids_factory.add_to_recipe(study, "allow: [{code: tr, reason: the header was written by hand}]\n")
    converted()
    sidecar = json.loads((out / "sub-01/func/sub-01_task-film_run-01_bold.json").read_text())
    assert sidecar["RepetitionTime"] == 1.1


def test_defacing_is_said_once_beside_what_the_study_did_before(study: Path, out: Path):
    recipe = read_recipe(study)
    anatomy = Anatomy(
        suffix="T1w", recording=Recording(pattern="x"), sidecar={"DeidentificationMethod": ["Names removed"]}
    )
    source = study / "AB12/t1.nii.gz"
    target = "sub-01/anat/sub-01_T1w.nii.gz"
    job = ImageJob(
        target=target, subject="01", source=source, recording=anatomy.recording, role="anatomy", item=anatomy,
        deface=True,
    )  # fmt: skip
    made = metadata_outputs(recipe, [job], {target: read_facts(source)}, {}, out)
    said = json.loads(made["sub-01/anat/sub-01_T1w.json"].data)["DeidentificationMethod"]
    assert len(said) == 2 and said[0] == "Names removed" and "Face removed" in said[1]


@pytest.mark.parametrize("rows", ["01\tAB12\n01\tCD34\n02\tCD34\n", "01\tAB12\n02\t\n", "01\tAB12\n02\tAB12\n"])
def test_pseudonyms_that_give_no_participant_one_name_are_refused(rows: str, study: Path, tmp_path: Path):
    table = tmp_path / "names.tsv"
    table.write_text("participant_id\tsource\n" + rows)
    with pytest.raises((RecordError, StudyError), match=r"names\.tsv"):
        with_private(read_recipe(study), pseudonyms=table)


@pytest.mark.parametrize(
    "path", ["README.md", "stimuli/stimuli.tsv", "sub-02/func/sub-02_task-film_run-02_bold.nii.gz"]
)
def test_file_that_appears_while_images_are_made_is_not_written_over(path: str, out: Path, converted: Convert):
    def put(event):
        if event["event"] == "image" and event["n"] == 1:
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (out / path).write_text("somebody's work")

    with pytest.raises(StudyError, match=path.rsplit("/")[-1].replace(".", r"\.")):
        converted(on_event=put, workers=1)
    assert (out / path).read_text() == "somebody's work"


def test_json_beside_a_recording_that_is_no_object_is_named(study: Path, converted: Convert):
    (study / "AB12/film_run1.json").write_text("[1, 2]")
    with pytest.raises(RecordError, match=r"film_run1\.json"):
        converted()
