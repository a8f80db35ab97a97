"""The figure of a cell's card: one line per benchmark, this cell and its base model inside the grid's distribution.

Plain SVG by hand: no styles (the Hub serves files under a policy that forbids them), a white ground (cards are read in
dark themes too), small bytes that depend on nothing but the numbers. What all cells share is drawn once per release.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from release_kit.release.cards.markdown import xml
from release_kit.release.cards.numbers import Comparison, Grid, Population, better, fixed, shots

WIDTH = 820
LABEL_RIGHT = 232
TRACK_LEFT, TRACK_RIGHT = 288, 620
ROW_HEIGHT, MIDDLE = 26, 13
HEAD_HEIGHT, FOOT_HEIGHT = 56, 30
FONT = "ui-sans-serif,system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif"

INK, FAINT, GRID, BAND, LINE = "#1f2328", "#59636e", "#eaeef2", "#c9d8e8", "#8fa8c2"
CELL, BASE, BETTER, WORSE = "#0b62c4", "#b4540a", "#1a7f37", "#b42318"


@dataclass(frozen=True, kw_only=True)
class Track:
    """One benchmark's line: its scale, and the part of the drawing that is the same for every cell."""

    low: float
    per_unit: float
    """Width of one unit of the metric."""
    shared: str

    def x(self, value: float) -> float:
        """Return the horizontal place of a value, kept inside the track."""
        return min(max(TRACK_LEFT + (value - self.low) * self.per_unit, TRACK_LEFT), TRACK_RIGHT)


class CellFigures:
    """Draws the figure of any cell of one release.

    Args:
        grid: the results of the release.
    """

    def __init__(self, grid: Grid):
        self._tracks = {key: track_of(grid, population) for key, population in grid.populations.items()}

    def draw(self, name: str, comparisons: Sequence[Comparison], with_base: bool) -> str | None:
        """Return the SVG of a cell, or None for a cell without any value.

        Args:
            name: name of the cell.
            comparisons: its results.
            with_base: whether there is a base cell to compare with.
        """
        valued = [entry for entry in comparisons if entry.row.value is not None]
        if not valued:
            return None
        height = HEAD_HEIGHT + ROW_HEIGHT * len(valued) + FOOT_HEIGHT
        parts = [svg_open(WIDTH, height, f"Results of {name}"), _legend(with_base)]
        for index, entry in enumerate(valued):
            track = self._tracks[entry.population.key]
            top = HEAD_HEIGHT + index * ROW_HEIGHT
            parts.append(f'<g transform="translate(0 {top})">{track.shared}{_marks(entry, track)}</g>')
        parts.append(foot(height))
        return "".join(parts) + "</svg>\n"


def _marks(entry: Comparison, track: Track) -> str:
    """Return what belongs to one cell on a line: its dot and error, its base model, both numbers."""
    value, base, text = entry.row.value, entry.base, MIDDLE + 4
    diamond = difference = error = ""
    if base is not None:
        b = track.x(base)
        diamond = (
            f'<path d="M{b:.1f} {MIDDLE - 5.5}l5.5 5.5l-5.5 5.5l-5.5-5.5Z" '
            f'fill="#ffffff" stroke="{BASE}" stroke-width="1.6"/>'
        )
        gained = better(entry.population, value, base)
        colour = FAINT if gained is None or value == base else BETTER if gained else WORSE
        difference = f'<text x="804" y="{text}" text-anchor="end" fill="{colour}">{entry.difference_text}</text>'
    if entry.row.stderr:
        left, right = track.x(value - entry.row.stderr), track.x(value + entry.row.stderr)
        error = f'<path d="M{left:.1f} {MIDDLE}H{right:.1f}" stroke="{CELL}" stroke-width="2"/>'
    return (
        f'{diamond}{error}<circle cx="{track.x(value):.1f}" cy="{MIDDLE}" r="4.6" fill="{CELL}" stroke="#ffffff"/>'
        f'<text x="738" y="{text}" text-anchor="end" font-weight="600">{entry.value_text}</text>{difference}'
    )


