"""Maps as a BIDS derivative: what is written is read back, the same maps give the same bytes, the validator agrees."""

import hashlib
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from encoding_maps_factory import AFFINE, maps_of, pattern, surface_mask, volume_mask

from release_kit.bids.validate.reference import run_reference
from release_kit.encoding.errors import AnalysisError, ResponseError
from release_kit.encoding.maps.derivative import StatMap, read_derivative, write_derivative
from release_kit.encoding.maps.names import label, stem


def _digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_volume_holds_each_value_where_its_voxel_is_and_nan_elsewhere(tmp_path: Path):
    mask = volume_mask((7, 8, 6))
    values = pattern(mask)
    found = StatMap(subject="01", statistic="r", desc="story", values=values, mask=mask, space="MNI152")
    write_derivative(tmp_path, [found], name="x")
    image = nibabel.load(tmp_path / "sub-01/func/sub-01_space-MNI152_stat-r_desc-story_statmap.nii.gz")
    data = np.asarray(image.dataobj)
    np.testing.assert_array_equal(data[mask.selected], values)
    assert np.isnan(data[~mask.selected]).all()
    np.testing.assert_allclose(image.affine, AFFINE)
    assert data.dtype == np.float32


def test_surface_holds_each_value_at_its_vertex_in_the_right_hemisphere(tmp_path: Path):
    mask = surface_mask()
    values = pattern(mask)
    found = StatMap(subject="01", statistic="r", desc="story", values=values, mask=mask, space="fsaverage5")
    write_derivative(tmp_path, [found], name="x")
    halves = []
    for hemi, structure in (("L", "CortexLeft"), ("R", "CortexRight")):
        image = nibabel.load(
            tmp_path / f"sub-01/func/sub-01_hemi-{hemi}_space-fsaverage5_stat-r_desc-story_statmap.func.gii"
        )
        assert image.meta["AnatomicalStructurePrimary"] == structure
        halves.append(image.darrays[0].data)
    whole = np.concatenate(halves)
    np.testing.assert_array_equal(whole[mask.selected], values)
    assert np.isnan(whole[:10]).all()


@pytest.mark.parametrize("kind", ["surface", "volume"])
def test_same_maps_same_bytes_and_no_path_inside(tmp_path: Path, kind: str):
    mask, space = (surface_mask(), "fsaverage5") if kind == "surface" else (volume_mask(), "MNI152NLin2009cAsym")
    for name in ("a", "b"):
        write_derivative(tmp_path / name, maps_of(mask, space), name="x")
    assert _digests(tmp_path / "a") == _digests(tmp_path / "b")
    for path in (tmp_path / "a").rglob("*"):
        assert not path.is_file() or str(tmp_path).encode() not in path.read_bytes()


@pytest.mark.parametrize("kind", ["surface", "volume"])
def test_reference_validator_finds_no_error(tmp_path: Path, kind: str):
    mask, space = (surface_mask(), "fsaverage5") if kind == "surface" else (volume_mask((9, 9, 9)), None)
    write_derivative(tmp_path, maps_of(mask, space), name="Maps", sources=[{"URL": "https://example.org/films"}])
    verdict = run_reference(tmp_path, ".", headers=True)
    assert verdict.said == "no errors", verdict


def test_sidecar_counts_and_read_back(tmp_path: Path):
    mask = surface_mask()
    write_derivative(tmp_path, maps_of(mask, "fsaverage5"), name="x")
    found = {(each.about["Subject"], each.about["Statistic"]): each for each in read_derivative(tmp_path)}
    about = found["02", "r"].about
    values = pattern(mask, 1)
    assert (about["NumberOfVoxels"], about["NumberWithValue"]) == (mask.n_voxels, mask.n_voxels - 1)
    assert about["Maximum"] == pytest.approx(float(np.nanmax(values)))
    halves, affine = found["02", "r"].read()
    assert affine is None
    np.testing.assert_array_equal(np.concatenate(halves)[mask.selected], values)


def test_maps_that_are_not_asked_for_any_more_go_and_an_incomplete_folder_reads_as_none(tmp_path: Path):
    maps = maps_of(volume_mask((5, 5, 5)), None)
    write_derivative(tmp_path, maps, name="x")
    write_derivative(tmp_path, maps[:2], name="x")
    assert len(read_derivative(tmp_path)) == 2
    assert len(list(tmp_path.rglob("*.nii.gz"))) == 2
    (tmp_path / "dataset_description.json").unlink()
    assert read_derivative(tmp_path) == []


def test_two_maps_of_one_name_are_refused_and_leave_no_complete_dataset(tmp_path: Path):
    first = maps_of(volume_mask((5, 5, 5)), None)[0]
    with pytest.raises(AnalysisError, match="two maps would have this name"):
        write_derivative(tmp_path, [first, replace(first, desc="story words")], name="x")
    assert read_derivative(tmp_path) == []


def test_unknown_statistic_wrong_number_of_values_and_missing_place_are_refused(tmp_path: Path):
    first = maps_of(volume_mask((5, 5, 5)), None)[0]
    with pytest.raises(AnalysisError, match="statistic 'z' is none of"):
        write_derivative(tmp_path, [replace(first, statistic="z")], name="x")
    with pytest.raises(ResponseError, match="do not fit a mask"):
        write_derivative(tmp_path, [replace(first, values=first.values[1:])], name="x")
    with pytest.raises(ResponseError, match="where the voxels of the mask lie"):
        write_derivative(tmp_path, [replace(first, mask=replace(first.mask, affine=None))], name="x")


def test_labels_hold_letters_and_digits_only():
    assert label("story-smollm2 (A01)") == "storysmollm2A01"
    assert (
        stem(None, "rmean", "a b", space="fsaverage5", hemi="L") == "hemi-L_space-fsaverage5_stat-rmean_desc-ab_statmap"
    )
    with pytest.raises(AnalysisError, match="no letter"):
        label("--")
