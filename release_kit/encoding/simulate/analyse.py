"""The two ways to analyse a simulated subject, with the true value of everything that they estimate.

``corrected``: features of the own run alone, delays side by side, unique parts as R². ``paper``: delays averaged and
shifted over borders, zeros before the first, the first run of a title kept whole, unique parts as differences of r.
Both fit every union by ridge with one fold a title. Owns rows, fits and their truths; figures are ``recovery.py``'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from release_kit.encoding.arrays import FloatArray
from release_kit.encoding.data.samples import title_folds
from release_kit.encoding.features.delays import delayed
from release_kit.encoding.partition.sets import FloatMap, Union, unique_unions
from release_kit.encoding.simulate.make import Simulated
from release_kit.encoding.simulate.truth import attained_scores, band_slices
from release_kit.encoding.solve.ridge import RidgeFit, fit_ridge
from release_kit.encoding.solve.settings import RidgeSettings

Mode = Literal["corrected", "paper"]
DROP_S = 20.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Analysed:
    """The models of one subject.

    Attributes:
        mode: whose choices.
        measured: (n_held_out, n_voxels) responses.
        borders: the held-out rows of each run.
        predicted: union of bands → (n_held_out, n_voxels).
        endless: union → (n_voxels,) the score of the best model of the union, with endless training data.
        attained: union → (n_voxels,) the score of the fitted model on endless new data.
    """

    mode: Mode
    measured: FloatArray
    borders: tuple[slice, ...]
    predicted: Mapping[Union, FloatArray]
    endless: Mapping[Union, FloatMap]
    attained: Mapping[Union, FloatMap]


def analyse(made: Simulated, subject: str, mode: Mode) -> Analysed:
    """Fit all bands, and all but each, to the training runs of one subject, and predict the held-out ones.

    Args:
        made: the study; at least two titles.
        subject: who.
        mode: whose choices; scores are R² in mode corrected, r in mode paper.
    """
    train, held, borders = _rows(made, mode)
    design, steps = _design(made, mode)
    y, folds = made.responses[subject], title_folds(made.samples.only(train))
    endless, predicted, attained = made.truth(subject), {}, {}
    for union in unique_unions(list(made.spec.bands)):
        x = np.concatenate([design[name] for name in design if name in union], axis=1)
        fit = fit_ridge(x[train], y[train], folds, RidgeSettings(device="cpu"))
        predicted[union] = fit.predict(x[held])
        offset = fit.y_mean - fit.x_mean @ fit.feature_weights
        fitted = _by_delay(made, union, fit, steps, mode)
        scores = attained_scores(made.spec, made.weights[subject], made.noise_variance, fitted, offset)
        attained[union] = scores[1 if mode == "paper" else 0]
    return Analysed(
        mode=mode,
        measured=y[held],
        borders=borders,
        predicted=predicted,
        endless={union: np.sqrt(endless[union]) if mode == "paper" else endless[union] for union in predicted},
        attained=attained,
    )


def _rows(made: Simulated, mode: Mode) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], tuple[slice, ...]]:
    """Return training rows, held-out rows, and the runs of the latter."""
    samples = made.samples
    skipped = samples.volume * made.spec.tr_s < DROP_S
    if mode == "paper":
        first = np.array([title not in samples.titles[:k] for k, title in enumerate(samples.titles)])
        skipped &= ~first[samples.run]
    held = ~samples.train & ~skipped
    return samples.train & ~skipped, held, samples.only(held).borders


def _design(made: Simulated, mode: Mode) -> tuple[dict[str, FloatArray], list[int]]:
    """Return each band's delayed features, and the delays in volumes: the true one and its neighbours."""
    samples, spec = made.samples, made.spec
    stretches = list(samples.borders)
    if mode == "paper":
        ends = np.flatnonzero(np.diff(samples.title_of_sample)) + 1
        stretches = [slice(a, b) for a, b in zip([0, *ends], [*ends, samples.n], strict=True)]
    steps = [spec.delay + step for step in (-1, 0, 1)]
    delays = [step * spec.tr_s for step in steps]
    kind = "average" if mode == "paper" else "concatenate"
    return {band.name: delayed(band.x, delays, spec.tr_s, stretches, kind) for band in made.bands}, steps


def _by_delay(made: Simulated, union: Union, fit: RidgeFit, steps: list[int], mode: Mode) -> dict[int, FloatMap]:
    """Return a model's weights as those of each delay ``(n_features of all bands, n_voxels)``."""
    spec, weights = made.spec, fit.feature_weights.astype(np.float64)
    fitted = {step: np.zeros((sum(spec.bands.values()), fit.n_voxels)) for step in steps}
    start = 0
    for name, place in band_slices(spec).items():
        if name not in union:
            continue
        for step in steps:
            stop = start + spec.bands[name]
            fitted[step][place] = weights[start:stop] / (len(steps) if mode == "paper" else 1)
            start = stop if mode == "corrected" else start
        start = start + spec.bands[name] if mode == "paper" else start
    return fitted
