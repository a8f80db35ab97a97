"""Maps on the flat cortex: the real pycortex with the surface that comes with it, where it is installed."""

import io
from pathlib import Path

import numpy as np
import pytest
from encoding_maps_factory import AFFINE, maps_of

from release_kit.encoding.data.masks import VOLUME, Mask
from release_kit.encoding.errors import AnalysisError
from release_kit.encoding.maps.derivative import write_derivative
from release_kit.encoding.maps.flatmap import Flat, can_flatten, flats_of, paint_flat
from release_kit.encoding.maps.pictures import draw_maps
from release_kit.encoding.maps.shown import Scale

SHAPE = (100, 100, 31)
FLAT = Flat(surface="S1", transform="fullhead")
SCALE = Scale(name="viridis", low=0.0, high=1.0)
needs_pycortex = pytest.mark.skipif(not can_flatten(), reason="pycortex is not installed here (it is optional)")


def _coloured(picture: np.ndarray) -> np.ndarray:
    return np.ptp(picture, axis=2) > 0.1


def test_flat_surfaces_are_read_from_what_the_analysis_says():
    record = {"flatmaps": {"01": {"surface": "S1", "transform": "fullhead"}, "02": {"surface": "S2"}}}
    assert flats_of(record) == {"01": FLAT, "02": Flat(surface="S2")}
    assert flats_of({}) == flats_of({"flatmaps": None}) == {}


@needs_pycortex
def test_values_of_one_hemisphere_lie_on_its_half_of_the_flat_cortex():
    right = np.indices(SHAPE)[0] < 45  # the first axis of this transform grows to the left
    picture = paint_flat((np.where(right, 0.9, np.nan),), FLAT, SCALE)
    middle = picture.shape[1] // 2
    coloured = _coloured(picture)
    assert coloured[:, middle:].sum() > 50 * max(coloured[:, :middle].sum(), 1)
    assert coloured[:, middle:].mean() > 0.4


@needs_pycortex
def test_values_have_their_colour_where_half_of_the_thickness_has_one_and_nowhere_else():
    import matplotlib

    everywhere = paint_flat((np.full(SHAPE, 0.5),), FLAT, SCALE)
    coloured = _coloured(everywhere)
    assert np.abs(everywhere[coloured] - matplotlib.colormaps["viridis"](0.5)[:3]).max() < 1e-9
    nowhere = paint_flat((np.full(SHAPE, np.nan),), FLAT, SCALE)
    assert not _coloured(nowhere).any()
    assert set(np.unique(nowhere)) == {0.62, 0.80, 1.0}
    cortex = (nowhere < 1).all(axis=2)
    assert not (coloured & ~cortex).any()
    assert coloured.sum() > 0.95 * cortex.sum()  # a little of the cortex lies outside what was scanned


@needs_pycortex
def test_vertices_of_the_surface_need_no_transform():
    import cortex

    n_left, n_right = (len(points) for points, _ in cortex.db.get_surf("S1", "fiducial"))
    picture = paint_flat((np.full(n_left, 0.9), np.full(n_right, np.nan)), Flat(surface="S1"), SCALE)
    middle = picture.shape[1] // 2
    assert _coloured(picture)[:, :middle].sum() > 50 * max(_coloured(picture)[:, middle:].sum(), 1)


@needs_pycortex
@pytest.mark.parametrize(
    ("flat", "shape", "said"),
    [
        (Flat(surface="S9", transform="fullhead"), SHAPE, r"knows no surface 'S9'; in .*: S1"),
        (Flat(surface="S1", transform="rest"), SHAPE, r"no transform 'rest'; it has fullhead, retinotopy"),
        (FLAT, (9, 8, 7), r"values of \(9, 8, 7\), voxels of pycortex's S1, fullhead are \(100, 100, 31\)"),
    ],
)
def test_unknown_surfaces_transforms_and_other_shapes_are_refused(flat: Flat, shape: tuple, said: str):
    with pytest.raises(AnalysisError, match=said):
        paint_flat((np.ones(shape),), flat, SCALE)


@needs_pycortex
def test_flat_pictures_stand_beside_the_others_with_their_words_and_colours(tmp_path: Path):
    from PIL import Image

    centre = np.array(SHAPE) / 2
    ball = np.linalg.norm((np.indices(SHAPE).reshape(3, -1).T - centre) / centre, axis=1) < 0.9
    mask = Mask(kind=VOLUME, shape=SHAPE, affine=AFFINE, selected=ball.reshape(SHAPE))
    write_derivative(tmp_path, maps_of(mask, "T1w"), name="x")
    pictures = {each.name: each for each in draw_maps(tmp_path, "corrected", {"01": FLAT})}
    assert {"map-rmean-storywords", "flat-r-storywords", "flat-rdiff-aagainstb", "flat-uniquer2-allstory"} <= set(
        pictures
    )
    flat, usual = pictures["flat-r-storywords"], pictures["map-rmean-storywords"]
    assert "flat cortex" in flat.title
    assert "sub-01: shown where q ≤ 0.05" in flat.title
    assert "sub-02" not in flat.title
    assert flat.note == usual.note  # the same colours
    assert _coloured(np.asarray(Image.open(io.BytesIO(flat.png)).convert("RGB")) / 255).sum() > 20_000
    again = {each.name: each.png for each in draw_maps(tmp_path, "corrected", {"01": FLAT})}
    assert again["flat-r-storywords"] == flat.png
