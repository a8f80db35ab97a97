"""Runs of one file a volume: numbers decide the order; gaps, doublets and strangers are refused."""

import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from release_kit.bids.recordings.header import RecordingError, read_facts
from release_kit.bids.recordings.image import open_image
from release_kit.bids.recordings.nifti_write import write_nifti_gz
from release_kit.bids.recordings.series import series_files


@pytest.fixture
def make_series(make_nifti, tmp_path: Path):
    """Return a function that writes 3D files with these names; volume i is filled with i."""

    def make(*names: str, **fields) -> Path:
        for index, name in enumerate(names):
            make_nifti(f"series/{name}", (4, 3, 2), values=np.full((4, 3, 2), index), **fields)
        return tmp_path / "series"

    return make


def order(folder: Path) -> list[str]:
    return [file.name for file in series_files(folder)]


def test_numbers_decide_the_order_not_the_alphabet(make_series):
    folder = make_series("f_1.nii", "f_2.nii", "f_9.nii", "f_10.nii", "f_11.nii", *(f"f_{n}.nii" for n in range(3, 9)))
    assert order(folder) == [f"f_{n}.nii" for n in range(1, 12)]


def test_a_series_becomes_one_image_with_the_volumes_in_order(make_series, tmp_path: Path):
    folder = make_series("f_08.nii", "f_09.nii", "f_10.nii", "f_11.nii")
    facts = read_facts(folder, "nifti-series")
    assert (facts.n_volumes, facts.n_dims, facts.tr_s, facts.tr_unit_known) == (4, 4, None, False)
    with open_image(folder, "nifti-series") as image:
        write_nifti_gz(tmp_path / "out.nii.gz", image.header, image.volumes(), durable=False)
        assert [int(volume[0, 0, 0]) for volume in image.volumes(start=2)] == [2, 3]
    data = np.asarray(nibabel.load(tmp_path / "out.nii.gz").dataobj)
    assert data.shape == (4, 3, 2, 4)
    assert data[0, 0, 0].tolist() == [0, 1, 2, 3]


def test_a_pattern_chooses_one_run_of_a_folder(make_series):
    folder = make_series("r1_01.nii.gz", "r1_02.nii.gz", "r2_01.nii.gz", "r2_02.nii.gz")
    with pytest.raises(RecordingError, match=r"several numbers vary.*more than one run"):
        series_files(folder)
    assert order(folder / "r2_*.nii.gz") == ["r2_01.nii.gz", "r2_02.nii.gz"]


def test_numbers_that_rise_together_are_one_number(make_series):
    names = [f"fAB12-0005-{n:05d}-{n:06d}-01.nii" for n in (1, 2, 3)]
    assert order(make_series(*reversed(names))) == names


def test_pairs_count_once(make_series):
    assert order(make_series("f_1.img", "f_2.img")) == ["f_1.img", "f_2.img"]


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((1, 2, 4), "number 3 is missing"),
        ((1, 5, 6, 9), "numbers 2 to 4 are missing; numbers 7 to 8 are missing"),
    ],
)
def test_gaps_are_refused_and_all_are_named(numbers, said, make_series):
    with pytest.raises(RecordingError, match=said):
        read_facts(make_series(*(f"f_{n:03d}.nii" for n in numbers)), "nifti-series")


def test_two_files_of_one_number_are_refused(make_series):
    with pytest.raises(RecordingError, match="number 2 comes 2 times"):
        series_files(make_series("f_01.nii", "f_2.nii", "f_02.nii", "f_03.nii"))


def test_names_of_several_kinds_are_refused(make_series):
    with pytest.raises(RecordingError, match=re.escape("2 kinds (2 x f_#.nii, 1 x mean.nii)")):
        series_files(make_series("f_01.nii", "f_02.nii", "mean.nii"))


def test_an_empty_folder_is_refused(tmp_path: Path):
    with pytest.raises(RecordingError, match="no NIfTI files of a series"):
        series_files(tmp_path)


def test_files_that_differ_are_refused_and_named(make_series, make_nifti):
    folder = make_series("f_01.nii", "f_02.nii", "f_03.nii", "f_04.nii")
    make_nifti("series/f_02.nii", (4, 3, 3))
    make_nifti("series/f_03.nii", (4, 3, 2), scl_slope=2.0)
    make_nifti("series/f_04.nii", (4, 3, 2), srow_x=[-2, 0, 0, 10])
    with pytest.raises(RecordingError) as caught:
        read_facts(folder, "nifti-series")
    for said in (
        "f_02.nii: shape (4, 3, 3)",
        "f_03.nii: slope 2.0, the first file has 1.0",
        "f_04.nii: another position",
    ):
        assert said in str(caught.value)


def test_4d_files_in_a_series_are_refused(make_series, make_nifti):
    folder = make_series("f_01.nii", "f_02.nii")
    make_nifti("series/f_02.nii", (4, 3, 2, 5))
    with pytest.raises(RecordingError, match=r"f_02.nii: 5 volumes, expected 1"):
        read_facts(folder, "nifti-series")


def test_truncated_files_of_a_series_are_all_named(make_series):
    folder = make_series("f_01.nii", "f_02.nii", "f_03.nii")
    for name in ("f_01.nii", "f_03.nii"):
        (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    with pytest.raises(RecordingError, match=r"f_01.nii: it ends.*f_03.nii: it ends"):
        read_facts(folder, "nifti-series")
    with (
        pytest.raises(RecordingError, match=r"f_01.nii: it ends in volume 1 of 1"),
        open_image(folder, "nifti-series") as image,
    ):
        list(image.volumes())


def test_digest_follows_from_contents_and_order_alone(make_series, tmp_path: Path):
    folder = make_series("f_01.nii", "f_02.nii")
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(folder / "f_01.nii", other / "scan7.nii")
    shutil.copy(folder / "f_02.nii", other / "scan8.nii")
    with open_image(folder, "nifti-series") as one, open_image(other, "nifti-series") as two:
        assert one.digest() == two.digest()
    (other / "scan7.nii").rename(other / "scan9.nii")
    with open_image(folder, "nifti-series") as one, open_image(other, "nifti-series") as two:
        assert one.digest() != two.digest()


def test_a_series_of_one_file_is_a_series(make_series):
    assert read_facts(make_series("f_001.nii"), "nifti-series").n_dims == 4
