"""A sidecar holds what its sources say, refuses where they contradict each other, and guesses nothing."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from release_kit.bids.recipe.model import Anatomy, DatasetFacts, Privacy, Recipe, Recording, Run, Task
from release_kit.bids.recordings.header import ImageFacts, read_facts
from release_kit.bids.sidecars.completeness import completeness, sidecar_of
from release_kit.bids.sidecars.facts import sidecar
from release_kit.core.errors import StudyError

RUN = Run(task="film", run=1, tr_s=2.0, recording=Recording(pattern="x"))
RECIPE = Recipe(
    folder=Path("."),
    dataset=DatasetFacts(name="n", version="1.0.0", authors=("a",), license="CC0", description="d"),
    subjects=(),
    tasks={"film": Task(label="film", name="A film", instructions="Look.")},
    stimuli={},
    runs=(RUN,),
    sidecars={"bold": {"Manufacturer": "Siemens", "EchoTime": 0.03}},
)


def header(tmp_path: Path, change=lambda header: None, tr: float = 2.0, unit: str = "sec") -> ImageFacts:
    """Return the facts of a real file of 4 slices and 5 volumes."""
    image = nibabel.Nifti1Image(np.zeros((6, 6, 4, 5), np.int16), np.eye(4))
    image.header.set_zooms((1, 1, 1, tr))
    image.header.set_xyzt_units("mm", unit)
    change(image.header)
    nibabel.save(image, tmp_path / "x.nii")
    return read_facts(tmp_path / "x.nii")


def test_facts_come_from_header_recipe_and_task_and_nothing_else(tmp_path: Path):
    assert dict(sidecar(RECIPE, RUN, header(tmp_path)).values) == {
        "EchoTime": 0.03,
        "Instructions": "Look.",
        "Manufacturer": "Siemens",
        "RepetitionTime": 2.0,
        "TaskName": "A film",
    }


def test_the_run_is_believed_over_the_suffix_and_the_suffix_over_dicom(tmp_path: Path):
    run = replace(RUN, sidecar={"EchoTime": 0.04}, dummy_scans=3)
    extra = {"EchoTime": 0.02, "FlipAngle": 60, "BidsGuess": ["func", "x"], "Manufacturer": "GE", "TaskName": "guess"}
    values = sidecar(RECIPE, run, header(tmp_path), extra).values
    assert (values["EchoTime"], values["FlipAngle"], values["Manufacturer"]) == (0.04, 60, "Siemens")
    assert values["TaskName"] == "A film" and values["NumberOfVolumesDiscardedByUser"] == 3
    assert "BidsGuess" not in values


@pytest.mark.parametrize(("unit", "factor"), [("sec", 1.0), ("msec", 1000.0)])
def test_slice_times_are_taken_where_the_header_says_everything(tmp_path: Path, unit: str, factor: float):
    def interleaved(header):
        header.set_dim_info(slice=2)
        header["slice_code"], header["slice_end"] = 3, 3
        header["slice_duration"] = 0.5 * factor

    facts = header(tmp_path, interleaved, tr=2.0 * factor, unit=unit)
    assert sidecar(RECIPE, RUN, facts).values["SliceTiming"] == [0.0, 1.0, 0.5, 1.5]


def test_slice_times_are_absent_where_the_header_says_a_part(tmp_path: Path):
    facts = header(tmp_path, lambda header: header.set_dim_info(slice=2))
    assert "SliceTiming" not in sidecar(RECIPE, RUN, facts).values


@pytest.mark.parametrize(
    ("run", "extra", "words"),
    [
        (replace(RUN, tr_s=1.0), {}, "the header says a TR of 2 s, the run says 1 s"),
        (RUN, {"RepetitionTime": 2.5}, "DICOM says a TR of 2.5 s"),
        (RUN, {"SliceTiming": [0, 1]}, "2 slice times, the image has 4"),
        (RUN, {"SliceTiming": [0, 500, 1000, 1500]}, "outside of one TR"),
        (
            replace(RUN, dummy_scans=2, sidecar={"NumberOfVolumesDiscardedByUser": 4}),
            {},
            "states NumberOfVolumesDiscardedByUser 4, but dummy_scans drops 2",
        ),
    ],
)
def test_sources_that_contradict_each_other_are_refused(tmp_path: Path, run: Run, extra: dict, words: str):
    with pytest.raises(StudyError) as error:
        sidecar(RECIPE, run, header(tmp_path), extra)
    assert words in str(error.value) and "task film, run 1" in str(error.value)


def test_all_contradictions_are_named_at_once(tmp_path: Path):
    with pytest.raises(StudyError) as error:
        sidecar(RECIPE, replace(RUN, tr_s=1.0), header(tmp_path), {"RepetitionTime": 3.0, "SliceTiming": [0]})
    assert str(error.value).count(";") == 2


def test_a_tr_without_unit_contradicts_nobody(tmp_path: Path):
    facts = header(tmp_path, tr=2000.0, unit="unknown")
    assert sidecar(RECIPE, RUN, facts).values["RepetitionTime"] == 2.0


def test_a_defaced_image_says_so_and_others_do_not(tmp_path: Path):
    anatomy = Anatomy(suffix="T1w", recording=Recording(pattern="x"), deface=True)
    said = sidecar(RECIPE, anatomy, header(tmp_path)).values["DeidentificationMethod"]
    assert len(said) == 1 and "niimath" in said[0]
    assert sidecar(RECIPE, replace(anatomy, deface=False), header(tmp_path)).values == {}


def test_what_identifies_is_removed_and_named(tmp_path: Path):
    extra = {"DeviceSerialNumber": "35131", "AcquisitionTime": "13:49:38.3", "FlipAngle": 60}
    made = sidecar(RECIPE, RUN, header(tmp_path), extra)
    assert made.removed == ("AcquisitionTime", "DeviceSerialNumber") and "FlipAngle" in made.values
    kept = replace(RECIPE, privacy=Privacy(keep=("DeviceSerialNumber",), scrub=("FlipAngle",)))
    made = sidecar(kept, RUN, header(tmp_path), extra)
    assert made.removed == ("AcquisitionTime", "FlipAngle") and made.values["DeviceSerialNumber"] == "35131"


def test_completeness_counts_present_absent_and_scrubbed_keys():
    full = sidecar_of("bold", "func", {"TaskName": "x", "RepetitionTime": 1, "MRAcquisitionType": "2D"})
    poor = sidecar_of("bold", "func", {"RepetitionTime": 1}, removed=("StationName",))
    report = completeness([full, poor, sidecar_of("T1w", "anat", {})])
    assert [part.suffix for part in report.suffixes] == ["T1w", "bold"]
    counts = {count.key: count for count in report.suffixes[1].keys}
    assert (counts["TaskName"].n_present, counts["TaskName"].n_absent) == (1, 1)
    assert (counts["StationName"].n_scrubbed, counts["StationName"].n_absent) == (1, 1)
    assert counts["SliceTiming"].n_files == 1, "only a 2D recording is asked for slice times"
    assert report.missing_required == ("bold.TaskName",) and not report.ok


def test_completeness_reads_as_a_table_and_as_json():
    report = completeness([sidecar_of("bold", "func", {"TaskName": "x"}, removed=("StationName",))])
    lines = [" ".join(line.split()) for line in report.text().splitlines()]
    assert lines[:2] == ["bold: 1 sidecar", "required RepetitionTime 0/1 no source knows it"]
    assert "recommended StationName 0/1 removed for privacy" in lines
    value = json.loads(json.dumps(report.to_dict()))
    assert value["missing_required"] == ["bold.RepetitionTime", "bold.VolumeTiming"]


def test_completeness_agrees_with_the_validator(tmp_path: Path):
    """Every key that the reference validator asks for is in our report, and no other."""
    folder = tmp_path / "d/sub-01/func"
    folder.mkdir(parents=True)
    (tmp_path / "d/dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.11.1"}')
    values = {"RepetitionTime": 2.0, "MRAcquisitionType": "2D", "EchoTime": 0.03}
    (folder / "sub-01_task-film_bold.json").write_text(json.dumps(values))
    nibabel.save(
        nibabel.Nifti1Image(np.zeros((6, 6, 4, 5), np.int16), np.eye(4)), folder / "sub-01_task-film_bold.nii.gz"
    )
    command = [Path(sys.executable).with_name("bids-validator-deno"), tmp_path / "d", "--format", "json"]
    issues = json.loads(subprocess.run(command, capture_output=True, check=False).stdout)["issues"]["issues"]
    told = {i["subCode"] for i in issues if i["code"] in ("SIDECAR_KEY_RECOMMENDED", "SIDECAR_KEY_REQUIRED")}
    (part,) = completeness([sidecar_of("bold", "func", values)]).suffixes
    assert {count.key for count in part.keys if count.n_absent} == told


def test_nothing_of_a_real_dicom_header_that_names_the_person_or_the_place_stays(tmp_path: Path):
    import pydicom

    from release_kit.bids.recordings.dicom import convert_series

    folder = tmp_path / "dicom"
    folder.mkdir()
    real = Path(nibabel.__file__).parent / "tests/data/0.dcm"
    (folder / "0.dcm").write_bytes(real.read_bytes())
    path, extra = convert_series(folder, tmp_path / "out")
    facts, tags = read_facts(path), pydicom.dcmread(real, stop_before_pixels=True)
    run = replace(RUN, tr_s=extra["RepetitionTime"])
    made = sidecar(replace(RECIPE, sidecars={}), run, facts, extra)
    written = json.dumps(dict(made.values))
    names = ("PatientName", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "DeviceSerialNumber", "StationName")
    known = [str(tags.get(name)) for name in names if len(str(tags.get(name) or "")) > 3]
    assert len(known) >= 3 and [text for text in known if text in written] == []
    assert {"AcquisitionTime", "DeviceSerialNumber", "SeriesInstanceUID"} <= set(made.removed)
    assert made.values["Manufacturer"] == "Siemens" and made.values["FlipAngle"] > 0
