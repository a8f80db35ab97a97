"""DICOM by dcm2niix: real scanners' files, series that are complete, one image each; anything less is refused."""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from release_kit.bids.recordings.dicom import choose_series, convert_series, dicom_series
from release_kit.bids.recordings.header import RecordingError, read_facts
from release_kit.bids.recordings.image import open_image
from release_kit.bids.recordings.nifti_write import write_nifti_gz

ROWS, COLUMNS = 12, 10


@pytest.fixture
def heudiconv(real_package, tmp_path: Path):
    """Return a function that puts real DICOM files of heudiconv's tests into ``tmp_path/dicom``."""
    package, folder = real_package("heudiconv"), tmp_path / "dicom"
    folder.mkdir()

    def fetch(*names: str) -> Path:
        for name in names:
            (folder / Path(name).name).write_bytes(package.read(f"heudiconv/tests/data/{name}"))
        return folder

    return fetch


DWI = tuple(f"b0dwiForFmap/b0dwi_for_fmap+0000{n}.dcm" for n in (1, 2, 3))


def make_slices(folder: Path, n: int, *, number: int = 4, sagittal: bool = False, name: str = "t1") -> Path:
    """Write a classic series of ``n`` slices with known values."""
    folder.mkdir(parents=True, exist_ok=True)
    series, frame, study = generate_uid(entropy_srcs=[name]), generate_uid(), generate_uid()
    for index in range(n):
        data = _common(MRImageStorage, series, frame, study, number, name)
        data.InstanceNumber = index + 1
        data.ImageOrientationPatient = [0, 1, 0, 0, 0, -1] if sagittal else [1, 0, 0, 0, 1, 0]
        data.ImagePositionPatient = [index * 2.0, 0, 0] if sagittal else [0, 0, index * 2.0]
        data.SliceThickness = data.SpacingBetweenSlices = 2.0
        data.PixelSpacing = [1.5, 1.5]
        data.PixelData = slice_values(index).tobytes()
        data.save_as(folder / f"{name}_{index:03d}.dcm", enforce_file_format=True)
    return folder


def slice_values(index: int) -> np.ndarray:
    """Return the pixels of one slice."""
    return (np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) + 1000 * index).astype("<u2")


def make_enhanced(path: Path, n: int) -> Path:
    """Write an enhanced MR image of ``n`` slices in one file."""
    data = _common(EnhancedMRImageStorage, generate_uid(), generate_uid(), generate_uid(), 9, "enhanced")
    data.NumberOfFrames, data.InstanceNumber = n, 1
    shared = pydicom.Dataset()
    shared.PlaneOrientationSequence = [pydicom.Dataset()]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence = [pydicom.Dataset()]
    shared.PixelMeasuresSequence[0].PixelSpacing = [1.5, 1.5]
    shared.PixelMeasuresSequence[0].SliceThickness = 2.0
    data.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for index in range(n):
        frame = pydicom.Dataset()
        frame.PlanePositionSequence = [pydicom.Dataset()]
        frame.PlanePositionSequence[0].ImagePositionPatient = [0, 0, index * 2.0]
        frame.FrameContentSequence = [pydicom.Dataset()]
        frame.FrameContentSequence[0].InStackPositionNumber = index + 1
        frame.FrameContentSequence[0].DimensionIndexValues = [index + 1]
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = frames
    data.PixelData = b"".join(slice_values(index).tobytes() for index in range(n))
    data.save_as(path, enforce_file_format=True)
    return path


def _common(kind: str, series: str, frame: str, study: str, number: int, name: str) -> pydicom.Dataset:
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = kind
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.PatientName, data.PatientID, data.PatientBirthDate = "Lovelace^Ada", "H4711", "18151210"
    data.Modality, data.Manufacturer = "MR", "Made for tests"
    data.SeriesInstanceUID, data.FrameOfReferenceUID, data.StudyInstanceUID = series, frame, study
    data.SeriesNumber, data.SeriesDescription, data.ProtocolName = number, name, f"{name}_protocol"
    data.AcquisitionDate, data.AcquisitionTime = "20240102", "101112"
    data.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    data.RepetitionTime, data.EchoTime = 2000, 30
    data.Rows, data.Columns, data.SamplesPerPixel = ROWS, COLUMNS, 1
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation, data.PhotometricInterpretation = 15, 0, "MONOCHROME2"
    return data


def test_real_mosaic_becomes_a_volume_with_its_facts(heudiconv, tmp_path: Path):
    folder = heudiconv("axasc35.dcm")
    (series,) = dicom_series(folder)
    assert (series.label(), series.mosaic, series.n_frames) == ("6 (ax_asc_35sl)", True, 1)
    with open_image(folder, "dicom") as image:
        assert image.header.shape == (64, 64, 35)
        assert image.sidecar["RepetitionTime"] == 3
        assert len(image.sidecar["SliceTiming"]) == 35
        write_nifti_gz(tmp_path / "out.nii.gz", image.header, image.volumes(), durable=False)
    mosaic = pydicom.dcmread(folder / "axasc35.dcm").pixel_array
    volume = np.asarray(nibabel.load(tmp_path / "out.nii.gz").dataobj)
    first = mosaic[:64, :64].T[:, ::-1]  # NIfTI counts rows from below
    assert np.array_equal(volume[:, :, 0], first)
    assert int(volume.sum()) == int(mosaic.sum())


