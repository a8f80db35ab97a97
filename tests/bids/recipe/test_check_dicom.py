"""DICOM contradicts the recipe before anything is written: slice times that do not fit into its TR."""

from pathlib import Path

import pytest

from release_kit.bids.recipe.check_headers import HeaderFacts, check_headers
from release_kit.bids.recipe.check_sources import expected_recordings
from release_kit.bids.recordings.header import ImageFacts, RecordingError, read_facts


def slice_problems(recipe, times_s: tuple[float, ...] | None) -> list[str]:
    (first, *_), _ = expected_recordings(recipe)
    facts = ImageFacts(
        shape=(4, 4, 3), n_volumes=20, n_dims=4, voxel_mm=(2.0, 2.0, 2.0), tr_s=1.0, tr_unit_known=True,
        affine=((2.0, 0.0, 0.0, 0.0), (0.0, 2.0, 0.0, 0.0), (0.0, 0.0, 2.0, 0.0), (0.0, 0.0, 0.0, 1.0)),
        orientation="RAS", dtype="int16", slice_times_s=times_s,
    )  # fmt: skip
    found = check_headers([HeaderFacts(expected=first, facts=facts)])
    return [one.what for one in found if one.code == "slice-times"]


@pytest.mark.parametrize(
    ("times_s", "said"),
    [
        (None, []), ((0.0, 0.5, 0.9), []),
        ((0.0, 0.5, 1.4), ["the DICOM gives slice times outside of one TR of 1 s (0 to 1.4 s, all in seconds)"]),
        ((0.0, 0.5), ["the DICOM gives 2 slice times, the image has 3 slices"]),
    ],
)  # fmt: skip
def test_slice_times_outside_of_the_tr_are_told_by_the_check(reread, times_s, said):
    assert slice_problems(reread(), times_s) == said


def test_real_dicom_brings_its_slice_times_to_the_check(tmp_path: Path, real_package):
    (tmp_path / "one.dcm").write_bytes(real_package("heudiconv").read("heudiconv/tests/data/axasc35.dcm"))
    assert len(read_facts(tmp_path, "dicom").slice_times_s) == 35


def test_an_empty_recording_is_called_empty(tmp_path: Path):
    (tmp_path / "run.nii").write_bytes(b"")
    with pytest.raises(RecordingError, match="the file is empty"):
        read_facts(tmp_path / "run.nii")
