"""Times that run away: annotation ends against run lengths, and annotators against each other, part by part.

A film annotated at another frame rate than it was shown gives times that grow wrong linearly; a player started late
gives a constant. Owns both measures and the limits from which they are reported.
"""

import statistics
from collections.abc import Iterator, Sequence

from release_kit.bids.annotations.agreement import token_scores
from release_kit.bids.annotations.bins import BIN_S, Binned, both, mean_score, spread
from release_kit.bids.annotations.quality_context import FileRows, run_name
from release_kit.bids.annotations.quality_records import EndDrift, Finding, LagDrift, Track
from release_kit.bids.annotations.quality_tracks import DENSE, LONG_GAP_S, place, seconds

STRETCH = 0.005
"""Slope from which a stretch is reported: film at 24 frames shown at 25 is 0.042, NTSC against film 0.001."""
LAG_S = 2.0
MAX_LAG = 15
"""Bins to either side that are searched."""
PART_S = 60.0
MAX_PARTS = 12
MAX_PART_BINS = 60
"""Bins of a part that are looked at, spread evenly."""
CLEARER = 0.05
"""How much more tokens must agree at another lag than at none for it to count."""


def end_drifts(files: Sequence[FileRows]) -> list[EndDrift]:
    """Return, for each annotation on the clocks of runs, where its files end against their runs' spans."""
    parts: dict[str, list[tuple[str, float, float]]] = {}
    for file in files:
        shows = file.run.shows if file.run is not None else None
        if file.run is not None and shows is not None and file.rows:
            end = max(row.onset_s + row.duration_s for row in file.rows) - shows.start_s
            parts.setdefault(file.annotation, []).append((run_name(file.run), shows.duration_s, round(end, 6)))
    return [_end_drift(name, found) for name, found in sorted(parts.items())]


def end_findings(drift: EndDrift, tolerance_s: float = 1.0) -> Iterator[Finding]:
    """Yield what is wrong with the ends of one annotation's files: too long, or all stretched alike."""
    long = [part for part in drift.parts if part[2] > part[1] + tolerance_s]
    for name, length, end in long:
        what = f"goes on until {seconds(end)} of the run, which shows {seconds(length)}"
        yield Finding(code="longer-than-run", what=what, where=f"{drift.annotation}, {name}")
    mean_length = statistics.fmean(length for _, length, _ in drift.parts)
    off = abs(drift.ratio - 1)
    if len(drift.parts) > 1 and off >= STRETCH and drift.residual_s < off * mean_length / 2:
        what = (
            f"ends of {len(drift.parts)} parts lie on a line of slope {drift.ratio:.4f} over the length of their runs"
        )
        yield Finding(code="stretched", what=what, where=drift.annotation, n=len(drift.parts))


def early_findings(file: FileRows, track: Track) -> Iterator[Finding]:
    """Yield a finding when a nearly complete track has nothing at the end of one of its runs."""
    shows = file.run.shows if file.run is not None else None
    if file.run is None or shows is None or track.coverage < DENSE or not file.rows:
        return
    missing = shows.end_s - max(row.onset_s + row.duration_s for row in file.rows)
    if missing >= max(LONG_GAP_S, 3 * (track.median_duration_s or 0.0)):
        what = f"stops {seconds(missing)} before the end of {run_name(file.run)}"
        yield Finding(code="ends-early", what=what, where=f"{place(track)}, {file.path.name}")


def lag_drift(stimulus: str, names: tuple[str, str], left: Binned, right: Binned) -> LagDrift | None:
    """Return by how much one annotation is late against another, or None where that cannot be told.

    The stimulus is cut into up to ``MAX_PARTS`` equal parts of at least ``PART_S``; the lag of a part is the one of the
    highest mean F1, zero unless another is clearly better. At least two parts are needed.
    """
    n = min(len(left.keys), len(right.keys))
    n_parts = min(MAX_PARTS, int(n * BIN_S // PART_S))
    if n_parts < 2:
        return None
    f1, _ = token_scores(left, right)
    found = []
    for index in range(n_parts):
        span = range(index * n // n_parts, (index + 1) * n // n_parts)
        looked_at = spread(span, MAX_PART_BINS)
        scores = {lag: mean_score(both(left, right, lag=lag, span=looked_at), f1) for lag in _lags()}
        lag = _best(scores)
        if lag is not None:
            found.append(((span.start + span.stop) / 2 * BIN_S, round(lag * BIN_S)))
    if len(found) < 2:
        return None
    slope = _slope(found)
    median = statistics.median(lag for _, lag in found)
    return LagDrift(stimulus=stimulus, left=names[0], right=names[1], parts=tuple(found), lag_s=median, stretch=slope)


def lag_findings(drift: LagDrift) -> Iterator[Finding]:
    """Yield a finding when one annotator is late or early throughout, or more and more."""
    where = f"{drift.left} and {drift.right}, stim-{drift.stimulus}"
    lags = [lag for _, lag in drift.parts]
    moved = sum(abs(lag) >= LAG_S for lag in lags)
    if len(lags) > 2 and abs(drift.stretch or 0) >= STRETCH and max(lags) - min(lags) >= 2 * LAG_S and _is_line(drift):
        first, last = drift.parts[0], drift.parts[-1]
        what = f"the second is {_late(first[1])} at {seconds(first[0])} and {_late(last[1])} at {seconds(last[0])}"
        yield Finding(code="stretched", what=what, where=where, n=len(lags))
    elif abs(drift.lag_s) >= LAG_S and moved * 2 > len(lags):
        what = f"the second is {_late(drift.lag_s)} (median of {len(lags)} parts)"
        yield Finding(code="shifted", what=what, where=where, n=moved)


def _end_drift(name: str, parts: list[tuple[str, float, float]]) -> EndDrift:
    ratio = sum(length * end for _, length, end in parts) / sum(length * length for _, length, _ in parts)
    square = statistics.fmean((end - ratio * length) ** 2 for _, length, end in parts)
    return EndDrift(annotation=name, parts=tuple(parts), ratio=ratio, residual_s=square**0.5)


def _lags() -> list[int]:
    """No lag first, then the smaller ones first: the first of equal scores wins."""
    return sorted(range(-MAX_LAG, MAX_LAG + 1), key=abs)


def _best(scores: dict[int, float | None]) -> int | None:
    known = {lag: score for lag, score in scores.items() if score is not None}
    if not known or max(known.values()) <= 0:
        return None
    best = max(known, key=lambda lag: known[lag])
    return best if known[best] >= known.get(0, 0.0) + CLEARER else 0


def _slope(points: Sequence[tuple[float, float]]) -> float | None:
    if len(points) < 3:
        return None
    times, lags = zip(*points, strict=True)
    return statistics.linear_regression(times, lags).slope


def _is_line(drift: LagDrift) -> bool:
    """Whether most parts lie within two bins of the fitted line: a stretch, not noise."""
    times, lags = zip(*drift.parts, strict=True)
    slope, intercept = statistics.linear_regression(times, lags)
    near = sum(abs(lag - (intercept + slope * at)) <= 2 * BIN_S for at, lag in drift.parts)
    return near >= 0.75 * len(lags)


def _late(lag_s: float) -> str:
    return "in time" if lag_s == 0 else f"{abs(lag_s):g} s {'late' if lag_s > 0 else 'early'}"
