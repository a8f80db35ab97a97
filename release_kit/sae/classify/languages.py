"""The language of every feature, by rules that look at different things: rates, scripts, entropy.

A rule gives a class to each feature and the numbers it decided by. ``dead``: never active; ``none``: too little, or of
no language. Which rule is right is not decided here: results go to tables side by side.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from release_kit.sae.classify.intervals import effective_number, rate_share
from release_kit.sae.classify.tally import Tally
from release_kit.sae.errors import SaeError

Measure = Literal["count", "mass"]
CLASSES = ("dead", "none", "en", "ja", "bilingual")
"""Names of the codes of classes."""
THRESHOLD = 0.9
"""A feature is of one language above this share; the released analysis uses the same number."""
MIN_DOCUMENTS = 5
"""Features active in fewer documents have no class: their share says next to nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Classified:
    """Classes of all features by one rule.

    Attributes:
        classes: (n_features,) str, of ``CLASSES``.
        share: (n_features,) of the first language, rate-normalised; NaN without any activity.
        low: (n_features,) lower end of its 95 % interval. high: upper end.
    """

    classes: npt.NDArray[np.str_]
    share: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]

    def mask(self, name: str) -> npt.NDArray[np.bool_]:
        """Return (n_features,) True where the class is ``name``."""
        return self.classes == name


def rate_rule(
    tally: Tally,
    *,
    by: Measure = "count",
    groups: tuple[str, str] = ("en", "ja"),
    threshold: float = THRESHOLD,
    min_documents: int = MIN_DOCUMENTS,
) -> Classified:
    """Return classes by the rate-normalised share of firing, or of activation mass.

    Args:
        tally: by language.
        by: ``count`` of active tokens, or their activation ``mass``.
        groups: those that stand for English and Japanese.
        threshold: share above which a feature is of one language.
        min_documents: documents in which a feature must be active to have a class.

    Raises:
        SaeError: one of the groups has no token.
    """
    one, two = (tally.place(name) for name in groups)
    for place, name in ((one, groups[0]), (two, groups[1])):
        if not tally.n_tokens[place]:
            step = "count texts in both languages"
            raise SaeError(f"no token of {name!r} was counted", where="language of features", next_step=step)
    amount = tally.fired if by == "count" else tally.mass
    squares = tally.fired_squares if by == "count" else tally.mass_squares
    both = [one, two]
    n_effective = effective_number(amount[:, both].sum(1), squares[:, both].sum(1))
    share, low, high = rate_share(amount[:, one], amount[:, two], tally.n_tokens[one], tally.n_tokens[two], n_effective)
    classes = np.full(len(share), "bilingual", dtype="<U9")
    with np.errstate(invalid="ignore"):
        classes[share > threshold] = "en"
        classes[share < 1 - threshold] = "ja"
    classes[tally.documents[:, both].sum(1) < min_documents] = "none"
    classes[tally.fired.sum(1) == 0] = "dead"
    return Classified(classes=classes, share=share, low=low, high=high)


def script_rule(
    tally: Tally,
    *,
    by: Measure = "count",
    threshold: float = THRESHOLD,
    min_documents: int = MIN_DOCUMENTS,
    min_letters: float = 0.5,
) -> Classified:
    """Return classes by the script of the tokens themselves; digits, punctuation and other scripts take no side.

    Args:
        tally: by script.
        by: as for ``rate_rule``. threshold, min_documents: likewise.
        min_letters: least share of a feature's amount at Latin or Japanese tokens; below it the class is ``none``.

    Raises:
        SaeError: one of both scripts has no token.
    """
    found = rate_rule(tally, by=by, groups=("latin", "japanese"), threshold=threshold, min_documents=min_documents)
    amount = (tally.fired if by == "count" else tally.mass).astype(float)
    letters = amount[:, [tally.place("latin"), tally.place("japanese")]].sum(1)
    classes = found.classes.copy()
    classes[(letters < min_letters * amount.sum(1)) & (classes != "dead")] = "none"
    return Classified(classes=classes, share=found.share, low=found.low, high=found.high)


@dataclass(frozen=True, kw_only=True, eq=False)
class Selectivity:
    """How selective features are for a language, without a threshold.

    Attributes:
        probability: (n_features, 2) share of the tokens of each language at which a feature is active.
        entropy: (n_features,) bits of the probabilities scaled to sum 1; 0 one language, 1 both; NaN if never active.
        monolinguality: (n_features, 2) mean activation over tokens of the language minus that of the other one.
    """

    probability: npt.NDArray[np.float64]
    entropy: npt.NDArray[np.float64]
    monolinguality: npt.NDArray[np.float64]


def selectivity(tally: Tally, *, by: Measure = "count", groups: tuple[str, str] = ("en", "ja")) -> Selectivity:
    """Return probability, entropy and monolinguality of every feature.

    The entropy is that of LAPE (arXiv 2507.11230 applies it to features), by count or with mean activations in place of
    probabilities; monolinguality follows arXiv 2505.05111 for two languages.
    """
    places = [tally.place(name) for name in groups]
    n_tokens = np.maximum(tally.n_tokens[places], 1)
    probability, mean = tally.fired[:, places] / n_tokens, tally.mass[:, places] / n_tokens
    rates = probability if by == "count" else mean
    total = rates.sum(1, keepdims=True)
    parts = np.divide(rates, total, out=np.full(rates.shape, np.nan), where=total > 0)
    logs = np.log2(parts, out=np.zeros_like(parts), where=parts > 0)
    entropy = np.where(total[:, 0] > 0, -(parts * logs).sum(1) + 0.0, np.nan)
    return Selectivity(probability=probability, entropy=entropy, monolinguality=mean - mean[:, ::-1])


def entropy_rule(
    tally: Tally, *, by: Measure = "count", threshold: float = THRESHOLD, min_documents: int = MIN_DOCUMENTS
) -> Classified:
    """Return classes by the entropy over languages: one language below the entropy of ``threshold`` against the rest.

    For two languages it decides as ``rate_rule`` does, by another number; both are kept because published figures name
    either.

    Raises:
        SaeError: one language has no token.
    """
    rates = rate_rule(tally, by=by, threshold=threshold, min_documents=min_documents)
    limit = -(threshold * np.log2(threshold) + (1 - threshold) * np.log2(1 - threshold))
    one_language = selectivity(tally, by=by).entropy < limit
    classes = np.where(one_language, np.where(rates.share > 0.5, "en", "ja"), "bilingual").astype("<U9")
    without = np.isin(rates.classes, ("dead", "none"))
    classes[without] = rates.classes[without]
    return Classified(classes=classes, share=rates.share, low=rates.low, high=rates.high)


def class_shares(classified: Classified, weights: npt.ArrayLike | None = None) -> dict[str, float]:
    """Return class → its share of the features that have a language, or of their weight (their mass, say).

    Args:
        classified: by any rule.
        weights: (n_features,) not below 0; None: every feature counts once.

    Returns:
        ``en``, ``ja``, ``bilingual``; NaN where no feature has a language.
    """
    weight = np.ones(len(classified.classes)) if weights is None else np.asarray(weights, float)
    sums = {name: float(weight[classified.mask(name)].sum()) for name in ("en", "ja", "bilingual")}
    total = sum(sums.values())
    return {name: amount / total if total else float("nan") for name, amount in sums.items()}
