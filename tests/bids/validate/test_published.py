"""The published layout of the seed's study gets a report that names its real defects, with and without content."""

from pathlib import Path

import published_twin
import pytest

from release_kit.bids.validate.report import ValidationReport
from release_kit.bids.validate.run import validate_dataset

OWN_DEFECTS = {
    "bids-version": "warning",
    "columns-undescribed": "warning",
    "session-in-task": "warning",
    "events-absent": "warning",
    "scans-absent": "note",
    "derivative-undescribed": "error",
    "pickle": "error",
    "foreign-format": "warning",
    "array-without-sidecar": "warning",
    "annotation-unaligned": "warning",
    "identity-leak": "error",
    "identity-not-checked": "error",
}
"""What is wrong with the published dataset, by our own checks."""

FOLDERS = ["accuracy", "annotation", "feature", "localizer", "preprocessed_data", "pycortex_db"]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[ValidationReport, Path]:
    """Return the report on the twin of one subject, and the file that a loaded pickle would have made."""
    folder = tmp_path_factory.mktemp("published")
    marker = folder / "loaded"
    twin = published_twin.make_published(folder / "ds", marker=marker, subjects=1)
    return validate_dataset(twin), marker


def test_every_known_defect_is_named(judged):
    report, _ = judged
    assert {one.code: one.severity for one in report.findings if one.source != "reference"} == OWN_DEFECTS
    assert not report.ok


def test_reference_validator_says_what_it_says_of_the_original(judged):
    report, _ = judged
    said = {one.code for one in report.findings if one.source == "reference"}
    assert said >= {"EVENTS_TSV_MISSING", "UNKNOWN_BIDS_VERSION", "SIDECAR_KEY_RECOMMENDED"}
    assert [verdict.said for verdict in report.verdicts] == ["no errors"]


@pytest.mark.parametrize("key", ["DeviceSerialNumber", "StationName", "InstitutionAddress", "AcquisitionTime"])
def test_keys_that_name_a_device_or_place_are_named_in_every_sidecar(judged, key):
    report, _ = judged
    told = {one.path for one in report.findings if one.code == "identity-leak" and key in one.what}
    assert len(told) == 44, "43 runs and one anatomical image"


def test_pickles_are_named_and_never_loaded(judged):
    report, marker = judged
    (found,) = (one for one in report.findings if one.code == "pickle")
    assert found.path.endswith(".pkl")
    assert not marker.exists()


def test_derivatives_that_are_no_datasets_are_named_as_not_judged(judged):
    report, _ = judged
    named = [one.path for one in report.findings if one.code == "derivative-undescribed"]
    assert named == [f"derivatives/{name}" for name in FOLDERS]
    assert {one.n for one in report.not_checked} == {len(FOLDERS)}


def test_annotation_text_and_features_are_counted(judged):
    report, _ = judged
    (annotation,) = (one for one in report.findings if one.code == "annotation-unaligned")
    assert (annotation.path, annotation.what[:9]) == ("derivatives/annotation", "172 files")
    features = [one for one in report.findings if one.code == "array-without-sidecar"]
    assert any(one.path == "derivatives/feature" and one.what.startswith("688 .mat") for one in features)


def test_session_of_the_task_is_named(judged):
    report, _ = judged
    (found,) = (one for one in report.findings if one.code == "session-in-task")
    assert "dreamgirlsSess1, dreamgirlsSess2: the task is dreamgirls" in found.what


def test_fresh_clone_is_judged_and_says_what_it_could_not_see(tmp_path):
    report = validate_dataset(published_twin.make_published(tmp_path / "ds", got=False, subjects=1))
    codes = {one.code for one in report.findings if one.source != "reference"}
    assert codes >= {"content-absent", "pickle", "sessions-absent", "identity-leak", "derivative-undescribed"}
    assert [(verdict.said, verdict.headers_read) for verdict in report.verdicts] == [("no errors", False)]
    gaps = {one.what: one.n for one in report.not_checked}
    assert gaps["headers of images against their sidecars (by the reference validator)"] == 44
    assert gaps["content searched for identifying data"] > 900
    (absent,) = (one for one in report.findings if one.code == "content-absent")
    assert "GB" in absent.what


@pytest.mark.slow
def test_all_six_subjects_are_judged_in_one_page(tmp_path):
    report = validate_dataset(published_twin.make_published(tmp_path / "ds"))
    assert report.facts["n_runs"] == 258
    assert report.facts["n_subjects"] == 6
    page = report.html()
    assert page.count('class="error bare"') == 258, "every run: identifying sidecar, no events"
    assert len(page) < 200_000
    assert len(report.to_dict()["findings"]) > 5000
