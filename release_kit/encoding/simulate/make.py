"""Recordings in which it is known what each band of features explains in each voxel.

Features are Gaussian with one temporal correlation for all of them and a covariance between them that is known
exactly; so what any union of bands explains is a matter of linear algebra (``truth.py``) and not of another simulation.
Time does not help a band to stand in for another: with one temporal correlation, what a band says of another at any
other lag it says better at the same one. The first volumes of a run, as many as the delay, hold noise alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from release_kit.encoding.arrays import Band, FloatArray, Samples
from release_kit.encoding.partition.sets import FloatMap, Union
from release_kit.encoding.simulate.noise import noise_of, smoothed
from release_kit.encoding.simulate.plan import SimulationSpec
from release_kit.encoding.simulate.truth import band_slices, feature_carry, feature_covariance, planted_scores


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulated:
    """A study with a known truth.

    Attributes:
        spec: what was asked for.
        samples: which volume of which run each row is.
        bands: each band's features as they are seen, ``(n_samples, n_features)``: no delay is applied.
        responses: subject → ``(n_samples, n_voxels)``.
        weights: subject → ``(n_features of all bands, n_voxels)`` that made the signal, of unit variance features.
        noise_variance: (n_voxels,) of the noise; signal and noise add up to 1.
        region: (n_voxels,) the place of each voxel's region in ``spec.regions``, -1 for a constant voxel.
    """

    spec: SimulationSpec
    samples: Samples
    bands: tuple[Band, ...]
    responses: Mapping[str, FloatArray]
    weights: Mapping[str, FloatMap]
    noise_variance: FloatMap
    region: npt.NDArray[np.int32]

    @cached_property
    def null(self) -> npt.NDArray[np.bool_]:
        """(n_voxels,) True where there is no signal, and the voxel is not constant."""
        empty = [not any(region.shares.values()) for region in self.spec.regions]
        return np.array([*empty, False])[self.region]

    def truth(self, subject: str) -> dict[Union, FloatMap]:
        """Return the R² that each union of bands reaches in each voxel with endless data; NaN where it is constant."""
        return planted_scores(self.spec, self.weights[subject], self.noise_variance)


def simulate(spec: SimulationSpec, *, real_noise: npt.NDArray[np.floating] | None = None) -> Simulated:
    """Return the study that ``spec`` describes; the same spec gives the same bytes.

    Args:
        spec: what is planted.
        real_noise: (n_volumes, n_columns) recordings without a task, for ``noise="real"`` (``noise.read_rest``).

    Raises:
        AnalysisError: real noise that is missing, shorter than a run, or constant everywhere.
    """
    samples = _samples(spec)
    features = _features(spec, samples)
    noise = noise_of(spec, samples, real_noise)
    region = np.repeat(np.arange(len(spec.regions)), [one.n_voxels for one in spec.regions])
    region = np.concatenate([region, np.full(spec.n_constant, -1)]).astype(np.int32)
    signal_variance = np.array([*(sum(one.shares.values()) for one in spec.regions), 0.0])[region]
    noise_variance = np.where(region >= 0, 1 - signal_variance, 0.0)
    delayed = _delayed(features, samples, spec.delay)
    common = _weights(spec, region, np.random.default_rng([spec.seed, 1]))
    responses, weights = {}, {}
    for k in range(spec.n_subjects):
        subject = f"{k + 1:02d}"
        own = _weights(spec, region, np.random.default_rng([spec.seed, 2, k]))
        mixed = np.sqrt(spec.likeness) * common + np.sqrt(1 - spec.likeness) * own
        weights[subject] = _scaled(spec, mixed, region)
        response = delayed @ weights[subject] + noise(k) * np.sqrt(noise_variance)
        response[:, region < 0] = 100.0
        responses[subject] = response.astype(np.float32)
    bands = tuple(
        Band(name=name, x=np.ascontiguousarray(features[:, part], np.float32))
        for name, part in band_slices(spec).items()
    )
    return Simulated(
        spec=spec,
        samples=samples,
        bands=bands,
        responses=responses,
        weights=weights,
        noise_variance=np.where(region >= 0, noise_variance, np.nan),
        region=region,
    )


def _samples(spec: SimulationSpec) -> Samples:
    runs = [(title, k + 1, k + 1 == n) for title, n in spec.titles.items() for k in range(n)]
    held_out = np.array([last for *_, last in runs])
    run = np.repeat(np.arange(len(runs)), spec.n_volumes).astype(np.int32)
    return Samples(
        run=run,
        volume=np.tile(np.arange(spec.n_volumes), len(runs)).astype(np.int32),
        runs=tuple(f"task-{title}_run-{number}" for title, number, _ in runs),
        titles=tuple(title for title, *_ in runs),
        train=~held_out[run],
    )


def _features(spec: SimulationSpec, samples: Samples) -> FloatMap:
    """Return ``(n_samples, n_features of all bands)`` with the covariance of ``truth.py`` at every moment."""
    rng = np.random.default_rng([spec.seed, 0])
    root = np.linalg.cholesky(feature_covariance(spec))
    white = rng.standard_normal((samples.n, len(root)))
    return smoothed(white, samples, feature_carry(spec)) @ root.T


def _delayed(features: FloatMap, samples: Samples, delay: int) -> FloatMap:
    """Shift features by ``delay`` volumes inside each run; what came before its start is 0."""
    values = np.zeros_like(features)
    for part in samples.borders:
        values[part.start + delay : part.stop] = features[part.start : part.stop - delay]
    return values


def _weights(spec: SimulationSpec, region: npt.NDArray[np.int32], rng: np.random.Generator) -> FloatMap:
    """Return random weights ``(n_features, n_voxels)``; each band's signal has the variance of its share."""
    drawn = rng.standard_normal((sum(spec.bands.values()), len(region)))
    return _scaled(spec, drawn, region)


def _scaled(spec: SimulationSpec, weights: FloatMap, region: npt.NDArray[np.int32]) -> FloatMap:
    """Scale each band's weights to its share, then all of them to the sum of shares (bands may be correlated)."""
    covariance = feature_covariance(spec)
    scaled = np.zeros_like(weights)
    for name, part in band_slices(spec).items():
        share = np.array([*(one.shares.get(name, 0.0) for one in spec.regions), 0.0])[region]
        variance = np.einsum("fv,fg,gv->v", weights[part], covariance[part, part], weights[part])
        scaled[part] = weights[part] * _root_ratio(share, variance)
    total = np.einsum("fv,fv->v", scaled, covariance @ scaled)
    wanted = np.array([*(sum(one.shares.values()) for one in spec.regions), 0.0])[region]
    return scaled * _root_ratio(wanted, total)


def _root_ratio(above: FloatMap, below: FloatMap) -> FloatMap:
    """Return ``sqrt(above / below)``, 0 where there is nothing to scale."""
    return np.sqrt(np.divide(above, below, out=np.zeros_like(below), where=below > 0))
