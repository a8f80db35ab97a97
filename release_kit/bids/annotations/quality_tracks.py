"""One annotation of one stimulus by itself: coverage, gaps, overlaps, duplicates, empty and odd texts.

Owns the figures of a ``Track`` and the findings that need nothing but it and the length of its stimulus.
"""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from release_kit.bids.annotations.quality_context import FileRows
from release_kit.bids.annotations.quality_records import Finding, StimulusFacts, Track
from release_kit.bids.annotations.spans import clipped, gaps, length_s, spans_of, union
from release_kit.bids.annotations.stimuli import Annotation
from release_kit.bids.annotations.table import Row
from release_kit.bids.annotations.tokens import is_foreign_script, is_placeholder, normalised

TOLERANCE_S = 0.05
"""Times closer than a frame and a half are the same time."""
DENSE = 0.8
"""A track with this coverage is meant to be complete, so that a hole in it is worth a look."""
LONG_GAP_S = 20.0
MANY_EMPTY = 0.1


def measure_track(annotation: Annotation, rows: Sequence[Row], stimulus: StimulusFacts) -> Track:
    """Return the figures of the rows of one annotation of one stimulus, in canonical order.

    A stimulus of unknown length is taken to end with its last annotation.
    """
    end = stimulus.duration_s or max(row.onset_s + row.duration_s for row in rows)
    texts = [row for row in rows if row.text is not None]
    spans = union(clipped(spans_of(texts), 0.0, end))
    holes = [hole for hole in gaps(spans, 0.0, end) if hole[1] - hole[0] > TOLERANCE_S]
    all_spans = [span for span in spans_of(rows) if span[1] > span[0]]
    empty = union(clipped(spans_of(row for row in rows if row.text is None), 0.0, end))
    return Track(
        annotation=annotation.id,
        stimulus=stimulus.label,
        level=annotation.level,
        annotator=annotation.annotator,
        language=annotation.language,
        n_intervals=len(rows),
        n_texts=len(texts),
        n_distinct=len({row.text for row in texts}),
        n_repeated=sum(a.text == b.text for a, b in pairwise(texts)),
        covered_s=length_s(spans),
        coverage=length_s(spans) / end if end else 0.0,
        overlap_s=_twice_covered_s(all_spans),
        empty_s=length_s(empty),
        n_gaps=len(holes),
        longest_gap=max(holes, key=lambda hole: hole[1] - hole[0], default=None),
        median_duration_s=statistics.median(row.duration_s for row in rows) if rows else None,
        first_s=min(row.onset_s for row in rows),
        last_s=max(row.onset_s + row.duration_s for row in rows),
        spans=tuple(spans),
        empty_spans=tuple(empty),
        onsets=tuple(row.onset_s for row in texts),
    )


def track_findings(track: Track, rows: Sequence[Row], stimulus: StimulusFacts) -> Iterator[Finding]:
    """Yield what is odd about one track."""
    where = place(track)
    yield from _timing(rows, stimulus, where)
    yield from _doubles(rows, where)
    yield from _holes(track, stimulus, where)
    yield from _texts(track, rows, where)


def order_findings(file: FileRows) -> Iterator[Finding]:
    """Yield a finding when the rows of a file are not in the order of their onsets; the first such place is named."""
    back = [(a, b) for a, b in pairwise(file.rows) if b.onset_s < a.onset_s - 1e-9]
    if back:
        before, after = back[0]
        what = f"{seconds(after.onset_s)} comes after {seconds(before.onset_s)}"
        yield Finding(code="unsorted", what=what, where=f"{file.annotation}, {file.path.name}", n=len(back))


def place(track: Track) -> str:
    """Return how findings name a track: ``storyA01, stim-film``."""
    return f"{track.annotation}, stim-{track.stimulus}"


