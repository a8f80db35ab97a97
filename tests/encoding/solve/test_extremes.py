"""Inputs as they come (types, layouts, units, means, folds) give the fit of the same numbers in float64."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from encoding_solve_factory import ALPHAS, Problem, make_problem, normal_equations

from release_kit.encoding.arrays import Fold
from release_kit.encoding.errors import FitError
from release_kit.encoding.solve.ridge import cv_scores, fit_prepared, fit_ridge, prepare
from release_kit.encoding.solve.settings import RidgeSettings

SOLVERS = pytest.mark.parametrize("solver", ["primal", "dual"])
SCORES = pytest.mark.parametrize("score", ["correlation", "r2"])
SETTINGS = RidgeSettings(alphas=ALPHAS)


def scores_by_svd(x: np.ndarray, y: np.ndarray, folds: Sequence[Fold], alphas: Sequence[float], score: str):
    """Return (n_alphas, n_voxels) in float64; where nothing can be predicted r is 0."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    found = np.zeros((len(alphas), y.shape[1]))
    for fold in folds:
        early, late = x[fold.train], x[fold.test]
        u, s, vt = np.linalg.svd(early - early.mean(0), full_matrices=False)
        u, s, vt = (part[..., s > 1e-13 * s[0]] for part in (u, s, vt.T))
        true = y[fold.test] - y[fold.train].mean(0)
        for a, alpha in enumerate(alphas):
            guess = (late - early.mean(0)) @ vt @ ((s / (s**2 + alpha))[:, None] * (u.T @ y[fold.train]))
            if score == "r2":
                one = 1 - ((true - guess) ** 2).sum(0) / ((true - true.mean(0)) ** 2).sum(0)
            else:
                one = np.zeros(y.shape[1])
                if len(s) and (late != late[0]).any():
                    one = [np.corrcoef(guess[:, v], true[:, v])[0, 1] for v in range(y.shape[1])]
            found[a] += one / np.float64(len(folds))
    return found


def agrees(p: Problem, x: np.ndarray, y: np.ndarray, settings: RidgeSettings, atol: float = 1e-4) -> None:
    """Hold scores and predictions on the training features against float64."""
    found = cv_scores(x, y, p.folds, settings)
    expected = scores_by_svd(x, y, p.folds, settings.alphas, settings.score)
    np.testing.assert_allclose(found, expected, atol=atol, rtol=atol)
    fit = fit_ridge(x, y, p.folds, settings)
    spread = y.astype(np.float64).std(axis=0)
    for alpha in np.unique(fit.alpha):
        exact = settings.grid[np.argmin(np.abs(np.log(settings.grid / alpha)))]
        weights, x_mean, y_mean = normal_equations(x, y, exact)
        error = np.abs(fit.predict(x) - ((x.astype(np.float64) - x_mean) @ weights + y_mean)) / spread
        # Predictions are float32: next to a large mean they are as fine as it allows.
        rounding = float(np.spacing(np.float32(np.abs(y_mean).max())) / spread.min())
        assert error[:, fit.alpha == alpha].max() < 3e-3 + 2 * rounding


@SOLVERS
@SCORES
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i8", "f2", "f8", ">f4", ">f8", "?"])
def test_numbers_of_every_type_are_fitted_as_what_they_are(dtype: str, solver: str, score: str):
    p = make_problem(120, 30, v=6)
    settings = replace(SETTINGS, solver=solver, score=score)

    def whole(values: np.ndarray) -> np.ndarray:
        unit = (values - values.mean(axis=0)) / values.std(axis=0)
        return (unit > 0) if dtype == "?" else np.round(20 * unit + 100).clip(0, 255)

    agrees(p, whole(p.x).astype(dtype), p.y, settings)
    agrees(p, p.x, whole(p.y).astype(dtype), settings)


def test_what_is_no_number_is_refused():
    p = make_problem(60, 10)
    for x, y in ((p.x.astype(complex), p.y), (p.x, p.y.astype(str))):
        with pytest.raises(FitError, match="expected real numbers"):
            fit_ridge(x, y, p.folds, SETTINGS)


