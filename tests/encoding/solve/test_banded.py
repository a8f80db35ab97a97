"""Banded ridge equals himalaya's random search on the same candidates, and its parts add up."""

from dataclasses import replace

import numpy as np
import pytest
from encoding_solve_factory import ALPHAS, Problem, make_problem

from release_kit.encoding.arrays import Band
from release_kit.encoding.errors import FitError
from release_kit.encoding.solve.banded import BandedSettings, Search, draw_gammas, fit_banded
from release_kit.encoding.solve.reference import reference_banded
from release_kit.encoding.solve.ridge import fit_ridge
from release_kit.encoding.solve.scores import pearson, r2, split_r2
from release_kit.encoding.solve.settings import RidgeSettings

RIDGE = RidgeSettings(alphas=ALPHAS)
PLAIN = BandedSettings(ridge=RIDGE, n_iter=6, equal_bands=False)
GAMMAS = draw_gammas(3, PLAIN)


def bands_of(x: np.ndarray) -> list[Band]:
    edges = [0, x.shape[1] // 5, x.shape[1] // 2, x.shape[1]]
    return [Band(name=name, x=x[:, a:b]) for name, a, b in zip("abc", edges, edges[1:], strict=False)]


def centred(problem: Problem) -> Problem:
    """Take the training means off: himalaya forms kernels of features as they come, in float32."""
    x_mean, y_mean = problem.x.mean(axis=0), problem.y.mean(axis=0)
    return replace(
        problem,
        x=problem.x - x_mean,
        y=problem.y - y_mean,
        x_test=problem.x_test - x_mean,
        y_test=problem.y_test - y_mean,
    )


@pytest.mark.parametrize("score", ["correlation", "r2"])
@pytest.mark.parametrize(("n", "p", "solver"), [(90, 30, "primal"), (90, 30, "dual"), (60, 150, "dual")])
def test_each_voxel_predicts_as_himalaya_does(n: int, p: int, solver: str, score: str):
    problem = centred(make_problem(n, p))
    settings = replace(PLAIN, ridge=replace(RIDGE, solver=solver, score=score))
    mine = fit_banded(bands_of(problem.x), problem.y, problem.folds, settings, gammas=GAMMAS)
    theirs = reference_banded(bands_of(problem.x), problem.y, problem.folds, settings.ridge, GAMMAS)
    train, test = bands_of(problem.x), bands_of(problem.x_test)
    kernels = [(late.x.astype(float) @ early.x.T) for early, late in zip(train, test, strict=True)]
    scale = np.exp(theirs.deltas.astype(float))
    expected = sum(k @ (theirs.dual * scale[b]) for b, k in enumerate(kernels)) + theirs.intercept
    agreed = np.isclose(mine.deltas, theirs.deltas, atol=1e-3).all(axis=0)
    assert agreed[:20].mean() >= 0.95, "the same candidate and alpha in voxels with a signal"
    found = mine.predict(test)
    r_mine, r_theirs = pearson(problem.y_test, found), pearson(problem.y_test, expected.astype(np.float32))
    np.testing.assert_allclose(r_mine[agreed], r_theirs[agreed], atol=1e-3)
    np.testing.assert_allclose(mine.cv_score[agreed], theirs.cv_scores.max(axis=0)[agreed], atol=1e-3)


def test_predictions_are_those_of_float64_where_one_band_has_nearly_all_the_weight():
    problem = make_problem(250, 400)
    gammas = np.array([[1e-5, 1e-8, 1.0]])
    settings = replace(PLAIN, ridge=replace(RIDGE, solver="dual", alphas=(1.0,)))
    fit = fit_banded(bands_of(problem.x), problem.y, problem.folds, settings, gammas=gammas)
    x_mean, y_mean = problem.x.mean(axis=0, dtype=float), problem.y.mean(axis=0, dtype=float)
    weight = np.concatenate(
        [np.full(band.x.shape[1], gamma) for band, gamma in zip(bands_of(problem.x), gammas[0], strict=True)]
    )
    x = problem.x - x_mean
    dual = np.linalg.solve((x * weight) @ x.T + np.eye(len(x)), problem.y - y_mean)
    exact = ((problem.x_test - x_mean) * weight) @ (x.T @ dual) + y_mean
    scores = [pearson(problem.y_test, values) for values in (fit.predict(bands_of(problem.x_test)), exact)]
    np.testing.assert_allclose(*scores, atol=1e-4)


def test_one_band_is_ridge():
    problem = make_problem(90, 30)
    banded = fit_banded([Band(name="all", x=problem.x)], problem.y, problem.folds, BandedSettings(ridge=RIDGE))
    ridge = fit_ridge(problem.x, problem.y, problem.folds, RIDGE)
    np.testing.assert_array_equal(banded.alpha, ridge.alpha)
    x_test = problem.x_test
    np.testing.assert_allclose(
        banded.predict([Band(name="all", x=x_test)]), ridge.predict(x_test), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("solver", ["primal", "dual"])
def test_parts_of_bands_add_up_to_prediction_and_score(solver: str):
    problem = make_problem(90, 30)
    settings = BandedSettings(ridge=replace(RIDGE, solver=solver), n_iter=4)
    fit = fit_banded(bands_of(problem.x), problem.y, problem.folds, settings)
    test = bands_of(problem.x_test)
    whole, parts = fit.predict(test), fit.predict(test, split=True)
    np.testing.assert_allclose(parts.sum(axis=0) + fit.y_mean, whole, rtol=1e-4, atol=1e-3)
    centred = whole - whole.mean(axis=0) + problem.y_test.mean(axis=0)
    np.testing.assert_allclose(split_r2(problem.y_test, parts).sum(axis=0), r2(problem.y_test, centred), atol=1e-4)
    np.testing.assert_allclose(fit.gamma.sum(axis=0), 1, atol=1e-6)


def test_primal_and_dual_and_tiles_agree():
    problem = make_problem(90, 30)
    fits = [
        fit_banded(bands_of(problem.x), problem.y, problem.folds, BandedSettings(ridge=ridge, n_iter=5))
        for ridge in (
            replace(RIDGE, solver="primal"),
            replace(RIDGE, solver="dual"),
            replace(RIDGE, solver="primal", tile=7),
        )
    ]
    predictions = [fit.predict(bands_of(problem.x_test)) for fit in fits]
    same = (fits[0].gamma == fits[1].gamma).all(axis=0) & (fits[0].alpha == fits[1].alpha)
    assert same[:20].all()
    np.testing.assert_allclose(predictions[0][:, same], predictions[1][:, same], rtol=1e-3, atol=1e-2)
    np.testing.assert_array_equal(fits[0].alpha, fits[2].alpha)
    np.testing.assert_allclose(predictions[0], predictions[2], rtol=1e-4, atol=1e-3)


def test_a_search_that_was_interrupted_goes_on_to_the_same_bytes():
    problem = make_problem(60, 20)
    kept: list[Search] = []
    settings = BandedSettings(ridge=RIDGE, n_iter=5)
    whole = fit_banded(bands_of(problem.x), problem.y, problem.folds, settings, keep=kept.append)
    seen: list[tuple[int, int]] = []
    resumed = fit_banded(
        bands_of(problem.x),
        problem.y,
        problem.folds,
        settings,
        search=kept[2],
        progress=lambda *step: seen.append(step),
    )
    assert [search.n_done for search in kept] == [1, 2, 3, 4, 5] and seen == [(4, 5), (5, 5)]
    for name in ("weights", "gamma", "alpha", "cv_score"):
        assert getattr(resumed, name).tobytes() == getattr(whole, name).tobytes()


def test_a_band_of_noise_gets_little_weight_and_its_size_does_not_matter():
    problem = make_problem(200, 20, seed=3)
    rng = np.random.default_rng(0)
    noise = Band(name="noise", x=(1000 * rng.standard_normal((200, 20))).astype(np.float32))
    signal = Band(name="signal", x=problem.x)
    settings = BandedSettings(ridge=RIDGE, n_iter=12)
    fit = fit_banded([signal, noise], problem.y, problem.folds, settings)
    assert np.median(fit.gamma[0, :20]) > 0.8
    larger = fit_banded([Band(name="signal", x=50 * problem.x), noise], problem.y, problem.folds, settings)
    assert np.median(larger.gamma[0, :20]) > 0.8


def test_constant_voxels_have_no_score():
    problem = make_problem(90, 30)
    y = problem.y.copy()
    y[:, 3] = 12.5
    fit = fit_banded(bands_of(problem.x), y, problem.folds, BandedSettings(ridge=RIDGE, n_iter=3))
    assert np.isnan(fit.cv_score).nonzero()[0].tolist() == np.isnan(fit.alpha).nonzero()[0].tolist() == [3]
    np.testing.assert_allclose(fit.predict(bands_of(problem.x_test))[:, 3], 12.5, atol=1e-4)


def test_what_cannot_be_fitted_is_named():
    problem = make_problem(90, 30)
    a, b, c = bands_of(problem.x)
    with pytest.raises(FitError, match="each once"):
        fit_banded([a, a], problem.y, problem.folds)
    with pytest.raises(FitError, match="a has 90, b has 89"):
        fit_banded([a, Band(name="b", x=b.x[1:])], problem.y, problem.folds)
    with pytest.raises(FitError, match="features of c do not change"):
        fit_banded([a, Band(name="c", x=np.ones_like(c.x))], problem.y, problem.folds)
    with pytest.raises(FitError, match=r"candidates of \(2, 3\) for 2 bands"):
        fit_banded([a, b], problem.y, problem.folds, gammas=np.ones((2, 3)))
    with pytest.raises(FitError, match="the model was fitted on"):
        fit_banded([a, b], problem.y, problem.folds, BandedSettings(n_iter=1)).predict([a, c])
    with pytest.raises(FitError, match="n_iter of 1 or more"):
        BandedSettings(n_iter=0)