def test_real_series_of_mosaics_keeps_every_volume(heudiconv):
    folder = heudiconv(*DWI)
    facts = read_facts(folder, "dicom")
    assert (facts.shape, facts.n_volumes, facts.tr_s, facts.tr_unit_known) == ((150, 152, 81), 3, 4.15, True)


def test_series_are_chosen_by_number_or_name(heudiconv, tmp_path: Path):
    folder = heudiconv(
        "axasc35.dcm", "01-anat-scout/0001.dcm", "Phoenix/99+PhoenixDocument/99+PhoenixDocument+00001.dcm"
    )
    (folder / "notes.txt").write_text("not DICOM", encoding="utf-8")
    found = dicom_series(folder)
    assert [series.number for series in found] == [1, 6], "notes and reports without pixels are passed over"
    for wanted in (6, "6", "ax_asc_35sl"):
        assert choose_series(found, wanted, "here").number == 6
        assert read_facts(folder, "dicom", {"series": wanted}).shape == (64, 64, 35)
    with pytest.raises(RecordingError, match=r"not said which.*1 \(anat-scout.*6 \(ax_asc_35sl\), 1 files.*options"):
        read_facts(folder, "dicom")
    with pytest.raises(RecordingError, match="0 series fit '7'"):
        convert_series(folder, tmp_path / "out", 7)


def test_the_same_series_gives_the_same_bytes_whatever_its_files_are_called(heudiconv, tmp_path: Path):
    folder, other = heudiconv("axasc35.dcm"), tmp_path / "elsewhere" / "deep"
    other.mkdir(parents=True)
    shutil.copy(folder / "axasc35.dcm", other / "IM0001")
    written, digests = [], []
    for index, path in enumerate((folder, other.parent)):
        with open_image(path, "dicom") as image:
            written.append(write_nifti_gz(tmp_path / f"{index}.nii.gz", image.header, image.volumes(), durable=False))
            digests.append(image.digest())
    assert written[0] == written[1]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("sagittal", [False, True])
def test_classic_slices_become_the_volume_they_are(sagittal: bool, tmp_path: Path):
    folder = make_slices(tmp_path / "dicom", 7, sagittal=sagittal)
    path, sidecar = convert_series(folder, tmp_path / "out")
    values = np.asarray(nibabel.load(path).dataobj)
    assert sorted(values.ravel().tolist()) == sorted(v for i in range(7) for v in slice_values(i).ravel().tolist())
    assert sidecar["RepetitionTime"] == 2
    assert sorted(values.shape) == sorted((ROWS, COLUMNS, 7))


def test_enhanced_dicom_becomes_the_volume_it_is(tmp_path: Path):
    path = make_enhanced(tmp_path / "enhanced.dcm", 5)
    (series,) = dicom_series(path)
    assert (series.enhanced, series.n_frames) == (True, 5)
    out, _ = convert_series(path, tmp_path / "out")
    values = np.asarray(nibabel.load(out).dataobj)
    for index in range(5):
        assert np.array_equal(values[:, :, index], slice_values(index).T[:, ::-1])


def test_names_of_people_do_not_reach_the_facts_and_dates_do(tmp_path: Path):
    path, sidecar = convert_series(make_slices(tmp_path / "dicom", 3), tmp_path / "out")
    text = json.dumps(sidecar)
    assert "Lovelace" not in text and "H4711" not in text and "1815" not in text
    assert sidecar["AcquisitionDateTime"].startswith("2024-01-02")
    assert b"Lovelace" not in path.read_bytes()


def test_missing_instances_are_refused_and_named(tmp_path: Path):
    folder = make_slices(tmp_path / "dicom", 9)
    for index in (2, 5, 6):
        (folder / f"t1_{index:03d}.dcm").unlink()
    with pytest.raises(RecordingError, match=r"instance number 3 is missing; instance numbers 6 to 7 are missing"):
        convert_series(folder, tmp_path / "out")


def test_instances_that_come_twice_are_refused(tmp_path: Path):
    folder = make_slices(tmp_path / "dicom", 4)
    shutil.copy(folder / "t1_001.dcm", folder / "copy.dcm")
    with pytest.raises(RecordingError, match="1 instance numbers come twice"):
        convert_series(folder, tmp_path / "out")


def test_truncated_files_are_refused_and_nothing_is_left(heudiconv, tmp_path: Path):
    folder = heudiconv("axasc35.dcm")
    path = folder / "axasc35.dcm"
    path.write_bytes(path.read_bytes()[:300_000])
    with pytest.raises(RecordingError, match="dcm2niix made no image"):
        convert_series(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_truncated_file_among_others_is_not_left_out_silently(tmp_path: Path):
    folder = make_slices(tmp_path / "dicom", 6)
    path = folder / "t1_005.dcm"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RecordingError, match=r"dcm2niix made (no image|600 voxels of the 720)"):
        convert_series(folder, tmp_path / "out")


def test_folders_without_dicom_are_refused(tmp_path: Path):
    (tmp_path / "a.txt").write_text("hello", encoding="utf-8")
    with pytest.raises(RecordingError, match="no DICOM image among 1 files"):
        dicom_series(tmp_path)
    with pytest.raises(RecordingError, match="this is no DICOM image"):
        dicom_series(tmp_path / "a.txt")


def test_temporary_folders_go_with_the_image(heudiconv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, scratch = heudiconv("axasc35.dcm"), tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    with open_image(folder, "dicom") as image:
        next(image.volumes())
        assert list(scratch.iterdir())
    assert not list(scratch.iterdir())
