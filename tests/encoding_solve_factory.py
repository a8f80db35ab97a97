"""Small ridge problems, and a solution of them that shares nothing with the code: normal equations in float64."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from release_kit.encoding.arrays import Fold

ALPHAS = tuple(np.logspace(-1, 5, 9))


@dataclass(frozen=True)
class Problem:
    """Features, responses (the first half of voxels carries signal), folds by stretches, and held-out samples."""

    x: np.ndarray
    y: np.ndarray
    folds: tuple[Fold, ...]
    x_test: np.ndarray
    y_test: np.ndarray


def stretches(n: int, n_folds: int) -> tuple[Fold, ...]:
    """Return folds of consecutive rows, of unequal lengths."""
    edges = np.round(np.linspace(0, 1, n_folds + 1) ** 1.2 * n).astype(int)
    rows = np.arange(n)
    return tuple(Fold(train=np.r_[rows[:a], rows[b:]], test=rows[a:b]) for a, b in pairwise(edges))


def make_problem(n: int, p: int, v: int = 40, *, seed: int = 0, n_folds: int = 4, n_test: int = 50) -> Problem:
    """Return a problem with correlated features of uneven size and means far from zero."""
    rng = np.random.default_rng([seed, n, p])
    x = rng.standard_normal((n + n_test, p)) @ (np.eye(p) + 0.3 * rng.standard_normal((p, p)) / np.sqrt(p))
    x = x * np.geomspace(10, 0.1, p) + rng.standard_normal(p)
    weights = rng.standard_normal((p, v)) / np.geomspace(10, 0.3, p)[:, None] / np.sqrt(p)
    weights[:, v // 2 :] = 0
    y = x @ weights + rng.standard_normal((n + n_test, v)) + 100 * rng.standard_normal(v)
    x, y = x.astype(np.float32), y.astype(np.float32)
    return Problem(x[:n], y[:n], stretches(n, n_folds), x[n:], y[n:])


def normal_equations(x: np.ndarray, y: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights and means: ``(Xc'Xc + alpha I) w = Xc'Yc`` in float64."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    x_mean, y_mean = x.mean(0), y.mean(0)
    centred = x - x_mean
    inner = centred.T @ centred + alpha * np.eye(x.shape[1])
    return np.linalg.solve(inner, centred.T @ (y - y_mean)), x_mean, y_mean


def plain_scores(x: np.ndarray, y: np.ndarray, folds: Sequence[Fold], alphas: Sequence[float], score: str):
    """Return (n_alphas, n_voxels): one solution for every fold and alpha, one score after the other."""
    found = np.zeros((len(alphas), y.shape[1]))
    for fold in folds:
        for a, alpha in enumerate(alphas):
            weights, x_mean, y_mean = normal_equations(x[fold.train], y[fold.train], alpha)
            guess, true = (x[fold.test] - x_mean) @ weights, y[fold.test] - y_mean
            if score == "r2":
                one = 1 - ((true - guess) ** 2).sum(0) / ((true - true.mean(0)) ** 2).sum(0)
            else:
                guess, true = guess - guess.mean(0), true - true.mean(0)
                one = (guess * true).sum(0) / np.sqrt((guess**2).sum(0) * (true**2).sum(0))
            found[a] += one / len(folds)
    return found
