"""What was planted, calculated: the covariance of all features, and the R² that each union of bands reaches with it."""

import numpy as np

from release_kit.encoding.partition.sets import FloatMap, Union, all_unions
from release_kit.encoding.simulate.plan import SimulationSpec


def band_slices(spec: SimulationSpec) -> dict[str, slice]:
    """Return where each band's features lie among those of all bands."""
    ends = np.cumsum([0, *spec.bands.values()])
    return {name: slice(int(ends[k]), int(ends[k + 1])) for k, name in enumerate(spec.bands)}


def feature_covariance(spec: SimulationSpec) -> FloatMap:
    """Return the covariance ``(n_features, n_features)`` of all bands at one moment; every variance is 1.

    A feature is ``sqrt(1 - correlation)`` of its own noise and ``sqrt(correlation)`` of a mixture of common latents.
    """
    rng = np.random.default_rng([spec.seed, 4])
    mixing = rng.standard_normal((sum(spec.bands.values()), spec.n_common))
    mixing /= np.sqrt((mixing**2).sum(axis=1, keepdims=True))
    covariance = spec.correlation * mixing @ mixing.T
    np.fill_diagonal(covariance, 1.0)
    return covariance


def planted_scores(spec: SimulationSpec, weights: FloatMap, noise_variance: FloatMap) -> dict[Union, FloatMap]:
    """Return the R² of each union of bands in each voxel, with endless data and no error of estimation.

    For features ``x`` of covariance ``S`` and ``y = w'x + noise``, the features ``U`` explain
    ``(S w)_U' S_UU^-1 (S w)_U / Var(y)``.

    Args:
        spec: the study.
        weights: (n_features, n_voxels).
        noise_variance: (n_voxels,); NaN for a voxel without a score.
    """
    covariance = feature_covariance(spec)
    places = {name: np.arange(part.start, part.stop) for name, part in band_slices(spec).items()}
    towards = covariance @ weights
    variance = (weights * towards).sum(axis=0) + noise_variance
    scores = {}
    for union in all_unions(list(spec.bands)):
        rows = np.concatenate([places[name] for name in spec.bands if name in union])
        solved = np.linalg.solve(covariance[np.ix_(rows, rows)], towards[rows])
        scores[union] = (towards[rows] * solved).sum(axis=0) / variance
    return scores
