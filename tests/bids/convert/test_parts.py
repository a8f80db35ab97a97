"""Parts of a dataset beside its runs: derivatives, DICOM, defaced anatomies, scans, citation, the published recipe."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import bids_factory
import nibabel
import numpy as np
import pytest
import yaml
from bids_factory import add_preprocessed, add_to_recipe, replace_in_recipe, snapshot

from release_kit.bids.convert.dataset_files import citation, dataset_description
from release_kit.bids.convert.private import with_private
from release_kit.bids.convert.published import published_pattern
from release_kit.bids.convert.run import ConvertReport, convert
from release_kit.bids.recipe.model import DatasetFacts
from release_kit.bids.recipe.read import read_recipe
from release_kit.core.errors import RecordError, StudyError

Convert = Callable[..., ConvertReport]
FACTS = DatasetFacts(
    name="Two: films", version="1.0.0", authors=("Example, Ada", "Ben von Example"), license="CC0-1.0",
    description='Films, "long"\nand short.', doi="doi:10.1000/x", keywords=("fMRI",), how_to_acknowledge="Cite us.",
)  # fmt: skip


def test_preprocessed_responses_become_a_derivative_dataset(study: Path, out: Path, converted: Convert):
    import h5py

    add_preprocessed(study)
    converted()
    folder = out / "derivatives/preprocessed"
    described = json.loads((folder / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative" and described["SourceDatasets"][0]["URL"] == "../../"
    assert [one["Name"] for one in described["GeneratedBy"]] == ["preprocessed", "release_kit"]
    image = nibabel.load(folder / "sub-02/func/sub-02_task-film_run-01_desc-preproc_bold.nii.gz")
    mask = np.asanyarray(nibabel.load(study / "mask.nii.gz").dataobj) != 0
    with h5py.File(study / "preprocessed/CD34_run1.mat") as file:
        responses = file["dataDT"][()]  # (n_voxels, n_volumes)
    found = np.asanyarray(image.dataobj)
    columns = np.stack([volume.T[mask.T] for volume in np.moveaxis(found, 3, 0)], axis=1)
    assert np.array_equal(columns, responses)  # MATLAB counts voxels x fastest
    assert not found[~mask].any() and image.header.get_zooms()[3] == 1.0
    sidecar = json.loads((folder / "sub-02/func/sub-02_task-film_run-01_desc-preproc_bold.json").read_text())
    assert sidecar["SkullStripped"] is True
    assert (out / sidecar["Sources"][0].removeprefix("bids:raw:")).is_file()


def test_derivative_that_does_not_say_whether_the_skull_is_in_it_is_refused(study: Path, converted: Convert, out: Path):
    add_preprocessed(study)
    pattern = "preprocessed/{source}_run{run}.mat"
    replace_in_recipe(study, f'kind: mat, pattern: "{pattern}", options: {{variable: dataDT, mask: mask.nii.gz}}',
                      'kind: nifti, pattern: "preprocessed/{source}_run{run}.nii.gz"')  # fmt: skip
    for source in ("AB12", "CD34"):
        for run in (1, 2):
            data = np.arange(8 * 8 * 6 * 20).reshape(8, 8, 6, 20) + run + ord(source[0])
            bids_factory.write_nifti(study / f"preprocessed/{source}_run{run}.nii.gz", data)
    with pytest.raises(StudyError, match="SkullStripped"):
        converted()
    assert not out.exists()


def test_dicom_is_converted_scrubbed_and_its_time_shifted(study: Path, out: Path, converted: Convert, real_package):
    package = real_package("heudiconv")
    for source in ("AB12", "CD34"):
        (study / source / "t1.nii.gz").unlink()
        folder = study / source / "dicom"
        folder.mkdir()
        (folder / "one.dcm").write_bytes(package.read("heudiconv/tests/data/axasc35.dcm"))
    replace_in_recipe(study, '{suffix: T1w, pattern: "{source}/t1.nii.gz", deface: false}',
                      '{suffix: T1w, pattern: "{source}/dicom", kind: dicom, deface: false}')  # fmt: skip
    add_to_recipe(study, "privacy: {shift_key: shift.key}\n")
    add_to_recipe(study, "allow:\n  - {code: same-content, reason: one scan stands for both}\n")
    converted()
    sidecar = json.loads((out / "sub-01/anat/sub-01_T1w.json").read_text())
    assert sidecar["Manufacturer"] == "Siemens"
    assert not {"DeviceSerialNumber", "StationName", "AcquisitionTime", "SeriesInstanceUID"} & sidecar.keys()
    times = [_times(out, subject)["anat"] for subject in ("01", "02")]
    assert all(time[0] == "1" and time < "1925" for time in times) and times[0] != times[1]
    before = snapshot(out)
    report = converted()
    assert not report.written and snapshot(out) == before
    # Other settings: what the sidecars will say is not known before the conversion, and none is taken for left over.
    replace_in_recipe(study, "kind: dicom,", "kind: dicom, options: {series: 6},")
    assert converted().written == ("code/release_kit/recipe.yaml",)
    shutil.rmtree(study / ".release_kit")
    report = converted()
    assert not report.written and not report.removed


def test_one_person_may_have_come_as_dicom(study: Path, out: Path, converted: Convert, real_package):
    (study / "CD34/t1.nii.gz").unlink()
    (study / "CD34/scans").mkdir()
    (study / "CD34/scans/one.dcm").write_bytes(real_package("heudiconv").read("heudiconv/tests/data/axasc35.dcm"))
    other = 'deface: false, subjects: {"02": {kind: dicom, pattern: "{source}/scans"}}'
    replace_in_recipe(study, "deface: false", other)
    add_to_recipe(study, "allow:\n  - {code: geometry, reason: another scanner}\n")
    converted()
    sidecars = [json.loads((out / f"sub-{n}/anat/sub-{n}_T1w.json").read_text()) for n in ("01", "02")]
    assert [sidecar.get("Manufacturer") for sidecar in sidecars] == [None, "Siemens"]
    assert not converted().written


def _times(out: Path, subject: str) -> dict[str, str]:
    lines = (out / f"sub-{subject}/sub-{subject}_scans.tsv").read_text().splitlines()
    assert lines[0] == "filename\tacq_time"
    return {line.split("/")[0]: line.split("\t")[1] for line in lines[1:]}


def test_facts_of_a_json_beside_a_recording_are_taken_and_its_time_is_not_told_without_a_secret(
    study: Path, out: Path, converted: Convert
):
    said = {"Manufacturer": "Siemens", "DeviceSerialNumber": "67055", "AcquisitionDateTime": "2021-03-04T10:20:30"}
    (study / "AB12" / "film_run1.json").write_text(json.dumps(said))
    converted()
    sidecar = json.loads((out / "sub-01/func/sub-01_task-film_run-01_bold.json").read_text())
    assert sidecar["Manufacturer"] == "Siemens"
    assert not {"DeviceSerialNumber", "AcquisitionDateTime"} & sidecar.keys()
    assert _times(out, "01")["func"] == "n/a"
    (study / "AB12" / "film_run1.json").write_text(json.dumps(said | {"Manufacturer": "GE"}))
    assert set(converted().written) == {"sub-01/func/sub-01_task-film_run-01_bold.json"}


def _with_times(study: Path) -> None:
    said = {"Manufacturer": "Siemens", "AcquisitionDateTime": "2021-03-04T10:20:30"}
    (study / "AB12" / "film_run2.json").write_text(json.dumps(said))
    add_to_recipe(study, "privacy: {shift_key: private/shift.key}\n")


@pytest.mark.parametrize("lost", ["state", "dataset", "neither"])
def test_lost_secret_of_shifted_dates_is_named_and_never_replaced(
    lost: str, study: Path, out: Path, converted: Convert
):
    _with_times(study)
    converted()
    assert _times(out, "01")["func"] < "1925"
    key = study / "private/shift.key"
    key.rename(study / "backup.key")
    shutil.rmtree({"state": study / ".release_kit", "dataset": out, "neither": study / "private"}[lost])
    before = snapshot(out)
    with pytest.raises(StudyError, match=r"private/shift\.key: the secret of the date shift is not there"):
        converted()
    assert not key.exists() and snapshot(out) == before
    key.parent.mkdir(exist_ok=True)
    (study / "backup.key").rename(key)
    converted()
    assert before == snapshot(out) or lost == "dataset"


def test_another_secret_than_dates_were_shifted_by_is_refused(study: Path, out: Path, converted: Convert):
    _with_times(study)
    converted()
    before = snapshot(out)
    (study / "private/shift.key").write_text("ab" * 32 + "\n")
    with pytest.raises(StudyError, match="another one than earlier conversions"):
        converted()
    assert snapshot(out) == before


def test_recipe_inside_a_dataset_asks_for_the_secret_of_its_dates(study: Path, out: Path, converted: Convert):
    _with_times(study)
    converted()
    inside = read_recipe(out / "code/release_kit/recipe.yaml", sources=study)
    names = tuple(replace(one, source=name) for one, name in zip(inside.subjects, ("AB12", "CD34"), strict=True))
    inside = replace(inside, subjects=names)
    before = snapshot(out)
    with pytest.raises(StudyError, match=r"1 table of the dataset .* holds dates that were shifted"):
        convert(inside, out)
    assert not convert(with_private(inside, shift_key=study / "private/shift.key"), out).written
    assert snapshot(out) == before


def test_secret_is_made_anew_while_no_date_was_shifted_by_it(study: Path, out: Path, converted: Convert):
    add_to_recipe(study, "privacy: {shift_key: private/shift.key}\n")
    converted()
    assert not (study / "private").exists()
    (study / "AB12" / "film_run2.json").write_text(json.dumps({"AcquisitionDateTime": "2021-03-04T10:20:30"}))
    converted()
    assert _times(out, "01")["func"] < "1925" and (study / "private/shift.key").is_file()


@pytest.mark.slow
def test_defaced_anatomy_is_said_and_pictured_outside_the_dataset(
    tmp_path: Path, study: Path, out: Path, converted: Convert
):
    import nilearn.datasets

    head = nilearn.datasets.load_mni152_template(resolution=2)
    for index, source in enumerate(("AB12", "CD34")):
        data = np.round(head.get_fdata() * (1000 + index)).astype(np.int16)
        image = nibabel.Nifti1Image(data, head.affine)
        image.header.set_xyzt_units("mm")
        nibabel.save(image, study / source / "t1.nii.gz")
    replace_in_recipe(study, "deface: false", "deface: true")
    report = converted()
    sidecar = json.loads((out / "sub-01/anat/sub-01_T1w.json").read_text())
    assert any("Face removed" in line for line in sidecar["DeidentificationMethod"])
    pictures = sorted(path.name for path in report.pictures.iterdir())
    assert pictures == ["sub-01_T1w.png", "sub-02_T1w.png"] and not list(out.rglob("*.png"))
    assert not converted().written


def test_published_recipe_says_everything_but_who(study: Path, out: Path, converted: Convert):
    add_preprocessed(study)
    add_to_recipe(
        study, "sidecars: {bold: {Manufacturer: Siemens}}\nprivacy: {words: [Kanda Hospital], shift_key: s.key}\n"
    )
    converted()
    text = (out / "code/release_kit/recipe.yaml").read_text()
    assert not any(word in text for word in ("AB12", "CD34", "Kanda", "s.key"))
    lab, published = read_recipe(study), read_recipe(out / "code/release_kit/recipe.yaml")
    nameless = tuple(replace(one, source=one.label) for one in lab.subjects)
    public = replace(lab.privacy, words=(), shift_key=None)
    assert replace(published, folder=lab.folder) == replace(lab, subjects=nameless, privacy=public)


def test_published_recipe_with_names_and_sources_makes_the_same_dataset(
    study: Path, out: Path, tmp_path: Path, converted: Convert
):
    (study / "annotations").rename(study / "notes")
    for name in ("story_A01", "story_A02", "object_A01"):
        replace_in_recipe(study, f"annotations/{{stimulus}}_{name}", f"notes/{{stimulus}}_{name}")
    converted()
    names = tmp_path / "names.tsv"
    names.write_text("participant_id\tsource\nsub-01\tAB12\nsub-02\tCD34\n")
    recipe = with_private(read_recipe(out / "code/release_kit/recipe.yaml", sources=study), pseudonyms=names)
    before = snapshot(out)
    for path in list(before):
        if "/func/" in path or path.startswith("derivatives/annotations/"):
            (out / path).unlink()
    convert(recipe, out)
    assert snapshot(out) == before


def test_pseudonyms_must_cover_every_participant(study: Path, tmp_path: Path):
    names = tmp_path / "names.tsv"
    names.write_text("participant_id\tsource\n01\tAB12\n")
    with pytest.raises(RecordError, match="02"):
        with_private(read_recipe(study), pseudonyms=names)


@pytest.mark.parametrize("pattern", ["annotations/{stimulus}.csv", "x/{stimulus}.csv", "a.txt"])
def test_published_pattern_lies_below_annotations_and_is_a_fixed_point(pattern: str):
    once = published_pattern(pattern)
    assert once.startswith("annotations/") and published_pattern(once) == once


def test_citation_file_is_yaml_with_every_author_whole(tmp_path: Path):
    value = yaml.safe_load(citation(FACTS))
    assert value["authors"] == [{"family-names": "Example", "given-names": "Ada"}, {"name": "Ben von Example"}]
    assert value["doi"] == "10.1000/x" and value["license"] == "CC0-1.0" and value["message"] == "Cite us."
    assert value["abstract"] == 'Films, "long" and short.'


def test_authors_and_licence_stand_in_the_citation_file_only():
    assert not {"Authors", "License", "HowToAcknowledge"} & json.loads(dataset_description(FACTS)).keys()


def _git(out: Path, *words: str) -> None:
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    subprocess.run(["git", *who, *words], cwd=out, check=True, capture_output=True)


def test_uncommitted_changes_of_somebody_are_refused_by_name(study: Path, out: Path, converted: Convert):
    converted()
    _git(out, "init", "-q")
    _git(out, "add", ".")
    _git(out, "commit", "-qm", "first")
    (out / "notes.txt").write_text("mine\n")
    (out / "participants.json").write_text("{}\n")
    (out / "notes in a folder").mkdir()
    (out / "notes in a folder" / "ä.txt").write_text("mine\n")
    replace_in_recipe(study, "age: 28", "age: 29")
    before = snapshot(out)
    with pytest.raises(StudyError) as refused:
        converted()
    assert all(name in str(refused.value) for name in ("notes.txt", "participants.json", "notes in a folder/ä.txt"))
    assert snapshot(out) == before


def test_own_uncommitted_work_is_no_reason_to_refuse(study: Path, out: Path, converted: Convert):
    converted()
    _git(out, "init", "-q")
    _git(out, "add", ".")
    _git(out, "commit", "-qm", "first")
    replace_in_recipe(study, "age: 28", "age: 29")
    assert converted().written
    replace_in_recipe(study, "age: 29", "age: 30")
    assert "participants.tsv" in converted().written


def test_clone_that_nobody_remembers_is_changed_only_when_asked_to_take_it_over(
    study: Path, out: Path, tmp_path: Path, converted: Convert
):
    converted()
    _git(out, "init", "-q")
    _git(out, "add", ".")
    _git(out, "commit", "-qm", "first")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", out, clone], check=True)
    bids_factory.make_recordings(tmp_path / "other lab")
    replace_in_recipe(tmp_path / "other lab", "age: 28", "age: 29")
    bids_factory.write_nifti(tmp_path / "other lab/AB12/film_run1.nii.gz", np.full((*bids_factory.SHAPE, 20), 5))
    recipe = read_recipe(tmp_path / "other lab")
    with pytest.raises(StudyError, match="--take-over") as refused:
        convert(recipe, clone)
    assert "participants.tsv" in str(refused.value)
    changed = {"participants.tsv", "code/release_kit/recipe.yaml", "sub-01/func/sub-01_task-film_run-01_bold.nii.gz"}
    assert set(convert(recipe, clone, take_over=True).written) == changed


def test_recipe_without_stimuli_and_annotations_gives_recordings_only(study: Path, out: Path, converted: Convert):
    text = (study / "recipe.yaml").read_text().split("annotations:\n")[0]
    stimuli = text[text.index("stimuli:\n") : text.index("recordings:")]
    text = re.sub(r", shows: \{[^}]*\}", "", text.replace(stimuli, ""))
    text = text.replace("{task: film, run: 1}", "{task: film, run: 1, session: a}")
    (study / "recipe.yaml").write_text(text.replace("{task: film, run: 2}", "{task: film, run: 2, session: b}"))
    converted()
    found = snapshot(out)
    assert not [path for path in found if path.startswith(("stimuli", "derivatives", "sourcedata")) or "events" in path]
    assert "sub-01/ses-a/func/sub-01_ses-a_task-film_run-01_bold.nii.gz" in found
    assert (
        "func/sub-01_ses-b_task-film_run-02_bold.nii.gz\tn/a"
        in (out / "sub-01/ses-b/sub-01_ses-b_scans.tsv").read_text()
    )


def test_command_prints_what_it_did(study: Path, out: Path):
    from cli_in_process import release_kit

    ran = release_kit("bids", "convert", study, out)
    assert ran.returncode == 0 and "written, 0 unchanged" in ran.stdout
    assert "6/6  sub-02/func/sub-02_task-film_run-02_bold.nii.gz" in ran.stderr
    ran = release_kit("bids", "convert", study, out, "--json")
    report = json.loads(ran.stdout)
    assert ran.returncode == 0 and report["ok"] and report["written"] == [] and report["n_unchanged"] > 40
    (out / "README.md").write_text("mine\n")
    ran = release_kit("bids", "convert", study, out, "--json")
    assert ran.returncode == 1 and "README.md" in json.loads(ran.stdout)["what"] and "README.md" in ran.stderr
    assert release_kit("bids", "convert", study, out, "--workers", "0").returncode == 2


@pytest.mark.slow
def test_reference_validator_finds_no_error_in_the_dataset_or_a_derivative(study: Path, out: Path, converted: Convert):
    add_preprocessed(study)
    converted()
    validator = Path(sys.executable).with_name("bids-validator-deno")
    for folder in (out, out / "derivatives/annotations", out / "derivatives/preprocessed"):
        ran = subprocess.run([validator, "--max-rows", "-1", "--json", folder], capture_output=True, text=True)
        found = json.loads(ran.stdout)["issues"]["issues"]
        assert not [one for one in found if one["severity"] == "error"], found


@pytest.mark.slow
def test_second_conversion_of_258_runs_takes_less_than_three_seconds(tmp_path: Path):
    recipe = bids_factory.make_many(tmp_path / "study", n_subjects=6, n_runs=43)
    first = convert(read_recipe(recipe), tmp_path / "made")
    assert sum(path.endswith("_bold.nii.gz") for path in first.written) == 258
    convert(read_recipe(recipe), tmp_path / "made")
    code = (
        "import sys, time; start = time.perf_counter()\n"
        "from pathlib import Path\n"
        "from release_kit.bids.convert.run import convert\n"
        "from release_kit.bids.recipe.read import read_recipe\n"
        "report = convert(read_recipe(Path(sys.argv[1])), Path(sys.argv[2]))\n"
        "assert not report.written, report.written\n"
        "print(time.process_time())"
    )
    ran = subprocess.run([sys.executable, "-c", code, recipe, tmp_path / "made"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout) < 3.0
