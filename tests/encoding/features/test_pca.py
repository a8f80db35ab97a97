"""Principal components: scikit-learn's, fitted on training rows and nothing else."""

import numpy as np
import pytest
import threadpoolctl
from sklearn.decomposition import PCA

from release_kit.encoding.errors import FeatureError
from release_kit.encoding.features import pca
from release_kit.encoding.features.pca import fit_pca


def rows(n: int, p: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    spread = 2.0 ** -np.arange(min(n, p))
    return (random.standard_normal((n, len(spread))) * spread @ random.standard_normal((len(spread), p)) + 5).astype(
        np.float32
    )


@pytest.mark.parametrize(("n", "p"), [(60, 12), (12, 60), (30, 30)])
def test_components_are_scikit_learns_up_to_their_sign(n, p):
    x = rows(n, p)
    found, theirs = fit_pca(x, 5), PCA(5, svd_solver="full").fit(x.astype(np.float64))
    np.testing.assert_allclose(found.explained, theirs.explained_variance_ratio_, rtol=1e-5)
    sign = np.sign((found.components * theirs.components_).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found.components, theirs.components_ * sign, atol=1e-4)
    np.testing.assert_allclose(found.apply(x), theirs.transform(x) * sign.T, atol=1e-3)


def test_randomized_form_finds_the_same_and_draws_from_its_seed(monkeypatch):
    x = rows(80, 50)
    exact = fit_pca(x, 6)
    monkeypatch.setattr(pca, "EXACT_UP_TO", 10)
    one, two = fit_pca(x, 6, seed=1), fit_pca(x, 6, seed=1)
    np.testing.assert_allclose(one.components, exact.components, atol=1e-4)
    np.testing.assert_allclose(one.explained, exact.explained, rtol=1e-6)
    assert np.array_equal(one.components, two.components)


def test_held_out_rows_change_nothing():
    x = rows(60, 10)
    train = np.arange(60) < 40
    one = fit_pca(x[train], 4)
    changed = x.copy()
    changed[~train] *= 1000
    two = fit_pca(changed[train], 4)
    assert np.array_equal(one.components, two.components) and np.array_equal(one.mean, two.mean)
    assert np.array_equal(one.apply(x)[train], two.apply(changed)[train])


def test_sign_is_that_of_the_largest_entry():
    found, turned = fit_pca(rows(40, 8), 4), fit_pca(-rows(40, 8), 4)
    np.testing.assert_allclose(found.components, turned.components, atol=1e-5)
    assert (np.take_along_axis(found.components, np.abs(found.components).argmax(1)[:, None], 1) > 0).all()


def test_rows_of_low_rank_give_as_many_components_as_they_have():
    random = np.random.default_rng(3)
    x = (random.standard_normal((50, 3)) @ random.standard_normal((3, 20))).astype(np.float64)
    found = fit_pca(x, 10)
    assert found.components.shape == (3, 20) and found.explained.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.full((5, 3), 0.1, np.float32), "the same"),
        (np.zeros((1, 3)), "training rows"),
        (np.array([[1.0, np.nan], [0.0, 1.0]]), "1 feature hold values that are no numbers"),
    ],
)
def test_rows_without_components_are_refused(x, said):
    with pytest.raises(FeatureError, match=said):
        fit_pca(x, 2)


def test_components_do_not_depend_on_threads_and_threads_are_as_they_were():
    x = rows(300, 200)
    found = {}
    for n in (1, 2):
        with threadpoolctl.threadpool_limits(limits=n, user_api="blas"):
            before = threadpoolctl.threadpool_info()
            found[n] = fit_pca(x, 20)
            assert threadpoolctl.threadpool_info() == before
    np.testing.assert_allclose(found[1].components, found[2].components, atol=1e-5)
    np.testing.assert_allclose(found[1].explained, found[2].explained, rtol=1e-9)
    unit = found[1].components @ found[1].components.T
    np.testing.assert_allclose(unit, np.eye(20), atol=1e-5)
