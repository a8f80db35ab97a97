"""Kernel ridge with cross-validation: 3,000 samples, 4 x 1,024 features, 10,000 voxels, 20 alphas, 5 folds, 500 tests.

Ways: ours in float32 and with ``precision="fast"``; himalaya's ``KernelRidgeCV`` on PyTorch at its best batch setting
in float32, and with PyTorch's matmul precision ``medium``. Half of the voxels carry signal. All ways check their
inputs, fit an intercept and end with predictions of the test samples.
"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

WAYS = ("ours", "himalaya", "ours-fast", "himalaya-medium")
ALPHAS = tuple(np.logspace(0, 6, 20))
N_FOLDS = 5

Arrays = dict[str, np.ndarray]


def make(small: bool, seed: int = 0) -> Arrays:
    """Return features and responses of training and test samples."""
    n, n_test, p, v = (300, 60, 4 * 128, 400) if small else (3000, 500, 4 * 1024, 10_000)
    return problem(np.random.default_rng(seed), n, n_test, p, v)


def problem(rng: np.random.Generator, n: int, n_test: int, p: int, v: int) -> Arrays:
    """Return a problem whose first half of voxels carries signal of about r = 0.3 in the noise-free limit."""
    x = rng.standard_normal((n + n_test, p), dtype=np.float32)
    weights = rng.standard_normal((p, v // 2), dtype=np.float32)
    y = rng.standard_normal((n + n_test, v), dtype=np.float32)
    y[:, : v // 2] += (0.3 / np.sqrt(p)) * (x @ weights)
    return {"x": x[:n], "y": y[:n], "x_test": x[n:], "y_test": y[n:]}


def tiny() -> Arrays:
    """Return a problem that loads everything a fit needs."""
    return problem(np.random.default_rng(1), 60, 10, 80, 20)


def folds(n: int, n_folds: int = N_FOLDS) -> list:
    """Return folds of consecutive samples, as titles give them."""
    from release_kit.encoding.arrays import Fold

    edges = np.linspace(0, n, n_folds + 1).astype(int)
    rows = np.arange(n)
    return [Fold(train=np.r_[rows[:a], rows[b:]], test=rows[a:b]) for a, b in pairwise(edges)]


def work(inputs: Arrays, way: str) -> Arrays:
    """Fit, predict the test samples, and score them."""
    from release_kit.encoding.solve.ridge import fit_ridge
    from release_kit.encoding.solve.scores import pearson
    from release_kit.encoding.solve.settings import RidgeSettings

    if way == "himalaya-medium":
        import torch

        torch.set_float32_matmul_precision("medium")
    settings = RidgeSettings(
        alphas=ALPHAS,
        solver="dual",
        backend="himalaya" if way.startswith("himalaya") else "own",
        precision="fast" if way == "ours-fast" else "float32",
        device="cpu" if inputs["x"].shape[0] < 100 else "auto",
    )
    fit = fit_ridge(inputs["x"], inputs["y"], folds(len(inputs["x"])), settings)
    return {"alpha": fit.alpha, "cv": fit.cv_score, "r": pearson(inputs["y_test"], fit.predict(inputs["x_test"]))}


def compare(results: Mapping[str, Arrays]) -> dict:
    """Return how far the others are from himalaya in float32, voxel by voxel; the first half carries signal."""
    reference = results.get("himalaya") or next(iter(results.values()))
    return {way: differences(found, reference) for way, found in results.items() if found is not reference}


def differences(found: Arrays, reference: Arrays, alphas: tuple[float, ...] = ALPHAS) -> dict:
    """Return the largest difference of r over voxels, and how often alphas agree.

    Alphas whose scores of cross-validation are equal within rounding are chosen by rounding: such voxels show a
    difference of r beside none of the score.
    """
    half = len(reference["r"]) // 2
    steps = np.abs(np.log(found["alpha"] / reference["alpha"])) / np.log(alphas[1] / alphas[0])
    same = steps < 0.5
    gap = np.abs(found["cv"] - reference["cv"])
    return {
        "max_r_difference_at_same_alpha": float(np.abs(found["r"] - reference["r"])[same].max()),
        "max_cv_difference_where_alphas_differ": float(gap[~same].max(initial=0)),
        "max_r_difference": float(np.abs(found["r"] - reference["r"]).max()),
        "max_cv_difference": float(np.abs(found["cv"] - reference["cv"]).max()),
        "same_alpha": round(float(same.mean()), 5),
        "same_alpha_signal": round(float((steps[:half] < 0.5).mean()), 5),
        "within_one_step_signal": round(float((steps[:half] < 1.5).mean()), 5),
        "mean_r_signal": [round(float(one["r"][:half].mean()), 5) for one in (found, reference)],
    }
