"""The published code's null distribution: one shuffle of blocks, pooled over voxels. It tests no voxel."""

import numpy as np
import numpy.typing as npt

from release_kit.encoding.arrays import FloatArray
from release_kit.encoding.errors import FitError
from release_kit.encoding.solve.scores import pearson


def pooled_shuffle_p(y: FloatArray, predicted: FloatArray, *, block: int, seed: int) -> npt.NDArray[np.float64]:
    """Return the share of all voxels' shuffled correlations that reach each voxel's own, (n_voxels,); it may be 0.

    Blocks of the measured response change places once, over run borders, the same way in every voxel; a rest that fills
    no block stays at the end.

    Args:
        y: (n_samples, n_voxels) measured responses of held-out samples.
        predicted: (n_samples, n_voxels) their predictions.
        block: samples in a block.
        seed: of the shuffle.

    Raises:
        FitError: fewer than two blocks.
    """
    n_blocks = len(y) // block
    if n_blocks < 2:
        raise FitError(f"{len(y)} held-out samples are no two blocks of {block}", where="pooled shuffle")
    order = np.random.default_rng([seed, 5]).permutation(n_blocks)
    rows = (order[:, None] * block + np.arange(block)).ravel()
    rows = np.concatenate([rows, np.arange(n_blocks * block, len(y))])
    observed = pearson(y, predicted).astype(np.float64)
    null = np.sort(pearson(y[rows], predicted).astype(np.float64))
    null = null[np.isfinite(null)]
    reached = len(null) - np.searchsorted(null, observed, side="left")
    return np.where(np.isfinite(observed), reached / max(len(null), 1), np.nan)
