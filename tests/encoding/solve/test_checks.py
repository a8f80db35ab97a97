"""What cannot be fitted is refused with everything that is wrong; what cannot be scored is NaN and listed."""

from dataclasses import replace

import numpy as np
import pytest
from encoding_solve_factory import ALPHAS, make_problem

from release_kit.encoding.arrays import Fold
from release_kit.encoding.errors import FitError
from release_kit.encoding.solve.many import fit_many
from release_kit.encoding.solve.ridge import cv_scores, fit_ridge
from release_kit.encoding.solve.settings import RidgeSettings

SETTINGS = RidgeSettings(alphas=ALPHAS)


def test_lengths_that_differ_are_named():
    p = make_problem(60, 10)
    with pytest.raises(FitError, match="60 samples, the responses have 59"):
        fit_ridge(p.x, p.y[:-1], p.folds, SETTINGS)


def test_features_and_folds_that_are_wrong_are_said_at_once():
    p = make_problem(60, 10)
    x = p.x.copy()
    x[3, 4], x[5, 6] = np.nan, np.inf
    none = np.array([], np.int64)
    folds = [
        Fold(train=np.arange(30), test=none),
        Fold(train=np.arange(40), test=np.arange(35, 60)),
        Fold(train=np.arange(30), test=np.arange(50, 70)),
        Fold(train=none, test=np.arange(5)),
    ]
    with pytest.raises(FitError) as caught:
        fit_ridge(x, p.y, folds, SETTINGS)
    for part in (
        "2 values that are no finite numbers, in 2 features (4, 6) and 2 samples (3, 5)",
        "fold 0 has no test samples",
        "fold 1: 5 rows are in train and test (35, 36, 37, 38, 39)",
        "fold 2: test rows from 50 to 69, there are 60 samples",
        "fold 3 has no train samples",
    ):
        assert part in caught.value.what


def test_no_folds_are_refused():
    p = make_problem(60, 10)
    with pytest.raises(FitError, match="no folds"):
        fit_ridge(p.x, p.y, [], SETTINGS)


def test_responses_that_are_no_numbers_are_counted_and_placed():
    p = make_problem(60, 10)
    y = p.y.copy()
    y[4, 7], y[5, 7], y[9, 30] = np.nan, np.inf, -np.inf
    for fit in (fit_ridge, cv_scores):
        with pytest.raises(FitError, match=r"3 values that are no finite numbers in 2 of 40 voxels \(7, 30\)"):
            fit(p.x, y, p.folds, SETTINGS)


def test_large_finite_responses_are_not_taken_for_infinite():
    p = make_problem(60, 10)
    assert np.isfinite(fit_ridge(p.x * 1e4, p.y * 1e12, p.folds, SETTINGS).cv_score).all()


@pytest.mark.parametrize("solver", ["primal", "dual"])
@pytest.mark.parametrize("backend", ["own", "himalaya"])
def test_constant_voxels_have_no_score_and_are_listed(solver, backend):
    p = make_problem(60, 10)
    y = p.y.copy()
    y[:, 2] = 1234.567
    y[p.folds[1].test, 5] = 7.1
    y[p.folds[2].train, 9] = 3.3
    fit = fit_ridge(p.x, y, p.folds, replace(SETTINGS, solver=solver, backend=backend))
    assert np.flatnonzero(fit.constant).tolist() == [2, 5, 9]
    assert np.flatnonzero(np.isnan(fit.cv_score)).tolist() == [2, 5, 9]
    assert np.flatnonzero(np.isnan(fit.alpha)).tolist() == [2, 5, 9]
    np.testing.assert_allclose(fit.predict(p.x_test)[:, 2], 1234.567, rtol=1e-5)


def test_constant_voxels_are_found_in_folds_of_scattered_rows():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((600, 5)).astype("f"), rng.standard_normal((600, 4)).astype("f")
    even, odd = np.arange(0, 600, 2), np.arange(1, 600, 2)
    y[odd, 3] = 1.5
    fit = fit_ridge(x, y, [Fold(train=even, test=odd), Fold(train=odd, test=even)], SETTINGS)
    assert fit.constant.tolist() == [False, False, False, True]


def test_features_that_never_change_are_refused():
    p = make_problem(60, 10)
    with pytest.raises(FitError, match="do not change"):
        fit_ridge(np.full_like(p.x, 2.5), p.y, p.folds, replace(SETTINGS, solver="primal"))


def test_settings_say_everything_that_is_wrong_with_them():
    with pytest.raises(FitError) as caught:
        RidgeSettings(alphas=(0.0, -1.0, np.nan, 1.0, 1.0), solver="best", tile=0, memory_bytes=5)
    for part in ("above zero", "stand twice: 1.0", "solver 'best' is none of", "tile", "memory_bytes"):
        assert part in caught.value.what
    with pytest.raises(FitError, match="no alphas"):
        RidgeSettings(alphas=())


def test_settings_of_the_machine_do_not_change_what_a_fit_is():
    assert replace(SETTINGS, tile=5, device="cpu", memory_bytes=10**9).to_dict() == SETTINGS.to_dict()
    assert replace(SETTINGS, precision="fast").to_dict() != SETTINGS.to_dict()


def test_a_gpu_that_is_absent_is_refused():
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    p = make_problem(60, 10)
    with pytest.raises(FitError, match="no CUDA device"):
        fit_ridge(p.x, p.y, p.folds, replace(SETTINGS, device="cuda"))


def test_a_fit_that_memory_cannot_hold_says_what_it_needs():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 400)).astype("f"), np.zeros((60, 60_000), "f")
    y[::7] = 1
    folds = make_problem(60, 10).folds
    with pytest.raises(FitError, match=r"needs 0\.\d+ GB, and memory_bytes is 0\.10 GB"):
        fit_ridge(x, y, folds, replace(SETTINGS, solver="primal", memory_bytes=100 * 2**20))


def test_prediction_refuses_other_features():
    p = make_problem(60, 10)
    fit = fit_ridge(p.x, p.y, p.folds, SETTINGS)
    with pytest.raises(FitError, match="10 features"):
        fit.predict(p.x_test[:, :9])
    p.x_test[0, 0] = np.nan
    with pytest.raises(FitError, match="no finite numbers"):
        fit.predict(p.x_test)


def test_many_fits_refuse_before_the_first():
    p = make_problem(60, 10)
    bad = p.y.copy()
    bad[0, 0] = np.nan
    with pytest.raises(FitError) as caught:
        fit_many({"short": p.x[:50], "good": p.x}, {"one": p.y}, p.folds, SETTINGS)
    assert "short has 50 samples" in caught.value.what
    with pytest.raises(FitError, match="two: 1 values that are no finite numbers"):
        fit_many({"good": p.x}, {"one": p.y, "two": bad}, p.folds, SETTINGS)
    with pytest.raises(FitError, match="no responses"):
        fit_many({"good": p.x}, {}, p.folds, SETTINGS)
