"""Twelve layers of three levels on one subject: 36 fits of 3,000 samples, 768 features each, and 10,000 voxels.

Ways: `fit_many`, and himalaya called once per fit, by features (``RidgeCV``) and by samples (``KernelRidgeCV``), both
at their best batch setting. To keep himalaya's part short, it fits ``N_REFERENCE`` of the feature spaces; its figures
are multiplied.
"""

from collections.abc import Mapping

import numpy as np
from encoding_kernel import differences, folds

WAYS = ("ours", "himalaya-ridge", "himalaya-kernel")
ALPHAS = tuple(np.logspace(0, 6, 20))
N_LEVELS, N_LAYERS = 3, 12
N_REFERENCE = 3

Arrays = dict[str, np.ndarray]


def make(small: bool, seed: int = 0) -> Arrays:
    """Return features (36 spaces one after the other) and responses."""
    n, n_test, p, v = (300, 60, 48, 400) if small else (3000, 500, 768, 10_000)
    return problem(np.random.default_rng(seed), N_LEVELS * N_LAYERS, n, n_test, p, v)


def problem(rng: np.random.Generator, n_spaces: int, n: int, n_test: int, p: int, v: int) -> Arrays:
    """Return layers that resemble their neighbours, and responses that the first layer drives in half of the voxels."""
    x = rng.standard_normal((n_spaces, n + n_test, p), dtype=np.float32)
    for k in range(1, n_spaces):
        if k % N_LAYERS:
            x[k] = 0.8 * x[k - 1] + 0.6 * x[k]
    weights = rng.standard_normal((p, v // 2), dtype=np.float32)
    y = rng.standard_normal((n + n_test, v), dtype=np.float32)
    y[:, : v // 2] += (0.3 / np.sqrt(p)) * (x[0] @ weights)
    return {"x": x[:, :n], "y": y[:n], "x_test": x[:, n:], "y_test": y[n:]}


def tiny() -> Arrays:
    """Return a problem that loads everything a fit needs."""
    return problem(np.random.default_rng(1), 2, 60, 10, 12, 20)


def work(inputs: Arrays, way: str) -> Arrays:
    """Fit every feature space, predict the test samples, and score them."""
    from release_kit.encoding.solve.many import fit_many
    from release_kit.encoding.solve.scores import pearson
    from release_kit.encoding.solve.settings import RidgeSettings

    ours = way == "ours"
    settings = RidgeSettings(
        alphas=ALPHAS,
        solver="auto" if ours else "dual" if way == "himalaya-kernel" else "primal",
        backend="own" if ours else "himalaya",
    )
    x, y = np.ascontiguousarray(inputs["x"]), inputs["y"]
    spaces = {str(k): x[k] for k in range(len(x) if ours else min(len(x), N_REFERENCE))}
    tests = {name: inputs["x_test"][int(name)] for name in spaces}
    found: dict[str, list] = {"alpha": [], "cv": [], "r": []}
    for name, _, fit in fit_many(spaces, {"one": y}, folds(len(y)), settings):
        found["alpha"].append(fit.alpha)
        found["cv"].append(fit.cv_score)
        found["r"].append(pearson(inputs["y_test"], fit.predict(tests[name])))
    return {name: np.stack(values) for name, values in found.items()}


def scale(way: str) -> float:
    """Return what figures of time are multiplied by: himalaya fits a part of the feature spaces."""
    return 1.0 if way == "ours" else N_LEVELS * N_LAYERS / N_REFERENCE


def compare(results: Mapping[str, Arrays]) -> dict:
    """Return how far ours is from himalaya, over the feature spaces that himalaya fitted, voxel by voxel."""
    out = {}
    for way in [way for way in results if way != "ours" and "ours" in results]:
        for k, _ in enumerate(results[way]["r"]):
            pair = [{name: values[k] for name, values in results[one].items()} for one in ("ours", way)]
            out[f"{way}, space {k}"] = differences(*pair, ALPHAS)
    return out
