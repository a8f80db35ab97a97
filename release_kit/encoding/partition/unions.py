"""Fits the unions of bands that a partition needs, and predicts held-out responses with each.

Each union is a banded model of its own, cross-validated by itself: a smaller model that had to keep the penalties of
the larger one would lose more than the band that is missing. Regions are ``sets.py``'s, intervals ``bootstrap.py``'s.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from release_kit.encoding.arrays import Band, FloatArray, Fold
from release_kit.encoding.errors import FitError
from release_kit.encoding.partition.sets import Union
from release_kit.encoding.solve.banded import BandedFit, BandedSettings, Search, fit_banded


@dataclass(frozen=True, kw_only=True, eq=False)
class UnionFit:
    """One union: its model, and what it predicts ``(n_held_out, n_voxels)`` of the held-out samples."""

    union: Union
    fit: BandedFit
    predicted: FloatArray


def fit_unions(
    train: Sequence[Band],
    y: npt.NDArray[Any],
    folds: Sequence[Fold],
    held_out: Sequence[Band],
    unions: Iterable[Union],
    settings: BandedSettings | None = None,
    *,
    progress: Callable[[Union, int, int], None] | None = None,
    keep: Callable[[Union, Search], None] | None = None,
    searches: Callable[[Union], Search | None] = lambda union: None,
) -> Iterator[UnionFit]:
    """Yield a fit for every union, one after the other, so that only one is in memory.

    Args:
        train: all bands, training samples.
        y: (n_samples, n_voxels) training responses.
        folds: cross-validation over the training samples.
        held_out: the same bands, held-out samples.
        unions: names of bands each: ``sets.all_unions`` or ``sets.unique_unions``.
        settings: of each banded model.
        progress: called with the union, candidates done and candidates in all.
        keep: called after each candidate with the search so far.
        searches: gives the search that a union goes on with; None: from the start.

    Raises:
        FitError: a union names a band that is not there, and whatever `fit_banded` refuses, with the union named.
    """
    names = [band.name for band in train]
    later = {band.name: band for band in held_out}
    for union in unions:
        if not union or not union <= set(names) or not union <= set(later):
            raise FitError(f"the union {sorted(union)} names bands that are not there", where="partition")
        chosen = [band for band in train if band.name in union]
        fit = fit_banded(
            chosen,
            y,
            folds,
            settings,
            search=searches(union),
            progress=None if progress is None else lambda done, of, union=union: progress(union, done, of),
            keep=None if keep is None else lambda search, union=union: keep(union, search),
        )
        yield UnionFit(union=union, fit=fit, predicted=fit.predict([later[band.name] for band in chosen]))
