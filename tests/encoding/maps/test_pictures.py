"""Pictures of maps: offline, the same bytes, small; values lie where they belong and only where their test says so."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from encoding_maps_factory import N, maps_of, pattern, surface_mask, volume_mask

from release_kit.core.pictures import Picture
from release_kit.encoding.maps.derivative import read_derivative, write_derivative
from release_kit.encoding.maps.montage import slices
from release_kit.encoding.maps.pictures import draw_maps
from release_kit.encoding.maps.regions import interval_over, region_table
from release_kit.encoding.maps.shown import Scale, key_of, scale_of, show
from release_kit.encoding.maps.surface import VIEWS, can_draw, paint

SCALE = Scale(name="viridis", low=0.0, high=1.0)


@pytest.fixture(scope="module")
def surface_maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("maps")
    write_derivative(folder, maps_of(surface_mask(), "fsaverage5"), name="x")
    return folder


@pytest.fixture(scope="module")
def pictures(surface_maps: Path) -> list[Picture]:
    return draw_maps(surface_maps, "corrected")


def _keyed(folder: Path) -> dict:
    return {key_of(each): each for each in read_derivative(folder)}


def test_pictures_are_small_offline_and_the_same_twice(surface_maps: Path, pictures: list[Picture]):
    first, second = pictures, draw_maps(surface_maps, "corrected")
    assert [each.name for each in first] == ["map-rmean-storywords", "map-rdiff-aagainstb", "map-uniquer2-allstory"]
    assert [each.png for each in first] == [each.png for each in second]
    assert all(1000 < len(each.png) < 300_000 for each in first)
    assert all(b"Software" not in each.png and b"tIME" not in each.png for each in first)
    assert draw_maps(surface_maps, "paper") == []


def test_picture_says_whose_map_where_it_is_shown_and_in_how_many_voxels(pictures: list[Picture]):
    title = pictures[0].title
    significant = int((pattern(surface_mask(), 0) > 0.2).sum())
    for said in (
        "Held-out r",
        "level story",
        "bag-of-words",
        "sub-01: shown where q ≤ 0.05",
        f"{significant:,} of 20,473",
    ):
        assert said in title


def test_r_is_shown_exactly_where_q_is_at_most_the_level(surface_maps: Path):
    maps = _keyed(surface_maps)
    shown = show(maps["01", "r", "story-words"], maps)
    values = pattern(surface_mask(), 0)
    np.testing.assert_array_equal(np.isfinite(np.concatenate(shown.values))[surface_mask().selected], values > 0.2)


def test_a_part_of_variance_is_shown_where_its_interval_is_above_zero(surface_maps: Path):
    maps = _keyed(surface_maps)
    shown = show(maps["01", "uniquer2", "all story"], maps)
    expected = np.nan_to_num(pattern(surface_mask(), 0) ** 2, nan=-1) > 0.04
    assert shown.n_shown == int(expected.sum())


def test_a_map_without_a_test_says_that_there_is_no_threshold(tmp_path: Path):
    write_derivative(tmp_path, maps_of(volume_mask((6, 6, 6)), None)[:1], name="x")
    (only,) = read_derivative(tmp_path)
    assert "no threshold" in show(only, _keyed(tmp_path)).caption


@pytest.mark.parametrize("view", VIEWS)
def test_colours_of_the_surface_lie_at_the_vertices_that_have_values(view: tuple[str, str]):
    from nilearn.datasets import load_fsaverage

    points = load_fsaverage("fsaverage5")["inflated"].parts[view[0]].coordinates
    front = np.where(points[:, 1] > np.median(points[:, 1]), 1.0, np.nan).astype(np.float32)
    nothing = np.full(N, np.nan, np.float32)
    halves = (front, nothing) if view[0] == "left" else (nothing, front)
    picture = paint(halves, view, SCALE)
    yellow = (picture[..., 0] > 0.85) & (picture[..., 2] < 0.4)
    middle = picture.shape[1] // 2
    # Anterior is to the left of the viewer where the left side is seen from outside, or the right one from inside.
    front_is_left = (view[0] == "left") == (view[1] == "lateral")
    near, far = (yellow[:, :middle], yellow[:, middle:]) if front_is_left else (yellow[:, middle:], yellow[:, :middle])
    assert near.sum() > 10 * max(far.sum(), 1)


def test_other_surfaces_are_said_to_have_no_mesh_here(tmp_path: Path):
    assert can_draw("fsaverage", (163_842, 163_842))
    assert not can_draw("fsLR", (32_492, 32_492))
    assert not can_draw("fsaverage5", (10, 10))


def test_slices_show_ground_only_inside_the_mask():
    known = np.full((4, 5, 3), np.nan)
    known[1:3, 1:4] = 0.2
    shown = np.full_like(known, np.nan)
    shown[1, 1, 0] = 1.0
    picture = slices(shown, known, SCALE)
    strip = picture[:, :4]
    assert (strip[3, 1] != strip[1, 2]).any()  # y grows upwards: row 3 of 5 is y = 1
    assert (strip[0] == 1).all()
    assert np.allclose(strip[1, 2], 0.87)


def test_glass_brain_of_a_volume_in_mni_space(tmp_path: Path):
    maps = maps_of(volume_mask((23, 28, 23)), "MNI152NLin2009cAsym", subjects=("01",))
    write_derivative(tmp_path, maps[:2], name="x")
    (picture,) = draw_maps(tmp_path, "corrected")
    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB")).astype(int)
    coloured = np.ptp(pixels, axis=2) > 60
    assert coloured.sum() > 2000


def test_compared_pictures_share_limits_and_differences_are_centred(surface_maps: Path):
    maps = _keyed(surface_maps)
    rows = [show(maps[who, "r", "story-words"], maps) for who in ("01", "02")]
    scale = scale_of(rows)
    assert scale.low == 0
    assert 0.45 <= scale.high <= 0.6
    assert all(scale_of([each]).high <= scale.high for each in rows)
    difference = scale_of([show(maps["01", "rdiff", "a against b"], maps)])
    assert difference.low == -difference.high


def test_region_table_averages_subjects_and_names_its_rows():
    row = {"mode": "corrected", "region": "v1", "level": "story", "feature": "f", "model": "m", "annotator": "mean"}
    rows = [
        {**row, "chosen": True, "metric": "r", "value": 0.2, "n_voxels": 10, "subject": "01"},
        {**row, "chosen": False, "metric": "r", "value": 0.9, "n_voxels": 10, "subject": "01"},
        {**row, "chosen": True, "metric": "r", "value": 0.4, "n_voxels": 20, "subject": "02"},
        {**row, "chosen": True, "metric": "share_significant", "value": 0.5, "n_voxels": 10, "subject": "01"},
    ]
    (found,) = region_table(rows)
    assert (found.r, found.n_subjects, found.n_voxels, found.rows) == (pytest.approx(0.3), 2, 15, (0, 2))
    assert found.share_significant == 0.5
    assert found.r_normalised is None


def test_interval_over_subjects_is_students():
    from scipy import stats

    values = [0.1, 0.25, 0.17, 0.3]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert interval_over(values) == pytest.approx((expected.low, expected.high))
    assert interval_over([0.1]) == (None, None)


def test_subjects_that_have_no_row_are_counted(tmp_path: Path):
    maps = maps_of(volume_mask((6, 6, 6)), None, subjects=("01", "02", "03", "04", "05"))
    write_derivative(tmp_path, [replace(each) for each in maps if each.statistic == "r"], name="x")
    (picture,) = draw_maps(tmp_path, "corrected")
    assert "2 more subjects in the files" in picture.note


def test_where_nothing_passes_the_threshold_the_words_stand_alone(tmp_path: Path):
    maps = [replace(each, values=np.ones_like(each.values)) if each.statistic == "q" else each
            for each in maps_of(surface_mask(), "fsaverage5") if each.statistic in ("r", "q")]  # fmt: skip
    write_derivative(tmp_path, maps, name="x")
    (picture,) = draw_maps(tmp_path, "corrected")
    assert "sub-02: shown where q ≤ 0.05; 0 of 20,473 vertices" in picture.title
    assert picture.note.startswith("No voxel passes the threshold")
    assert len(picture.png) < 20_000