@SOLVERS
def test_layout_in_memory_changes_nothing(solver: str):
    p = make_problem(120, 30, v=6)
    settings = replace(SETTINGS, solver=solver)
    plain = fit_ridge(p.x, p.y, p.folds, settings)
    backwards = [np.ascontiguousarray(values[::-1])[::-1] for values in (p.x, p.y)]
    strided = [np.repeat(values, 2, axis=1)[:, ::2] for values in (p.x, p.y)]
    by_columns = [np.asfortranarray(values) for values in (p.x, p.y)]
    for x, y in (backwards, strided, by_columns):
        np.testing.assert_array_equal(fit_ridge(x, y, p.folds, settings).cv_score, plain.cv_score)


@SOLVERS
def test_folds_may_be_read_only_unsorted_and_of_any_integers(solver: str):
    p = make_problem(120, 30, v=6)
    settings = replace(SETTINGS, solver=solver)
    rows = np.arange(120, dtype=np.int32)
    rows.setflags(write=False)
    mixed = np.random.default_rng(0).permutation(rows[60:])
    found = cv_scores(p.x, p.y, [Fold(train=rows[:60][::-1], test=mixed)], settings)
    plain = cv_scores(p.x, p.y, [Fold(train=np.arange(60), test=np.arange(60, 120))], settings)
    np.testing.assert_allclose(found, plain, atol=1e-5)


@SOLVERS
@SCORES
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_means_a_million_times_the_spread_cost_no_precision(dtype: str, solver: str, score: str):
    p = make_problem(120, 30, v=6)
    settings = replace(SETTINGS, solver=solver, score=score)
    agrees(p, p.x, (p.y - p.y.mean(axis=0) + 1e6).astype(dtype), settings)
    agrees(p, p.x.astype(dtype) + np.array(1e5, dtype), p.y, settings)
    if dtype == "f8":
        alphas = tuple(1e-4 * np.array(ALPHAS))
        agrees(p, 1e-2 * p.x.astype(dtype) + 1e6, p.y, replace(settings, alphas=alphas))


@SOLVERS
@pytest.mark.parametrize("unit", [1e-12, 1e-6, 1e6, 1e11])
def test_units_of_features_and_responses_change_no_score(unit: float, solver: str):
    p = make_problem(120, 30, v=6)
    settings = replace(SETTINGS, solver=solver)
    x, y = p.x - p.x.mean(axis=0), p.y - p.y.mean(axis=0)
    plain = cv_scores(x, y, p.folds, settings)
    scaled = replace(settings, alphas=tuple(np.array(ALPHAS) * unit**2))
    np.testing.assert_allclose(cv_scores((unit * x).astype("f"), y, p.folds, scaled), plain, atol=1e-4)
    np.testing.assert_allclose(cv_scores(x, (unit * y).astype("f"), p.folds, settings), plain, atol=1e-4)
    np.testing.assert_allclose(
        cv_scores((unit * x).astype("f"), (unit * y).astype("f"), p.folds, scaled), plain, atol=1e-4
    )


@pytest.mark.parametrize("unit", [1e-20, 1e20])
def test_values_whose_squares_leave_float32_are_refused_not_scored_zero(unit: float):
    p = make_problem(60, 10)
    y = p.y.copy()
    y[:, [3, 5]] *= unit
    with pytest.raises(FitError, match=r"2 of 40 voxels \(3, 5\): values differ by .*, expected 1e-14 to 1e\+14"):
        fit_ridge(p.x, y, p.folds, SETTINGS)
    with pytest.raises(FitError, match="features: values differ by"):
        fit_ridge((p.x.astype(float) - p.x.mean(axis=0)) * unit, p.y, p.folds, SETTINGS)


@pytest.mark.parametrize("alpha", [1e-40, 1e40, float("inf"), 0.0])
def test_alphas_that_float32_does_not_hold_are_refused(alpha: float):
    with pytest.raises(FitError, match="from 1e-30 to 1e30"):
        RidgeSettings(alphas=(1.0, alpha))


