"""How far annotators of one level and language agree: shared tokens, labels, and meaning by a real small encoder.

Every agreement stands beside its null, the same annotations moved against each other in time: two descriptions of one
film share words at any time. Owns the measures; which annotations are compared is ``quality.py``'s.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from release_kit.bids.annotations.bins import Binned, Null, Score, both, mean_score, remembered, shuffled_null
from release_kit.bids.annotations.tokens import normalised

MAX_EMBEDDED_BINS = 240
"""Bins whose texts are embedded for one pair of annotators, spread evenly; 240 is a standard error of about 0.01."""

Encode = Callable[[Sequence[str]], Any]
"""Texts → unit vectors ``(n_texts, n_dimensions)``."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Two annotators of one level and language on one stimulus; scores are means over bins where both wrote."""

    stimulus: str
    level: str
    language: str
    left: str
    right: str
    """``annot_id`` of the two."""
    n_bins: int
    only_left: int
    only_right: int
    """Bins in which one of the two wrote nothing."""
    f1: float | None
    """Shared tokens over the mean number of tokens of the two."""
    jaccard: float | None
    """Shared tokens over all tokens of the two."""
    f1_null: Null | None
    cosine: float | None = None
    """Mean cosine of the embeddings; None when they were not asked for or the encoder does not know the language."""
    cosine_null: Null | None = None
    n_embedded: int = 0
    profile: tuple[float | None, ...] = ()
    """F1 in equal stretches of the stimulus, for the picture; None where not both wrote."""

    @property
    def above_chance(self) -> bool | None:
        """Whether tokens agree more than in 95 % of the shuffles; None where shuffles are too few or change nothing."""
        null = self.f1_null
        if self.f1 is None or null is None or null.p95 == null.mean == self.f1:
            return None
        return self.f1 > null.p95


MAX_STRETCHES = 120


def token_scores(left: Binned, right: Binned) -> tuple[Score, Score]:
    """Return the functions F1 and Jaccard of two texts, by their keys; two texts without a token score 0."""
    a, b = left.tokens, right.tokens

    def f1(i: int, j: int) -> float:
        total = len(a[i]) + len(b[j])
        return 2 * len(a[i] & b[j]) / total if total else 0.0

    def jaccard(i: int, j: int) -> float:
        union = len(a[i] | b[j])
        return len(a[i] & b[j]) / union if union else 0.0

    return remembered(f1), remembered(jaccard)


def token_agreement(left: Binned, right: Binned) -> dict[str, Any]:
    """Return the token fields of an ``Agreement`` of two annotations of one stimulus."""
    f1, jaccard = token_scores(left, right)
    pairs = both(left, right)
    n = min(len(left.keys), len(right.keys))
    return {
        "n_bins": len(pairs),
        "only_left": sum(left.keys[i] >= 0 > right.keys[i] for i in range(n)),
        "only_right": sum(right.keys[i] >= 0 > left.keys[i] for i in range(n)),
        "f1": mean_score(pairs, f1),
        "jaccard": mean_score(pairs, jaccard),
        "f1_null": shuffled_null(left, right, f1) if pairs else None,
        "profile": tuple(mean_score(both(left, right, span=span), f1) for span in _stretches(n)),
    }


def _stretches(n: int) -> list[range]:
    n_parts = min(n, MAX_STRETCHES)
    return [range(i * n // n_parts, (i + 1) * n // n_parts) for i in range(n_parts)]


def embedding_agreement(left: Binned, right: Binned, encode: Encode) -> dict[str, Any]:
    """Return the embedding fields of an ``Agreement``: mean cosine of what both wrote in the same bin.

    At most ``MAX_EMBEDDED_BINS`` bins, spread evenly, are looked at; the null pairs texts of those bins at random
    (seeded permutations).
    """
    pairs = both(left, right)
    if len(pairs) > MAX_EMBEDDED_BINS:
        pairs = [pairs[i * len(pairs) // MAX_EMBEDDED_BINS] for i in range(MAX_EMBEDDED_BINS)]
    if not pairs:
        return {}
    places_a, places_b = ({key: i for i, key in enumerate(sorted(set(column)))} for column in zip(*pairs, strict=True))
    cosines = encode([left.texts[key] for key in places_a]) @ encode([right.texts[key] for key in places_b]).T
    indices = [(places_a[a], places_b[b]) for a, b in pairs]
    own = sum(float(cosines[a, b]) for a, b in indices) / len(indices)
    return {"cosine": own, "cosine_null": _permuted(cosines, indices), "n_embedded": len(indices)}


def _permuted(cosines: Any, indices: Sequence[tuple[int, int]], *, n: int = 100, seed: int = 0) -> Null | None:
    if len(indices) < 10:
        return None
    draw, means = random.Random(seed), []
    left, right = [a for a, _ in indices], [b for _, b in indices]
    for _ in range(n):
        draw.shuffle(right)
        means.append(float(cosines[left, right].mean()))
    means.sort()
    return Null(mean=sum(means) / n, p95=means[-(-95 * n // 100) - 1], n=n)


def is_label_like(texts: Sequence[str]) -> bool:
    """Return whether texts are labels from a short list: at most 60 of them, each used three times on the average."""
    distinct = {normalised(text) for text in texts}
    return 1 < len(distinct) <= 60 and len(texts) >= 3 * len(distinct)


def krippendorff_alpha(units: Sequence[Sequence[str]]) -> float | None:
    """Return Krippendorff's alpha for nominal values (Krippendorff 2011, "Computing Krippendorff's alpha-reliability").

    alpha = 1 - D_observed / D_expected, from the coincidences of values within units. None when no unit has two
    values, or all values are the same, so that there is nothing to agree on.

    Args:
        units: for each unit (a bin) the values that annotators gave it; missing ones are left out.
    """
    coincidences: Counter[tuple[str, str]] = Counter()
    for values in units:
        if len(values) > 1:
            counts = Counter(values)
            for a, n_a in counts.items():
                for b, n_b in counts.items():
                    coincidences[a, b] += n_a * (n_b - (a == b)) / (len(values) - 1)
    totals: Counter[str] = Counter()
    for (a, _), n in coincidences.items():
        totals[a] += n
    n = sum(totals.values())
    expected = n * n - sum(value * value for value in totals.values())
    if n < 2 or expected == 0:
        return None
    observed = sum(value for (a, b), value in coincidences.items() if a != b)
    return 1 - (n - 1) * observed / expected


def label_units(annotations: Sequence[Binned]) -> list[list[str]]:
    """Return, for each bin, the labels that annotators gave it."""
    n = min(len(annotation.keys) for annotation in annotations)
    return [
        [normalised(annotation.texts[annotation.keys[i]]) for annotation in annotations if annotation.keys[i] >= 0]
        for i in range(n)
    ]
