"""Vectors of items become feature files of one stimulus: mean over annotators, missing bins filled, written whole.

Layers are filled on disk under temporary names and take their own when all of them are complete, so memory does not
grow with the number of layers. Which stimuli are made, and when, is ``store.py``'s.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from release_kit.core.files import TEMPORARY_PREFIX, write_error
from release_kit.encoding.features.items import Encoder, Work, plan_items
from release_kit.encoding.features.spec import FeatureSpec
from release_kit.encoding.features.texts import BinnedTexts


@dataclass(frozen=True, kw_only=True)
class StimulusFeatures:
    """What was made of one stimulus: its files, and what is missing in it."""

    slots: tuple[str, ...]
    layers: tuple[int, ...]
    widths: tuple[int, ...]
    files: tuple[str, ...]
    missing: tuple[npt.NDArray[np.bool_], ...]
    """Of each slot, (n_bins,) True where nothing could be computed."""
    counts: dict[str, int]


def layer_file(slot: int, layer: int, n_slots: int) -> str:
    """Return the name of the file of one layer (of one annotator, counted from 1, where there are several)."""
    return f"layer-{layer:02d}.npy" if n_slots == 1 else f"annotator-{slot + 1:02d}_layer-{layer:02d}.npy"


def write_stimulus(spec: FeatureSpec, binned: BinnedTexts, encoder: Encoder, folder: Path) -> StimulusFeatures:
    """Compute every layer of one stimulus and write each as ``(n_bins, width) float32`` in ``.npy`` form.

    A bin's value is the mean over the annotators who have one there; without any it is filled as ``spec.missing`` says:
    zeros, or the last value before it (zeros before the first).

    Args:
        spec: the feature space.
        binned: texts of the stimulus.
        encoder: what makes vectors.
        folder: of the stimulus; made if it is not there.

    Raises:
        ReleaseKitError: the disk is full.
        FeatureError: what the encoder refuses.
    """
    work = plan_items(spec, binned)
    prepared = encoder.prepare(binned, work.items)
    good = prepared.usable[work.item]
    n_values = np.zeros((len(work.slots), binned.n_bins), np.int64)
    np.add.at(n_values, (work.slot[good], work.bin[good]), 1)
    names = [layer_file(s, layer, len(work.slots)) for s in range(len(work.slots)) for layer in encoder.layers]
    widths = encoder.widths()
    with _filling(folder, names, binned.n_bins, widths * len(work.slots)) as arrays:
        share = (1.0 / np.maximum(n_values, 1)).astype(np.float32)
        for places, vectors in encoder.vectors(prepared):
            _add(arrays, work, places, vectors, share)
        if spec.missing == "carry":
            for array, empty in zip(arrays, np.repeat(n_values == 0, len(widths), axis=0), strict=True):
                _carry(array, empty)
    counts = {"bins": binned.n_bins, "items": len(work.items), **prepared.counts}
    return StimulusFeatures(
        slots=work.slots,
        layers=encoder.layers,
        widths=widths,
        files=tuple(names),
        missing=tuple(n_values == 0),
        counts=counts,
    )


def _add(arrays: list, work: Work, places: npt.NDArray, vectors: list, share: npt.NDArray) -> None:
    """Add the vectors of some items to all of their cells, weighted so that annotators give a mean."""
    place_of = np.full(len(work.items), -1, np.int64)
    place_of[places] = np.arange(len(places))
    cells = np.flatnonzero(place_of[work.item] >= 0)
    for slot in np.unique(work.slot[cells]):
        of_slot = cells[work.slot[cells] == slot]
        bins, source = work.bin[of_slot], place_of[work.item[of_slot]]
        weight = share[slot, bins][:, None]
        for k, layer in enumerate(vectors):
            np.add.at(arrays[slot * len(vectors) + k], bins, layer[source] * weight)


def _carry(array: npt.NDArray, empty: npt.NDArray[np.bool_]) -> None:
    last = np.maximum.accumulate(np.where(empty, -1, np.arange(len(empty))))
    filled = np.flatnonzero(empty & (last >= 0))
    array[filled] = array[last[filled]]


@contextlib.contextmanager
def _filling(folder: Path, names: list[str], n_bins: int, widths: tuple[int, ...]) -> Iterator[list[npt.NDArray]]:
    """Yield zeroed arrays on disk that take their names together when the block ends without an error."""
    mark = secrets.token_hex(4)
    paths = [folder / f"{TEMPORARY_PREFIX}{mark}-{name}" for name in names]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        arrays = [_zeros_on_disk(path, (n_bins, width)) for path, width in zip(paths, widths, strict=True)]
        yield arrays
        for array in arrays:
            array.flush()
        del arrays
        for path, name in zip(paths, names, strict=True):
            os.replace(path, folder / name)
    except OSError as error:
        _remove(paths)
        raise write_error(folder, error) from error
    except BaseException:
        _remove(paths)
        raise


def _zeros_on_disk(path: Path, shape: tuple[int, int]) -> npt.NDArray:
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    if hasattr(os, "posix_fallocate"):
        # A file with holes takes no space before it is filled: a disk that is full then kills the process by a signal.
        with open(path, "r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
    return array


def _remove(paths: list[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