def track_of(grid: Grid, population: Population) -> Track:
    """Return the line of one benchmark: range, middle half and median of the grid, and the scale that fits all."""
    key, middle = population.key, MIDDLE
    baselines = [grid.value(cell_id, key) for cell_id in grid.baseline_ids]
    values = sorted([*population.values, *(value for value in baselines if value is not None)])
    low, high = (values[0], values[-1]) if values else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    bare = Track(low=low, per_unit=(TRACK_RIGHT - TRACK_LEFT) / (high - low), shared="")
    label = result_label(grid, population)
    arrow = " ↓" if population.higher_is_better is False else ""
    parts = [
        f'<text x="{LABEL_RIGHT}" y="{middle + 4}" text-anchor="end">{xml(label + arrow)}'
        f"<title>{xml(population.label)}</title></text>",
        _bound(TRACK_LEFT - 8, "end", fixed(low, population.decimals)),
        _bound(TRACK_RIGHT + 8, "start", fixed(high, population.decimals)),
        f'<path d="M{TRACK_LEFT} {middle}H{TRACK_RIGHT}" stroke="{GRID}" stroke-width="10" stroke-linecap="round"/>',
    ]
    if population.values:
        left, right = bare.x(population.quantile(0.25)), bare.x(population.quantile(0.75))
        median = bare.x(population.median)
        width = max(right - left, 1)
        parts.append(f'<rect x="{left:.1f}" y="{middle - 5}" width="{width:.1f}" height="10" rx="2" fill="{BAND}"/>')
        parts.append(f'<path d="M{median:.1f} {middle - 8}V{middle + 8}" stroke="{LINE}" stroke-width="2"/>')
    return replace(bare, shared="".join(parts))


def result_label(grid: Grid, population: Population) -> str:
    """Return the short name of a result in figures: its metric stands there only where a benchmark has several."""
    benchmark, n_shot, metric = population.key
    several = sum(other[:2] == (benchmark, n_shot) for other in grid.populations) > 1
    parts = (_shortened(benchmark), shots(n_shot), _shortened(metric, 14) if several else "")
    return " · ".join(part for part in parts if part)


def svg_open(width: int, height: int, title: str) -> str:
    """Return the opening of a figure: size, title, white ground, type."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="{FONT}" font-size="13" fill="{INK}" role="img"><title>{xml(title)}</title>'
        f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff" stroke="none"/>'
    )


def _bound(x: int, anchor: str, text: str) -> str:
    y = MIDDLE + 3
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="10" fill="{FAINT}">{text}</text>'


def _legend(with_base: bool) -> str:
    y = 24
    parts = [
        f'<circle cx="40" cy="{y}" r="4.6" fill="{CELL}"/><text x="51" y="{y + 4}">this cell</text>',
        f'<rect x="124" y="{y - 5}" width="26" height="10" rx="2" fill="{BAND}"/>'
        f'<text x="157" y="{y + 4}">middle half of the grid</text>',
        f'<path d="M322 {y - 8}V{y + 8}" stroke="{LINE}" stroke-width="2"/><text x="330" y="{y + 4}">median</text>',
        f'<text x="738" y="{y + 4}" text-anchor="end" fill="{FAINT}">value</text>',
    ]
    if with_base:
        parts.append(
            f'<path d="M404 {y - 5.5}L409.5 {y}L404 {y + 5.5}L398.5 {y}Z" fill="#ffffff" stroke="{BASE}" '
            f'stroke-width="1.6"/><text x="416" y="{y + 4}">base model</text>'
        )
        parts.append(f'<text x="804" y="{y + 4}" text-anchor="end" fill="{FAINT}">vs. base</text>')
    return "".join(parts) + f'<path d="M16 44H{WIDTH - 16}" stroke="{GRID}"/>'


def foot(height: int) -> str:
    """Return the line below a figure that explains its scales."""
    text = "Each line has its own scale, from the lowest to the highest value, base models included."
    return f'<text x="{TRACK_LEFT}" y="{height - 11}" font-size="11" fill="{FAINT}">{text}</text>'


def _shortened(text: str, limit: int = 26) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
