"""Slices of a volume side by side: the picture of maps in a subject's own space, where no template fits."""

import numpy as np
import numpy.typing as npt

from release_kit.encoding.maps.shown import Scale

N_SLICES = 8
_GROUND = 0.87


def slices(volume: npt.NDArray, known: npt.NDArray, scale: Scale) -> npt.NDArray[np.float64]:
    """Return (height, width, 3): slices along the last axis from low to high, values over a grey ground.

    Args:
        volume: (x, y, z), NaN where nothing is shown.
        known: (x, y, z), NaN outside the analysed voxels.
        scale: colours.
    """
    import matplotlib

    filled = np.flatnonzero(np.isfinite(known).any(axis=(0, 1)))
    if not len(filled):
        filled = np.arange(volume.shape[2])
    chosen = np.unique(filled[np.linspace(0, len(filled) - 1, min(N_SLICES, len(filled))).round().astype(int)])
    share = np.clip((volume - scale.low) / (scale.high - scale.low), 0, 1)
    colours = matplotlib.colormaps[scale.name](np.nan_to_num(share))[..., :3]
    ground = np.where(np.isfinite(known), _GROUND, 1.0)[..., None]
    whole = np.where(np.isfinite(volume)[..., None], colours, ground)
    gap = np.ones((volume.shape[1], 1, 3))
    strips = [part for z in chosen for part in (np.flipud(whole[:, :, z].transpose(1, 0, 2)), gap)]
    return np.concatenate(strips[:-1], axis=1)
