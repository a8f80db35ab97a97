"""A series that was converted to look at its header is not converted again, unless a file of it has changed."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from release_kit.bids.recordings import dicom, kept
from release_kit.bids.recordings.header import RecordingError, read_facts
from release_kit.bids.recordings.image import open_image


@pytest.fixture
def mosaic(real_package, tmp_path: Path) -> Path:
    """Return a folder with one real DICOM mosaic."""
    folder = tmp_path / "dicom"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(real_package("heudiconv").read("heudiconv/tests/data/axasc35.dcm"))
    return folder


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows with every run of dcm2niix."""
    calls, real = [], dicom._dcm2niix
    monkeypatch.setattr(dicom, "_dcm2niix", lambda series, *rest: calls.append(series.uid) or real(series, *rest))
    return calls


def content(image) -> tuple:
    return image.header, dict(image.sidecar), [volume.tobytes() for volume in image.volumes()], image.digest()


def test_the_next_who_opens_a_series_gets_what_the_check_converted(mosaic: Path, conversions: list[str]):
    with open_image(mosaic, "dicom") as image:
        expected = content(image)
    with kept.kept_folder() as folder:
        facts = read_facts(mosaic, "dicom", kept=folder)
        assert len(conversions) == 2
        with open_image(mosaic, "dicom", kept=folder) as image:
            assert content(image) == expected
            assert image.header == replace(facts, slice_times_s=None), "slice times are read for the check alone"
            assert facts.slice_times_s is not None
        assert len(conversions) == 2, "converted again"
        with open_image(mosaic, "dicom", kept=folder) as image:
            assert content(image) == expected
        assert len(conversions) == 3, "what was taken is gone"
    assert not folder.exists()


@pytest.mark.parametrize("change", ["touched", "added", "other series"])
def test_what_was_converted_of_other_files_is_not_taken(mosaic: Path, conversions: list[str], change: str):
    with kept.kept_folder() as folder:
        read_facts(mosaic, "dicom", kept=folder)
        options = {"series": 6} if change == "other series" else {}
        if change == "touched":
            os.utime(mosaic / "a.dcm", ns=(1, 1))
        elif change == "added":
            shutil.copy(mosaic / "a.dcm", mosaic / "b.dcm")
            with pytest.raises(RecordingError, match="come twice"):
                open_image(mosaic, "dicom", kept=folder)
            return
        with open_image(mosaic, "dicom", options, kept=folder):
            assert len(conversions) == 2


def test_no_more_waits_than_there_is_room_for(mosaic: Path, monkeypatch: pytest.MonkeyPatch):
    with kept.kept_folder() as folder:
        image = mosaic.parent / "image.nii"
        image.write_bytes(bytes(1000))
        assert not kept.keep(folder, "a", image, {}, limit=999)
        assert kept.keep(folder, "a", image, {}, limit=1000)
        image.write_bytes(bytes(1000))
        assert not kept.keep(folder, "b", image, {}, limit=1999)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 6, 4))
        assert not kept.keep(folder, "c", image, {})
        assert sorted(file.name for file in folder.iterdir()) == ["a.json", "a.nii"]
