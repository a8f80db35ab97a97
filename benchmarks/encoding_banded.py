"""Banded ridge by random search: 3,000 samples, 4 bands of 1,024 features, 10,000 voxels, 20 alphas, 5 folds.

Ways: ours, and himalaya's random search over kernels on PyTorch at its best batch setting. Both try the same candidates
(20, or ``CANDIDATES`` of them where the environment says fewer) on bands as they are; ours also forms weights of
features and its predictions, himalaya weights of samples. Half of the voxels carry signal.
"""

import os
from collections.abc import Mapping

import numpy as np
from encoding_kernel import ALPHAS, Arrays, folds, problem

WAYS = ("ours", "himalaya")
N_BANDS = 4


def make(small: bool, seed: int = 0) -> Arrays:
    """Return features and responses of training and test samples, and the candidates."""
    n, n_test, p, v, tried = (300, 60, 4 * 64, 400, 3) if small else (3000, 500, 4 * 1024, 10_000, 20)
    inputs = problem(np.random.default_rng(seed), n, n_test, p, v)
    return inputs | {"gammas": candidates(int(os.environ.get("CANDIDATES", tried)))}


def candidates(n: int) -> np.ndarray:
    """Return the weights of bands that are tried."""
    from release_kit.encoding.solve.banded import BandedSettings, draw_gammas

    return draw_gammas(N_BANDS, BandedSettings(n_iter=n))


def tiny() -> Arrays:
    """Return a problem that loads everything a fit needs."""
    return problem(np.random.default_rng(1), 60, 10, 80, 20) | {"gammas": candidates(2)}


def work(inputs: Arrays, way: str) -> Arrays:
    """Search and predict the test samples; of himalaya only what it returns itself."""
    from release_kit.encoding.arrays import Band
    from release_kit.encoding.solve.banded import BandedSettings, fit_banded
    from release_kit.encoding.solve.reference import reference_banded
    from release_kit.encoding.solve.scores import pearson
    from release_kit.encoding.solve.settings import RidgeSettings

    def bands(x: np.ndarray) -> list[Band]:
        return [Band(name=f"band{k}", x=part) for k, part in enumerate(np.array_split(x, N_BANDS, axis=1))]

    ridge = RidgeSettings(alphas=ALPHAS, solver="dual", device="cpu" if len(inputs["x"]) < 100 else "auto")
    train, test, splits = bands(inputs["x"]), bands(inputs["x_test"]), folds(len(inputs["x"]))
    if way == "himalaya":
        found = reference_banded(train, inputs["y"], splits, ridge, inputs["gammas"])
        scale = np.exp(found.deltas)
        parts = [
            (late.x @ early.x.T) @ (found.dual * scale[k])
            for k, (early, late) in enumerate(zip(train, test, strict=True))
        ]
        predicted = np.sum(parts, axis=0) + found.intercept
        return {"deltas": found.deltas, "cv": found.cv_scores.max(axis=0), "r": pearson(inputs["y_test"], predicted)}
    settings = BandedSettings(ridge=ridge, equal_bands=False)
    fit = fit_banded(train, inputs["y"], splits, settings, gammas=inputs["gammas"])
    return {"deltas": fit.deltas, "cv": fit.cv_score, "r": pearson(inputs["y_test"], fit.predict(test))}


def compare(results: Mapping[str, Arrays]) -> dict:
    """Return how far ours is from himalaya, voxel by voxel; the first half carries signal."""
    if len(results) < 2:
        return {}
    mine, theirs = results["ours"], results["himalaya"]
    half = len(theirs["r"]) // 2
    same = np.isclose(mine["deltas"], theirs["deltas"], atol=1e-3).all(axis=0)
    return {
        "same_choice": round(float(same.mean()), 5),
        "same_choice_signal": round(float(same[:half].mean()), 5),
        "max_r_difference_same_choice": float(np.abs(mine["r"] - theirs["r"])[same].max()),
        "max_cv_difference": float(np.abs(mine["cv"] - theirs["cv"]).max()),
        "mean_r_signal": [round(float(one["r"][:half].mean()), 5) for one in (mine, theirs)],
    }
