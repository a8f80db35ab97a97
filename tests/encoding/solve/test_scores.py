"""Scores against scipy and scikit-learn, their shares against their sums, and voxels that have none."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import r2_score

from release_kit.encoding.errors import FitError
from release_kit.encoding.solve import scores
from release_kit.encoding.solve.scores import pearson, r2, split_r, split_r2


def _parts(seed: int, b: int = 3, n: int = 40, v: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    parts = rng.standard_normal((b, n, v)).astype("f") + 5
    return (parts.sum(0) + rng.standard_normal((n, v)) - 3).astype("f"), parts


def test_r_and_r2_are_those_of_scipy_and_scikit_learn():
    y, parts = _parts(0)
    guess = parts[0]
    np.testing.assert_allclose(pearson(y, guess), scipy.stats.pearsonr(y, guess, axis=0).statistic, atol=1e-6)
    np.testing.assert_allclose(r2(y, guess), r2_score(y, guess, multioutput="raw_values"), rtol=1e-5)


@given(seed=st.integers(0, 10_000), b=st.integers(1, 5))
def test_shares_sum_to_the_score_of_the_sum(seed: int, b: int):
    y, parts = _parts(seed, b)
    total = parts.sum(0, dtype=np.float64)
    np.testing.assert_allclose(split_r(y, parts).sum(0), pearson(y, total), atol=1e-4)
    np.testing.assert_allclose(split_r2(y, parts).sum(0), r2(y - y.mean(0), total - total.mean(0)), atol=1e-3)


def test_shares_are_those_of_himalaya():
    from himalaya.backend import set_backend
    from himalaya.scoring import correlation_score_split, r2_score_split

    set_backend("numpy")
    y, parts = (values - values.mean(-2, keepdims=True) for values in map(np.float64, _parts(4)))
    np.testing.assert_allclose(split_r2(y, parts), r2_score_split(y, parts), atol=1e-5)
    np.testing.assert_allclose(split_r(y, parts), correlation_score_split(y, parts), atol=1e-5)


def test_tiles_do_not_change_scores():
    y, parts = _parts(1, b=2, n=20_000, v=230)
    assert scores.TILE_BYTES // (8 * len(y)) < 230
    for score in (pearson, r2):
        np.testing.assert_allclose(score(y, parts[0])[-9:], score(y[:, -9:], parts[0, :, -9:]), atol=1e-6)
    for split in (split_r, split_r2):
        np.testing.assert_allclose(split(y, parts)[:, -9:], split(y[:, -9:], parts[:, :, -9:]), atol=1e-6)


def test_voxels_without_change_have_no_score():
    y, parts = _parts(2)
    y[:, 1] = 0.1
    guess = parts[0].copy()
    guess[:, 3] = 0.7
    assert np.flatnonzero(np.isnan(pearson(y, guess))).tolist() == [1, 3]
    assert np.flatnonzero(np.isnan(r2(y, guess))).tolist() == [1]
    assert np.isnan(split_r2(y, parts)).any(0).tolist() == [v == 1 for v in range(7)]
    assert np.isnan(split_r(y, parts)).any(0).tolist() == [v == 1 for v in range(7)]


def test_a_large_mean_costs_no_precision():
    y, parts = _parts(3)
    far = y.astype(np.float64) + 1e6
    np.testing.assert_allclose(pearson(far, parts[0]), pearson(y, parts[0]), atol=1e-6)


def test_shapes_that_differ_are_refused():
    y, parts = _parts(0)
    with pytest.raises(FitError, match=r"\(40, 7\), predictions of shape \(39, 7\)"):
        pearson(y, parts[0][:-1])
    with pytest.raises(FitError, match="a score needs two"):
        r2(y[:1], parts[0][:1])
    with pytest.raises(FitError, match="n_parts"):
        split_r2(y, parts[0])
