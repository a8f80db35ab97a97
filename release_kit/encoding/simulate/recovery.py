"""What an analysis recovers of a planted truth: scores, unique variance, the right voxels, and how often it errs.

Two ways to analyse one subject: ``corrected`` (features of the own run alone, blocks of 40 samples, a null a voxel) and
``paper`` (delays shifted over borders and zeros before the first, the first run of a title kept whole, one shuffle of
blocks of 10 samples pooled over voxels, unique parts as differences of r). Owns both and their figures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from release_kit.encoding.arrays import FloatArray, Fold
from release_kit.encoding.data.samples import title_folds
from release_kit.encoding.features.delays import delayed
from release_kit.encoding.partition.sets import FloatMap, Union, unique_unions
from release_kit.encoding.pipeline.choices import PAPER_BLOCK
from release_kit.encoding.pipeline.pooled import pooled_shuffle_p
from release_kit.encoding.simulate.make import Simulated
from release_kit.encoding.solve.ridge import fit_ridge
from release_kit.encoding.solve.scores import pearson, r2
from release_kit.encoding.solve.settings import RidgeSettings
from release_kit.encoding.statistics.multiple import fdr
from release_kit.encoding.statistics.permutation import permutation_test

Mode = Literal["corrected", "paper"]
DROP_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """What one analysis of one subject recovered.

    Attributes:
        r: mean r of voxels with a signal.
        attainable_r: the mean over them of the r that endless data would give.
        unique_error: band → mean over voxels with a signal of measured unique part minus planted unique R². In mode
            paper the measured one is a difference of r, and the planted one is the difference of attainable r.
        overlap: share of the k best voxels that have a signal, k being how many have.
        n_null: voxels without any signal.
        false_p: how many of them have p below .05.
        false_q: how many of them are called at FDR .05.
        n_called: how many voxels are called at FDR .05.
        power: share of voxels with a signal that are called at FDR .05.
    """

    r: float
    attainable_r: float
    unique_error: Mapping[str, float]
    overlap: float
    n_null: int
    false_p: int
    false_q: int
    n_called: int
    power: float


def recover(
    made: Simulated, subject: str, mode: Mode = "corrected", *, permutations: int = 199, seed: int = 0
) -> Recovery:
    """Analyse one subject of a simulated study and say what came out against what was planted.

    Args:
        made: the study; at least two titles.
        subject: who.
        mode: whose choices.
        permutations: repetitions of the null in mode corrected.
        seed: of the null.
    """
    train, held, borders, design = _rows(made, mode)
    y = made.responses[subject]
    folds = title_folds(made.samples.only(train))
    predicted = {
        union: _predict(design, union, y, train, held, folds) for union in unique_unions(list(made.spec.bands))
    }
    everything, truth, measured = frozenset(made.spec.bands), made.truth(subject), y[held]
    full = predicted[everything]
    if mode == "paper":
        p = pooled_shuffle_p(measured, full, block=PAPER_BLOCK, seed=seed)
    else:
        p = permutation_test(measured, full, borders, n=permutations, seed=seed).p
    r, called = pearson(measured, full), fdr(p) <= 0.05
    signal, null = ~made.null & (made.region >= 0), made.null
    best = np.argsort(np.nan_to_num(r, nan=-1), kind="stable")[::-1][: int(signal.sum())]
    return Recovery(
        r=float(r[signal].mean()),
        attainable_r=float(np.sqrt(truth[everything][signal]).mean()),
        unique_error=_unique_errors(measured, predicted, truth, everything, signal, mode),
        overlap=float(signal[best].mean()),
        n_null=int(null.sum()),
        false_p=int((p[null] < 0.05).sum()),
        false_q=int(called[null].sum()),
        n_called=int(called.sum()),
        power=float(called[signal].mean()),
    )


def _rows(
    made: Simulated, mode: Mode
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], tuple[slice, ...], dict[str, FloatArray]]:
    """Return training rows, held-out rows, the runs of the latter, and each band's delayed features."""
    samples, spec = made.samples, made.spec
    skipped = samples.volume * spec.tr_s < DROP_S
    if mode == "paper":
        first = np.array([title not in samples.titles[:k] for k, title in enumerate(samples.titles)])
        skipped &= ~first[samples.run]
        ends = np.flatnonzero(np.diff(samples.title_of_sample)) + 1
        stretches = [slice(a, b) for a, b in zip([0, *ends], [*ends, samples.n], strict=True)]
    else:
        stretches = list(samples.borders)
    delays = [spec.delay_s + step * spec.tr_s for step in (-1, 0, 1)]
    kind = "average" if mode == "paper" else "concatenate"
    design = {band.name: delayed(band.x, delays, spec.tr_s, stretches, kind) for band in made.bands}
    held = ~samples.train & ~skipped
    return samples.train & ~skipped, held, samples.only(held).borders, design


def _predict(
    design: Mapping[str, FloatArray],
    union: Union,
    y: FloatArray,
    train: npt.NDArray[np.bool_],
    held: npt.NDArray[np.bool_],
    folds: tuple[Fold, ...],
) -> FloatArray:
    x = np.concatenate([design[name] for name in design if name in union], axis=1)
    return fit_ridge(x[train], y[train], folds, RidgeSettings(device="cpu")).predict(x[held])


def _unique_errors(
    y: FloatArray,
    predicted: Mapping[Union, FloatArray],
    truth: Mapping[Union, FloatMap],
    everything: Union,
    signal: npt.NDArray[np.bool_],
    mode: Mode,
) -> dict[str, float]:
    score = pearson if mode == "paper" else r2
    found = {}
    for band in sorted(everything):
        rest = everything - {band}
        measured = score(y, predicted[everything]) - (score(y, predicted[rest]) if rest else 0.0)
        planted = [np.sqrt(truth[u]) if mode == "paper" else truth[u] for u in (everything, rest) if u]
        expected = planted[0] - (planted[1] if rest else 0.0)
        found[band] = float((measured - expected)[signal].mean())
    return found
