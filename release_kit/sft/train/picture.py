"""The picture of a run's loss: plain SVG by hand, the same bytes for the same log, at home in a card.

One thin line of every step, one thick line of a running mean, a mark at the kept step; the learning rate below.
"""

import html
import math
from collections.abc import Mapping, Sequence

from release_kit.sft.train.log import LogRow

WIDTH, HEIGHT = 820, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 796, 52, 214
RATE_TOP, RATE_BOTTOM = 234, 262
FONT = "ui-sans-serif,system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif"
INK, FAINT, GRID, PALE, LINE, MARK = "#1f2328", "#59636e", "#eaeef2", "#a9c1dc", "#0b62c4", "#b4540a"
MOST_POINTS = 600
"""Longer runs are drawn as means of neighbouring steps, so that the file stays small."""


def draw_loss(rows: Sequence[LogRow], kept: Mapping[str, int], title: str) -> str:
    """Return the SVG of a log.

    Args:
        rows: at least one step.
        kept: label of a kept checkpoint → its step; those after the last row are left out.
        title: what the picture shows, in plain text.
    """
    points = _thinned([(row.step, row.loss) for row in rows])
    first, last = rows[0].step, max(rows[-1].step, rows[0].step + 1)
    low, high, ticks = _scale([loss for _, loss in points])

    def x(step: float) -> float:
        return LEFT + (step - first) / (last - first) * (RIGHT - LEFT)

    def y(loss: float) -> float:
        return BOTTOM - (loss - low) / (high - low) * (BOTTOM - TOP)

    smooth = _running_mean(points)
    parts = [_open(title), _legend(rows)]
    for value in ticks:
        parts.append(
            f'<path d="M{LEFT} {y(value):.1f}H{RIGHT}" stroke="{GRID}"/>'
            f'<text x="{LEFT - 9}" y="{y(value) + 4:.1f}" text-anchor="end" font-size="11" fill="{FAINT}">'
            f"{value:g}</text>"
        )
    parts.append(_marks(kept, rows[-1].step, x))
    parts.append(_line([(x(step), y(loss)) for step, loss in points], PALE, 1.2))
    parts.append(_line([(x(step), y(loss)) for step, loss in smooth], LINE, 2.2))
    parts.append(f'<circle cx="{x(smooth[-1][0]):.1f}" cy="{y(smooth[-1][1]):.1f}" r="3.6" fill="{LINE}"/>')
    parts.append(_rates(rows, x))
    parts.append(_steps(first, rows[-1].step, x))
    return "".join(parts) + "</svg>\n"


def _open(title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="{FONT}" font-size="13" fill="{INK}" role="img"><title>{html.escape(title)}</title>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#ffffff"/>'
    )


def _legend(rows: Sequence[LogRow]) -> str:
    y, last = 26, rows[-1]
    words = f"step {last.step} · epoch {last.epoch:.3g} · {sum(row.n_trained for row in rows):,} trained tokens"
    return (
        f'<path d="M{LEFT} {y}h22" stroke="{PALE}" stroke-width="1.2"/><text x="{LEFT + 30}" y="{y + 4}">'
        f'loss of a step (nats per trained token)</text><path d="M352 {y}h22" stroke="{LINE}" stroke-width="2.2"/>'
        f'<text x="382" y="{y + 4}">running mean</text>'
        f'<text x="{RIGHT}" y="{y + 4}" text-anchor="end" fill="{FAINT}">{words}</text>'
    )


def _marks(kept: Mapping[str, int], last: int, x: object) -> str:
    """Return a dashed line at every kept checkpoint; labels only where they have room."""
    parts, free = [], float(LEFT) - 40
    for label, step in sorted(kept.items(), key=lambda pair: pair[1]):
        if step < 1 or step > last:
            continue
        at = x(step)
        parts.append(f'<path d="M{at:.1f} {TOP}V{BOTTOM}" stroke="{MARK}" stroke-width="1" stroke-dasharray="2 4"/>')
        if at - free > 54:
            anchor = "end" if at > RIGHT - 30 else "middle"
            parts.append(
                f'<text x="{at:.1f}" y="{TOP - 5}" text-anchor="{anchor}" font-size="10" fill="{MARK}">'
                f"{html.escape(label)}</text>"
            )
            free = at
    return "".join(parts)


def _rates(rows: Sequence[LogRow], x: object) -> str:
    top = max(row.learning_rate for row in rows) or 1.0
    height = RATE_BOTTOM - RATE_TOP
    points = _thinned([(row.step, row.learning_rate) for row in rows])
    drawn = [(x(step), RATE_BOTTOM - rate / top * height) for step, rate in points]
    first, last = drawn[0][0], drawn[-1][0]
    area = "".join(f"L{a:.1f} {b:.1f}" for a, b in drawn)
    return (
        f'<path d="M{first:.1f} {RATE_BOTTOM}{area}L{last:.1f} {RATE_BOTTOM}Z" fill="{GRID}"/>'
        f'<text x="{LEFT - 9}" y="{RATE_TOP + 8}" text-anchor="end" font-size="11" fill="{FAINT}">{top:.1e}</text>'
        f'<text x="{LEFT + 6}" y="{RATE_BOTTOM - 6}" font-size="11" fill="{FAINT}">learning rate</text>'
    )


def _steps(first: int, last: int, x: object) -> str:
    wanted = sorted({first, *(round(first + (last - first) * part / 4) for part in (1, 2, 3)), last})
    texts = [
        f'<text x="{x(step):.1f}" y="{HEIGHT - 18}" text-anchor="middle" font-size="11" fill="{FAINT}">{step}</text>'
        for step in wanted
    ]
    return "".join(texts) + f'<text x="{LEFT - 9}" y="{HEIGHT - 18}" text-anchor="end" font-size="11">step</text>'


def _line(points: Sequence[tuple[float, float]], colour: str, width: float) -> str:
    path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linejoin="round"/>'


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    size = math.ceil(len(points) / MOST_POINTS)
    blocks = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(a for a, _ in b) / len(b), sum(v for _, v in b) / len(b)) for b in blocks]


def _running_mean(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the mean over a window of a twelfth of the run, centred, narrower at both ends."""
    reach = max(1, len(points) // 24)
    result = []
    for index, (step, _) in enumerate(points):
        near = min(reach, index, len(points) - 1 - index)
        window = points[index - near : index + near + 1]
        result.append((step, sum(loss for _, loss in window) / len(window)))
    return result


def _scale(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """Return a range of round numbers around ``values`` and the ticks in it."""
    low, high = min(values), max(values)
    span = (high - low) or max(abs(high), 1.0)
    step = 10 ** math.floor(math.log10(span / 2))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    return first * step, last * step, [round(index * step, 12) for index in range(first, last + 1)]
