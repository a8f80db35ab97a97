"""The figure of a cell's card: one line per benchmark, this cell and its base model inside the grid's distribution.

Plain SVG by hand: no styles (the Hub serves files under a policy that forbids them), a white ground (cards are read in
dark themes too), small bytes that depend on nothing but the numbers. What all cells share is drawn once per release.
"""

from dataclasses import dataclass

from release_kit.core.results import Result
from release_kit.release.cards.markdown import xml
from release_kit.release.cards.numbers import Grid, Population, better, fixed, key_of, shots, signed

WIDTH = 820
LABEL_RIGHT = 232
TRACK_LEFT, TRACK_RIGHT = 288, 620
ROW_HEIGHT = 26
HEAD_HEIGHT, FOOT_HEIGHT = 56, 30
FONT = "ui-sans-serif,system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif"

INK, FAINT, GRID, BAND, LINE = "#1f2328", "#59636e", "#eaeef2", "#c9d8e8", "#8fa8c2"
CELL, BASE, BETTER, WORSE = "#0b62c4", "#b4540a", "#1a7f37", "#b42318"


@dataclass(frozen=True, kw_only=True)
class Track:
    """One benchmark's line: its scale, and the part of the drawing that is the same for every cell."""

    low: float
    high: float
    shared: str

    def x(self, value: float) -> float:
        """Return the horizontal place of a value, kept inside the track."""
        share = (value - self.low) / (self.high - self.low)
        return round(TRACK_LEFT + min(max(share, 0.0), 1.0) * (TRACK_RIGHT - TRACK_LEFT), 1)


class CellFigures:
    """Draws the figure of any cell of one release.

    Args:
        grid: the results of the release.
    """

    def __init__(self, grid: Grid):
        self._grid = grid
        self._tracks = {key: track_of(grid, population) for key, population in grid.populations.items()}

    def draw(self, cell_id: str, name: str) -> str | None:
        """Return the SVG of a cell, or None for a cell without any value."""
        rows = [row for row in self._grid.rows[cell_id] if row.value is not None]
        if not rows:
            return None
        base = self._grid.base_of(cell_id)
        height = HEAD_HEIGHT + ROW_HEIGHT * len(rows) + FOOT_HEIGHT
        parts = [svg_open(WIDTH, height, f"Results of {name}"), _legend(base is not None)]
        for index, row in enumerate(rows):
            top = HEAD_HEIGHT + index * ROW_HEIGHT
            inside = self._row(row, None if base is None else base.cell_id)
            parts.append(f'<g transform="translate(0 {top})">{inside}</g>')
        parts.append(_foot(height))
        return "".join(parts) + "</svg>\n"

    def _row(self, row: Result, base_id: str | None) -> str:
        key = key_of(row)
        track, population = self._tracks[key], self._grid.populations[key]
        parts, middle, x = [track.shared], ROW_HEIGHT // 2, track.x(row.value)
        base = None if base_id is None else self._grid.value(base_id, key)
        if base is not None:
            b = track.x(base)
            parts.append(
                f'<path d="M{b} {middle - 5.5}L{b + 5.5:.1f} {middle}L{b} {middle + 5.5}L{b - 5.5:.1f} {middle}Z" '
                f'fill="#ffffff" stroke="{BASE}" stroke-width="1.6"/>'
            )
        if row.stderr:
            left, right = track.x(row.value - row.stderr), track.x(row.value + row.stderr)
            parts.append(f'<path d="M{left} {middle}H{right}" stroke="{CELL}" stroke-width="2"/>')
        parts.append(f'<circle cx="{x}" cy="{middle}" r="4.6" fill="{CELL}" stroke="#ffffff"/>')
        shown = fixed(row.value, population.decimals)
        parts.append(f'<text x="738" y="{middle + 4}" text-anchor="end" font-weight="600">{shown}</text>')
        if base is not None:
            parts.append(_difference(population, row.value, base, middle))
        return "".join(parts)


def track_of(grid: Grid, population: Population) -> Track:
    """Return the line of one benchmark: range, middle half and median of the grid, and the scale that fits all."""
    key, middle = population.key, ROW_HEIGHT // 2
    baselines = [grid.value(cell_id, key) for cell_id in grid.baseline_ids]
    values = sorted([*population.values, *(value for value in baselines if value is not None)])
    low, high = (values[0], values[-1]) if values else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    bare = Track(low=low, high=high, shared="")
    label = " · ".join(part for part in (_shortened(key[0]), shots(key[1])) if part)
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
        parts.append(f'<rect x="{left}" y="{middle - 5}" width="{width:.1f}" height="10" rx="2" fill="{BAND}"/>')
        parts.append(f'<path d="M{median} {middle - 8}V{middle + 8}" stroke="{LINE}" stroke-width="2"/>')
    return Track(low=low, high=high, shared="".join(parts))


def svg_open(width: int, height: int, title: str) -> str:
    """Return the opening of a figure: size, title, white ground, type."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="{FONT}" font-size="13" fill="{INK}" role="img"><title>{xml(title)}</title>'
        f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff" stroke="none"/>'
    )


def _difference(population: Population, value: float, base: float, middle: int) -> str:
    gained = better(population, value, base)
    colour = FAINT if gained is None or value == base else BETTER if gained else WORSE
    shown = signed(value - base, population.decimals)
    return f'<text x="804" y="{middle + 4}" text-anchor="end" fill="{colour}">{shown}</text>'


def _bound(x: int, anchor: str, text: str) -> str:
    y = ROW_HEIGHT // 2 + 3
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


def _foot(height: int) -> str:
    text = "Each line has its own scale, from the lowest to the highest value of the grid."
    return f'<text x="{TRACK_LEFT}" y="{height - 11}" font-size="11" fill="{FAINT}">{text}</text>'


def _shortened(text: str, limit: int = 26) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
