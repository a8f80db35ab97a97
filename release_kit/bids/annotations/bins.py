"""Annotations of one stimulus as a row of equal time bins: what was said in every second.

Owns the bins and the comparison of two rows of bins, at their own time and moved against each other. A score of two
texts is a function of the caller's; each pair of texts is scored once.
"""

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from release_kit.bids.annotations.table import Row
from release_kit.bids.annotations.tokens import normalised, tokens

BIN_S = 1.0
MIN_TOKENS = 3
"""Tokens of a sentence; shorter texts are labels and single words."""
MAX_NULL_BINS = 500
"""Bins that each move of the null looks at, spread evenly; neighbouring seconds say the same thing."""
N_SHUFFLES = 40
"""Moves of the null; the 95th percentile of 40 is the third largest."""

Score = Callable[[int, int], float]
"""Score of text ``i`` of one annotation and text ``j`` of another, from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Binned:
    """One annotation of one stimulus: ``texts[keys[i]]`` is what bin ``i`` holds, nothing when the key is -1."""

    keys: tuple[int, ...]
    texts: tuple[str, ...]
    tokens: tuple[frozenset[str], ...]
    """Of each text."""

    def sentences(self) -> tuple[str | None, ...]:
        """Return what each bin holds as it is compared, None where that is no sentence."""
        long = [normalised(text) if len(found) >= MIN_TOKENS else None for text, found in self._pairs()]
        return tuple(long[key] if key >= 0 else None for key in self.keys)

    def _pairs(self) -> Iterable[tuple[str, frozenset[str]]]:
        return zip(self.texts, self.tokens, strict=True)


@dataclass(frozen=True, kw_only=True)
class Null:
    """What the same two annotations score when one is moved against the other in time."""

    mean: float
    p95: float
    n: int


def binned(rows: Iterable[Row], duration_s: float, *, bin_s: float = BIN_S) -> Binned:
    """Return what each bin of ``[0, duration_s)`` holds; several texts in one bin are joined in the order of rows.

    A row belongs to every bin that it has a part in. Rows without a text are not there.
    """
    held: list[list[str]] = [[] for _ in range(max(1, math.ceil(duration_s / bin_s - 1e-9)))]
    for row in rows:
        if row.text is not None:
            first = max(0, math.floor(row.onset_s / bin_s + 1e-9))
            last = max(first + 1, math.ceil((row.onset_s + row.duration_s) / bin_s - 1e-9))
            for index in range(first, min(last, len(held))):
                held[index].append(row.text)
    known: dict[str, int] = {}
    keys = tuple(known.setdefault(" / ".join(texts), len(known)) if texts else -1 for texts in held)
    return Binned(keys=keys, texts=tuple(known), tokens=tuple(map(tokens, known)))


def both(left: Binned, right: Binned, *, lag: int = 0, span: Iterable[int] | None = None) -> list[tuple[int, int]]:
    """Return ``(key, key)`` of bins where both hold a text: bin ``i`` of the left, ``i + lag`` of the right.

    Args:
        left: one annotation.
        right: another of the same stimulus.
        lag: bins by which the right is late.
        span: bins of the left to look at; all of them when None.
    """
    n = min(len(left.keys), len(right.keys))
    chosen = range(n) if span is None else span
    pairs = ((left.keys[i], right.keys[i + lag]) for i in chosen if 0 <= i + lag < n)
    return [(a, b) for a, b in pairs if a >= 0 and b >= 0]


def mean_score(pairs: Sequence[tuple[int, int]], score: Score) -> float | None:
    """Return the mean score over pairs of texts; None when there is none."""
    return sum(score(a, b) for a, b in pairs) / len(pairs) if pairs else None


def shuffled_null(left: Binned, right: Binned, score: Score, *, seed: int = 0) -> Null | None:
    """Return the scores of the right annotation turned round in time by random amounts (a circular shift).

    The order of texts stays, so the null keeps how long texts last and how often they come again. Shifts are between
    10 % and 90 % of the length; None when there are fewer than ten bins.
    """
    n = min(len(left.keys), len(right.keys))
    if n < 10:
        return None
    draw = random.Random(seed)
    shifts = range(max(1, n // 10), n - n // 10)
    chosen = draw.sample(shifts, N_SHUFFLES) if len(shifts) > N_SHUFFLES else list(shifts)
    looked_at = spread(range(n), MAX_NULL_BINS)
    scores = [mean_score(_turned(left, right, looked_at, shift), score) for shift in chosen]
    found = sorted(value for value in scores if value is not None)
    if not found:
        return None
    p95 = found[min(len(found) - 1, math.ceil(0.95 * len(found)) - 1)]
    return Null(mean=sum(found) / len(found), p95=p95, n=len(found))


def remembered(score: Score) -> Score:
    """Return ``score`` with every result kept, since the same two texts meet in many bins."""
    known: dict[tuple[int, int], float] = {}

    def look_up(a: int, b: int) -> float:
        value = known.get((a, b))
        if value is None:
            value = known[a, b] = score(a, b)
        return value

    return look_up


def spread(places: range, most: int) -> range:
    """Return every k-th of ``places``, with the smallest k that leaves at most ``most`` of them."""
    return places[:: max(1, -(-len(places) // most))]


def _turned(left: Binned, right: Binned, places: range, shift: int) -> list[tuple[int, int]]:
    n = min(len(left.keys), len(right.keys))
    pairs = ((left.keys[i], right.keys[(i + shift) % n]) for i in places)
    return [(a, b) for a, b in pairs if a >= 0 and b >= 0]