@SOLVERS
@SCORES
@pytest.mark.parametrize("alphas", [ALPHAS, (1e-12, 1e-6, 1.0)], ids=["float32", "float64"])
@pytest.mark.parametrize("n_features", [1, 30])
def test_a_level_that_no_training_row_of_a_fold_shows_predicts_nothing_there(n_features, alphas, solver, score):
    p = make_problem(120, n_features, v=6)
    x = p.x.copy()
    x[p.folds[1].train] = 2.5
    agrees(p, x, p.y, RidgeSettings(alphas=alphas, solver=solver, score=score))


@SOLVERS
@SCORES
@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("alphas", [ALPHAS, (1e-12, 1e-6, 1.0)], ids=["float32", "float64"])
def test_features_that_stand_still_in_part_of_a_fold_are_fitted_without_them(alphas, part, solver, score):
    p = make_problem(120, 30, v=6)
    x = p.x.copy()
    rows = getattr(p.folds[1], part)
    x[rows[:, None], np.arange(8)] = 2.5
    agrees(p, x, p.y, RidgeSettings(alphas=alphas, solver=solver, score=score))


@SOLVERS
def test_one_title_with_values_a_thousandfold_larger_spoils_no_fold(solver: str):
    p = make_problem(120, 30, v=6)
    x = p.x.copy()
    x[p.folds[2].test] *= 1e3
    agrees(p, x, p.y, replace(SETTINGS, solver=solver))
    y = p.y - p.y.mean(axis=0)
    y[p.folds[2].test[3]] *= 1e3
    agrees(p, p.x, y, replace(SETTINGS, solver=solver))


@SOLVERS
def test_features_that_never_change_are_refused_by_both_solvers(solver: str):
    p = make_problem(60, 10)
    with pytest.raises(FitError, match="do not change"):
        fit_ridge(np.full_like(p.x, 2.5), p.y, p.folds, replace(SETTINGS, solver=solver))


@SOLVERS
@pytest.mark.parametrize("backend", ["own", "himalaya"])
def test_a_voxel_that_is_constant_in_one_fold_predicts_its_mean(backend: str, solver: str):
    p = make_problem(60, 10)
    y = p.y.copy()
    y[p.folds[1].test, 5] = 7.1
    fit = fit_ridge(p.x, y, p.folds, replace(SETTINGS, solver=solver, backend=backend))
    np.testing.assert_array_equal(fit.predict(p.x_test)[:, 5], fit.y_mean[5])
    assert not fit.feature_weights[:, 5].any()


def test_folds_of_a_fit_that_broke_off_are_not_taken_for_all():
    p = make_problem(90, 30)
    prepared = prepare(p.x, p.folds, SETTINGS, n_voxels=40, keep=True)
    folds = prepared.models()
    next(folds)
    folds.close()
    np.testing.assert_array_equal(fit_prepared(prepared, p.y).cv_score, fit_ridge(p.x, p.y, p.folds, SETTINGS).cv_score)


@pytest.mark.parametrize("backend", ["own", "himalaya"])
def test_weights_go_where_they_are_asked_to(backend: str):
    p = make_problem(60, 10)
    settings = replace(SETTINGS, solver="primal", backend=backend)
    out = np.empty((10, 40), np.float32)
    fit = fit_ridge(p.x, p.y, p.folds, settings, out=out)
    assert fit.weights is out
    np.testing.assert_array_equal(out, fit_ridge(p.x, p.y, p.folds, settings).weights)
    with pytest.raises(FitError, match=r"float32 of \(10, 40\), got float64"):
        fit_ridge(p.x, p.y, p.folds, settings, out=np.empty((10, 40)))


def test_himalaya_is_not_asked_for_what_it_does_not_tell():
    p = make_problem(60, 10)
    with pytest.raises(FitError, match="does not tell the score of every alpha"):
        cv_scores(p.x, p.y, p.folds, replace(SETTINGS, backend="himalaya"))
