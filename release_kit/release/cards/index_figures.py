"""The two figures of a release's card: the distribution of every result, and a map of the whole grid.

Same plain SVG as in ``figures.py``. The map shows single cells as long as they fit, then medians by one factor; colours
run from the lowest to the highest value of each column, a hole is hatched.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from release_kit.core.grid import level_text
from release_kit.release.cards import figures as draw
from release_kit.release.cards.figures import FAINT, GRID, INK, LINE, result_label, svg_open, track_of
from release_kit.release.cards.index_card import MAX_LISTED, group_factor, group_medians
from release_kit.release.cards.inputs import CardInputs
from release_kit.release.cards.markdown import xml
from release_kit.release.cards.numbers import Grid, Population, fixed

SQUARE_WIDTH, SQUARE_HEIGHT = 46, 24
MAX_RESULTS = 60
"""More results than this would not be read by anybody."""

MAX_ROW_TEXT, MAX_COLUMN_TEXT = 44, 30

_LOW, _HIGH = (239, 245, 251), (16, 78, 139)


@dataclass(frozen=True, kw_only=True)
class Square:
    """One square of the map: its number, and its place between the worst and the best of the same result."""

    text: str
    share: float | None
    """None for a hole."""


@dataclass(frozen=True, kw_only=True)
class Map:
    """The whole map: ``squares[row][column]``."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    squares: tuple[tuple[Square, ...], ...]

    def turned(self) -> "Map":
        """Return the map with rows and columns exchanged."""
        return Map(rows=self.columns, columns=self.rows, squares=tuple(zip(*self.squares, strict=True)))


def distributions_figure(grid: Grid) -> str:
    """Return the SVG of all results: range, middle half and median over the grid."""
    populations = [population for population in grid.populations.values() if population.values]
    height = draw.HEAD_HEIGHT + draw.ROW_HEIGHT * len(populations) + draw.FOOT_HEIGHT
    parts = [svg_open(draw.WIDTH, height, "Distribution of every result over the grid"), _legend()]
    middle = draw.ROW_HEIGHT // 2 + 4
    for index, population in enumerate(populations):
        shared = track_of(grid, population).shared
        median = f'<text x="738" y="{middle}" text-anchor="end" font-weight="600">{population.median_text}</text>'
        count = f'<text x="804" y="{middle}" text-anchor="end" fill="{FAINT}">{len(population.values)}</text>'
        top = draw.HEAD_HEIGHT + index * draw.ROW_HEIGHT
        parts.append(f'<g transform="translate(0 {top})">{shared}{median}{count}</g>')
    parts.append(draw.foot(height))
    return "".join(parts) + "</svg>\n"


def heatmap_figure(inputs: CardInputs, grid: Grid) -> str:
    """Return the SVG of the map of the grid; its longer side runs down the page."""
    plan = _plan(inputs, grid)
    if len(plan.columns) > len(plan.rows):
        plan = plan.turned()
    left = 30 + max(7.0 * min(len(name), MAX_ROW_TEXT) for name in plan.rows)
    head = 30 + max(5.2 * min(len(name), MAX_COLUMN_TEXT) for name in plan.columns)
    right = 24 + 4.4 * min(len(plan.columns[-1]), MAX_COLUMN_TEXT)
    width = int(left + SQUARE_WIDTH * len(plan.columns) + right)
    height = int(head + SQUARE_HEIGHT * len(plan.rows) + 40)
    parts = [svg_open(max(width, 640), height, "Map of the grid"), _hatching()]
    for index, name in enumerate(plan.columns):
        x, y = left + SQUARE_WIDTH * index + SQUARE_WIDTH / 2 - 2, head - 8
        shown = xml(_cut(name, MAX_COLUMN_TEXT))
        parts.append(f'<text transform="translate({x:.1f} {y:.1f}) rotate(-50)" font-size="12">{shown}</text>')
    for index, name in enumerate(plan.rows):
        top = head + index * SQUARE_HEIGHT
        parts.append(f'<text x="{left - 10:.1f}" y="{top + SQUARE_HEIGHT / 2 + 4:.1f}" text-anchor="end" '
                     f'font-size="12">{xml(_cut(name, MAX_ROW_TEXT))}</text>')  # fmt: skip
        parts += [_square(s, left + SQUARE_WIDTH * at, top) for at, s in enumerate(plan.squares[index])]
    note = "Colour runs from the worst (light) to the best (dark) value of each result; hatched: no value."
    parts.append(f'<text x="16" y="{height - 14}" font-size="11" fill="{FAINT}">{note}</text>')
    return "".join(parts) + "</svg>\n"


