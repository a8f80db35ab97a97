"""One fit of the seed study's size: 22,262 samples, 1,280 features, 88,000 voxels, 25 alphas, 4 folds, in 8 GB.

One way, ours: what is asked is whether memory stays bounded. Responses are a memory map of 7.8 GB; memory is what the
process holds beside the pages of that file that it has given back. Features are inputs, weights (0.45 GB) are results.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from encoding_kernel import folds
from encoding_permutation import drawn

WAYS = ("ours",)
ALPHAS = tuple(np.logspace(-2, 8, 25))
N_FOLDS = 4
MEMORY_BYTES = 8 * 10**9

Arrays = dict[str, np.ndarray]


def make(small: bool, seed: int = 0) -> Arrays:
    """Return the shape of the problem; numbers are drawn where they are needed."""
    return {"shape": np.array((400, 60, 500) if small else (22_262, 1280, 88_000)), "seed": np.array(seed)}


def tiny() -> Arrays:
    """Return a problem that loads everything a fit needs."""
    return {"shape": np.array((80, 10, 20)), "seed": np.array(1)}


def work(inputs: Arrays, way: str) -> Arrays:
    """Fit, and return what cross-validation says of every voxel."""
    from release_kit.encoding.solve.ridge import fit_ridge
    from release_kit.encoding.solve.settings import RidgeSettings

    n, p, v = (int(one) for one in inputs["shape"])
    x = np.random.default_rng([int(inputs["seed"]), 7]).standard_normal((n, p), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        y = drawn(Path(folder) / "y", n, v, [int(inputs["seed"])])
        fit = fit_ridge(x, y, folds(n, N_FOLDS), RidgeSettings(alphas=ALPHAS, memory_bytes=MEMORY_BYTES))
    return {"alpha": fit.alpha, "cv": fit.cv_score}


def compare(results: Mapping[str, Arrays]) -> dict:
    """Return the mean score: there is no signal, so it is about zero."""
    return {way: {"mean_cv": round(float(np.nanmean(found["cv"])), 5)} for way, found in results.items()}
