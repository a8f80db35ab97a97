"""PCA of what datasets do: how many components explain the effects of a few datasets on many base x metric scores.

One observation a dataset, one standardised variable a base x metric at the last epoch, averaged over seeds. The base
scores cancel (variables are centred), so doubtful base rows do not matter here. With k datasets there are k - 1
components at most, and even shuffled datasets "explain" much with few of them: the null shares stand beside.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from release_kit.sft.analysis.estimate import Estimate, Metric
from release_kit.sft.analysis.gains import GainFrame, stratum_text
from release_kit.sft.analysis.intervals import FEWEST_BASES, make_estimate, rounded, t_interval
from release_kit.sft.analysis.records import Components

N_SHUFFLES = 200
FEWEST_DATASETS = 3
USUAL = 0.75
"""Part of base x dataset combinations that must have a metric, or it is left out; a base with a hole then is, too."""


def make_components(frame: GainFrame, metrics: Sequence[Metric], *, seed: int = 0) -> tuple[Components, ...]:
    """Return the components of each method x data size x schedule that has enough datasets.

    Args:
        frame: gains; only last epochs of runs on plain datasets of one size are compared with each other.
        metrics: the variables; one that many base x dataset combinations lack is left out.
        seed: of the shuffles.
    """
    found = []
    rows = frame.where(frame.labels("last").astype(bool)).among(metrics)
    for (method, size, schedule, others), cells in rows.by("method", "data_size", "schedule", "others").items():
        within = stratum_text(others, method=method, data_size=size, schedule=schedule)
        components = _components(cells, metrics, within, seed)
        if components is not None:
            found.append(components)
    return tuple(found)


def explained_shares(matrix: np.ndarray) -> np.ndarray:
    """Return the shares of variance of the components of (n_datasets, n_variables), columns standardised; sum 1."""
    centred = _standardised(matrix)
    values = np.linalg.svd(centred, compute_uv=False) ** 2
    return values / values.sum() if values.sum() > 0 else values


def _components(cells: GainFrame, metrics: Sequence[Metric], within: str, seed: int) -> Components | None:
    means = {
        key: float(np.mean(group.numbers("gain"))) for key, group in cells.by("base_model", "dataset", "metric").items()
    }
    datasets = tuple(sorted({key[1] for key in means}))
    bases = tuple(sorted({key[0] for key in means}))
    used = tuple(metric for metric in metrics if _n_present(means, metric) >= USUAL * len(bases) * len(datasets))
    whole = tuple(base for base in bases if all((base, d, metric) in means for d in datasets for metric in used))
    if len(datasets) < FEWEST_DATASETS or len(whole) < 2 or len(used) < 2:
        return None
    cube = np.array([[[means[base, dataset, metric] for metric in used] for base in whole] for dataset in datasets])
    shares = explained_shares(cube.reshape(len(datasets), -1))
    return Components(
        within=within,
        datasets=datasets,
        bases=whole,
        dropped=tuple(base for base in bases if base not in whole),
        metrics=used,
        shares=tuple(rounded(share) for share in shares),
        null_shares=tuple(rounded(share) for share in _null_shares(cube, seed)),
        cumulative=_cumulative(cube),
        scores=_scores(cube),
    )


def _n_present(means: Mapping[tuple, float], metric: Metric) -> int:
    return sum(key[2] == metric for key in means)


def _standardised(matrix: np.ndarray) -> np.ndarray:
    """Return columns with mean 0 and standard deviation 1; constant columns are left at 0."""
    centred = matrix - matrix.mean(axis=0)
    spread = centred.std(axis=0)
    return np.where(spread > 1e-12, centred / np.where(spread > 1e-12, spread, 1.0), 0.0)


def _null_shares(cube: np.ndarray, seed: int) -> np.ndarray:
    """Return mean shares when the datasets of each variable are shuffled on their own."""
    rng = np.random.default_rng(seed)
    matrix = cube.reshape(len(cube), -1)
    return np.mean([explained_shares(rng.permuted(matrix, axis=0)) for _ in range(N_SHUFFLES)], axis=0)


def _cumulative(cube: np.ndarray) -> tuple[Estimate, ...]:
    """Return cumulative shares; intervals leave out one base at a time."""
    n_datasets, n_bases, _ = cube.shape
    value = np.cumsum(explained_shares(cube.reshape(n_datasets, -1)))
    kept = [np.delete(cube, base, axis=1).reshape(n_datasets, -1) for base in range(n_bases)] if n_bases > 1 else []
    without = np.array([np.cumsum(explained_shares(matrix)) for matrix in kept])
    estimates = []
    for k in range(n_datasets - 1):
        low = high = float("nan")
        if n_bases >= FEWEST_BASES:
            column = without[:, k]
            variance = (n_bases - 1) / n_bases * float(np.sum((column - column.mean()) ** 2))
            low, high = t_interval(float(value[k]), variance, n_bases - 1)
        low, high = max(low, 0.0), min(high, 1.0)
        estimates.append(
            make_estimate(
                float(value[k]),
                low,
                high,
                n=cube.size,
                n_units=n_bases,
                over="base_model",
                method="t of delete-one-unit variance",
                p=None,
            )
        )
    return tuple(estimates)


def _scores(cube: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Return the datasets on the first two components, signs fixed by the largest loading."""
    u, s, vt = np.linalg.svd(_standardised(cube.reshape(len(cube), -1)), full_matrices=False)
    signs = np.sign(vt[np.arange(len(vt)), np.argmax(np.abs(vt), axis=1)])
    points = u * s * np.where(signs == 0, 1.0, signs)
    return tuple((rounded(point[0]), rounded(point[1])) for point in points)
