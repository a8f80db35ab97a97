"""The two figures of a release's card: the distribution of every result, and a map of the whole grid.

Same plain SVG as in ``figures.py``. The map shows single cells as long as they fit, then medians by one factor; colours
run from the lowest to the highest value of each column, a hole is hatched.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from release_kit.core.grid import level_text
from release_kit.release.cards import figures as draw
from release_kit.release.cards.figures import FAINT, GRID, INK, LINE, svg_open, track_of
from release_kit.release.cards.index_card import MAX_LISTED, group_factor, group_medians
from release_kit.release.cards.inputs import CardInputs
from release_kit.release.cards.markdown import xml
from release_kit.release.cards.numbers import Grid, Population, fixed

SQUARE_WIDTH, SQUARE_HEIGHT = 46, 24
MAX_SQUARES = 40
"""More columns than this would not be read by anybody."""

_LOW, _HIGH = (239, 245, 251), (16, 78, 139)


@dataclass(frozen=True, kw_only=True)
class MapRow:
    """One line of the map: its name and a value, or None, for each column."""

    name: str
    values: tuple[float | None, ...]


def distributions_figure(grid: Grid) -> str:
    """Return the SVG of all results: range, middle half and median over the grid."""
    populations = [population for population in grid.populations.values() if population.values]
    height = draw.HEAD_HEIGHT + draw.ROW_HEIGHT * len(populations) + 14
    parts = [svg_open(draw.WIDTH, height, "Distribution of every result over the grid"), _legend()]
    middle = draw.ROW_HEIGHT // 2 + 4
    for index, population in enumerate(populations):
        shared = track_of(grid, population).shared
        median = f'<text x="738" y="{middle}" text-anchor="end" font-weight="600">{population.median_text}</text>'
        count = f'<text x="804" y="{middle}" text-anchor="end" fill="{FAINT}">{len(population.values)}</text>'
        top = draw.HEAD_HEIGHT + index * draw.ROW_HEIGHT
        parts.append(f'<g transform="translate(0 {top})">{shared}{median}{count}</g>')
    return "".join(parts) + "</svg>\n"


def heatmap_figure(inputs: CardInputs, grid: Grid) -> str:
    """Return the SVG of the map of the grid."""
    populations = list(grid.populations.values())[:MAX_SQUARES]
    rows = _map_rows(inputs, grid, populations)
    left = 24 + max([7.0 * min(len(row.name), 44) for row in rows], default=0)
    labels = [population.label for population in populations]
    head = 34 + max((5.0 * min(len(label), 34) for label in labels), default=0)
    right = 4.6 * min(len(labels[-1]), 34) if labels else 0
    width = int(left + SQUARE_WIDTH * len(populations) + right + 16)
    height = int(head + SQUARE_HEIGHT * len(rows) + 38)
    parts = [svg_open(width, height, "Map of the grid"), _hatching()]
    for index, label in enumerate(labels):
        x, y = left + SQUARE_WIDTH * index + SQUARE_WIDTH / 2, head - 8
        parts.append(f'<text transform="translate({x:.1f} {y:.1f}) rotate(-50)" font-size="12">{xml(_cut(label, 34))}'
                     f"<title>{xml(label)}</title></text>")  # fmt: skip
    scales = [_scale(rows, index) for index in range(len(populations))]
    for index, row in enumerate(rows):
        parts += _map_line(row, left, head + index * SQUARE_HEIGHT, scales, populations)
    note = "Colour runs from the worst (light) to the best (dark) value of each column; hatched: no value."
    parts.append(f'<text x="16" y="{height - 14}" font-size="11" fill="{FAINT}">{note}</text>')
    return "".join(parts) + "</svg>\n"


def _map_rows(inputs: CardInputs, grid: Grid, populations: Sequence[Population]) -> list[MapRow]:
    factor = group_factor(inputs.study)
    if len(inputs.cells) <= MAX_LISTED or factor is None:
        cells = inputs.cells[:MAX_LISTED]
        return [
            MapRow(name=cell.name, values=tuple(grid.value(cell.cell_id, p.key) for p in populations)) for cell in cells
        ]
    medians = group_medians(grid, factor)
    return [
        MapRow(name=level_text(level), values=tuple(medians[p.key][index][0] for p in populations))
        for index, level in enumerate(factor.levels)
    ]


def _map_line(
    row: MapRow, left: float, top: float, scales: list[tuple[float, float]], populations: Sequence[Population]
) -> list[str]:
    middle = top + SQUARE_HEIGHT / 2 + 4
    parts = [f'<text x="{left - 10:.1f}" y="{middle:.1f}" text-anchor="end">{xml(_cut(row.name, 44))}</text>']
    for index, (value, scale, population) in enumerate(zip(row.values, scales, populations, strict=True)):
        x = left + SQUARE_WIDTH * index
        share = None if value is None else _share(value, scale, population)
        fill = "url(#hole)" if share is None else _colour(share)
        parts.append(f'<rect x="{x:.1f}" y="{top:.1f}" width="{SQUARE_WIDTH - 2}" height="{SQUARE_HEIGHT - 2}" rx="3" '
                     f'fill="{fill}"/>')  # fmt: skip
        if value is not None and share is not None:
            ink = "#ffffff" if share > 0.5 else INK
            shown = fixed(value, min(population.decimals, 3) if abs(value) < 10 else 1)
            parts.append(f'<text x="{x + SQUARE_WIDTH / 2 - 1:.1f}" y="{middle:.1f}" font-size="11" '
                         f'text-anchor="middle" fill="{ink}">{shown}</text>')  # fmt: skip
    return parts


def _scale(rows: Sequence[MapRow], index: int) -> tuple[float, float]:
    values = [row.values[index] for row in rows if row.values[index] is not None]
    return (min(values), max(values)) if values else (0.0, 1.0)


def _share(value: float, scale: tuple[float, float], population: Population) -> float:
    low, high = scale
    share = (value - low) / (high - low) if high > low else 0.5
    return 1 - share if population.higher_is_better is False else share


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
        f'<rect x="124" y="{y - 5}" width="26" height="10" rx="2" fill="{draw.BAND}"/>'
        f'<text x="157" y="{y + 4}">middle half of the grid</text>'
        f'<path d="M322 {y - 8}V{y + 8}" stroke="{LINE}" stroke-width="2"/><text x="330" y="{y + 4}">median</text>'
        f'<text x="738" y="{y + 4}" text-anchor="end" fill="{FAINT}">median</text>'
        f'<text x="804" y="{y + 4}" text-anchor="end" fill="{FAINT}">cells</text>'
        f'<path d="M16 44H{draw.WIDTH - 16}" stroke="{GRID}"/>'
    )


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