def seconds(value: float) -> str:
    """Return a time as people read it: ``12 s``, ``75.25 s (1:15)``."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    minutes, rest = divmod(int(abs(value)), 60)
    return f"{text} s" if abs(value) < 60 else f"{text} s ({minutes}:{rest:02d})"


def _twice_covered_s(spans: Sequence[tuple[float, float]]) -> float:
    """Length of what at least two spans cover."""
    edges = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    total, depth, since = 0.0, 0, 0.0
    for at, step in edges:
        if depth >= 2:
            total += at - since
        depth, since = depth + step, at
    return total


def _timing(rows: Sequence[Row], stimulus: StimulusFacts, where: str) -> Iterator[Finding]:
    length = stimulus.duration_s
    early = [row for row in rows if row.onset_s < -TOLERANCE_S]
    late = [row for row in rows if length is not None and row.onset_s + row.duration_s > length + TOLERANCE_S]
    if early:
        what = f"begins at {seconds(early[0].onset_s)}, before the stimulus"
        yield Finding(code="outside-stimulus", what=what, where=where, n=len(early))
    if late and length is not None:
        end = max(row.onset_s + row.duration_s for row in late)
        what = f"goes on until {seconds(end)}; the stimulus ends at {seconds(length)}"
        yield Finding(code="outside-stimulus", what=what, where=where, n=len(late))
    points = [row for row in rows if row.duration_s == 0]
    if points:
        what = f"lasts no time, the first at {seconds(points[0].onset_s)}"
        yield Finding(code="zero-duration", what=what, where=where, n=len(points))


def _doubles(rows: Sequence[Row], where: str) -> Iterator[Finding]:
    twice = [row for row, n in Counter(rows).items() if n > 1]
    if twice:
        what = f"the interval at {seconds(twice[0].onset_s)} stands more than once with the same text"
        yield Finding(code="duplicate", what=what, where=where, n=len(twice))
    overlaps = list(_overlaps(list(dict.fromkeys(rows))))
    if overlaps:
        first, second = overlaps[0]
        end = first.onset_s + first.duration_s
        what = f"the interval until {seconds(end)} overlaps the next, which begins at {seconds(second.onset_s)}"
        yield Finding(code="overlapping", what=what, where=where, n=len(overlaps))


def _overlaps(rows: Sequence[Row]) -> Iterator[tuple[Row, Row]]:
    """Pairs of one speaker; two people may well talk at once."""
    last: dict[str | None, Row] = {}
    for row in sorted(rows, key=lambda row: (row.onset_s, row.duration_s)):
        before = last.get(row.speaker)
        if before is not None and row.onset_s < before.onset_s + before.duration_s - TOLERANCE_S:
            yield before, row
        if before is None or row.onset_s + row.duration_s >= before.onset_s + before.duration_s:
            last[row.speaker] = row


def _holes(track: Track, stimulus: StimulusFacts, where: str) -> Iterator[Finding]:
    if track.coverage < DENSE or track.longest_gap is None or stimulus.duration_s is None:
        return
    begin, end = track.longest_gap
    if end - begin < max(LONG_GAP_S, 3 * (track.median_duration_s or 0.0)):
        return
    at_end = end >= stimulus.duration_s - TOLERANCE_S
    code = "ends-early" if at_end else "long-gap"
    what = (
        f"stops at {seconds(begin)} of {seconds(end)}" if at_end else f"no text from {seconds(begin)} to {seconds(end)}"
    )
    yield Finding(code=code, what=what, where=where)


def _texts(track: Track, rows: Sequence[Row], where: str) -> Iterator[Finding]:
    empty = [row for row in rows if row.text is None]
    if empty and track.empty_s >= MANY_EMPTY * (track.empty_s + track.covered_s):
        what = f"{seconds(track.empty_s)} of marked intervals have no text, the first at {seconds(empty[0].onset_s)}"
        yield Finding(code="empty-spell", what=what, where=where, n=len(empty))
    texts = [row for row in rows if row.text is not None]
    odd = [row for row in texts if is_placeholder(row.text or "")]
    if odd:
        common = Counter(normalised(row.text or "") for row in odd).most_common(1)[0][0]
        yield Finding(code="placeholder", what=f"the text is {common!r}", where=where, n=len(odd))
    foreign = [row for row in texts if is_foreign_script(row.text or "", track.language)]
    if foreign:
        shown = (foreign[0].text or "")[:40]
        what = f"{shown!r} at {seconds(foreign[0].onset_s)} is hardly {track.language}"
        yield Finding(code="foreign-script", what=what, where=where, n=len(foreign))
