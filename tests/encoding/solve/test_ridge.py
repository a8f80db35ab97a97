"""Ridge per voxel against solutions that share no code with it: normal equations, scikit-learn, himalaya."""

from dataclasses import replace

import numpy as np
import pytest
from encoding_solve_factory import ALPHAS, make_problem, normal_equations, plain_scores

from release_kit.encoding.arrays import Fold
from release_kit.encoding.solve.reference import reference_ridge
from release_kit.encoding.solve.ridge import cv_scores, fit_prepared, fit_ridge, prepare
from release_kit.encoding.solve.scores import pearson
from release_kit.encoding.solve.settings import RidgeSettings

SHAPES = {"tall": (150, 20), "feature-space scores": (200, 24), "square": (100, 90), "wide": (70, 110)}


@pytest.mark.parametrize("score", ["correlation", "r2"])
@pytest.mark.parametrize("solver", ["primal", "dual"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_score_is_that_of_the_normal_equations(shape, solver, score):
    p = make_problem(*shape, v=12)
    settings = RidgeSettings(alphas=ALPHAS, solver=solver, score=score)
    found = cv_scores(p.x, p.y, p.folds, settings)
    assert np.abs(found - plain_scores(p.x, p.y, p.folds, ALPHAS, score)).max() < 1e-4


@pytest.mark.parametrize("solver", ["primal", "dual"])
@pytest.mark.parametrize("alphas", [np.logspace(-12, 12, 25), np.logspace(1, 20, 20)], ids=["paper", "huge"])
def test_grids_far_outside_the_spectrum_keep_their_scores(alphas, solver):
    p = make_problem(150, 20, v=12)
    found = cv_scores(p.x, p.y, p.folds, RidgeSettings(alphas=tuple(alphas), solver=solver))
    assert np.abs(found - plain_scores(p.x, p.y, p.folds, alphas, "correlation")).max() < 1e-4


@pytest.mark.parametrize("shape", [(150, 20), (80, 150)])
@pytest.mark.parametrize("solver", ["primal", "dual"])
@pytest.mark.parametrize("smallest", [-1, -9])
def test_predictions_are_those_of_the_normal_equations_at_the_chosen_alpha(shape, solver, smallest):
    p = make_problem(*shape)
    alphas = np.logspace(smallest, 5, 13)
    fit = fit_ridge(p.x, p.y, p.folds, RidgeSettings(alphas=tuple(alphas), solver=solver))
    assert fit.solver == solver
    for alpha in np.unique(fit.alpha):
        exact = alphas[np.argmin(np.abs(np.log(alphas / alpha)))]
        weights, x_mean, y_mean = normal_equations(p.x, p.y, exact)
        voxels = fit.alpha == alpha
        expected = (p.x_test - x_mean) @ weights + y_mean
        assert np.abs(fit.predict(p.x_test) - expected)[:, voxels].max() < 2e-3
        assert np.abs(fit.feature_weights - weights)[:, voxels].max() < 2e-3


@pytest.mark.parametrize("numpy_backend", [False, True], ids=["torch", "numpy"])
@pytest.mark.parametrize("solver", ["primal", "dual"])
@pytest.mark.parametrize("score", ["correlation", "r2"])
def test_fits_equal_himalaya_on_every_voxel(solver, score, numpy_backend):
    p = make_problem(120, 60, v=60)
    # Kernels of float32 resolve alphas above 1e-4 of the largest eigenvalue; below, himalaya scores rounding.
    settings = RidgeSettings(alphas=tuple(np.logspace(1, 6, 11)), solver=solver, score=score)
    own = fit_ridge(p.x, p.y, p.folds, settings)
    other = reference_ridge(p.x, p.y, p.folds, settings, numpy_backend=numpy_backend)
    np.testing.assert_allclose(own.alpha, other.alpha, rtol=1e-4)
    np.testing.assert_allclose(own.cv_score, other.cv_score, atol=1e-4)
    r = [pearson(p.y_test, fit.predict(p.x_test)) for fit in (own, other)]
    np.testing.assert_allclose(*r, atol=1e-3)


def test_himalaya_is_a_backend():
    p = make_problem(60, 20, v=8)
    settings = RidgeSettings(alphas=ALPHAS, backend="himalaya")
    other, own = fit_ridge(p.x, p.y, p.folds, settings), fit_ridge(p.x, p.y, p.folds, replace(settings, backend="own"))
    np.testing.assert_allclose(other.predict(p.x_test), own.predict(p.x_test), atol=2e-3)


def test_fits_equal_scikit_learn_voxel_by_voxel():
    from sklearn.linear_model import RidgeCV

    p = make_problem(120, 30, v=10)
    alphas = ALPHAS[::2]
    fit = fit_ridge(p.x, p.y, p.folds, RidgeSettings(alphas=alphas, score="r2"))
    for v in range(10):
        peer = RidgeCV(alphas=alphas, cv=[(fold.train, fold.test) for fold in p.folds], scoring="r2")
        peer.fit(p.x.astype(np.float64), p.y[:, v].astype(np.float64))
        assert peer.alpha_ == pytest.approx(fit.alpha[v], rel=1e-4)
        assert peer.best_score_ == pytest.approx(fit.cv_score[v], abs=1e-4)
        np.testing.assert_allclose(fit.predict(p.x_test)[:, v], peer.predict(p.x_test), atol=2e-3)


@pytest.mark.parametrize("solver", ["primal", "dual"])
def test_tiles_and_threads_do_not_change_a_fit(solver):
    import torch

    p = make_problem(100, 60, v=50)
    whole = fit_ridge(p.x, p.y, p.folds, RidgeSettings(alphas=ALPHAS, solver=solver))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        tiled = fit_ridge(p.x, p.y, p.folds, RidgeSettings(alphas=ALPHAS, solver=solver, tile=7))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(whole.alpha, tiled.alpha)
    np.testing.assert_allclose(whole.cv_score, tiled.cv_score, atol=1e-5)
    scale = np.abs(whole.predict(p.x_test) - whole.y_mean).max()
    np.testing.assert_allclose(whole.predict(p.x_test), tiled.predict(p.x_test), atol=1e-5 * scale)


@pytest.mark.parametrize("solver", ["primal", "dual"])
def test_a_memory_map_gives_the_fit_of_the_array(solver, tmp_path):
    p = make_problem(90, 40)
    np.save(tmp_path / "y.npy", p.y)
    settings = RidgeSettings(alphas=ALPHAS, solver=solver, tile=16)
    mapped = fit_ridge(p.x, np.load(tmp_path / "y.npy", mmap_mode="r"), p.folds, settings)
    np.testing.assert_array_equal(mapped.cv_score, fit_ridge(p.x, p.y, p.folds, settings).cv_score)


@pytest.mark.parametrize("solver", ["primal", "dual"])
def test_features_without_full_rank_give_the_same_predictions(solver):
    p = make_problem(100, 20)
    twice = np.hstack([p.x, p.x, p.x[:, :3] * 2, np.ones((100, 2), np.float32)])
    test = np.hstack([p.x_test, p.x_test, p.x_test[:, :3] * 2, np.ones((50, 2), np.float32)])
    for alphas in (ALPHAS, tuple(np.logspace(-12, 4, 17))):
        fit = fit_ridge(twice, p.y, p.folds, RidgeSettings(alphas=alphas, solver=solver))
        scores = plain_scores(twice, p.y[:, :4], p.folds, ALPHAS, "correlation")
        if alphas is ALPHAS:
            np.testing.assert_allclose(fit.cv_score[:4], scores.max(0), atol=1e-4)
        other = fit_ridge(twice, p.y, p.folds, RidgeSettings(alphas=alphas, solver="primal"))
        np.testing.assert_allclose(fit.predict(test), other.predict(test), atol=2e-3)


@pytest.mark.parametrize("solver", ["primal", "dual"])
def test_folds_that_leave_rows_out_or_shuffle_them_are_fitted_as_they_are(solver):
    p = make_problem(120, 30, v=10)
    rows = np.random.default_rng(3).permutation(120)
    folds = [
        Fold(train=np.sort(rows[:60]), test=np.sort(rows[70:100])),
        Fold(train=np.arange(70), test=np.arange(90, 120)),
    ]
    found = cv_scores(p.x, p.y, folds, RidgeSettings(alphas=ALPHAS, solver=solver))
    assert np.abs(found - plain_scores(p.x, p.y, folds, ALPHAS, "correlation")).max() < 1e-4


def test_large_means_of_responses_cost_no_precision():
    p = make_problem(100, 150)
    for solver in ("primal", "dual"):
        settings = RidgeSettings(alphas=ALPHAS, solver=solver)
        near, far = cv_scores(p.x, p.y, p.folds, settings), cv_scores(p.x, p.y + 3000, p.folds, settings)
        assert np.abs(near - far).max() < 1e-3


def test_a_level_that_is_absent_from_the_test_rows_of_a_fold_scores_zero_there():
    p = make_problem(80, 10, n_folds=2)
    x = p.x.copy()
    x[p.folds[1].test] = 0
    for solver in ("primal", "dual"):
        settings = RidgeSettings(alphas=ALPHAS, solver=solver)
        both = cv_scores(x, p.y, p.folds, settings)
        first = cv_scores(x, p.y, p.folds[:1], settings)
        np.testing.assert_allclose(both, first / 2, atol=1e-6)


def test_fast_selects_nearly_the_same_alphas_and_refits_exactly():
    p = make_problem(120, 200, v=100)
    exact = fit_ridge(p.x, p.y, p.folds, RidgeSettings(alphas=ALPHAS))
    fast = fit_ridge(p.x, p.y, p.folds, RidgeSettings(alphas=ALPHAS, precision="fast"))
    steps = np.abs(np.log10(exact.alpha / fast.alpha)) / 0.75
    assert (steps[:50] < 1.5).mean() >= 0.97
    same = steps < 0.5
    np.testing.assert_allclose(exact.predict(p.x_test)[:, same], fast.predict(p.x_test)[:, same], atol=1e-4)


def test_prepared_features_serve_several_subjects():
    p = make_problem(90, 30)
    settings = RidgeSettings(alphas=ALPHAS)
    prepared = prepare(p.x, p.folds, settings, n_voxels=40, keep=True)
    for y in (p.y, p.y[:, 5:12] ** 2):
        np.testing.assert_array_equal(
            fit_prepared(prepared, y).cv_score, fit_ridge(p.x, y, p.folds, replace(settings, solver="primal")).cv_score
        )
    assert len(prepared.kept) == len(p.folds)


def test_equal_scores_take_the_largest_alpha():
    p = make_problem(60, 10)
    x = p.x.copy()
    x[p.folds[0].test] = 1.0
    fit = fit_ridge(x, p.y, p.folds[:1], RidgeSettings(alphas=ALPHAS))
    assert (fit.cv_score == 0).all()
    np.testing.assert_allclose(fit.alpha, ALPHAS[-1], rtol=1e-6)


@pytest.mark.parametrize("solver", ["primal", "dual"])
def test_a_gpu_gives_the_fit_of_the_cpu(solver):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("PyTorch finds no CUDA device")
    p = make_problem(100, 60, v=60)
    settings = RidgeSettings(alphas=ALPHAS, solver=solver)
    fits = [fit_ridge(p.x, p.y, p.folds, replace(settings, device=device)) for device in ("cpu", "cuda")]
    np.testing.assert_allclose(fits[0].cv_score, fits[1].cv_score, atol=1e-4)
    np.testing.assert_allclose(*(fit.predict(p.x_test) for fit in fits), atol=1e-2)
