"""Do the same features fire in two sentences that say the same? Overlap of pairs beside overlap of sentences by chance.

Every sentence is active in some features that all sentences share, so an overlap means something only beside that of
pairs put together wrongly.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from release_kit.sae.classify.counts import FeatureCounts
from release_kit.sae.errors import SaeError


@dataclass(frozen=True, kw_only=True, eq=False)
class ParallelOverlap:
    """Overlap of active features, common ones over those of either (Jaccard), of English and Japanese sentences.

    Attributes:
        jaccard: mean over pairs. low, high: its 95 % interval by bootstrap over pairs.
        random: mean over wrong pairs. random_low, random_high: its interval.
        n_pairs: that were compared.
        together: (n_features,) pairs with the feature in both sentences.
        in_either: (n_features,) pairs with it in one at least.
    """

    jaccard: float
    low: float
    high: float
    random: float
    random_low: float
    random_high: float
    n_pairs: int
    together: npt.NDArray[np.int64]
    in_either: npt.NDArray[np.int64]

    @property
    def above_random(self) -> bool:
        """Whether the interval of pairs lies above that of wrong pairs."""
        return self.low > self.random_high


def parallel_overlap(counts: FeatureCounts, *, seed: int = 0, n_resamples: int = 1000) -> ParallelOverlap:
    """Return the overlap on pairs of sentences and on the same sentences paired wrongly.

    Args:
        counts: with sets of pairs.
        seed: of the wrong pairing, in which no sentence meets its own translation, and of the bootstrap.
        n_resamples: of the bootstrap.

    Raises:
        SaeError: fewer than two pairs were counted whole.
    """
    whole = [(int(a), int(b)) for a, b in counts.pairs if int(a) in counts.sets and int(b) in counts.sets]
    if len(whole) < 2:
        step = "count texts that are pairs"
        raise SaeError(f"{len(whole)} pairs were counted, two are needed", where="overlap", next_step=step)
    rng = np.random.default_rng([seed, 11])
    # A circle through all pairs in a random order: nobody keeps a partner.
    circle = rng.permutation(len(whole))
    partner = np.empty(len(whole), np.int64)
    partner[circle] = np.roll(circle, 1)
    right = np.array([_jaccard(counts.sets[a], counts.sets[b]) for a, b in whole])
    sides = [(a, whole[j][1]) for (a, _), j in zip(whole, partner.tolist(), strict=True)]
    wrong = np.array([_jaccard(counts.sets[a], counts.sets[b]) for a, b in sides])
    draws = rng.integers(0, len(whole), (n_resamples, len(whole)))
    ends = [np.quantile(values[draws].mean(axis=1), (0.025, 0.975)) for values in (right, wrong)]
    together, either = np.zeros(counts.n_features, np.int64), np.zeros(counts.n_features, np.int64)
    for a, b in whole:
        together[np.intersect1d(counts.sets[a], counts.sets[b], assume_unique=True)] += 1
        either[np.union1d(counts.sets[a], counts.sets[b])] += 1
    return ParallelOverlap(
        jaccard=float(right.mean()), low=float(ends[0][0]), high=float(ends[0][1]), random=float(wrong.mean()),
        random_low=float(ends[1][0]), random_high=float(ends[1][1]), n_pairs=len(whole), together=together,
        in_either=either,
    )  # fmt: skip


def _jaccard(a: npt.NDArray[np.int32], b: npt.NDArray[np.int32]) -> float:
    common = len(np.intersect1d(a, b, assume_unique=True))
    union = len(a) + len(b) - common
    return common / union if union else 0.0
