"""A picture of one stimulus in time, as SVG: its runs, what each annotator covered, and where they agree.

Owns geometry and colours; text is escaped here. The page around it is ``report_html.py``.
"""

import math
from collections.abc import Iterator, Sequence
from html import escape

from release_kit.bids.annotations.agreement import Agreement
from release_kit.bids.annotations.quality_records import StimulusFacts, Track
from release_kit.bids.annotations.spans import Span

WIDTH, GUTTER, RIGHT = 1080, 172, 58
ROW, BAR = 20, 13
COLOURS = {
    "speech": "#2f6fb3",
    "object": "#c98a12",
    "story": "#23876a",
    "summary": "#a8558c",
    "timeplace": "#5a6fd0",
}
"""Level → colour; told apart by people who do not see red or green too."""
OTHER = "#6b7785"
MAX_TICKS_PX = 3.0
"""Ends of intervals are drawn while they are at least this far apart on the average."""
STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)


def timeline_svg(stimulus: StimulusFacts, tracks: Sequence[Track], agreements: Sequence[Agreement]) -> str:
    """Return one ``<svg>`` of a stimulus: a row for its runs, one for each track, and one for each pair that agrees.

    Args:
        stimulus: its length and runs.
        tracks: its tracks; drawn by level, in this order.
        agreements: its pairs; each is a strip from pale (no token shared) to full colour (all of them).
    """
    length = stimulus.duration_s or max((track.last_s for track in tracks), default=1.0) or 1.0
    rows = [*_run_rows(stimulus, length), *_track_rows(tracks, agreements, length)]
    height = len(rows) * ROW + 30
    parts = [
        f'<svg class="timeline" viewBox="0 0 {WIDTH} {height}" role="img" shape-rendering="crispEdges" '
        f'aria-label="Timeline of {escape(stimulus.title)}">',
        *_axis(length, len(rows) * ROW),
        *(f'<g transform="translate(0 {index * ROW})">{row}</g>' for index, row in enumerate(rows)),
        "</svg>",
    ]
    return "\n".join(parts)


def colour(level: str) -> str:
    """Return the colour of a level."""
    return COLOURS.get(level, OTHER)


def level_order(level: str) -> tuple[int, str]:
    """Return the key that sorts levels: those of the vocabulary in its order, then the others by name."""
    known = list(COLOURS)
    return (known.index(level) if level in known else len(known), level)


def clock(seconds: float) -> str:
    """Return ``m:ss``, or ``h:mm:ss`` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def _x(at_s: float, length: float) -> float:
    inside = min(max(at_s, 0.0), length)
    return round(GUTTER + (WIDTH - GUTTER - RIGHT) * inside / length, 2)


def _rect(span: Span, length: float, look: str, title: str, *, top: float = 3, height: float = BAR) -> str:
    left = _x(span[0], length)
    width = max(0.6, round(_x(span[1], length) - left, 2))
    return f'<rect x="{left}" y="{top}" width="{width}" height="{height}" {look}><title>{escape(title)}</title></rect>'


def _label(name: str, note: str = "") -> str:
    return (
        f'<text class="name" x="{GUTTER - 10}" y="14" text-anchor="end">{escape(name)}</text>'
        f'<text class="note" x="{WIDTH - RIGHT + 8}" y="14">{escape(note)}</text>'
    )


def _axis(length: float, bottom: float) -> Iterator[str]:
    step = next((step for step in STEPS_S if length / step <= 10), 3600 * math.ceil(length / 36_000))
    for index in range(math.floor(length / step) + 1):
        x = _x(index * step, length)
        yield f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="{bottom + 3}"/>'
        yield f'<text class="tick" x="{x}" y="{bottom + 18}" text-anchor="middle">{clock(index * step)}</text>'


def _run_rows(stimulus: StimulusFacts, length: float) -> Iterator[str]:
    """Runs in turn on one row; what a run repeats from the one before is hatched."""
    if not stimulus.runs:
        return
    parts = []
    for index, (name, begin, end, overlap_s) in enumerate(stimulus.runs):
        title = f"{name}: {clock(begin)} to {clock(end)}"
        top, look = (3, 'class="run"') if index % 2 == 0 else (7, 'class="run odd"')
        parts.append(_rect((begin, end), length, look, title, top=top, height=8))
        if overlap_s:
            again = f"{name} shows {overlap_s:g} s again"
            parts.append(_rect((begin, begin + overlap_s), length, 'class="again"', again, top=3, height=12))
    yield _label("runs", f"{len(stimulus.runs)}") + "".join(parts)


def _track_rows(tracks: Sequence[Track], agreements: Sequence[Agreement], length: float) -> Iterator[str]:
    groups = sorted(
        {(track.level, track.language) for track in tracks}, key=lambda group: (level_order(group[0]), group[1])
    )
    for level, language in groups:
        for track in tracks:
            if (track.level, track.language) == (level, language):
                yield _track_row(track, length)
        for agreement in agreements:
            if (agreement.level, agreement.language) == (level, language) and agreement.f1 is not None:
                yield _agreement_row(agreement, length)


def _track_row(track: Track, length: float) -> str:
    fill = f'fill="{colour(track.level)}"'
    parts = [_rect((0, length), length, 'class="bed"', f"{track.annotation}: no text here")]
    for span in track.spans:
        parts.append(_rect(span, length, fill, f"{track.annotation}: {clock(span[0])} to {clock(span[1])}"))
    for span in track.empty_spans:
        parts.append(
            _rect(span, length, 'class="empty"', f"marked without a text: {clock(span[0])} to {clock(span[1])}")
        )
    if track.onsets and (WIDTH - GUTTER - RIGHT) / len(track.onsets) >= MAX_TICKS_PX:
        ticks = "".join(f"M{_x(onset, length)} 3v{BAR}" for onset in track.onsets if 0 < onset < length)
        parts.append(f'<path class="end" d="{ticks}"/>')
    return _label(f"{track.annotation} ({track.language})", f"{track.coverage:.0%}") + "".join(parts)


def _agreement_row(agreement: Agreement, length: float) -> str:
    """One strip; its stretches are as wide as the profile is fine."""
    n, parts = len(agreement.profile), []
    for index, value in enumerate(agreement.profile):
        if value is not None:
            span = (index * length / n, (index + 1) * length / n)
            look = f'fill="{colour(agreement.level)}" fill-opacity="{0.08 + 0.92 * min(1.0, value):.2f}"'
            parts.append(_rect(span, length, look, f"F1 {value:.2f} about {clock(sum(span) / 2)}", top=5, height=7))
    both = f"{agreement.left} = {agreement.right}"
    name = both if len(both) <= 22 else f"… = {agreement.right}"[:22]
    return _label(name, f"F1 {agreement.f1:.2f}") + "".join(parts)
