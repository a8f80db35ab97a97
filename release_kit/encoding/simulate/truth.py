"""What was planted, calculated: the covariance of all features, and what a model reaches on endless new data.

Two truths. ``planted_scores``: of the best model of each union of bands, which takes endless training data.
``attained_scores``: of the model that was fitted to the training data there were, which is what held-out scores tell.
"""

from collections.abc import Mapping

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


def attained_scores(
    spec: SimulationSpec,
    weights: FloatMap,
    noise_variance: FloatMap,
    fitted: Mapping[int, FloatMap],
    offset: FloatMap,
) -> tuple[FloatMap, FloatMap]:
    """Return R² and r (n_voxels,) that a fitted model reaches on endless new data.

    With ``d`` the difference of true and fitted weights at each delay, ``S`` the covariance of features and ``c`` their
    correlation from volume to volume, the expected squared error is ``sum over delays a, b of c^|a - b| d_a' S d_b``
    plus the noise and the squared offset.

    Args:
        spec: the study.
        weights: (n_features, n_voxels) that made the responses, ``spec.delay`` volumes later.
        noise_variance: (n_voxels,).
        fitted: delay in volumes → (n_features, n_voxels), 0 for features of bands that are not in the model.
        offset: (n_voxels,) the prediction where all features are at their mean.
    """
    covariance = feature_covariance(spec)
    carry = feature_carry(spec)

    def product(one: Mapping[int, FloatMap], two: Mapping[int, FloatMap]) -> FloatMap:
        pairs = ((a, b, carry ** abs(a - b)) for a in one for b in two)
        return np.sum([near * (one[a] * (covariance @ two[b])).sum(axis=0) for a, b, near in pairs], axis=0)

    true = {spec.delay: weights}
    variance = product(true, true) + noise_variance
    predicted, common = product(fitted, fitted), product(true, fitted)
    with np.errstate(divide="ignore", invalid="ignore"):
        r = common / np.sqrt(variance * predicted)
    return (2 * common - predicted - offset**2) / variance, r


def feature_carry(spec: SimulationSpec) -> float:
    """Return the correlation of a feature with itself one volume earlier."""
    return float(np.exp(-spec.tr_s / spec.smooth_s)) if spec.smooth_s > 0 else 0.0
