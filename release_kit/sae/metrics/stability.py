"""Whether autoencoders of other seeds find the same features: matched decoder rows, beside those of random directions.

Owns comparing several seeds; which row goes with which is ``train/matching.py``'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from release_kit.sae.dictionary import Sae
from release_kit.sae.errors import SaeError
from release_kit.sae.train.matching import match_features

SAME = 0.7
"""Cosine from which a feature counts as found again."""


@dataclass(frozen=True, kw_only=True)
class Stability:
    """Two seeds compared.

    Attributes:
        seeds: of both.
        mean_cosine: over matched features.
        share: of the first one's live features that are found again with a cosine of ``SAME`` or more.
        null_share: that share for random directions in place of the second.
        null_cosine: mean cosine of these.
    """

    seeds: tuple[int, int]
    mean_cosine: float
    share: float
    null_share: float
    null_cosine: float


def stability(saes: Mapping[int, Sae], live: Mapping[int, np.ndarray] | None = None) -> tuple[Stability, ...]:
    """Return every two seeds compared, in order of seeds.

    Args:
        saes: seed → autoencoder of the same layer, step and data.
        live: seed → (n_features,) bool; features that never fire are left out. All take part if None.

    Raises:
        SaeError: there is one seed only, or widths differ.
    """
    import torch

    if len(saes) < 2:
        raise SaeError("stability needs autoencoders of two seeds or more", where="stability")
    found = []
    for one, two in combinations(sorted(saes), 2):
        first, second = saes[one].w_dec, saes[two].w_dec
        alive = None if live is None else (torch.from_numpy(live[one]), torch.from_numpy(live[two]))
        matched = match_features(first, second, alive=alive)
        rng = np.random.default_rng([one, two, 13])
        noise = torch.from_numpy(rng.standard_normal(tuple(second.shape)).astype(np.float32))
        null = match_features(first, noise, alive=alive)
        found.append(
            Stability(
                seeds=(one, two),
                mean_cosine=_mean(matched.cosine),
                share=matched.share(SAME),
                null_share=null.share(SAME),
                null_cosine=_mean(null.cosine),
            )
        )
    return tuple(found)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
