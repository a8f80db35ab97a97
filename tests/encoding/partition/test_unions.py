"""What unions of bands predict gives back the regions that were planted."""

import numpy as np
import pytest

from release_kit.encoding.arrays import Band, Fold
from release_kit.encoding.partition.sets import all_unions, partition
from release_kit.encoding.solve.banded import BandedSettings, fit_banded
from release_kit.encoding.solve.scores import r2
from release_kit.encoding.solve.settings import RidgeSettings

SETTINGS = BandedSettings(ridge=RidgeSettings(alphas=(0.1, 1, 10, 100)), n_iter=4)


def planted(n: int = 3000, n_voxels: int = 12) -> tuple[list[Band], np.ndarray]:
    """Two bands with two of four latents in common; y is made of one latent of each kind."""
    rng = np.random.default_rng(0)
    common, own_a, own_b = (rng.standard_normal((n, 2)) for _ in range(3))
    noise = rng.standard_normal((n, n_voxels))
    y = common[:, :1] * 0.8 + own_a[:, :1] * 0.6 + own_b[:, :1] * 0.4 + noise
    bands = [Band(name="a", x=np.hstack([common, own_a])), Band(name="b", x=np.hstack([common, own_b]))]
    return [Band(name=band.name, x=band.x.astype(np.float32)) for band in bands], y.astype(np.float32)


def cut(bands: list[Band], rows: slice) -> list[Band]:
    return [Band(name=band.name, x=band.x[rows]) for band in bands]


def test_regions_of_held_out_r2_are_those_that_were_planted():
    bands, y = planted()
    train, test = slice(0, 2000), slice(2000, 3000)
    rows = np.arange(2000)
    folds = [Fold(train=rows[rows % 4 != k], test=rows[rows % 4 == k]) for k in range(4)]
    scores = {}
    for union in all_unions(["a", "b"]):
        chosen = [band for band in bands if band.name in union]
        fit = fit_banded(cut(chosen, train), y[train], folds, SETTINGS)
        scores[union] = r2(y[test], fit.predict(cut(chosen, test)))
    variance = 0.64 + 0.36 + 0.16 + 1
    regions = {name: values.mean() for name, values in partition(scores, ["a", "b"]).items()}
    for name, share in (("unique:a", 0.36), ("unique:b", 0.16), ("shared:a+b", 0.64)):
        assert regions[name] == pytest.approx(share / variance, abs=0.03)
