"""How wide a feature is: one token, words of one meaning, a concept, or nothing that its contexts have in common.

The rule looks at the tokens at which the top contexts of a feature peak. One bound of it, the half that makes a feature
one of a token, was held against the 598 human labels published with llm-jp-sae: 91 % agree. Synonyms need a dictionary
of meanings; without one they are among concepts, and tables say so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from release_kit.sae.classify.contexts import TopContexts
from release_kit.sae.errors import SaeError

GRANULARITIES = ("token", "synonym", "concept", "none")
"""What a feature can be; the empty name stands for too few contexts."""
TOKEN_SHARE = 0.5
"""From this share of the commonest peak token on a feature is one of that token."""
MIN_CONTEXTS = 4
"""With fewer nothing is said."""
Meanings = Mapping[int, frozenset[int]]
"""Token id → numbers of the dictionary's meanings that the token alone can have."""


def peak_ids(top: TopContexts, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Return (n_features, n_contexts) ids of the tokens at which contexts peak, -1 where there is none.

    Args:
        top: contexts. ids: (n_tokens,) of the texts.
    """
    places = top.tokens.reshape(len(top.tokens), -1)
    return np.where(places >= 0, ids[np.maximum(places, 0)], -1).astype(np.int64)


def granularity(
    peaks: npt.NDArray[np.int64],
    *,
    meanings: Meanings | None = None,
    words: Mapping[int, int] | None = None,
    token_share: float = TOKEN_SHARE,
    min_contexts: int = MIN_CONTEXTS,
) -> npt.NDArray[np.str_]:
    """Return (n_features,) what every feature is.

    ``token``: the commonest peak token has ``token_share`` of the contexts or more. ``synonym``: less, but different
    words that have one meaning in common do, and no one word does. ``concept``: neither, but half of the contexts or
    more peak at tokens met twice. ``none``: the rest. Empty: fewer than ``min_contexts`` contexts.

    Args:
        peaks: of ``peak_ids``.
        meanings: of tokens; without them nothing is a synonym.
        words: token id → the token that stands for all spellings of its word; a token that is not in it is a word.
        token_share, min_contexts: see above.
    """
    there = peaks >= 0
    n = there.sum(1)
    same, total = _times_met(peaks), np.maximum(n, 1)
    commonest, again = same.max(1, initial=0) / total, ((same > 1) & there).sum(1) / total
    found = np.where(again >= 0.5, "concept", "none").astype("<U7")
    if meanings is not None:
        one_word = _times_met(_as_words(peaks, words or {})).max(1, initial=0) / total >= token_share
        found[(_shared_meaning(peaks, meanings) / total >= token_share) & ~one_word] = "synonym"
    found[commonest >= token_share] = "token"
    found[n < min_contexts] = ""
    return found


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Automatic labels held against human ones.

    Attributes:
        n: features with both. accuracy: share that agree. kappa: Cohen's, agreement beyond chance; NaN where one label
            is all there is on both sides.
        token_accuracy, token_kappa: of ``token`` against everything else.
    """

    n: int
    accuracy: float
    kappa: float
    token_accuracy: float
    token_kappa: float


def agreement(automatic: Sequence[str], human: Sequence[str]) -> Agreement:
    """Return how well labels agree; features without either label (empty) are left out.

    Raises:
        SaeError: other numbers of labels, an unknown one, or no feature with both.
    """
    if len(automatic) != len(human):
        raise SaeError(f"{len(automatic)} labels stand against {len(human)}", where="granularity")
    unknown = sorted({*automatic, *human} - {*GRANULARITIES, ""})
    if unknown:
        raise SaeError(f"the label {unknown[0]!r} is none of {', '.join(GRANULARITIES)}", where="granularity")
    both = [(one, other) for one, other in zip(automatic, human, strict=True) if one and other]
    if not both:
        raise SaeError("no feature has both an automatic and a human label", where="granularity")
    one, other = (np.array(side) for side in zip(*both, strict=True))
    accuracy, kappa = cohens_kappa(one, other)
    token_accuracy, token_kappa = cohens_kappa(one == "token", other == "token")
    return Agreement(
        n=len(both), accuracy=accuracy, kappa=kappa, token_accuracy=token_accuracy, token_kappa=token_kappa
    )


def cohens_kappa(one: npt.NDArray, other: npt.NDArray) -> tuple[float, float]:
    """Return the share that agrees, and (share - chance) / (1 - chance) (Cohen 1960).

    Args:
        one: (n,) labels. other: (n,).
    """
    labels = np.union1d(one, other)
    share = float((one == other).mean())
    chance = float(sum((one == label).mean() * (other == label).mean() for label in labels))
    return share, (share - chance) / (1 - chance) if chance < 1 else float("nan")


def _times_met(peaks: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return (n_features, n_contexts) how many contexts of a feature peak at the same as each."""
    there = peaks >= 0
    return ((peaks[:, :, None] == peaks[:, None, :]) & there[:, :, None] & there[:, None, :]).sum(2)


def _as_words(peaks: npt.NDArray[np.int64], words: Mapping[int, int]) -> npt.NDArray[np.int64]:
    """Return peaks with every token replaced by the one that stands for its word."""
    stands = np.arange(peaks.max(initial=-1) + 1)
    for token, word in words.items():
        if token < len(stands):
            stands[token] = word
    return np.where(peaks >= 0, stands[np.maximum(peaks, 0)] if len(stands) else -1, -1)


def _shared_meaning(peaks: npt.NDArray[np.int64], meanings: Meanings) -> npt.NDArray[np.int64]:
    """Return (n_features,) contexts whose tokens have the meaning that most of them have in common."""
    from scipy.sparse import csr_matrix

    tokens = sorted(set(np.unique(peaks[peaks >= 0]).tolist()) & meanings.keys())
    numbers = sorted({meaning for token in tokens for meaning in meanings[token]})
    if not numbers:
        return np.zeros(len(peaks), np.int64)
    column = {meaning: place for place, meaning in enumerate(numbers)}
    pairs = [(row, column[meaning]) for row, token in enumerate(tokens) for meaning in meanings[token]]
    rows, columns = np.array(pairs).T
    known = csr_matrix((np.ones(len(pairs), np.int64), (rows, columns)), shape=(len(tokens), len(numbers)))
    place = np.searchsorted(tokens, peaks).clip(max=len(tokens) - 1)
    feature, context = np.nonzero(np.array(tokens)[place] == peaks)
    met = (np.ones(len(feature), np.int64), (feature, place[feature, context]))
    counts = csr_matrix(met, shape=(len(peaks), len(tokens))) @ known
    return counts.max(axis=1).toarray().ravel()