def _plan(inputs: CardInputs, grid: Grid) -> Map:
    """Return the map with one row for each cell, or for each level of the factor that sums up a large grid."""
    populations = list(grid.populations.values())[:MAX_RESULTS]
    factor = group_factor(inputs.study)
    if len(inputs.cells) <= MAX_LISTED or factor is None:
        cells = inputs.cells[:MAX_LISTED]
        names = [cell.name for cell in cells]
        columns = [[grid.value(cell.cell_id, p.key) for cell in cells] for p in populations]
    else:
        medians = group_medians(grid, factor)
        names = [level_text(level) for level in factor.levels]
        columns = [[median for median, _ in medians[p.key]] for p in populations]
    squares = [_squares(population, values) for population, values in zip(populations, columns, strict=True)]
    by_result = Map(rows=tuple(result_label(grid, p) for p in populations), columns=tuple(names),
                    squares=tuple(squares))  # fmt: skip
    return by_result.turned()


def _squares(population: Population, values: Sequence[float | None]) -> tuple[Square, ...]:
    """Return the squares of one result over all cells or groups."""
    known = [value for value in values if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    squares = []
    for value in values:
        if value is None:
            squares.append(Square(text="", share=None))
            continue
        share = (value - low) / (high - low) if high > low else 0.5
        decimals = 1 if abs(value) >= 10 else min(population.decimals, 3)
        worse_first = population.higher_is_better is not False
        squares.append(Square(text=fixed(value, decimals), share=share if worse_first else 1 - share))
    return tuple(squares)


def _square(square: Square, x: float, top: float) -> str:
    fill = "url(#hole)" if square.share is None else _colour(square.share)
    box = (
        f'<rect x="{x:.1f}" y="{top:.1f}" width="{SQUARE_WIDTH - 2}" height="{SQUARE_HEIGHT - 2}" rx="3" '
        f'fill="{fill}"/>'
    )
    if square.share is None:
        return box
    ink = "#ffffff" if square.share > 0.5 else INK
    return (
        f'{box}<text x="{x + SQUARE_WIDTH / 2 - 1:.1f}" y="{top + SQUARE_HEIGHT / 2 + 3:.1f}" font-size="11" '
        f'text-anchor="middle" fill="{ink}">{square.text}</text>'
    )


def _colour(share: float) -> str:
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(_LOW, _HIGH, strict=True))


def _hatching() -> str:
    return (
        '<defs><pattern id="hole" width="6" height="6" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)">'
        f'<rect width="6" height="6" fill="#ffffff"/><path d="M0 0V6" stroke="{GRID}" stroke-width="4"/>'
        "</pattern></defs>"
    )


def _legend() -> str:
    y = 24
    return (
        f'<rect x="40" y="{y - 5}" width="26" height="10" rx="2" fill="{draw.BAND}"/>'
        f'<text x="73" y="{y + 4}">middle half of the grid</text>'
        f'<path d="M238 {y - 8}V{y + 8}" stroke="{LINE}" stroke-width="2"/><text x="246" y="{y + 4}">median</text>'
        f'<text x="738" y="{y + 4}" text-anchor="end" fill="{FAINT}">median</text>'
        f'<text x="804" y="{y + 4}" text-anchor="end" fill="{FAINT}">cells</text>'
        f'<path d="M16 44H{draw.WIDTH - 16}" stroke="{GRID}"/>'
    )


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
