"""Arithmetic of time spans: their union, its length and its gaps. Knows rows by their onset and duration only."""

from collections.abc import Iterable
from typing import Protocol


class Timed(Protocol):
    """Anything with an onset and a duration in seconds."""

    @property
    def onset_s(self) -> float:
        """Begin."""
        ...

    @property
    def duration_s(self) -> float:
        """Length, not negative."""
        ...


Span = tuple[float, float]
"""Begin and end, in seconds."""


def union(spans: Iterable[Span]) -> list[Span]:
    """Return the union of half-open spans ``[begin, end)``: sorted, apart from each other, none empty."""
    joined: list[Span] = []
    for begin, end in sorted(span for span in spans if span[1] > span[0]):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return joined


def length_s(spans: Iterable[Span]) -> float:
    """Return the summed length of spans that do not overlap."""
    return sum(end - begin for begin, end in spans)


def spans_of(rows: Iterable[Timed]) -> list[Span]:
    """Return the span of each row."""
    return [(row.onset_s, row.onset_s + row.duration_s) for row in rows]


def clipped(spans: Iterable[Span], begin: float, end: float) -> list[Span]:
    """Return the parts of ``spans`` inside ``[begin, end)``; what lies outside is left out."""
    parts = ((max(low, begin), min(high, end)) for low, high in spans)
    return [part for part in parts if part[1] > part[0]]


def covered_s(rows: Iterable[Timed], begin: float, end: float) -> float:
    """Return how many seconds of ``[begin, end)`` at least one of ``rows`` covers."""
    return length_s(union(clipped(spans_of(rows), begin, end)))


def gaps(spans: Iterable[Span], begin: float, end: float) -> list[Span]:
    """Return what of ``[begin, end)`` no span covers."""
    found, at = [], begin
    for low, high in clipped(union(spans), begin, end):
        if low > at:
            found.append((at, low))
        at = high
    return [*found, (at, end)] if end > at else found
