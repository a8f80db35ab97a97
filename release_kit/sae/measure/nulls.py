"""Shares of classes of one autoencoder beside their nulls, by count and by activation mass, as rows.

Rows with an empty null are the shares alone: the random model is another autoencoder of the study, which ``tables/``
puts beside them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.sae.activations.tokens import LANGUAGES
from release_kit.sae.classify.languages import Classified, rate_rule, script_rule
from release_kit.sae.classify.nulls import BesideNull, beside_null, told_apart
from release_kit.sae.classify.tally import Tally
from release_kit.sae.measure.documents import DocumentCounts

NAMES = ("bilingual", "en", "ja")
BY = ("count", "mass")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When a feature is of one language: threshold and fewest documents."""

    share: float
    least_documents: int

    def rate(self, tally: Tally) -> Classified:
        """Return classes by rates of firing."""
        return rate_rule(tally, threshold=self.share, min_documents=self.least_documents)

    def rate_mass(self, tally: Tally) -> Classified:
        """Return classes by rates of activation mass."""
        return rate_rule(tally, by="mass", threshold=self.share, min_documents=self.least_documents)

    def script(self, tally: Tally) -> Classified:
        """Return classes by the script of tokens."""
        return script_rule(tally, threshold=self.share, min_documents=self.least_documents)


def mass_weights(tally: Tally, groups: Sequence[str] = ("en", "ja")) -> npt.NDArray[np.float64]:
    """Return (n_features,) activation mass per token, summed over languages: neither weighs more for having more text.

    Args:
        tally: of the features. groups: that are summed.
    """
    places = [tally.place(name) for name in groups]
    return (tally.mass[:, places] / np.maximum(tally.n_tokens[places], 1)).sum(1)


def own_rows(rules: Mapping[str, tuple[Classified, npt.NDArray[np.float64]]]) -> Iterator[dict[str, Any]]:
    """Yield the shares of all classes without a null.

    Args:
        rules: name → classes and mass of the features.
    """
    for rule, (classified, mass) in rules.items():
        for by in BY:
            weights = None if by == "count" else mass
            for name in NAMES:
                yield _row(rule, by, beside_null(name, "", classified, classified, weights=weights), alone=True)


def text_null_rows(null: str, real: Tally, under_null: Tally, rule: Rule) -> Iterator[dict[str, Any]]:
    """Yield shares by rates beside those of the same rule on other texts.

    Args:
        null: its name. real, under_null: sums by language. rule: of both.
    """
    one, other = rule.rate(real), rule.rate(under_null)
    for by in BY:
        weights = (None, None) if by == "count" else (mass_weights(real), mass_weights(under_null))
        for name in NAMES:
            found = beside_null(name, null, one, other, weights=weights[0], null_weights=weights[1])
            yield _row("rate", by, found)


def permuted_rows(
    documents: DocumentCounts,
    language: npt.NDArray[np.int64],
    n_tokens: npt.NDArray[np.int64],
    rule: Rule,
    *,
    n_permutations: int,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """Yield shares by rates beside those with languages given to documents at random.

    Null share: mean over permutations; its interval: from the least to the largest of them, and Wilson's around the
    mean where that is wider.

    Args:
        documents: sums by document. language, n_tokens: (n_documents,) of each. rule: of classes.
        n_permutations: draws. seed: of them.
    """
    real = documents.tally(language, n_tokens)
    found = {(by, name): [] for by in BY for name in NAMES}  # type: dict[tuple[str, str], list[BesideNull]]
    rng = np.random.default_rng([seed, 23])
    one = rule.rate(real)
    for _ in range(n_permutations):
        tally = documents.tally(rng.permutation(language), n_tokens)
        other = rule.rate(tally)
        for by in BY:
            weights = (None, None) if by == "count" else (mass_weights(real), mass_weights(tally))
            for name in NAMES:
                beside = beside_null(name, "", one, other, weights=weights[0], null_weights=weights[1])
                found[by, name].append(beside)
    for (by, name), draws in found.items():
        if draws:
            yield _row("rate", by, _pooled(name, draws))


def english_beside(
    held_out: DocumentCounts, language: npt.NDArray[np.int64], n_tokens: npt.NDArray[np.int64], n_documents: int
) -> Tally:
    """Return the sums of English documents alone, to which those of Japanese in Latin letters are added.

    Args:
        held_out: sums by document. language, n_tokens: (n_documents,) of each.
        n_documents: only the first ones: those of the pairs that are in Latin letters.
    """
    only = np.where((language == LANGUAGES.index("en")) & (np.arange(len(language)) < n_documents), language, 0)
    return held_out.tally(only, np.where(only > 0, n_tokens, 0))


def _pooled(name: str, draws: Sequence[BesideNull]) -> BesideNull:
    first = draws[0]
    shares = np.array([one.null_share for one in draws])
    known = shares[np.isfinite(shares)]
    share = float(known.mean()) if len(known) else float("nan")
    low = min(float(np.mean([one.null_low for one in draws])), *(known if len(known) else [1.0]), 1.0)
    high = max(float(np.mean([one.null_high for one in draws])), *(known if len(known) else [0.0]), 0.0)
    return BesideNull(
        name=name, null="permuted-languages", share=first.share, low=first.low, high=first.high, null_share=share,
        null_low=low, null_high=high, n=first.n, null_n=float(np.mean([one.null_n for one in draws])),
        verdict=told_apart((first.low, first.high), (low, high)),
    )  # fmt: skip


def _row(rule: str, by: str, found: BesideNull, *, alone: bool = False) -> dict[str, Any]:
    nan = float("nan")
    return {
        "rule": rule, "by": by, "class": found.name, "null": found.null, "share": found.share, "low": found.low,
        "high": found.high, "null_share": nan if alone else found.null_share,
        "null_low": nan if alone else found.null_low, "null_high": nan if alone else found.null_high, "n": found.n,
        "null_n": nan if alone else found.null_n, "verdict": "" if alone else found.verdict,
    }  # fmt: skip
