"""Banded models of a pipeline: the search goes on where it was interrupted, and what each band adds is split off.

The search itself is ``solve/banded.py``'s. Its state lies in the analysis' state folder until the fit is complete.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from release_kit.core.files import STATE_FOLDER, write_atomic
from release_kit.encoding.arrays import Band, FloatArray
from release_kit.encoding.pipeline.designs import Part
from release_kit.encoding.pipeline.inputs import Split
from release_kit.encoding.pipeline.units import Unit
from release_kit.encoding.solve.banded import BandedFit, BandedSettings, Search, fit_banded
from release_kit.encoding.solve.scores import split_r2

if TYPE_CHECKING:
    from release_kit.encoding.pipeline.fits import Group

SEARCHES = Path(STATE_FOLDER) / "searches"
SPLIT = "split_r2:"
"""How columns are called that hold a band's share of R² by the product measure."""
_TILE = 2048
_FIELDS = ("score", "candidate", "alpha")


def bands_of(parts: Sequence[Part], matrices: Sequence[FloatArray]) -> list[Band]:
    """Return feature spaces as named bands."""
    return [Band(name=part.feature, x=x) for part, x in zip(parts, matrices, strict=True)]


def search_bands(
    group: "Group",
    unit: Unit,
    parts: Sequence[Part],
    matrices: Sequence[FloatArray],
    y: FloatArray,
    split: Split,
    search: Mapping[str, Any],
) -> BandedFit:
    """Fit a banded model to training rows; a search that was interrupted goes on.

    Args:
        group: settings and folder.
        unit: the fit, whose identity names the search's state.
        parts: the bands.
        matrices: (n_train, n_features) of each.
        y: (n_train, n_voxels).
        split: whose folds are used.
        search: ``n_iter`` and ``seed``.
    """
    path = _state(group.folder, unit, split.name)
    settings = BandedSettings(ridge=group.choices.ridge, n_iter=search["n_iter"], seed=search["seed"])

    def keep(done: Search) -> None:
        stream = io.BytesIO()
        np.savez(stream, n_done=done.n_done, **{name: getattr(done, name) for name in _FIELDS})
        write_atomic(path, stream.getvalue())

    found = _read(path, y.shape[1])
    return fit_banded(bands_of(parts, matrices), y, split.folds, settings, search=found, keep=keep)


def split_scores(
    fit: BandedFit, parts: Sequence[Part], matrices: Sequence[FloatArray], y: FloatArray
) -> dict[str, npt.NDArray[np.float32]]:
    """Return each band's share of the held-out R² of all bands, (n_voxels,); shares add up to it, of centred data.

    Args:
        fit: the model.
        parts: its bands.
        matrices: (n_held_out, n_features) of each.
        y: (n_held_out, n_voxels) measured responses.
    """
    found = np.full((len(parts), y.shape[1]), np.nan, np.float32)
    places = [fit.bands[part.feature] for part in parts]
    centred = [x - fit.x_mean[place] for x, place in zip(matrices, places, strict=True)]
    for start in range(0, y.shape[1], _TILE):
        tile = slice(start, start + _TILE)
        guesses = [x @ fit.weights[place, tile] for x, place in zip(centred, places, strict=True)]
        found[:, tile] = split_r2(y[:, tile], np.stack(guesses))
    return {f"{SPLIT}{part.feature}": values for part, values in zip(parts, found, strict=True)}


def forget_search(folder: Path, unit: Unit) -> None:
    """Remove the state of a search whose fit is complete."""
    for path in (folder / SEARCHES).glob(f"{unit.fit_id}_*.npz"):
        path.unlink()


def _state(folder: Path, unit: Unit, split: str) -> Path:
    return folder / SEARCHES / f"{unit.fit_id}_{split}.npz"


def _read(path: Path, n_voxels: int) -> Search | None:
    """Return the state of a search, None where there is none that fits."""
    try:
        with np.load(path) as stored:
            found = Search(n_done=int(stored["n_done"]), **{name: stored[name] for name in _FIELDS})
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None
    return found if found.score.shape == (n_voxels,) else None
