"""What bands of features explain alone and together: the set algebra of variance, for any number of bands.

Owns which unions of bands must be fitted, and the regions of the Venn diagram that follow from their scores. Unions are
fitted by ``solve/banded.py``; how sure the regions are is ``bootstrap.py``.

With R² the regions are shares of variance. With r they are differences of correlations, as some published maps show;
they add up as well, but are shares of nothing. A region may be negative: two bands together may explain more than the
sum of both alone (suppression), and a held-out score may fall when a band is added.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from release_kit.encoding.errors import FitError

Union = frozenset[str]
FloatMap = npt.NDArray[np.float64]


def all_unions(bands: Sequence[str]) -> list[Union]:
    """Return the 2^b - 1 unions that every region needs: single bands first, all bands last."""
    _check_names(bands)
    return [frozenset(some) for size in range(1, len(bands) + 1) for some in combinations(bands, size)]


def unique_unions(bands: Sequence[str]) -> list[Union]:
    """Return the b + 1 unions that the unique part of each band needs: all but one, and all."""
    _check_names(bands)
    left_out = [frozenset(bands) - {band} for band in bands]
    return [*(union for union in left_out if union), frozenset(bands)]


def region_name(bands: Iterable[str], order: Sequence[str]) -> str:
    """Return how tables name a region: ``unique:story``, ``shared:object+story`` in the order of the bands."""
    named = set(bands)
    inside = [band for band in order if band in named]
    return f"{'unique' if len(inside) == 1 else 'shared'}:{'+'.join(inside)}"


def unique(scores: Mapping[Union, npt.ArrayLike], bands: Sequence[str]) -> dict[str, FloatMap]:
    """Return what each band adds to all others: ``score(all) - score(all but it)``.

    Args:
        scores: union of bands → score of each voxel ``(…, n_voxels)``; those of ``unique_unions``.
        bands: the bands, in the order of tables.

    Raises:
        FitError: a union without a score, bands that are named twice.
    """
    _check_names(bands)
    whole = frozenset(bands)
    return {region_name([band], bands): _part(scores, whole, frozenset([band])) for band in bands}


def partition(scores: Mapping[Union, npt.ArrayLike], bands: Sequence[str]) -> dict[str, FloatMap]:
    """Return every region of the Venn diagram; they add up to the score of all bands.

    The region of the bands ``T`` is what exactly they have in common, beyond all others ``O``: by inclusion and
    exclusion the sum over all subsets ``U`` of ``T`` of ``(-1)^(|U| + 1) score(O + U)``, with 0 for no band at all.

    Args:
        scores: union of bands → score of each voxel ``(…, n_voxels)``; those of ``all_unions``.
        bands: the bands, in the order of tables.

    Returns:
        Region (``unique:a``, ``shared:a+b``, …) → its score, in the shape of the scores.

    Raises:
        FitError: a union without a score.
    """
    whole = frozenset(bands)
    return {region_name(inside, bands): _part(scores, whole, inside) for inside in all_unions(bands)}


def _part(scores: Mapping[Union, npt.ArrayLike], whole: Union, inside: Union) -> FloatMap:
    outside = whole - inside
    total = np.float64(0)
    for size in range(len(inside) + 1):
        for some in combinations(sorted(inside), size):
            union = outside | frozenset(some)
            if union and union not in scores:
                raise FitError(
                    f"the union {'+'.join(sorted(union))} has no score", where="partition", next_step="fit it as well"
                )
            total = total + (-1) ** (size + 1) * np.asarray(scores[union] if union else 0, np.float64)
    return np.asarray(total)


def _check_names(bands: Sequence[str]) -> None:
    if not bands or len(set(bands)) != len(bands):
        raise FitError(f"bands {list(bands)}, expected at least one, each once", where="partition")
